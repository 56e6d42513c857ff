//! Connections that a program takes and puts back, whether there is a cache or not.

use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scache_sys::generation::Generation;
use scache_sys::sockets;

use crate::{Client, Error, Found, Save, Trust};

mod circuit;
pub(crate) mod shared;

use shared::{Judged, Shared};

/// Connections through the cache, or without it when it is away.
///
/// [`Pool::checkout`] takes a connection out of the cache, or has one made; [`Checkout::release`] puts it back for
/// the next one, in this process or another. A cache that is away costs a handshake, never an error: the pool
/// connects, counts ([`Pool::counters`]), tells ([`Pool::on_error`]), and leaves the cache alone for a second.
///
/// Clones share everything. Threads may use one pool: each request has a connection to the cache of its own.
///
/// ```no_run
/// use std::io::Write;
/// use std::net::TcpStream;
/// use std::time::Duration;
///
/// use scache_client::Pool;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new("/run/scache/scache.sock");
/// let mut server = pool.checkout(b"redis:cache.example.com", &["redis:[192.0.2.1]:6379"], |_| {
///     TcpStream::connect("192.0.2.1:6379")
/// })?;
/// server.write_all(b"PING\r\n")?;
/// // … the reply is read to its end, nothing is under way: the next one may have it.
/// server.release(Duration::from_secs(30));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(pub(crate) Shared<Client>);

/// A connection, the caller's until [`Checkout::release`]. Dropping it closes it.
#[derive(Debug)]
pub struct Checkout<C, P = Pool> {
    connection: C,
    destination: Box<[u8]>,
    endpoint: Box<[u8]>,
    reused: Option<Properties>,
    pool: P,
    /// The process that it belongs to: the child of one has a copy.
    generation: Generation,
}

/// What was saved with a connection that is used again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Properties {
    /// What was saved for the destination; empty if the connection was found by its endpoint.
    pub destination: Box<[u8]>,
    /// What was saved with the connection.
    pub connection: Box<[u8]>,
}

/// Why there is no connection. The cache is never the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError<E> {
    /// The list of endpoints was empty, and the cache had nothing for the destination.
    #[error("there is no endpoint to connect to")]
    NoEndpoint,
    /// What the caller's function said of the last endpoint.
    #[error(transparent)]
    Connect(E),
}

/// What a pool has done so far. A checkout counts as a hit or a miss, or as neither if the cache could not be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Checkouts that were served from the cache.
    pub hits: u64,
    /// Checkouts for which the cache had nothing.
    pub misses: u64,
    /// Connections from the cache that were closed or had spoken, and were passed over.
    pub stale: u64,
    /// Connections that were put back.
    pub saved: u64,
    /// Requests, to find or to save, that the cache failed.
    pub cache_errors: u64,
    /// Requests that were not made, because the cache had failed a moment ago.
    pub unasked: u64,
}

impl Pool {
    /// A pool on the cache that listens at `path`. Nothing is connected yet.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(Shared::new(path.as_ref()))
    }

    /// Changes how long one checkout, or one release, waits for the cache in all (500 ms otherwise).
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.0.settings.timeout = timeout;
        self
    }

    /// Speaks the stock protocol only ([`Client::without_inline`]).
    #[must_use]
    pub fn without_inline(mut self) -> Self {
        self.0.settings.inline = false;
        self
    }

    /// Changes which sockets are trusted ([`Client::with_trust`]).
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.0.settings.trust = trust;
        self
    }

    /// Changes how long the cache is left alone when it could not be reached or did not answer (1 s otherwise).
    ///
    /// After that one request asks again; the others go on without the cache until it is answered. If that request, too,
    /// waits in vain, the next rest is twice as long, up to 32 times: a cache that hangs costs a program the timeout of
    /// one request in half a minute.
    #[must_use]
    pub fn with_rest(mut self, rest: Duration) -> Self {
        self.0.settings.rest = rest;
        self
    }

    /// Changes how long a connection to the cache is kept that no request uses (5 s otherwise). The daemon has a limited
    /// number of slots for clients.
    ///
    /// A pool has no thread of its own: what has been idle for longer is closed by the next checkout or release, by
    /// [`Pool::close_idle`], or when the last clone of the pool is dropped. Until then the daemon may close it, if
    /// it needs the slot: the next request connects anew.
    #[must_use]
    pub fn with_idle_limit(mut self, limit: Duration) -> Self {
        self.0.settings.idle_limit = limit;
        self
    }

    /// Calls `tell` with each error of the cache, in the thread that met it.
    #[must_use]
    pub fn on_error(mut self, tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.0.settings.tell = Some(Arc::new(tell));
        self
    }

    /// Closes connections to the cache that no request has used for longer than [`Pool::with_idle_limit`] says, for a
    /// program that has nothing to do for a while.
    pub fn close_idle(&self) {
        self.0.close_idle();
    }

    /// What this pool and its clones have done so far, in this process.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// A connection to `destination`: from the cache, by the destination or by one of the `endpoints`, or else one
    /// that `connect` makes to the first endpoint that it can connect to.
    ///
    /// A connection from the cache is looked at: if its peer has closed it or has spoken the next one is taken. It
    /// may still be closed in the next moment, so a first request that fails on a connection that
    /// [was used before](Checkout::reused) deserves a second try. It is in blocking mode; other options are as they
    /// were left.
    ///
    /// `C` is made of what was found by `TryFrom<Found>`, as `TcpStream`, `UnixStream` and `OwnedFd` are. What it cannot be
    /// made of, such as a UNIX socket if it is a `TcpStream`, is closed, told ([`Error::Unsuitable`]) and passed over.
    ///
    /// Over the stock protocol a connection is found by the `endpoints` only, because a find by the destination
    /// does not say where to put it back.
    ///
    /// # Errors
    /// [`CheckoutError`]; a cache that is away is none.
    pub fn checkout<C, N, E>(
        &self,
        destination: &[u8],
        endpoints: &[N],
        mut connect: impl FnMut(&N) -> Result<C, E>,
    ) -> Result<Checkout<C>, CheckoutError<E>>
    where
        C: AsFd + TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        N: AsRef<[u8]>,
    {
        if let Some(found) = self.find(destination, endpoints) {
            return Ok(found);
        }
        let mut failed = CheckoutError::NoEndpoint;
        for endpoint in endpoints {
            match connect(endpoint) {
                Ok(connection) => {
                    let endpoint = endpoint.as_ref().into();
                    return Ok(Checkout::new(
                        self.clone(),
                        connection,
                        destination,
                        endpoint,
                        None,
                    ));
                }
                Err(error) => failed = CheckoutError::Connect(error),
            }
        }
        Err(failed)
    }

    fn find<C>(&self, destination: &[u8], endpoints: &[impl AsRef<[u8]>]) -> Option<Checkout<C>>
    where
        C: TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut client, permit) = self.0.client()?;
        let mut left = self.0.settings.timeout;
        let make_blocking = |found: &Found| sockets::set_blocking(found.connection.as_fd());
        let found = loop {
            let began = Instant::now();
            client.set_timeout(left);
            let found = client.find_as(destination, endpoints, true);
            left = left.saturating_sub(began.elapsed());
            match self.0.judge(permit, found, make_blocking) {
                Judged::Usable(connection, endpoint, properties) => {
                    let properties = Some(properties);
                    let pool = self.clone();
                    break Some(Checkout::new(
                        pool,
                        connection,
                        destination,
                        endpoint,
                        properties,
                    ));
                }
                Judged::Stale if !left.is_zero() => {}
                Judged::Stale | Judged::Nothing => break None,
            }
        };
        self.0.put_back(client);
        found
    }
}

impl<C: AsFd> Checkout<C> {
    /// Puts the connection back for the next one, for `ttl` at most, without properties. Says whether the cache
    /// has it; if not it is closed.
    ///
    /// In a child of the process that checked it out only the child's copy is closed.
    ///
    /// Only a session that is clean may be put back: every reply read, nothing under way, no state that the next one
    /// does not expect.
    pub fn release(self, ttl: Duration) -> bool {
        self.release_with(ttl, b"", b"")
    }

    /// Likewise, with what the next one is to know of the destination and of the connection ([`Properties`]).
    pub fn release_with(self, ttl: Duration, destination: &[u8], connection: &[u8]) -> bool {
        if !self.is_own() {
            return false;
        }
        let Some((mut client, permit)) = self.pool().0.client() else {
            return false;
        };
        let save = self.save(ttl, destination, connection);
        client.set_timeout(self.pool().0.settings.timeout);
        let saved = client.save(&save, &self.connection);
        let saved = self.pool().0.note(permit, saved);
        self.pool().0.put_back(client);
        saved
    }
}

impl<C, P> Checkout<C, P> {
    pub(crate) fn new(
        pool: P,
        connection: C,
        destination: &[u8],
        endpoint: Box<[u8]>,
        reused: Option<Properties>,
    ) -> Self {
        Self {
            connection,
            destination: destination.into(),
            endpoint,
            reused,
            pool,
            generation: Generation::current(),
        }
    }

    /// Whether this process, rather than a parent of it, checked the connection out.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == Generation::current()
    }

    /// What was saved with the connection, if it comes from the cache; `None` if it was made for this checkout.
    pub fn reused(&self) -> Option<&Properties> {
        self.reused.as_ref()
    }

    /// The endpoint that the connection leads to, and that it is put back under.
    pub fn endpoint(&self) -> &[u8] {
        &self.endpoint
    }

    /// Takes the connection for good.
    pub fn into_inner(self) -> C {
        self.connection
    }

    pub(crate) fn pool(&self) -> &P {
        &self.pool
    }

    pub(crate) fn save<'a>(
        &'a self,
        ttl: Duration,
        destination_property: &'a [u8],
        property: &'a [u8],
    ) -> Save<'a> {
        Save {
            destination_property,
            property,
            ..Save::new(ttl, &self.destination, &self.endpoint)
        }
    }
}

impl<C, P> Deref for Checkout<C, P> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.connection
    }
}

impl<C, P> DerefMut for Checkout<C, P> {
    fn deref_mut(&mut self) -> &mut C {
        &mut self.connection
    }
}
