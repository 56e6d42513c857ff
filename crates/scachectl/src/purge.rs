//! `scachectl purge`: lets go of what is cached under some names.

use std::process::ExitCode;

use scache_client::administration::{Label, Names, Property, Purged};
use scache_client::{Client, Error};

use crate::cache::{self, Cache};
use crate::failure::{Failure, Status};
use crate::labels::Typed;
use crate::output::{Output, finish};
use crate::socket::Socket;

/// Let go of what is cached under some names, with a goodbye.
///
/// The connections of endpoints of these names, and the bindings of destinations and to endpoints of these names.
/// For root and the user of the cache.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("names").required(true)))]
pub(crate) struct Arguments {
    /// The endpoint or destination of this name; \n is the end of a field
    #[arg(long, group = "names")]
    label: Option<Typed>,

    /// All endpoints and destinations whose name begins so
    #[arg(long, group = "names")]
    prefix: Option<Typed>,

    /// This destination, and all connections that a client would get for it now
    #[arg(long, group = "names", value_name = "LABEL")]
    destination: Option<Typed>,

    /// Everything
    #[arg(long, group = "names")]
    all: bool,
}

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        let mut cache = Cache::new(socket);
        let purged = match (&self.label, &self.prefix, &self.destination) {
            (Some(label), ..) => {
                let names = Names::Is(of_label(label)?);
                cache.ask(|client| names_of(client, names))?
            }
            (_, Some(prefix), _) if prefix.0.is_empty() => {
                return Err(Failure::new(
                    Status::Usage,
                    "every name begins so: say --all if everything is to go",
                ));
            }
            (_, Some(prefix), _) => {
                let names = Names::Begin(of_prefix(&prefix.0)?);
                cache.ask(|client| names_of(client, names))?
            }
            (.., Some(destination)) => {
                let destination = of_label(destination)?;
                cache.ask(|client| destination_of(client, destination))?
            }
            _ => {
                let names = Names::Begin(of_prefix(b"")?);
                cache.ask(|client| names_of(client, names))?
            }
        };
        let mut output = Output::new();
        let written = output.line(&told(&purged));
        finish(written.map(|()| output))
    }
}

/// What to say of it.
pub(crate) fn told(purged: &Purged) -> String {
    format!(
        "purged: {} connections, {} bindings",
        purged.connections, purged.bindings
    )
}

/// Lets go of everything of these names.
pub(crate) fn names_of(client: &mut Client, names: Names<'_>) -> Result<Purged, Error> {
    let mut all = Purged::default();
    let mut from = Some(0);
    while let Some(at) = from {
        let some = client.purge(names, at)?;
        all.connections += some.connections;
        all.bindings += some.bindings;
        from = some.next;
    }
    Ok(all)
}

/// Lets go of a destination, with the connections that are found by it.
pub(crate) fn destination_of(client: &mut Client, destination: Label<'_>) -> Result<Purged, Error> {
    let bindings = cache::all(|from| client.bindings(destination.as_bytes(), from))?;
    // Others begin with the same label.
    let mut endpoints: Vec<Box<[u8]>> = bindings
        .into_iter()
        .filter(|binding| &*binding.destination == destination.as_bytes())
        .map(|binding| binding.endpoint)
        .collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    let mut all = names_of(client, Names::Is(destination))?;
    for endpoint in &endpoints {
        let some = names_of(client, Names::Is(Label::new(endpoint)?))?;
        all.connections += some.connections;
        all.bindings += some.bindings;
    }
    Ok(all)
}

fn of_label(typed: &Typed) -> Result<Label<'_>, Failure> {
    Label::new(&typed.0).map_err(cannot_be_a_name)
}

fn of_prefix(typed: &[u8]) -> Result<Property<'_>, Failure> {
    Property::new(typed).map_err(cannot_be_a_name)
}

fn cannot_be_a_name(error: scache_client::ValueError) -> Failure {
    Failure::new(Status::Usage, format!("that cannot be a name: {error}"))
}
