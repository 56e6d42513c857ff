//! Connections that a program takes and puts back, whether there is a cache or not.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scache_sys::sockets;

use crate::{Client, Error, Found, Trust, ValueError};

mod checkout;
mod circuit;
pub(crate) mod shared;

pub use checkout::{Checkout, CheckoutError, Released};
pub(crate) use checkout::{Names, check_names};
use shared::{Judged, Shared, Timed};

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
    /// Connections from the cache that the program's own check found unfit ([`Pool::checkout_checked`]).
    pub rejected: u64,
    /// Connections that were older, or used more often, than the pool allows: found and passed over, or not put back.
    pub worn: u64,
    /// Connections that were put back.
    pub saved: u64,
    /// Connections that the cache took and did not keep, because it is drained or has a limit of its own.
    pub declined: u64,
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

    /// Changes how old a connection may be that is used again (any age otherwise). What is older is neither taken from the
    /// cache nor put back, and what is put back stays no longer than until then.
    ///
    /// Its age is known if the cache is one of ours and speaks inline descriptors, and counts from its first save; of a
    /// connection that was made or adopted by this pool, from that moment.
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.0.settings.limits.age = age;
        self
    }

    /// Changes how often a connection may be taken from the cache (any number of times otherwise). What was taken so often
    /// is not put back. With 0 no connection is used again.
    ///
    /// How often that was is known as its age is ([`Pool::with_max_age`]).
    #[must_use]
    pub fn with_max_reuse(mut self, times: u32) -> Self {
        self.0.settings.limits.reuse = times;
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
    /// [was used before](Checkout::reused) deserves a second try ([`Pool::checkout_checked`], [`Pool::checkout_fresh`]). It
    /// is in blocking mode; other options are as they were left.
    ///
    /// `C` is made of what was found by `TryFrom<Found>`, as `TcpStream`, `UnixStream` and `OwnedFd` are. What it cannot be
    /// made of, such as a UNIX socket if it is a `TcpStream`, is closed, told ([`Error::Unsuitable`]) and passed over.
    ///
    /// Over the stock protocol a connection is found by the `endpoints` only, because a find by the destination
    /// does not say where to put it back.
    ///
    /// # Errors
    /// [`CheckoutError`]; a cache that is away is none, a name that no cache can have is one at once.
    pub fn checkout<C, N, E>(
        &self,
        destination: &[u8],
        endpoints: &[N],
        connect: impl FnMut(&N) -> Result<C, E>,
    ) -> Result<Checkout<C>, CheckoutError<E>>
    where
        C: AsFd + TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        N: AsRef<[u8]>,
    {
        self.checkout_checked(destination, endpoints, connect, |_| true)
    }

    /// [`Pool::checkout`] of a connection that `check` is content with, if it comes from the cache: one over which a first
    /// request succeeds, such as RSET or PING. What it rejects is closed, and the next one is tried.
    ///
    /// ```no_run
    /// # use std::io::{Read, Write};
    /// # use std::net::TcpStream;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = scache_client::Pool::new("/run/scache/scache.sock");
    /// let server = pool.checkout_checked(
    ///     b"redis:cache.example.com",
    ///     &["redis:[192.0.2.1]:6379"],
    ///     |_| TcpStream::connect("192.0.2.1:6379"),
    ///     |server| {
    ///         let mut answer = [0; 7];
    ///         server.write_all(b"PING\r\n").is_ok()
    ///             && server.read_exact(&mut answer).is_ok()
    ///             && answer == *b"+PONG\r\n"
    ///     },
    /// )?;
    /// # drop(server);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Pool::checkout`].
    pub fn checkout_checked<C, N, E>(
        &self,
        destination: &[u8],
        endpoints: &[N],
        connect: impl FnMut(&N) -> Result<C, E>,
        check: impl FnMut(&mut Checkout<C>) -> bool,
    ) -> Result<Checkout<C>, CheckoutError<E>>
    where
        C: AsFd + TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        N: AsRef<[u8]>,
    {
        check_names(destination, endpoints)?;
        match self.find(destination, endpoints, check) {
            Some(found) => Ok(found),
            None => self.checkout_fresh(destination, endpoints, connect),
        }
    }

    /// A new connection to `destination`, past the cache, which may have it when it is released: for the second try, when
    /// a first request has failed over a connection that was used before.
    ///
    /// # Errors
    /// Those of [`Pool::checkout`].
    pub fn checkout_fresh<C, N: AsRef<[u8]>, E>(
        &self,
        destination: &[u8],
        endpoints: &[N],
        mut connect: impl FnMut(&N) -> Result<C, E>,
    ) -> Result<Checkout<C>, CheckoutError<E>> {
        check_names(destination, endpoints)?;
        let mut failed = CheckoutError::NoEndpoint;
        for endpoint in endpoints {
            match connect(endpoint) {
                Ok(connection) => {
                    let names = Names {
                        destination: destination.into(),
                        endpoint: endpoint.as_ref().into(),
                    };
                    return Ok(Checkout::new(self.clone(), connection, names, None));
                }
                Err(error) => failed = CheckoutError::Connect(error),
            }
        }
        Err(failed)
    }

    /// A connection that was made elsewhere, to be released into the cache under these names as if it had been checked
    /// out.
    ///
    /// # Errors
    /// [`ValueError`] for names that no cache can have.
    pub fn adopt<C>(
        &self,
        destination: &[u8],
        endpoint: &[u8],
        connection: C,
    ) -> Result<Checkout<C>, ValueError> {
        check_names(destination, &[endpoint])?;
        let names = Names {
            destination: destination.into(),
            endpoint: endpoint.into(),
        };
        Ok(Checkout::new(self.clone(), connection, names, None))
    }

    fn find<C>(
        &self,
        destination: &[u8],
        endpoints: &[impl AsRef<[u8]>],
        mut check: impl FnMut(&mut Checkout<C>) -> bool,
    ) -> Option<Checkout<C>>
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
                Judged::Usable(connection, endpoint, reused) => {
                    let names = Names {
                        destination: destination.into(),
                        endpoint,
                    };
                    let mut found = Checkout::new(self.clone(), connection, names, Some(reused));
                    let is_fit = check(&mut found);
                    self.0.checked(is_fit);
                    if is_fit {
                        break Some(found);
                    }
                    if left.is_zero() {
                        break None;
                    }
                }
                Judged::Stale if !left.is_zero() => {}
                Judged::Stale | Judged::Nothing => break None,
            }
        };
        self.0.put_back(client);
        found
    }
}
