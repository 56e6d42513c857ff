//! scached(8): the connection cache on its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    scached::standalone::main()
}
