//! The blocking client.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use scache_proto::Descriptors;
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};
use scache_sys::sockets::{self, Until};

use crate::exchange::{Answer, Exchange, Socket, left};
use crate::operation::Operation;
use crate::pool::shared::Timed;
use crate::{Error, Found, FoundThrough, Save, Saved, Trust};

/// How long a request may take unless a client is told otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);

/// The shortest time that a request gets.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// A client of a connection cache.
///
/// It connects when it is first used and keeps that connection. It asks for inline descriptors, which make each
/// operation one message each way, and goes on in the stock protocol by itself if the server does not know them.
///
/// # When the server goes away
///
/// A request is repeated over a new connection, up to eight times within the timeout, as long as nothing was given
/// away: a server that restarts or is reloaded goes unnoticed. Where nobody listens the answer is
/// [`Error::Connect`] at once, unless somebody did before this request: then half a second is given to a restart.
///
/// A connection is never sent twice. When the server goes while one is on its way the answer is [`Error::Lost`].
///
/// The server may close a connection to it that is idle, to make room for other clients. That is a server going away
/// as any other.
///
/// # After fork(2)
///
/// A client may be used by parent and child: the one that did not connect closes its copy of the connection to the
/// cache and makes its own. A request must not be under way in another thread at the fork: that thread does not exist
/// in the child, whose copy of the connection then stays open until the child ends or executes a program.
#[derive(Debug)]
pub struct Client(Exchange<Blocking>);

impl Client {
    /// A client of the cache that listens at `path`. Nothing is connected yet.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(Exchange::new(path.as_ref().to_owned(), TIMEOUT))
    }

    /// Changes how long a request may take in all, with every repetition (10 s otherwise). Less than a
    /// millisecond counts as one.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.set_timeout(timeout);
        self
    }

    /// Speaks the stock protocol from the next request on, also to a server that knows more.
    #[must_use]
    pub fn without_inline(mut self) -> Self {
        self.0.speak_stock();
        self
    }

    /// Changes which sockets are trusted ([`Trust::Named`] otherwise: any).
    ///
    /// A path that the user has named is trusted as it is. One that the program has chosen, such as a name in
    /// the temporary directory, may be another user's: [`Trust::OwnOrRoot`] and [`Trust::Service`] check the path
    /// before each connect, and the process at the other end after it, before anything is sent.
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.0.trust = trust;
        self
    }

    /// Leaves a connection in the cache, under the name of an endpoint.
    ///
    /// `ttl` is rounded up to whole seconds, and the server has a limit of its own for it, which [`Saved::ttl`] shows.
    /// `property` comes back with the connection. When this has succeeded the connection belongs to the cache:
    /// drop it without using it, and above all without shutting it down.
    ///
    /// # Errors
    /// See [`Error`]. The connection is still the caller's, but for [`Error::Lost`].
    pub fn save_endpoint(
        &mut self,
        ttl: Duration,
        endpoint: &[u8],
        property: &[u8],
        connection: &impl AsFd,
    ) -> Result<Saved, Error> {
        let operation = Operation::save_endpoint(ttl, endpoint, property)?;
        self.perform(&operation, Some(connection.as_fd()))?.saved()
    }

    /// Remembers that connections of `endpoint` serve `destination`, for `ttl` as in [`Client::save_endpoint`].
    /// `property` comes back with a connection that is found by the destination.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn save_destination(
        &mut self,
        ttl: Duration,
        destination: &[u8],
        property: &[u8],
        endpoint: &[u8],
    ) -> Result<Saved, Error> {
        let operation = Operation::save_destination(ttl, destination, property, endpoint)?;
        self.perform(&operation, None)?.saved()
    }

    /// Leaves a connection in the cache and binds its endpoint to a destination: [`Client::save_destination`] and
    /// [`Client::save_endpoint`] in one.
    ///
    /// One message each way with inline descriptors. Otherwise, when the second part fails, the binding stays: that
    /// does no harm.
    ///
    /// # Errors
    /// See [`Error`]. The connection is still the caller's, but for [`Error::Lost`].
    pub fn save(&mut self, save: &Save<'_>, connection: &impl AsFd) -> Result<Saved, Error> {
        let operation = Operation::save(save)?;
        self.perform(&operation, Some(connection.as_fd()))?.saved()
    }

    /// Takes the oldest connection of an endpoint out of the cache, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find_endpoint(&mut self, endpoint: &[u8]) -> Result<Option<Found>, Error> {
        let operation = Operation::find_endpoint(endpoint)?;
        Ok(Found::from_answer(self.perform(&operation, None)?))
    }

    /// Takes a connection out of the cache that serves a destination, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find_destination(&mut self, destination: &[u8]) -> Result<Option<FoundThrough>, Error> {
        let operation = Operation::find_destination(destination)?;
        Ok(FoundThrough::from_answer(self.perform(&operation, None)?))
    }

    /// Takes a connection out of the cache that serves a destination, or else one of the first of these endpoints
    /// that has one: [`Client::find_destination`], then [`Client::find_endpoint`] for each.
    ///
    /// One message each way with inline descriptors, for up to 64 endpoints.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find(
        &mut self,
        destination: &[u8],
        endpoints: &[impl AsRef<[u8]>],
    ) -> Result<Option<FoundThrough>, Error> {
        self.find_as(destination, endpoints, false)
    }

    /// Likewise; with `says_endpoint` only what comes with the name of its endpoint.
    pub(crate) fn find_as(
        &mut self,
        destination: &[u8],
        endpoints: &[impl AsRef<[u8]>],
        says_endpoint: bool,
    ) -> Result<Option<FoundThrough>, Error> {
        let operation = Operation::find(destination, endpoints, says_endpoint)?;
        Ok(FoundThrough::from_answer(self.perform(&operation, None)?))
    }

    pub(crate) fn perform(
        &mut self,
        operation: &Operation<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Result<Answer, Error> {
        at_once(self.0.perform(operation, connection))
    }
}

impl Timed for Client {
    fn set_timeout(&mut self, timeout: Duration) {
        self.0.timeout = timeout.max(SHORTEST);
    }
}

/// A socket whose calls wait before they return, so that their futures are ready when they are first polled.
#[derive(Debug)]
struct Blocking(OwnedFd);

impl Socket for Blocking {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(socket))
    }

    fn abandon(self) {
        // Closing this process's descriptor is all that happens: the parent has its own.
        drop(self);
    }

    async fn send(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> io::Result<usize> {
        loop {
            match passing::send(self.0.as_fd(), bytes, descriptor, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Until::Writable, deadline)?;
                }
                result => return result,
            }
        }
    }

    async fn receive(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<(usize, Descriptors<Descriptor>)> {
        loop {
            // A reply is not there yet when it is first looked for.
            self.wait(Until::Readable, deadline)?;
            match passing::receive(self.0.as_fd(), buffer, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    async fn pause(time: Duration) {
        std::thread::sleep(time);
    }
}

impl Blocking {
    fn wait(&self, until: Until, deadline: Instant) -> io::Result<()> {
        while !sockets::wait(self.0.as_fd(), until, left(deadline))? {
            if left(deadline).is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        Ok(())
    }
}

/// The output of a future in which nothing is waited for but by blocking.
fn at_once<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return output;
        }
        // Not reached while every wait is in `Blocking`.
        std::thread::yield_now();
    }
}
