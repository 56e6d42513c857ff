//! The same clients for programs that run on tokio. Feature `tokio`.
//!
//! They need a runtime with I/O and time enabled.
//!
//! # Futures that are dropped
//!
//! A future that is dropped in the middle takes its connection to the cache with it, so no reply is ever taken for
//! that to a later request, and the next request connects anew. What that means for the connections that are cached:
//!
//! - `find_*`: a connection that was on its way to this client is closed, if the cache has let go of it, or stays in
//!   the cache. Nobody else ever gets one that was on its way.
//! - `save_*`: the connection may be in the cache or not, as with [`Error::Lost`]. The caller
//!   still holds it and **must close it without using it**. [`Checkout::release`](crate::Checkout) takes
//!   it along, so that this cannot go wrong.
//!
//! # After fork(2)
//!
//! tokio's runtimes do not work in a child process, and what the child does with one disturbs the parent, since both
//! share its epoll instance. A child that needs a runtime makes a new one. A client or pool from before the fork may be
//! used on that: it connects anew. The connection that it had stays open in the child until that ends, unused.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use scache_proto::Descriptors;
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::client::{SHORTEST, TIMEOUT};
use crate::exchange::{Answer, Exchange, Socket};
use crate::operation::Operation;
use crate::pool::shared::Timed;
use crate::{Error, Found, FoundThrough, Save, Saved, Trust};

mod administration;
mod pool;

pub use pool::Pool;

/// A client of a connection cache: [`crate::Client`], whose calls are futures.
///
/// All that is said there of the protocols and of servers that go away holds here too. What holds when a future is
/// dropped: see [the module](self).
///
/// ```no_run
/// use std::time::Duration;
///
/// use scache_client::tokio::Client;
/// use tokio::net::TcpStream;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut cache = Client::new("/run/scache/scache.sock");
/// let server = match cache.find_endpoint(b"redis:[192.0.2.1]:6379").await? {
///     Some(found) => TcpStream::try_from(found)?,
///     None => TcpStream::connect("192.0.2.1:6379").await?,
/// };
/// // … use it; when the session is clean, leave it for the next process:
/// let ttl = Duration::from_secs(30);
/// cache.save_endpoint(ttl, b"redis:[192.0.2.1]:6379", b"", &server).await?;
/// drop(server);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client(Exchange<Waiting>);

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

    /// Changes which sockets are trusted ([`crate::Client::with_trust`]).
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.0.trust = trust;
        self
    }

    /// [`crate::Client::save_endpoint`].
    ///
    /// # Errors
    /// See [`Error`]. The connection is still the caller's, but for [`Error::Lost`].
    pub async fn save_endpoint(
        &mut self,
        ttl: Duration,
        endpoint: &[u8],
        property: &[u8],
        connection: &impl AsFd,
    ) -> Result<Saved, Error> {
        let operation = Operation::save_endpoint(ttl, endpoint, property)?;
        let connection = Some(connection.as_fd());
        self.perform(&operation, connection).await?.saved()
    }

    /// [`crate::Client::save_destination`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn save_destination(
        &mut self,
        ttl: Duration,
        destination: &[u8],
        property: &[u8],
        endpoint: &[u8],
    ) -> Result<Saved, Error> {
        let operation = Operation::save_destination(ttl, destination, property, endpoint)?;
        self.perform(&operation, None).await?.saved()
    }

    /// [`crate::Client::save`].
    ///
    /// # Errors
    /// See [`Error`]. The connection is still the caller's, but for [`Error::Lost`].
    pub async fn save(&mut self, save: &Save<'_>, connection: &impl AsFd) -> Result<Saved, Error> {
        let operation = Operation::save(save)?;
        let connection = Some(connection.as_fd());
        self.perform(&operation, connection).await?.saved()
    }

    /// [`crate::Client::find_endpoint`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find_endpoint(&mut self, endpoint: &[u8]) -> Result<Option<Found>, Error> {
        let operation = Operation::find_endpoint(endpoint)?;
        Ok(Found::from_answer(self.perform(&operation, None).await?))
    }

    /// [`crate::Client::find_destination`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find_destination(
        &mut self,
        destination: &[u8],
    ) -> Result<Option<FoundThrough>, Error> {
        let operation = Operation::find_destination(destination)?;
        let answer = self.perform(&operation, None).await?;
        Ok(FoundThrough::from_answer(answer))
    }

    /// [`crate::Client::find`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn find(
        &mut self,
        destination: &[u8],
        endpoints: &[impl AsRef<[u8]>],
    ) -> Result<Option<FoundThrough>, Error> {
        self.find_as(destination, endpoints, false).await
    }

    async fn find_as(
        &mut self,
        destination: &[u8],
        endpoints: &[impl AsRef<[u8]>],
        says_endpoint: bool,
    ) -> Result<Option<FoundThrough>, Error> {
        let operation = Operation::find(destination, endpoints, says_endpoint)?;
        let answer = self.perform(&operation, None).await?;
        Ok(FoundThrough::from_answer(answer))
    }

    async fn perform(
        &mut self,
        operation: &Operation<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Result<Answer, Error> {
        self.0.perform(operation, connection).await
    }
}

impl Timed for Client {
    fn set_timeout(&mut self, timeout: Duration) {
        self.0.timeout = timeout.max(SHORTEST);
    }
}

/// In non-blocking mode. `InvalidInput` if it is no TCP socket; it is closed then. Needs a runtime.
impl TryFrom<Found> for TcpStream {
    type Error = io::Error;

    fn try_from(found: Found) -> io::Result<Self> {
        let stream = std::net::TcpStream::try_from(found)?;
        stream.set_nonblocking(true)?;
        Self::from_std(stream)
    }
}

/// In non-blocking mode. `InvalidInput` if it is no UNIX socket; it is closed then. Needs a runtime.
impl TryFrom<Found> for UnixStream {
    type Error = io::Error;

    fn try_from(found: Found) -> io::Result<Self> {
        let stream = std::os::unix::net::UnixStream::try_from(found)?;
        stream.set_nonblocking(true)?;
        Self::from_std(stream)
    }
}

/// A socket that a task waits for.
#[derive(Debug)]
struct Waiting(UnixStream);

impl Socket for Waiting {
    fn new(socket: OwnedFd) -> io::Result<Self> {
        Ok(Self(UnixStream::from_std(socket.into())?))
    }

    fn abandon(self) {
        // Dropping it would take the parent's socket out of the epoll instance that both processes share. The
        // descriptor is open until this process ends.
        std::mem::forget(self);
    }

    async fn send(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> io::Result<usize> {
        let send = self.0.async_io(Interest::WRITABLE, || {
            passing::send(self.0.as_fd(), bytes, descriptor, Wait::Never)
        });
        tokio::time::timeout_at(deadline.into(), send).await?
    }

    async fn receive(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<(usize, Descriptors<Descriptor>)> {
        let receive = self.0.async_io(Interest::READABLE, || {
            passing::receive(self.0.as_fd(), buffer, Wait::Never)
        });
        tokio::time::timeout_at(deadline.into(), receive).await?
    }

    async fn pause(time: Duration) {
        tokio::time::sleep(time).await;
    }
}
