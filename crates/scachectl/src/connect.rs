//! `scachectl connect`: a program and a connection, in the manner of ucspi-tcp's tcpclient(1), which may be one that
//! another process left in the cache, and is left there for the next one.
//!
//! It knows nothing of what is spoken over the connection: whether that can go on with somebody else is said by the
//! program, which ends with 0. A cache that is away costs a connection, never an error.

mod environment;
mod program;
mod services;
mod target;

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use scache_client::{Checkout, CheckoutError, Pool, Properties, Released};
use scache_sys::sockets::{self, Until};

use self::program::Program;
use self::target::{Candidate, Target};
use crate::failure::{Failure, Status, say};
use crate::labels::Typed;
use crate::socket::Socket;
use crate::{cache, figures, time};

/// How long the cache may take to answer: it is there to save time.
const CACHE_TIMEOUT: Duration = Duration::from_secs(3);

/// What is known of a connection from one use to the next.
const REUSE_COUNT: &str = "reuse_count=";

/// Run a program with a connection: a cached one if there is one, else a new one.
///
/// The program reads from descriptor 6 and writes to descriptor 7, as with tcpclient(1). SCACHE_REUSED in its
/// environment says how often the connection was used before: 0 for a new one. When the program ends with 0 the
/// connection is left in the cache for the next one; otherwise it is closed. The exit status is the program's.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    // Not as a comment for rustdoc, which takes brackets for links; likewise below.
    #[arg(
        value_name = "HOST:PORT",
        help = "Where to connect to: HOST:PORT, [IPV6]:PORT or unix:/PATH; PORT is a number or a name as in services(5)"
    )]
    target: Target,

    /// The program and its arguments
    #[arg(value_name = "PROGRAM", required = true, trailing_var_arg = true)]
    program: Vec<OsString>,

    /// The first field of the names in the cache. What cannot take over one another's connections, such as different
    /// users, needs different ones [default: tcp, or unix]
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// The destination's whole name in the cache; \n is the end of a field [default: SERVICE, newline, HOST:PORT]
    #[arg(long, value_name = "LABEL")]
    destination: Option<Typed>,

    #[arg(
        long,
        value_name = "LABEL",
        help = "The endpoint's whole name in the cache, for all addresses; \\n is the end of a field [default: SERVICE, newline, [IP]:PORT]"
    )]
    endpoint: Option<Typed>,

    /// How long the connection may wait in the cache for the next program
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time::parse)]
    ttl: Duration,

    /// How long each address is tried
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time::parse)]
    timeout: Duration,

    /// Neither take a connection from the cache nor leave one there
    #[arg(long)]
    no_cache: bool,

    /// Say on standard error what is done, and what is wrong with the cache
    #[arg(long, short)]
    verbose: bool,
}

/// A connection, and how it was had.
enum Connection {
    /// It can be left in the cache.
    Pooled(Box<Checkout<OwnedFd>>),
    /// It is closed in the end.
    Single(OwnedFd),
}

impl Connect {
    /// Connects, runs the program, and puts the connection back. `socket` looks for the cache.
    pub(crate) fn run(
        &self,
        socket: impl FnOnce(&dyn Fn(&str)) -> Result<Socket, Failure>,
    ) -> Result<ExitCode, Failure> {
        let candidates = self
            .target
            .candidates(&self.service(), self.endpoint.as_ref())?;
        let pool = self.pool(socket);
        let connection = self.connect(pool.as_ref(), &candidates)?;
        let reused = connection.reused();
        if reused > 0 {
            self.note(|| format!("a connection that was used before ({reused}×)"));
        }
        let mut program = Program::new(&self.program, connection.descriptor())?;
        environment::set(&mut program, &self.target, connection.descriptor(), reused);
        let status = match program.run() {
            Ok(status) => status,
            Err(failure) => {
                // Nobody has touched it. A new one has perhaps something to say first, which the next one
                // would not expect.
                if reused > 0 {
                    self.put_back(connection, reused);
                }
                return Err(failure);
            }
        };
        if status == 0 {
            self.put_back(connection, reused + 1);
        }
        Ok(ExitCode::from(status))
    }

    fn service(&self) -> String {
        let service = self.service.as_deref();
        service.unwrap_or_else(|| self.target.service()).to_owned()
    }

    fn pool(&self, socket: impl FnOnce(&dyn Fn(&str)) -> Result<Socket, Failure>) -> Option<Pool> {
        if self.no_cache {
            return None;
        }
        match socket(&|warning| self.note(|| warning.to_owned())) {
            Ok(socket) => {
                let verbose = self.verbose;
                let pool = Pool::new(socket.path)
                    .with_timeout(CACHE_TIMEOUT)
                    // The program may run for long, and the cache has a limited number of slots for clients.
                    .with_idle_limit(Duration::ZERO)
                    .with_trust(socket.trust);
                Some(pool.on_error(move |error| {
                    if verbose {
                        say(&cache::with_source(error));
                    }
                }))
            }
            Err(failure) => {
                self.note(|| failure.to_string());
                None
            }
        }
    }

    fn connect(
        &self,
        pool: Option<&Pool>,
        candidates: &[Candidate],
    ) -> Result<Connection, Failure> {
        let mut failed = Vec::new();
        let mut connect = |candidate: &Candidate| {
            self.note(|| format!("connecting to {candidate}"));
            candidate.connect(self.timeout).inspect_err(|error| {
                failed.push(format!("{candidate}: {error}"));
            })
        };
        let connection = match pool {
            Some(pool) => {
                let named = self.destination.as_ref().map(|typed| typed.0.clone());
                let destination = named
                    .unwrap_or_else(|| format!("{}\n{}", self.service(), self.target).into_bytes());
                match pool.checkout(&destination, candidates, &mut connect) {
                    Ok(connection) => Some(Connection::Pooled(Box::new(connection))),
                    Err(CheckoutError::Name(error)) => {
                        let text = format!("this cannot be a name in the cache: {error}");
                        return Err(Failure::new(Status::Usage, text));
                    }
                    Err(_) => None,
                }
            }
            None => candidates
                .iter()
                .find_map(|candidate| connect(candidate).ok())
                .map(Connection::Single),
        };
        connection.ok_or_else(|| {
            Failure::new(
                Status::Unavailable,
                format!("cannot connect to {} ({})", self.target, failed.join("; ")),
            )
        })
    }

    /// Leaves a connection that can be used again in the cache.
    fn put_back(&self, connection: Connection, uses: u64) {
        let Connection::Pooled(connection) = connection else {
            return;
        };
        // What can be read now is the end, or an answer that the next one would take for that to a question of
        // its own.
        match sockets::wait(connection.as_fd(), Until::Readable, Duration::ZERO) {
            Ok(false) => {
                let property = format!("{REUSE_COUNT}{uses}\n").into_bytes();
                let properties = Properties::new([], property).unwrap_or_default();
                let released = connection.release_with(self.ttl, &properties);
                self.note(|| became(released, self.ttl));
            }
            Ok(true) | Err(_) => {
                self.note(|| {
                    "closed the connection: its peer has closed it or has said more".to_owned()
                });
            }
        }
    }

    fn note(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            say(&text());
        }
    }
}

impl Connection {
    fn descriptor(&self) -> &OwnedFd {
        match self {
            Self::Pooled(connection) => connection,
            Self::Single(connection) => connection,
        }
    }

    /// How often it was used before.
    fn reused(&self) -> u64 {
        let Self::Pooled(connection) = self else {
            return 0;
        };
        let Some(properties) = connection.reused() else {
            return 0;
        };
        let taken = connection.history().map(|history| history.taken.into());
        // Once at least, whoever saved it.
        uses(properties.connection()).or(taken).unwrap_or(1).max(1)
    }
}

/// What became of a connection that was to be left in the cache for `wanted`.
fn became(released: Released, wanted: Duration) -> String {
    match released {
        Released::Kept { ttl: Some(ttl) } if ttl < wanted => format!(
            "left the connection in the cache, for {} instead of {}: the cache keeps nothing longer (its option --ttl-limit, \
             or connection_cache_ttl_limit in main.cf)",
            figures::time(ttl),
            figures::time(wanted),
        ),
        Released::Kept { .. } => "left the connection in the cache".to_owned(),
        Released::Declined => "the cache closed the connection: it is drained (scachectl drain --off ends that), or the \
                               connection was used as often or for as long as the cache allows"
            .to_owned(),
        // Why was said before.
        _ => "closed the connection: the cache does not have it".to_owned(),
    }
}

/// What a property says of how often its connection was used. Programs that save none have the cache count.
fn uses(property: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(property);
    text.lines()
        .find_map(|line| line.strip_prefix(REUSE_COUNT)?.parse().ok())
}

/// What went wrong with a descriptor that is there.
fn descriptor_failure(error: &io::Error) -> Failure {
    Failure::new(
        Status::System,
        format!("cannot hand a connection to a program: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_property_says_how_often_its_connection_was_used() {
        for (property, count) in [
            (&b""[..], None),
            (b"reuse_count=0\n", Some(0)),
            (b"reuse_count=7\n", Some(7)),
            (b"tls_level=0\nreuse_count=24\n", Some(24)),
            (b"reuse_count=many\n", None),
            (b"\xff\xfe", None),
        ] {
            assert_eq!(uses(property), count, "{}", property.escape_ascii());
        }
    }
}
