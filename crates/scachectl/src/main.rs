//! scachectl(1): a connection cache seen from outside. All that it knows it asks of the daemon, as any
//! other client.

mod bench;
mod command_line;
mod connect;
mod exporter;
mod failure;
mod postfix;
mod socket;
mod time;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let options = command_line::Options::parse();
    match options.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}
