//! Linux, as the engine sees it: system calls that do not wait.

mod acquaintances;
mod epoll;
mod poll;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use acquaintances::{Acquaintance, Acquaintances};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{Shutdown, SocketFlags, accept_with, shutdown};
use scache_engine::{Event, Failure, Interest, Kernel, Listener, Recognised, Token, Transport};
use scache_proto::Descriptors;
use scache_sys::closer::{Closer, Kind};
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};
use scache_sys::sockets::{self, Name, Peer};

pub use epoll::Epoll;
pub use poll::Poll;

/// Linux, with one of the ways it has to wait for events.
#[derive(Debug)]
pub struct Linux<W> {
    watcher: W,
    /// The names of the sockets that we listen on, or listened on.
    names: Vec<Name>,
    /// Where the next process will listen, if not at the first of these.
    successor: Option<Name>,
    acquaintances: Acquaintances,
    /// Closes what is dropped; `None`: every close is done here.
    closer: Option<Closer>,
    /// There was no descriptor left in this pass: what is dropped has to be closed at once.
    exhausted: bool,
    /// The time that was last asked for.
    now: Instant,
}

/// A way to wait for events.
pub trait Watcher {
    /// See [`Kernel::poll`].
    ///
    /// # Errors
    /// What the system call says, but never `EINTR`.
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()>;

    /// See [`Kernel::watch`].
    ///
    /// # Errors
    /// What the system call says.
    fn watch(&mut self, what: &impl AsFd, token: Token, interest: Interest) -> io::Result<()>;

    /// See [`Kernel::watch_for`].
    ///
    /// # Errors
    /// What the system call says.
    fn watch_for(&mut self, what: &impl AsFd, token: Token, interest: Interest) -> io::Result<()>;

    /// See [`Kernel::unwatch`].
    fn unwatch(&mut self, what: &impl AsFd);
}

impl<W: Watcher> Linux<W> {
    /// A kernel for an engine that serves `listeners`.
    pub fn new(watcher: W, listeners: &[Listener<Descriptor>]) -> Self {
        scache_sys::memory::map_large_pieces();
        let names = listeners
            .iter()
            .filter_map(|listener| Name::of_listener(listener.socket.as_fd()))
            .collect();
        Self {
            watcher,
            names,
            successor: None,
            acquaintances: Acquaintances::default(),
            closer: None,
            exhausted: false,
            now: Instant::now(),
        }
    }

    /// Has what is dropped closed by another process, so that no close waits here.
    pub fn with_closer(mut self, closer: Closer) -> Self {
        self.closer = Some(closer);
        self
    }

    /// The next process will listen there: a socket file may have been renamed since it was bound.
    pub fn with_successor(mut self, name: Name) -> Self {
        self.successor = Some(name);
        self
    }

    /// Gives descriptors back to the system that were dropped and wait to be closed. Returns whether there were any.
    fn close_dropped(&mut self) -> bool {
        let closer = self.closer.as_mut();
        closer.is_some_and(|closer| closer.flush(self.now))
    }

    /// Asks for events of something that is the host's, under a number of its own.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn watch_for_host(&mut self, what: &impl AsFd, number: u32) -> io::Result<()> {
        self.watcher
            .watch(what, Token::Host(number), Interest::Readable)
    }
}

/// Takes over a socket that is bound and listens.
///
/// It is made non-blocking, for everybody who holds it: there is no other way to accept only what
/// is there, and master(8) does the same.
///
/// # Errors
/// What fcntl(2) says.
pub fn listener(
    socket: impl Into<Descriptor>,
    transport: Transport,
) -> io::Result<Listener<Descriptor>> {
    let socket = socket.into();
    fcntl_setfl(&socket, fcntl_getfl(&socket)? | OFlags::NONBLOCK)?;
    Ok(Listener { socket, transport })
}

impl<W: Watcher> Kernel for Linux<W> {
    type Descriptor = Descriptor;

    fn now(&mut self) -> Instant {
        self.now = Instant::now();
        self.now
    }

    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Failure> {
        let due = self
            .closer
            .as_mut()
            .and_then(|closer| closer.turn(self.now));
        let until_due = due.map(|due| due.saturating_duration_since(self.now));
        let timeout = timeout.into_iter().chain(until_due).min();
        self.watcher.poll(timeout, events).map_err(failure)
    }

    fn accept(&mut self, listener: &Descriptor) -> Result<Descriptor, Failure> {
        loop {
            match accept_with(listener, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let socket = Descriptor::from(socket);
                    if listener.kind() == Kind::Unknown {
                        listener.set_kind(Kind::of(listener));
                    }
                    socket.set_kind(listener.kind());
                    return Ok(socket);
                }
                // The client was faster in leaving than this process in coming.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(Errno::MFILE | Errno::NFILE) if self.close_dropped() => self.exhausted = true,
                Err(error) => return Err(failure(error.into())),
            }
        }
    }

    fn connect_to_successor(&mut self) -> Result<Descriptor, Failure> {
        let name = self.successor.as_ref().or(self.names.first());
        let name = name.ok_or(Failure::Unsupported)?;
        name.connect().map(Descriptor::from).map_err(failure)
    }

    fn receive(
        &mut self,
        from: &Descriptor,
        buffer: &mut [u8],
    ) -> Result<(usize, Descriptors<Descriptor>), Failure> {
        if self.exhausted {
            self.close_dropped();
        }
        let received = passing::receive(from.as_fd(), buffer, Wait::Never);
        self.exhausted |= matches!(received, Ok((_, Descriptors::Truncated)));
        if matches!(received, Ok((0, _))) && from.kind() == Kind::UnixStream {
            from.set_kind(Kind::UnixStreamAtEnd);
        }
        received.map_err(failure)
    }

    fn send(
        &mut self,
        to: &Descriptor,
        bytes: &[u8],
        passed: Option<&Descriptor>,
    ) -> Result<usize, Failure> {
        let passed = passed.map(AsFd::as_fd);
        passing::send(to.as_fd(), bytes, passed, Wait::Never).map_err(failure)
    }

    fn has_unread(&mut self, to: &Descriptor) -> bool {
        sockets::has_unread(to.as_fd())
    }

    fn hear_no_more(&mut self, from: &Descriptor) {
        // What is no socket, or is gone, says nothing more in any case.
        let _ = shutdown(from, Shutdown::Read);
    }

    fn say_no_more(&mut self, to: &Descriptor) {
        // A client that is gone hears nothing more in any case.
        let _ = shutdown(to, Shutdown::Write);
    }

    fn peek(&mut self, at: &Descriptor, buffer: &mut [u8]) -> Result<usize, Failure> {
        passing::peek(at, buffer).map_err(failure)
    }

    fn closed_connection(&mut self) -> Result<Descriptor, Failure> {
        let connection = sockets::closed_connection().map_err(failure)?;
        Ok(Descriptor::from(connection))
    }

    fn recognise(&mut self, connection: &Descriptor) -> Recognised {
        let identity = sockets::cookie(connection.as_fd());
        let acquaintance = self
            .acquaintances
            .of(identity, || acquaintance(connection, &self.names));
        connection.set_kind(match (acquaintance, identity) {
            (Acquaintance::Here | Acquaintance::UnixStream, _) => Kind::UnixStream,
            (Acquaintance::Internet, _) => Kind::Internet,
            (Acquaintance::Unknown, Some(_)) => Kind::OtherSocket,
            (Acquaintance::Unknown, None) => Kind::Unknown,
        });
        Recognised {
            leads_here: acquaintance == Acquaintance::Here,
            identity,
        }
    }

    fn peer(&mut self, connection: &Descriptor) -> String {
        Peer::of(connection.as_fd()).to_string()
    }

    fn user(&mut self, client: &Descriptor) -> Option<u32> {
        sockets::peer_user(client.as_fd()).ok()
    }

    fn watch(
        &mut self,
        what: &Descriptor,
        token: Token,
        interest: Interest,
    ) -> Result<(), Failure> {
        self.watcher.watch(what, token, interest).map_err(failure)
    }

    fn watch_for(
        &mut self,
        what: &Descriptor,
        token: Token,
        interest: Interest,
    ) -> Result<(), Failure> {
        self.watcher
            .watch_for(what, token, interest)
            .map_err(failure)
    }

    fn unwatch(&mut self, what: &Descriptor) {
        self.watcher.unwatch(what);
    }
}

/// Asks the kernel where a connection leads.
fn acquaintance(connection: &Descriptor, names: &[Name]) -> Acquaintance {
    match Peer::of(connection.as_fd()) {
        // poll(2) does not tell when little has come, so this is not to be remembered as an ordinary socket.
        peer if sockets::waits_for_more(connection.as_fd()) => match peer {
            Peer::Unix(Some(name)) if names.contains(&name) => Acquaintance::Here,
            _ => Acquaintance::Unknown,
        },
        Peer::Unix(Some(name)) if names.contains(&name) => Acquaintance::Here,
        Peer::Unix(_) if Kind::of(connection) == Kind::UnixStream => Acquaintance::UnixStream,
        Peer::Internet(_) => Acquaintance::Internet,
        Peer::Unix(_) | Peer::Other => Acquaintance::Unknown,
    }
}

/// What an error means to the engine.
fn failure(error: io::Error) -> Failure {
    match Errno::from_io_error(&error) {
        Some(Errno::AGAIN) => Failure::WouldBlock,
        Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS | Errno::NOSPC) => {
            Failure::Exhausted
        }
        Some(Errno::TOOMANYREFS) => Failure::TooManyInFlight,
        // NOTCONN: a socket that was never connected; one that was reads as ended.
        Some(Errno::NOTSOCK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOTCONN | Errno::INVAL) => {
            Failure::Unsupported
        }
        _ => Failure::Lost,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_client_is_known_to_have_nothing_in_its_queue_when_it_was_read_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = OwnedFd::from(UnixListener::bind(&path).unwrap());
        let listener = super::listener(listener, Transport::Unix).unwrap().socket;
        let mut kernel = Linux::new(Epoll::new().unwrap(), &[]);
        let mut client = UnixStream::connect(&path).unwrap();
        let socket = kernel.accept(&listener).unwrap();
        assert_eq!(socket.kind(), Kind::UnixStream);
        let mut buffer = [0; 16];
        client.write_all(b"x").unwrap();
        assert!(matches!(kernel.receive(&socket, &mut buffer), Ok((1, _))));
        assert!(kernel.receive(&socket, &mut buffer).is_err());
        assert_eq!(socket.kind(), Kind::UnixStream);
        drop(client);
        assert!(matches!(kernel.receive(&socket, &mut buffer), Ok((0, _))));
        assert_eq!(socket.kind(), Kind::UnixStreamAtEnd);
    }
}
