//! The asynchronous pool.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::Client;
use crate::pool::shared::{Judged, Settings, Shared, State, Timed};
use crate::pool::{Names, check_names};
use crate::{
    Checkout, CheckoutError, Counters, Error, Found, Properties, Released, Trust, ValueError,
};

/// Connections through the cache, or without it when it is away: [`crate::Pool`], whose calls are futures.
///
/// A future that is dropped in the middle loses its connection at most, which is closed; two never have one.
///
/// ```no_run
/// use std::time::Duration;
///
/// use scache_client::tokio::Pool;
/// use tokio::io::AsyncWriteExt;
/// use tokio::net::TcpStream;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::new("/run/scache/scache.sock");
/// let endpoints = ["redis:[192.0.2.1]:6379"];
/// let mut server = pool
///     .checkout(b"redis:cache.example.com", &endpoints, async |_| {
///         TcpStream::connect("192.0.2.1:6379").await
///     })
///     .await?;
/// server.write_all(b"PING\r\n").await?;
/// // … the reply is read to its end, nothing is under way: the next one may have it.
/// server.release(Duration::from_secs(30)).await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Pool(Shared<Client>);

impl Pool {
    /// A pool on the cache that listens at `path`. Nothing is connected yet.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(Shared::new(path.as_ref()))
    }

    /// [`crate::Pool::with_timeout`].
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.0.settings.timeout = timeout;
        self
    }

    /// [`crate::Pool::without_inline`].
    #[must_use]
    pub fn without_inline(mut self) -> Self {
        self.0.settings.inline = false;
        self
    }

    /// Changes which sockets are trusted ([`crate::Client::with_trust`]).
    #[must_use]
    pub fn with_trust(mut self, trust: Trust) -> Self {
        self.0.settings.trust = trust;
        self
    }

    /// [`crate::Pool::with_rest`].
    #[must_use]
    pub fn with_rest(mut self, rest: Duration) -> Self {
        self.0.settings.rest = rest;
        self
    }

    /// [`crate::Pool::with_max_age`].
    #[must_use]
    pub fn with_max_age(mut self, age: Duration) -> Self {
        self.0.settings.limits.age = age;
        self
    }

    /// [`crate::Pool::with_max_reuse`].
    #[must_use]
    pub fn with_max_reuse(mut self, times: u32) -> Self {
        self.0.settings.limits.reuse = times;
        self
    }

    /// Changes how long a connection to the cache is kept that no request uses (5 s otherwise). The daemon has a limited
    /// number of slots for clients.
    ///
    /// A task closes it when it has been idle for this time, or for twice this time at most. The task is spawned on the
    /// runtime that returns the first connection, ends when none is left, and does not keep the pool alive.
    #[must_use]
    pub fn with_idle_limit(mut self, limit: Duration) -> Self {
        self.0.settings.idle_limit = limit;
        self
    }

    /// Calls `tell` with each error of the cache, in the task that met it.
    #[must_use]
    pub fn on_error(mut self, tell: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        self.0.settings.tell = Some(Arc::new(tell));
        self
    }

    /// What this pool and its clones have done so far, in this process.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.0.counters()
    }

    /// [`crate::Pool::checkout`], of what can be made of a [`Found`]: tokio's streams and those of the standard
    /// library.
    ///
    /// `connect` may be an async closure, a closure that returns a future, or an async function. An async closure that
    /// is `move` or changes what it captures lends that to its future, which this bound does not allow: borrow what
    /// it needs outside of it.
    ///
    /// # Errors
    /// [`CheckoutError`]; a cache that is away is none.
    // Not `AsyncFnMut(&N)`: the compiler cannot prove that a future with that bound is `Send`, as tokio::spawn wants.
    pub async fn checkout<'e, C, N, E, F>(
        &self,
        destination: &[u8],
        endpoints: &'e [N],
        connect: impl FnMut(&'e N) -> F,
    ) -> Result<Checkout<C, Self>, CheckoutError<E>>
    where
        C: AsFd + TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        N: AsRef<[u8]>,
        F: Future<Output = Result<C, E>>,
    {
        let check = |found| std::future::ready(Some(found));
        self.checkout_checked(destination, endpoints, connect, check)
            .await
    }

    /// [`crate::Pool::checkout_checked`]. `check` returns the connection if it is content with it.
    ///
    /// ```no_run
    /// # use tokio::io::{AsyncReadExt, AsyncWriteExt};
    /// # use tokio::net::TcpStream;
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = scache_client::tokio::Pool::new("/run/scache/scache.sock");
    /// # let endpoints = ["redis:[192.0.2.1]:6379"];
    /// let server = pool.checkout_checked(
    ///     b"redis:cache.example.com",
    ///     &endpoints,
    ///     async |_| TcpStream::connect("192.0.2.1:6379").await,
    ///     async |mut server| {
    ///         let mut answer = [0; 7];
    ///         server.write_all(b"PING\r\n").await.ok()?;
    ///         server.read_exact(&mut answer).await.ok()?;
    ///         (answer == *b"+PONG\r\n").then_some(server)
    ///     },
    /// );
    /// # drop(server.await?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Pool::checkout`].
    pub async fn checkout_checked<'e, C, N, E, F, G>(
        &self,
        destination: &[u8],
        endpoints: &'e [N],
        connect: impl FnMut(&'e N) -> F,
        check: impl FnMut(Checkout<C, Self>) -> G,
    ) -> Result<Checkout<C, Self>, CheckoutError<E>>
    where
        C: AsFd + TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        N: AsRef<[u8]>,
        F: Future<Output = Result<C, E>>,
        G: Future<Output = Option<Checkout<C, Self>>>,
    {
        check_names(destination, endpoints)?;
        match self.find(destination, endpoints, check).await {
            Some(found) => Ok(found),
            None => self.checkout_fresh(destination, endpoints, connect).await,
        }
    }

    /// [`crate::Pool::checkout_fresh`].
    ///
    /// # Errors
    /// Those of [`Pool::checkout`].
    pub async fn checkout_fresh<'e, C, N, E, F>(
        &self,
        destination: &[u8],
        endpoints: &'e [N],
        mut connect: impl FnMut(&'e N) -> F,
    ) -> Result<Checkout<C, Self>, CheckoutError<E>>
    where
        N: AsRef<[u8]>,
        F: Future<Output = Result<C, E>>,
    {
        check_names(destination, endpoints)?;
        let mut failed = CheckoutError::NoEndpoint;
        for endpoint in endpoints {
            match connect(endpoint).await {
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

    /// [`crate::Pool::adopt`].
    ///
    /// # Errors
    /// [`ValueError`] for names that no cache can have.
    pub fn adopt<C>(
        &self,
        destination: &[u8],
        endpoint: &[u8],
        connection: C,
    ) -> Result<Checkout<C, Self>, ValueError> {
        check_names(destination, &[endpoint])?;
        let names = Names {
            destination: destination.into(),
            endpoint: endpoint.into(),
        };
        Ok(Checkout::new(self.clone(), connection, names, None))
    }

    async fn find<C, G>(
        &self,
        destination: &[u8],
        endpoints: &[impl AsRef<[u8]>],
        mut check: impl FnMut(Checkout<C, Self>) -> G,
    ) -> Option<Checkout<C, Self>>
    where
        G: Future<Output = Option<Checkout<C, Self>>>,
        C: TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (mut client, permit) = self.0.client()?;
        let mut left = self.0.settings.timeout;
        let found = loop {
            let began = Instant::now();
            client.set_timeout(left);
            let found = client.find_as(destination, endpoints, true).await;
            left = left.saturating_sub(began.elapsed());
            match self.0.judge(permit, found, |_| Ok(())) {
                Judged::Usable(connection, endpoint, reused) => {
                    let names = Names {
                        destination: destination.into(),
                        endpoint,
                    };
                    let found = Checkout::new(self.clone(), connection, names, Some(reused));
                    let found = check(found).await;
                    self.0.checked(found.is_some());
                    if found.is_some() {
                        break found;
                    }
                    if left.is_zero() {
                        break None;
                    }
                }
                Judged::Stale if !left.is_zero() => {}
                Judged::Stale | Judged::Nothing => break None,
            }
        };
        self.put_back(client);
        found
    }
}

impl Pool {
    /// Keeps a client for the next one who asks, and sees to it that it is closed if nobody does.
    fn put_back(&self, client: Client) {
        let Some(state) = self.0.put_back(client) else {
            return;
        };
        // It is not there outside of a runtime, nor in one that ends; then the next one closes it.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if !state.set_swept(true) {
            let sweeper = Sweeper(Arc::downgrade(state));
            runtime.spawn(sweeper.run(self.0.settings.idle_limit));
        }
    }
}

/// Closes clients that nobody uses, until there are none.
struct Sweeper(Weak<State<Client>>);

impl Sweeper {
    async fn run(mut self, limit: Duration) {
        loop {
            // Times of the system's clock are compared with each other only: a program may have paused tokio's.
            let then = Instant::now();
            tokio::time::sleep(limit).await;
            match self.0.upgrade() {
                Some(state) if state.sweep(then) => {}
                _ => break,
            }
        }
        // The next client that is put back has another task spawned.
        self.0 = Weak::new();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        // The runtime may end before the clients do.
        if let Some(state) = self.0.upgrade() {
            state.set_swept(false);
        }
    }
}

impl<C: AsFd> Checkout<C, Pool> {
    /// [`Checkout::release`](crate::Checkout::release) for [`Pool`]. The connection is closed here in any case, also
    /// if the future is dropped.
    pub async fn release(self, ttl: Duration) -> Released {
        self.release_with(ttl, &Properties::default()).await
    }

    /// Puts the connection back as [`Checkout::release`](crate::Checkout::release) does, with what the next one is to
    /// know.
    pub async fn release_with(self, ttl: Duration, properties: &Properties) -> Released {
        let pool = self.pool();
        let (mut client, permit, ttl) = match pool.0.to_release(&self, ttl) {
            Ok(granted) => granted,
            Err(released) => return released,
        };
        let saved = client.save(&self.save(ttl, properties), &*self).await;
        pool.put_back(client);
        pool.0.note(permit, saved)
    }
}

impl From<&Settings> for Client {
    fn from(settings: &Settings) -> Self {
        let client = Self::new(&settings.path)
            .with_timeout(settings.timeout)
            .with_trust(settings.trust);
        if settings.inline {
            client
        } else {
            client.without_inline()
        }
    }
}
