//! scachectl(1): a connection cache seen from outside.

use std::process::ExitCode;

fn main() -> ExitCode {
    scachectl::main()
}
