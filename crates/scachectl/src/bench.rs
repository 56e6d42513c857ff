//! `scachectl bench`: a load for any connection cache, and what it took.
//!
//! Clients save connections of their own and take them out again, each as soon as it has its answer. What is
//! measured is the cache under that load, on a machine that also runs the load: one processor is left to the cache, if
//! there are several. It takes nothing that is not its own, and leaves no connection behind.

mod client;
mod link;
mod names;
mod progress;
mod report;
mod tally;
mod worker;

use std::io;
use std::num::NonZero;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use scache_proto::Request;
use scache_proto::client::Outcome;
use scache_sys::descriptors;

use self::client::Client;
use self::link::Link;
use self::names::{NameSpace, Wire};
use self::progress::Progress;
use self::report::{Report, Setting};
use self::tally::{Tally, explain};
use self::worker::Work;
use crate::failure::{Failure, Status};
use crate::labels::json_escaped;
use crate::socket::{self, Socket};
use crate::{output, time};

/// Operations, if neither their number nor a time is given.
const OPERATIONS: u64 = 100_000;

/// More threads than this only take processors from one another.
const MOST_THREADS: usize = 4;

/// Descriptors that are needed besides those of the clients.
const OTHER_DESCRIPTORS: u64 = 32;

/// How long to go on taking out what was left in the cache.
const SWEEP: Duration = Duration::from_secs(10);

/// Measure a cache: clients that save connections and find them again.
///
/// The connections are pairs of sockets of its own, under names of its own, so whatever else is in the cache stays
/// there. An operation is a save (of binding and connection: two requests in the stock protocol) or a find (by the
/// destination). Connections are taken out again; bindings expire after 30 s at most.
#[derive(Debug, clap::Args)]
pub(crate) struct Bench {
    /// Clients at once; each waits for its answer before it asks again
    #[arg(long, short, value_name = "N", default_value = "50")]
    clients: NonZero<usize>,

    /// Ends after so many operations [default: 100000, or without end if --seconds is given]
    #[arg(long, short = 'n', value_name = "N")]
    operations: Option<NonZero<u64>>,

    /// Ends after so many seconds
    #[arg(long, short, value_name = "S")]
    seconds: Option<NonZero<u32>>,

    /// How to speak to the cache; auto: inline descriptors if it knows them
    #[arg(long, short, value_name = "NAME", default_value = "auto")]
    protocol: Protocol,

    /// Destinations in use [default: as many as endpoints, else one per client]
    #[arg(long, value_name = "N")]
    destinations: Option<NonZero<usize>>,

    /// Endpoints in use; more than 256 for one destination are too many for scached [default: as many as
    /// destinations, else one per client]
    #[arg(long, value_name = "N")]
    endpoints: Option<NonZero<usize>>,

    /// Connections that each client has in the cache before it takes them out again
    #[arg(long, short, value_name = "N", default_value = "1")]
    keep: NonZero<usize>,

    /// Threads that the clients share [default: one for each processor but one, 4 at most]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: Option<u8>,

    /// How long an answer may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = time::parse)]
    timeout: Duration,

    /// Write a line each second, also to what is no terminal
    #[arg(long)]
    progress: bool,

    /// Tell the result as JSON
    #[arg(long)]
    json: bool,
}

/// How to speak to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Protocol {
    /// Inline if the cache knows that, else stock
    Auto,
    /// That of Postfix's scache
    Stock,
    /// Descriptors ride on requests and replies
    Inline,
}

impl Bench {
    /// Measures, and tells on standard output what came of it.
    pub(crate) fn run(&self, socket: &Socket) -> Result<ExitCode, Failure> {
        self.make_room()?;
        let stop = stop_on_signals()?;
        let clients = self.clients.get();
        let or_else = |one: Option<NonZero<usize>>, other: Option<NonZero<usize>>| {
            one.or(other).map_or(clients, NonZero::get)
        };
        let destinations = or_else(self.destinations, self.endpoints);
        let endpoints = or_else(self.endpoints, self.destinations);
        let space = NameSpace::new(destinations, endpoints);
        let wire = self.agree(socket)?;
        let mut crowd = self.connect(socket, &space, wire, &stop)?;
        let threads = self.threads().min(clients);
        let setting = Setting {
            socket: &socket.path,
            wire,
            clients,
            threads,
            destinations,
            endpoints,
            keep: self.keep.get(),
        };
        let (tally, elapsed) = self.measure(socket, &mut crowd, threads, &stop)?;
        drop(crowd);
        let left = tally.misses > 0 || tally.errors() > 0;
        if left {
            sweep(socket, &space, clients);
        }
        let interrupted = stop.load(Ordering::Relaxed);
        let report = Report::new(&setting, &tally, elapsed, interrupted);
        self.tell(&report)?;
        judge(&tally, clients, interrupted)
    }

    /// Sees to it that there are descriptors for all clients.
    fn make_room(&self) -> Result<(), Failure> {
        let limit = descriptors::raise_limit().map_err(|error| {
            Failure::new(
                Status::System,
                format!("cannot raise the limit on descriptors: {error}"),
            )
        })?;
        // Its own connection to the cache, and both ends of each connection that is cached.
        let each = (self.keep.get() as u64).saturating_mul(2).saturating_add(1);
        let needed = each
            .saturating_mul(self.clients.get() as u64)
            .saturating_add(OTHER_DESCRIPTORS);
        match limit {
            Some(limit) if needed > limit => Err(Failure::new(
                Status::Usage,
                format!(
                    "{} clients need {needed} descriptors and there may be {limit}: use {} --clients at most, or \
                     raise the limit (ulimit -Hn)",
                    self.clients,
                    limit.saturating_sub(OTHER_DESCRIPTORS) / each,
                ),
            )),
            _ => Ok(()),
        }
    }

    fn threads(&self) -> usize {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.map_or_else(
            || processors.saturating_sub(1).clamp(1, MOST_THREADS),
            usize::from,
        )
    }

    /// Finds out how the cache can be spoken to.
    fn agree(&self, socket: &Socket) -> Result<Wire, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut link = Link::connect(socket, deadline)
            .map_err(|error| socket::failure(&socket.path, &error))?;
        // Stock warns of what it does not know, so it is only asked if that is wanted.
        if self.protocol == Protocol::Stock {
            return Ok(Wire::Stock);
        }
        match link.ask(&Request::Inline, deadline) {
            Ok(Outcome::Done) => Ok(Wire::Inline),
            Ok(_) if self.protocol == Protocol::Auto => Ok(Wire::Stock),
            Ok(_) => Err(Failure::new(
                Status::Protocol,
                format!(
                    "the cache at {} does not know inline descriptors: use --protocol stock",
                    socket.path.display()
                ),
            )),
            Err(error) => Err(no_cache(&socket.path, &error)),
        }
    }

    /// All clients, or those who were there before it was to stop.
    fn connect(
        &self,
        socket: &Socket,
        space: &NameSpace,
        wire: Wire,
        stop: &AtomicBool,
    ) -> Result<Vec<Client>, Failure> {
        let mut crowd = Vec::with_capacity(self.clients.get());
        for number in 0..self.clients.get() {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let deadline = Instant::now() + self.timeout;
            let names = space.of_client(number);
            match Client::connect(socket, names, wire, self.keep.get(), deadline) {
                Ok(client) => crowd.push(client),
                Err(error) if number == 0 => return Err(no_cache(&socket.path, &error)),
                Err(error) => return Err(self.too_many(number, &explain(&error))),
            }
        }
        // Where slots are short, the cache has closed the first ones for the last ones by now.
        let served = crowd.iter().filter(|client| !client.is_hung_up()).count();
        if served < crowd.len() {
            return Err(self.too_many(served, "it hung up on the others"));
        }
        Ok(crowd)
    }

    fn too_many(&self, served: usize, why: &str) -> Failure {
        Failure::new(
            Status::Unavailable,
            format!(
                "the cache serves {served} of {} clients ({why}): use fewer --clients, or raise its limit",
                self.clients
            ),
        )
    }

    /// Lets the clients do their work on some threads. What they saw, and how long it took.
    fn measure(
        &self,
        socket: &Socket,
        crowd: &mut [Client],
        threads: usize,
        stop: &AtomicBool,
    ) -> Result<(Tally, Duration), Failure> {
        let operations = match (self.operations, self.seconds) {
            (None, Some(_)) => None,
            (operations, _) => Some(operations.map_or(OPERATIONS, NonZero::get)),
        };
        let began = Instant::now();
        let seconds = self
            .seconds
            .map(|seconds| Duration::from_secs(seconds.get().into()));
        let per_cycle = (self.keep.get() as u64).saturating_mul(2);
        let work = Work {
            socket,
            cycles: operations.map(|count| AtomicU64::new(count.div_ceil(per_cycle))),
            deadline: seconds.map(|seconds| began + seconds),
            timeout: self.timeout,
            stop,
            done: AtomicU64::new(0),
        };
        let mut all = new_tally()?;
        let tallies: Vec<Tally> = (0..threads)
            .map(|_| new_tally())
            .collect::<Result<_, _>>()?;
        let mut progress = Progress::new(self.progress);
        let (tell, told) = channel();
        std::thread::scope(|scope| {
            let mut rest = crowd;
            for (number, mut tally) in tallies.into_iter().enumerate() {
                let share = rest.len().div_ceil(threads - number);
                let (mine, others) = std::mem::take(&mut rest).split_at_mut(share);
                rest = others;
                let (tell, work) = (tell.clone(), &work);
                scope.spawn(move || {
                    if let Err(error) = worker::run(mine, work, &mut tally) {
                        worker::broken(mine.len(), &error, &mut tally);
                    }
                    // The other end waits for all of them.
                    let _ = tell.send(tally);
                });
            }
            drop(tell);
            loop {
                match told.recv_timeout(progress.interval()) {
                    Ok(tally) => all.add(tally),
                    Err(RecvTimeoutError::Timeout) => {
                        progress.show(work.done.load(Ordering::Relaxed));
                    }
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
        });
        progress.end();
        Ok((all, began.elapsed()))
    }

    fn tell(&self, report: &Report) -> Result<(), Failure> {
        let text = if self.json {
            let json = serde_json::to_string_pretty(report);
            let json = json.map_err(|error| Failure::new(Status::Software, error.to_string()))?;
            json_escaped(json) + "\n"
        } else {
            report.table()
        };
        output::write(&text)
    }
}

/// The status to end with: a figure with failures in it is no result.
fn judge(tally: &Tally, clients: usize, interrupted: bool) -> Result<ExitCode, Failure> {
    let why = tally
        .trouble
        .as_deref()
        .unwrap_or("nothing is known of why");
    if tally.gave_up > 0 {
        return Err(Failure::new(
            Status::Unavailable,
            format!("{} of {clients} clients gave up: {why}", tally.gave_up),
        ));
    }
    match tally.errors() {
        0 if interrupted => Ok(ExitCode::from(130)),
        0 => Ok(ExitCode::SUCCESS),
        errors => Err(Failure::new(
            Status::Unavailable,
            format!("{errors} operations failed: {why}"),
        )),
    }
}

fn new_tally() -> Result<Tally, Failure> {
    Tally::new().map_err(|message| Failure::new(Status::Software, message))
}

/// Set by the first SIGINT or SIGTERM; the second one ends the process.
fn stop_on_signals() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&stop)))
            .map_err(|error| {
                Failure::new(Status::System, format!("cannot wait for signals: {error}"))
            })?;
    }
    Ok(stop)
}

/// Takes out what clients left that were disturbed. What cannot be taken out expires.
fn sweep(socket: &Socket, space: &NameSpace, clients: usize) {
    let deadline = Instant::now() + SWEEP;
    let Ok(mut link) = Link::connect(socket, deadline) else {
        return;
    };
    for names in space.endpoints(clients) {
        loop {
            let Ok(request) = names.find_endpoint() else {
                return;
            };
            match link.ask(&request, deadline) {
                Ok(Outcome::Found { .. }) => {}
                Ok(_) => break,
                Err(_) => return,
            }
        }
    }
}

/// Why what listens there is no cache to be measured.
fn no_cache(path: &Path, error: &io::Error) -> Failure {
    let path_shown = path.display();
    match error.kind() {
        io::ErrorKind::TimedOut => Failure::new(
            Status::Unavailable,
            format!("no answer from {path_shown} in time: is it the socket of a connection cache?"),
        ),
        io::ErrorKind::InvalidData => Failure::new(
            Status::Protocol,
            format!(
                "what listens at {path_shown} is no connection cache: name another socket with --socket"
            ),
        ),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => Failure::new(
            Status::NoPermission,
            format!(
                "turned away at {path_shown}: it serves other users only (scached: --allow-user), or is no \
                     connection cache"
            ),
        ),
        _ => socket::failure(path, error),
    }
}
