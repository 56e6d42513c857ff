//! scachectl(1): a connection cache seen from outside. All that it knows it asks of the daemon, as any
//! other client.
//!
//! It is a library so that its pages and completions can be made of the same definition (`examples/pages.rs`), and
//! the examples in the documents be held against it. The program is [`main`].

mod bench;
mod cache;
mod command_line;
mod connect;
mod drain;
mod events;
mod exporter;
mod failure;
mod figures;
mod labels;
mod list;
mod output;
mod postfix;
mod purge;
mod settings;
mod socket;
mod stats;
mod time;
mod top;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

/// Runs the program. What went wrong is said on standard error, in one line.
#[must_use]
pub fn main() -> ExitCode {
    let options = match command_line::Options::try_parse() {
        Ok(options) => options,
        Err(error) => return failure::of_command_line(&error),
    };
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
