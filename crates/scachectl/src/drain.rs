//! `scachectl drain`: lets the cache run empty, before it is stopped or looked into.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

use scache_client::Client;

use crate::cache::Cache;
use crate::failure::{Failure, Status};
use crate::output::{Output, Stop, finish};
use crate::socket::Socket;

/// Keep nothing new.
///
/// What is saved from now on is closed with a goodbye, what is cached can be found until it expires. For root and the
/// user of the cache.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Keep what is saved again
    #[arg(long, conflicts_with = "wait")]
    off: bool,

    /// Return when no connection is cached any more
    #[arg(long)]
    wait: bool,
}

/// How often is looked whether anything is left.
const PAUSE: Duration = Duration::from_millis(100);

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        finish(self.drain(Cache::new(socket)))
    }

    fn drain(&self, mut cache: Cache) -> Result<Output, Stop> {
        let mut output = Output::new();
        cache.ask(|client| client.drain(!self.off))?;
        output.line(if self.off {
            "not draining: what is saved is kept again"
        } else {
            "draining: what is saved from now on is closed with a goodbye, what is cached can be found until it \
             expires; drain --off ends it"
        })?;
        output.flush()?;
        if self.wait {
            wait(&mut cache)?;
            output.line("empty: no connection is cached")?;
        }
        Ok(output)
    }
}

fn wait(cache: &mut Cache) -> Result<(), Failure> {
    loop {
        let stats = cache.ask(Client::stats)?;
        if stats.draining == 0 {
            return Err(Failure::new(
                Status::Temporary,
                format!(
                    "{} does not drain any more: it was restarted, or somebody ended it; drain again",
                    cache.path().display()
                ),
            ));
        }
        if stats.connections == 0 {
            return Ok(());
        }
        sleep(PAUSE);
    }
}
