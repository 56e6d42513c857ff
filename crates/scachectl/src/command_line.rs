//! The commands and their options: help, manual page and completions are made of this.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::bench;
use crate::connect;
use crate::exporter::Exporter;
use crate::failure::{Failure, say};
use crate::socket::Socket;
use crate::{drain, list, postfix, purge, settings, stats, top, watch};

/// Look into a shared connection cache, measure it, use it, install it into Postfix.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Options {
    /// The socket of the cache [default: that of $SCACHE_SOCKET, else that of scached if it is there, else private/scache
    /// in Postfix's queue directory]
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Stats(stats::Arguments),
    Settings(settings::Arguments),
    List(list::Arguments),
    Top(top::Arguments),
    Watch(watch::Arguments),
    Purge(purge::Arguments),
    Drain(drain::Arguments),
    Bench(bench::Bench),
    Connect(connect::Connect),
    Exporter(Exporter),
    /// Installs scache into Postfix, tells which one serves, takes it out again
    Postfix(postfix::Options),
}

impl Options {
    /// Does what was asked for, and says with which status to end.
    ///
    /// # Errors
    /// In one line, what to do about it.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        // The socket that was named, or else the first that is there.
        let path = self.socket.or_else(named_in_environment);
        let find = |warn: &dyn Fn(&str)| match &path {
            Some(path) => Ok(Socket::named(path.clone())),
            None => Socket::find(warn),
        };
        let socket = || find(&say);
        match self.command {
            Command::Stats(arguments) => arguments.run(socket()?),
            Command::Settings(arguments) => arguments.run(socket()?),
            Command::List(arguments) => arguments.run(socket()?),
            Command::Top(arguments) => arguments.run(socket()?),
            Command::Watch(arguments) => arguments.run(socket()?),
            Command::Purge(arguments) => arguments.run(socket()?),
            Command::Drain(arguments) => arguments.run(socket()?),
            Command::Bench(bench) => bench.run(&socket()?),
            Command::Connect(connect) => connect.run(find),
            Command::Exporter(exporter) => exporter.run(&socket()?),
            Command::Postfix(options) => options.run(),
        }
    }
}

/// The socket that the environment names.
fn named_in_environment() -> Option<PathBuf> {
    std::env::var_os("SCACHE_SOCKET")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}
