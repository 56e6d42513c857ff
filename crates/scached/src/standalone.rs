//! On its own: a socket of its own, options instead of main.cf, standard error instead of a log.
//!
//! Under systemd it may be given the socket, says when it is ready, and leaves what it has cached in the
//! descriptor store. Without it, the next daemon takes over.

mod described;
mod descriptor_store;
mod file;
mod guard;
mod lock;
mod options;
mod passed;
mod service_manager;
mod socket;
mod table;
mod takeover;
mod values;

use std::io;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

use clap::CommandFactory;
use scache_engine::{Departure, End, Engine, Listener, Settings, Transport};
use scache_sys::closer::Closer;
use scache_sys::descriptors::Descriptor;
use scache_sys::sockets::Name;
use sd_notify::NotifyState;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGXCPU};

use crate::failed;
use crate::host::Host;
use crate::kernel::{self, Epoll, Linux};
use crate::log::{Log, Target};
pub use guard::Guard;
use options::Options;
use passed::Passed;
pub use service_manager::ServiceManager;
use socket::{Place, Socket};
pub use socket::{SocketFile, Whereabouts};
pub use takeover::Predecessor;
use takeover::TakeoverError;

/// Runs the program `scached`. Errors are said on standard error.
pub fn main() -> ExitCode {
    let outcome = Options::from_command_line()
        .map_err(|error| error.to_string())
        .and_then(|options| match options.check {
            true => described::check(&options),
            false => run(&options),
        });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scached: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Its options, for completions, and for whoever checks what is written about them.
#[must_use]
pub fn command() -> clap::Command {
    Options::command()
}

/// Where clients come from.
enum Source {
    /// A socket of our own, and who had it before and hands over.
    Own(Socket, Option<Predecessor>),
    /// Sockets that stay when we go.
    Passed,
}

fn run(options: &Options) -> Result<(), String> {
    let passed = Passed::adopt()?;
    let descriptors = scache_sys::descriptors::raise_limit()
        .map_err(failed("cannot raise the limit on descriptors"))?;
    scache_sys::local_time::load_time_zone();
    let log = Rc::new(
        Log::new("scached", Target::None)
            .with_stderr(true)
            .with_verbose(options.verbose),
    );
    let manager = match ServiceManager::from_environment() {
        Ok(manager) => manager.map(Rc::new),
        Err(error) => {
            log.warning(error);
            None
        }
    };
    let (mut settings, warnings) = options.settings(descriptors);
    for warning in warnings {
        log.warning(warning);
    }
    let (source, listeners) = listen(options, passed.listeners, &log)?;
    let stores = settings.hand_over;
    // Who came after us would listen at a socket of its own, and systemd hold the other.
    settings.hand_over &= !matches!(source, Source::Passed);
    if matches!(source, Source::Passed) {
        described::replace_socket(&mut settings.described, &names(&source, &listeners));
    }
    settings.expects_entries = matches!(source, Source::Own(_, Some(_)));

    let closer =
        Closer::start(Instant::now()).map_err(failed("cannot start the process that closes"))?;
    let mut kernel =
        Linux::new(Epoll::new().map_err(failed("cannot start"))?, &listeners).with_closer(closer);
    let mut host = Host::new(Rc::clone(&log));
    if let Some(manager) = &manager {
        host = host.with_service_manager(Rc::clone(manager));
    }
    host.end_on(&[SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGXCPU], &mut kernel)
        .map_err(failed("cannot handle signals"))?;
    let screen = first_screen(&settings, &names(&source, &listeners), manager.is_some());
    let socket = match source {
        Source::Own(socket, predecessor) => {
            let name = socket.place().name();
            kernel = kernel.with_successor(name.map_err(failed("cannot name the socket"))?);
            attend(&socket, predecessor, &mut host, &mut kernel)
                .map_err(failed("cannot watch the socket"))?;
            Some(socket)
        }
        Source::Passed => None,
    };
    let (ttl_limit, max_idle) = (settings.ttl_limit, settings.max_idle);
    let mut engine =
        Engine::new(settings, kernel, host, listeners).map_err(failed("cannot start"))?;
    let (entries, warnings) = descriptor_store::take_back(manager.as_deref(), passed.stored);
    for warning in warnings {
        log.warning(warning);
    }
    engine.put_entries(entries);
    log.screen(&screen);
    let told = manager
        .as_ref()
        .map_or(Ok(()), |manager| manager.say(&[NotifyState::Ready], None));
    if let Err(error) = told {
        log.warning(format_args!(
            "the service manager was not told of the start: {error}"
        ));
    }
    loop {
        let end = engine.serve().map_err(failed("the event loop failed"))?;
        let lost = engine.counts().connections;
        if let (End::Idle, 1.., Some(idle)) = (end, lost, max_idle) {
            log.info(format_args!(
                "--max-idle: closing {lost} cached connections after {} s without clients; --max-idle {}s keeps them as \
                 long as --ttl-limit allows",
                idle.as_secs(),
                ttl_limit.as_secs(),
            ));
        }
        // A daemon that may serve again does not say that it ends.
        let has_yielded = engine.has_yielded();
        if let Some(manager) = manager.as_deref().filter(|_| !has_yielded) {
            manager.tell(&[NotifyState::Stopping]);
            if stores && end == End::Signal {
                leave_to(manager, &mut engine, &log);
            }
        }
        let departure = engine.leave().map_err(failed("the event loop failed"))?;
        if departure == Departure::Complete {
            let is_shared = has_yielded || engine.host().has_predecessor();
            let is_ours = end != End::Succession && !is_shared;
            return conclude(socket, is_ours, engine.host().has_lost_its_file());
        }
    }
}

/// Leaves what is cached to the service manager.
fn leave_to(manager: &ServiceManager, engine: &mut Engine<Linux<Epoll>, Host>, log: &Log) {
    let stored = descriptor_store::store(manager, engine.take_entries());
    if let Some(warning) = stored.warning {
        log.warning(warning);
    }
    if stored.connections > 0 {
        log.verbose(format_args!(
            "left {} connections to the service manager",
            stored.connections
        ));
    }
    engine.put_entries(stored.left);
}

/// Lets the host see to the socket's file, and to the daemon that had it before.
fn attend(
    socket: &Socket,
    predecessor: Option<Predecessor>,
    host: &mut Host,
    kernel: &mut Linux<Epoll>,
) -> io::Result<()> {
    if let Some(file) = socket.file() {
        host.guard(Guard::new(file.clone())?, kernel)?;
    }
    predecessor.map_or(Ok(()), |predecessor| host.succeed(predecessor, kernel))
}

/// The end. `is_ours`: nobody else listens at the socket, so that its file goes.
fn conclude(socket: Option<Socket>, is_ours: bool, is_lost: bool) -> Result<(), String> {
    let Some(mut socket) = socket else {
        return Ok(());
    };
    socket.own(is_ours);
    if is_lost {
        return Err(format!(
            "{} was lost: start the daemon again",
            socket.place().path().display()
        ));
    }
    Ok(())
}

/// Listens: at what was passed, else at a socket of our own.
fn listen(
    options: &Options,
    passed: Vec<std::os::fd::OwnedFd>,
    log: &Log,
) -> Result<(Source, Vec<Listener<Descriptor>>), String> {
    let cannot_listen = failed("cannot listen");
    if !passed.is_empty() {
        if options.takeover {
            return Err(
                "--takeover: the service manager passed a socket, whose daemon it restarts \
                 itself: leave the option out"
                    .to_owned(),
            );
        }
        if options.says_socket() {
            log.warning(
                "socket, mode: not used, for the service manager passed a socket: say \
                 ListenStream= and SocketMode= in its unit instead",
            );
        }
        let listeners: Result<Vec<_>, _> = passed
            .into_iter()
            .map(|socket| kernel::listener(socket, Transport::Unix))
            .collect();
        return Ok((Source::Passed, listeners.map_err(cannot_listen)?));
    }
    let source = open(options).map_err(|error| error.to_string())?;
    let listeners: Result<Vec<_>, _> = source
        .socket()
        .map(|socket| kernel::listener(socket.listener()?, Transport::Unix))
        .into_iter()
        .collect();
    Ok((source, listeners.map_err(cannot_listen)?))
}

/// Opens a socket of our own, or takes over the one that is there.
fn open(options: &Options) -> Result<Source, TakeoverError> {
    let (path, missing) = options.place();
    let mode = options.socket_mode();
    let place = Place::new(&path, missing)?;
    let lock = place.lock()?;
    let (socket, predecessor) = if options.takeover {
        takeover::begin(&place, mode, lock)?
    } else {
        (Socket::bind(&place, mode, &lock)?, None)
    };
    Ok(Source::Own(socket, predecessor))
}

impl Source {
    fn socket(&self) -> Option<&Socket> {
        match self {
            Self::Own(socket, _) => Some(socket),
            Self::Passed => None,
        }
    }
}

/// Where clients find us, in words.
fn names(source: &Source, listeners: &[Listener<Descriptor>]) -> String {
    if let Some(socket) = source.socket() {
        return socket.place().path().display().to_string();
    }
    let names: Vec<_> = listeners
        .iter()
        .map(|listener| {
            Name::of_listener(listener.socket.as_fd())
                .map_or_else(|| "(no name)".to_owned(), |name| name.to_string())
        })
        .collect();
    names.join(", ")
}

/// What somebody sees who starts the program for the first time; of a service one line is enough.
fn first_screen(settings: &Settings, place: &str, is_service: bool) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let first = format!("scached {version}: listening on {place}\n");
    if is_service {
        return first;
    }
    let ttl = settings.ttl_limit.as_secs();
    format!(
        "{first}\
Connections stay cached for {ttl} s at most (--ttl-limit).
To see that it answers:  printf 'request\\0find_endp\\0label\\0x\\0\\0' | nc -N -U {place} | tr '\\0' ' '
To use it from Rust:     the crate scache-client; from elsewhere: docs/PROTOCOL.md
To end it:               Ctrl-C
"
    )
}
