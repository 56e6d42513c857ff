//! `scachectl list`: what is cached, a line for each entry.
//!
//! It asks for a page at a time and writes that at once, so that it holds no more of a large cache than that,
//! unless all is to be sorted.

mod entry;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::ValueEnum;
use scache_client::administration::{BindingEntry, ConnectionEntry, DestinationEntry};

use crate::cache::Cache;
use crate::failure::{Failure, Status};
use crate::labels::Typed;
use crate::output::{Output, Stop, finish};
use crate::socket::Socket;

use entry::Listed;

/// What is cached.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Of what kind
    #[arg(value_enum, default_value_t = Kind::Connections)]
    kind: Kind,

    /// Only what has a label that begins so: of a connection that of its endpoint, else that of the destination;
    /// \n is the end of a field
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: Typed,

    /// In this order; otherwise as they come, and destinations by what was asked for
    #[arg(long, value_enum)]
    sort: Option<Sort>,

    /// In the opposite order
    #[arg(long, requires = "sort")]
    reverse: bool,

    /// At most so many
    #[arg(long, value_name = "NUMBER")]
    limit: Option<NonZeroUsize>,

    /// Each as an object in JSON on a line of its own, as docs/list.schema.json describes it
    #[arg(long)]
    json: bool,
}

/// What there is to be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Cached connections
    Connections,
    /// Destinations and the endpoints that serve them
    Bindings,
    /// The busiest destinations, up to a thousand
    Destinations,
}

/// What a list can be sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sort {
    /// By label
    Label,
    /// The oldest first
    Age,
    /// The next to expire first
    Left,
    /// What was taken most often first
    Taken,
    /// By the address of the peer
    Peer,
    /// What was found most often first
    Hits,
    /// What was not found most often first
    Misses,
    /// What was asked for most often first
    Asked,
    /// What has the most connections first
    Cached,
}

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        let cache = Cache::new(socket);
        finish(match self.kind {
            Kind::Connections => self.list::<ConnectionEntry>(cache, self.sort),
            Kind::Bindings => self.list::<BindingEntry>(cache, self.sort),
            Kind::Destinations => {
                self.list::<DestinationEntry>(cache, self.sort.or(Some(Sort::Asked)))
            }
        })
    }

    fn list<T: Listed>(&self, mut cache: Cache, sort: Option<Sort>) -> Result<Output, Stop> {
        if let Some(sort) = sort.filter(|sort| !T::SORTS.contains(sort)) {
            return Err(Failure::new(Status::Usage, cannot_be_sorted(sort, T::SORTS)).into());
        }
        let mut output = Output::new();
        let limit = self.limit.map_or(usize::MAX, NonZeroUsize::get);
        let mut kept: Vec<T> = Vec::new();
        let (mut written, mut from) = (0, Some(0));
        while let Some(at) = from.filter(|_| written < limit) {
            let page = cache.ask(|client| T::page(client, &self.prefix.0, at))?;
            if at == 0 && !self.json {
                output.line(T::HEADER)?;
            }
            from = page.next;
            match sort {
                None => {
                    for entry in page.entries.iter().take(limit - written) {
                        self.write(&mut output, entry)?;
                        written += 1;
                    }
                    output.flush()?;
                }
                Some(sort) => {
                    kept.extend(page.entries);
                    if kept.len() / 2 > limit {
                        self.order(&mut kept, sort, limit);
                    }
                }
            }
        }
        if let Some(sort) = sort {
            self.order(&mut kept, sort, limit);
        }
        for entry in &kept {
            self.write(&mut output, entry)?;
        }
        Ok(output)
    }

    fn order<T: Listed>(&self, entries: &mut Vec<T>, sort: Sort, limit: usize) {
        entries.sort_by(|one, other| {
            let order = one.compare(other, sort);
            if self.reverse { order.reverse() } else { order }
        });
        entries.truncate(limit);
    }

    fn write<T: Listed>(&self, output: &mut Output, entry: &T) -> Result<(), Stop> {
        if self.json {
            output.json(&entry.json())
        } else {
            output.line(&entry.line())
        }
    }
}

fn cannot_be_sorted(sort: Sort, sorts: &[Sort]) -> String {
    let name = |sort: &Sort| {
        let value = sort.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let names: Vec<String> = sorts.iter().map(name).collect();
    format!(
        "they cannot be sorted by {}: what they have is {}",
        name(&sort),
        names.join(", ")
    )
}
