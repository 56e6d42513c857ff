//! scache(8): the connection cache as a service of Postfix's master(8).

use std::process::ExitCode;

fn main() -> ExitCode {
    scached::postfix::main()
}
