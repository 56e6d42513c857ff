//! scachectl(1): a connection cache seen from outside. All that it knows it asks of the daemon, as any
//! other client.
//!
//! It is a library so that its pages and completions can be made of the same definition (`examples/pages.rs`), and
//! the examples in the documents be held against it. The program is [`main`].

mod command_line;
mod failure;
mod socket;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// Runs the program. What went wrong is said on standard error, in one line.
#[must_use]
pub fn main() -> ExitCode {
    let options = command_line::Options::parse();
    match options.run() {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

/// The commands and their options.
#[must_use]
pub fn command() -> clap::Command {
    command_line::Options::command()
}
