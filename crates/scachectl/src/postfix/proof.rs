//! Signs of life: which scache answers at a socket.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_proto::client::{Outcome, Session};
use scache_proto::{Descriptors, Request};

use super::entry::Entry;
use super::instance::Instance;
use super::serving::{self, Process, Service};
use crate::socket;

/// How long one attempt may take: a process that ends may leave it unanswered.
const ATTEMPT: Duration = Duration::from_secs(2);

/// How long a process may take to announce itself before it is asked.
const ANNOUNCEMENT: Duration = Duration::from_secs(1);

/// How the announcement begins.
const ANNOUNCES: &[u8] = b"protocol\0";

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(10);

/// Which scache it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    /// It knows inline descriptors.
    Ours,
    /// It does not.
    Stock,
}

/// What a server said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) server: Server,
    /// Whether it said its protocol's name first.
    pub(super) announced: bool,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ours => super::program::NAME,
            Self::Stock => "stock's scache",
        })
    }
}

/// Asks who listens at a socket. The connection comes along: while it is open the process does not end for want of
/// work.
///
/// # Errors
/// Nobody is there, or nobody that speaks the protocol, or not in time.
pub(super) fn ask(socket: &Path, within: Duration) -> io::Result<(Heard, UnixStream)> {
    let stream = connect(socket, within)?;
    let heard = ask_over(&stream, within)?;
    Ok((heard, stream))
}

/// Connects, and waits no longer than this if the listener does not accept.
fn connect(socket: &Path, within: Duration) -> io::Result<UnixStream> {
    let stream = UnixStream::from(socket::connect(socket, Instant::now() + within)?);
    stream.set_nonblocking(false)?;
    Ok(stream)
}

/// Looks who serves an instance, and by which process. Stock's scache logs a warning when it is asked for something
/// that it does not know, so one that has announced itself and is known by its process is not asked.
///
/// # Errors
/// As with [`ask`].
pub(super) fn look(
    instance: &Instance,
    entry: &Entry,
    master: Option<u32>,
    within: Duration,
) -> io::Result<(Heard, Service)> {
    let stream = connect(&instance.socket(entry), within)?;
    let find = || {
        master.map_or(Service::Hidden, |master| {
            serving::find(master, &instance.service)
        })
    };
    let mut heard_already = Vec::new();
    if instance.wants_announcement() {
        stream.set_read_timeout(Some(ANNOUNCEMENT))?;
        let mut buffer = [0; 256];
        // Ours may have been told not to announce.
        let read = (&stream).read(&mut buffer).unwrap_or(0);
        heard_already.extend_from_slice(&buffer[..read]);
    }
    let announced = heard_already.starts_with(ANNOUNCES);
    let service = find();
    if announced && matches!(&service, Service::Process(process) if process.runs(&instance.stock()))
    {
        let server = Server::Stock;
        return Ok((Heard { server, announced }, service));
    }
    let heard = go_on_asking(&stream, heard_already, within)?;
    Ok((heard, find()))
}

/// The same over a connection that is there.
///
/// # Errors
/// As with [`ask`].
pub(super) fn ask_over(stream: &UnixStream, within: Duration) -> io::Result<Heard> {
    go_on_asking(stream, Vec::new(), within)
}

fn go_on_asking(
    mut stream: &UnixStream,
    mut heard: Vec<u8>,
    within: Duration,
) -> io::Result<Heard> {
    let deadline = Instant::now() + within;
    let mut session = Session::<()>::default();
    session.start(&Request::Inline);
    stream.set_write_timeout(Some(within))?;
    while let Some(transmit) = session.poll_transmit() {
        let written = stream.write(transmit.bytes)?;
        session.handle_written(written);
    }
    feed(&mut session, &heard)?;
    let mut buffer = [0; 4096];
    loop {
        if let Some(outcome) = session.poll_outcome() {
            return Ok(Heard {
                server: match outcome {
                    Outcome::Done => Server::Ours,
                    _ => Server::Stock,
                },
                announced: heard.starts_with(ANNOUNCES),
            });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        let read = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => &buffer[..read?],
        };
        feed(&mut session, read)?;
        heard.extend_from_slice(read);
    }
}

fn feed(session: &mut Session<()>, bytes: &[u8]) -> io::Result<()> {
    session
        .handle_input(bytes, Descriptors::None)
        .map_err(io::Error::other)
}

/// What is to answer.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    pub(super) instance: &'a Instance,
    pub(super) entry: &'a Entry,
    pub(super) server: Server,
    /// The process number of master(8).
    pub(super) master: u32,
}

impl Expected<'_> {
    /// The process that serves now, and is expected to go when Postfix is reloaded.
    pub(super) fn predecessor(&self) -> Option<u32> {
        match serving::find(self.master, &self.instance.service) {
            Service::Process(process) => Some(process.number),
            Service::None | Service::Hidden => None,
        }
    }

    /// Whether it answers now, from the file that is in its place and not from one that was there before.
    pub(super) fn answers(&self) -> bool {
        let program = match self.server {
            Server::Ours => self.instance.daemons.join(super::program::NAME),
            Server::Stock => self.instance.stock(),
        };
        self.try_once(ATTEMPT, |process| process.runs(&program))
            .is_ok()
    }

    /// Waits until it answers, from another process than that one, and says how long that took.
    ///
    /// # Errors
    /// What is there instead, in words.
    pub(super) fn wait(
        &self,
        predecessor: Option<u32>,
        within: Duration,
    ) -> Result<Duration, String> {
        let began = Instant::now();
        loop {
            let left = within.saturating_sub(began.elapsed());
            let attempt = self.try_once(left.clamp(PAUSE, ATTEMPT), |process| {
                Some(process.number) != predecessor
            });
            match attempt {
                Ok(()) => return Ok(began.elapsed()),
                Err(instead) if began.elapsed() >= within => return Err(instead),
                Err(_) => sleep(PAUSE),
            }
        }
    }

    /// Waits until nobody listens there, not even master(8).
    ///
    /// # Errors
    /// Somebody still does.
    pub(super) fn wait_for_nobody(&self, within: Duration) -> Result<(), String> {
        let socket = self.instance.socket(self.entry);
        let began = Instant::now();
        let is_full = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        while connect(&socket, PAUSE).map_or_else(|error| is_full(&error), |_| true) {
            if began.elapsed() >= within {
                return Err(format!("{} is still listened at", socket.display()));
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    fn try_once(
        &self,
        within: Duration,
        is_right: impl FnOnce(&Process) -> bool,
    ) -> Result<(), String> {
        let socket = self.instance.socket(self.entry);
        let (heard, _open) = ask(&socket, within).map_err(|error| explain(&socket, &error))?;
        if heard.server != self.server {
            return Err(format!("{} answers", heard.server));
        }
        match serving::find(self.master, &self.instance.service) {
            Service::Process(process) if !is_right(&process) => {
                Err(format!("process {} still serves", process.number))
            }
            // It has answered and was gone a moment later: so does one that is reloaded.
            Service::None => Err("it answers and ends".to_owned()),
            Service::Process(_) | Service::Hidden => Ok(()),
        }
    }
}

/// Why nobody could be asked.
pub(super) fn explain(socket: &Path, error: &io::Error) -> String {
    let socket = socket.display();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            format!("nobody listens at {socket}")
        }
        io::ErrorKind::PermissionDenied => format!("{socket} is not for this user: ask as root"),
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => "it ended without an answer".to_owned(),
        _ => error.to_string(),
    }
}
