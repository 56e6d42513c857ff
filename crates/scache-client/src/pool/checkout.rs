//! A connection that is checked out.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use scache_proto::reply::History;
use scache_proto::{Label, Text, ValueError};
use scache_sys::generation::Generation;

use super::Pool;
use super::shared::Limits;
use crate::{Properties, Save};

/// A connection, the caller's until [`Checkout::release`]. Dropping it closes it.
#[must_use = "a connection that is not used is closed"]
pub struct Checkout<C, P = Pool> {
    connection: C,
    names: Names,
    reused: Option<Reused>,
    /// When it was found, made or adopted.
    since: Instant,
    pool: P,
    /// The process that it belongs to: the child of one has a copy.
    generation: Generation,
}

/// Names that a connection is put back under.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) destination: Box<[u8]>,
    pub(crate) endpoint: Box<[u8]>,
}

/// Facts about a connection that comes from the cache.
#[derive(Clone, Debug)]
pub(crate) struct Reused {
    pub(crate) properties: Properties,
    pub(crate) history: Option<History>,
}

/// Outcome of a release. A connection that was not kept is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Released {
    /// The cache has it.
    Kept {
        /// For how long at most, which is less than was asked for if the cache has a lower limit. `None` if the cache does
        /// not say, as the stock program.
        ttl: Option<Duration>,
    },
    /// The cache took it and closed it, with its goodbye: it is drained, or has a limit of its own.
    Declined,
    /// It is older, or was used more often, than the pool allows ([`Pool::with_max_age`], [`Pool::with_max_reuse`]).
    Worn,
    /// The cache failed a moment ago and was not asked ([`Pool::with_rest`]).
    Unasked,
    /// The cache failed, as [`Pool::on_error`] was told.
    Failed,
    /// This process has a copy only of a connection that a parent of it checked out. The parent's is open.
    Inherited,
}

impl Released {
    /// Whether the cache has it.
    #[must_use]
    pub fn is_kept(self) -> bool {
        matches!(self, Self::Kept { .. })
    }
}

/// Why there is no connection. A cache that is away is never the reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckoutError<E> {
    /// The list of endpoints was empty, and the cache had nothing for the destination.
    #[error("there is no endpoint to connect to")]
    NoEndpoint,
    /// The destination or an endpoint is no name that a cache can have: it contains NUL or is too long. Nothing was
    /// connected, since nothing would ever be found under that name.
    #[error("the destination or an endpoint is no name: {0}")]
    Name(#[from] ValueError),
    /// Error of the caller's function for the last endpoint.
    #[error(transparent)]
    Connect(E),
}

/// Checks names before anything is done with them.
pub(crate) fn check_names(
    destination: &[u8],
    endpoints: &[impl AsRef<[u8]>],
) -> Result<(), ValueError> {
    Label::new(destination)?;
    endpoints
        .iter()
        .try_for_each(|endpoint| Label::new(endpoint.as_ref()).map(drop))
}

impl<C: AsFd> Checkout<C> {
    /// Puts the connection back for the next one, for `ttl` at most, without properties, and closes it if the cache does
    /// not take it.
    ///
    /// In a child of the process that checked it out only the child's copy is closed.
    ///
    /// Only a session that is clean may be put back: every reply read, nothing under way, no state that the next one
    /// does not expect.
    pub fn release(self, ttl: Duration) -> Released {
        self.release_with(ttl, &Properties::default())
    }

    /// Puts the connection back as [`Checkout::release`] does, with what the next one is to know.
    pub fn release_with(self, ttl: Duration, properties: &Properties) -> Released {
        let shared = &self.pool().0;
        let (mut client, permit, ttl) = match shared.to_release(&self, ttl) {
            Ok(granted) => granted,
            Err(released) => return released,
        };
        let saved = client.save(&self.save(ttl, properties), &self.connection);
        let released = shared.note(permit, saved);
        shared.put_back(client);
        released
    }
}

impl<C, P> Checkout<C, P> {
    pub(crate) fn new(pool: P, connection: C, names: Names, reused: Option<Reused>) -> Self {
        Self {
            connection,
            names,
            reused,
            since: Instant::now(),
            pool,
            generation: Generation::current(),
        }
    }

    /// Whether this process, rather than a parent of it, checked the connection out.
    pub(crate) fn is_own(&self) -> bool {
        self.generation == Generation::current()
    }

    /// Property that was saved with the connection, if it comes from the cache; `None` if it was made for this checkout.
    #[must_use]
    pub fn reused(&self) -> Option<&Properties> {
        self.reused.as_ref().map(|reused| &reused.properties)
    }

    /// How old the connection was and how often it had been taken when it was found. `None` if it was made for this
    /// checkout, or if the cache does not say ([`Found::history`](crate::Found::history)).
    #[must_use]
    pub fn history(&self) -> Option<History> {
        self.reused.as_ref()?.history
    }

    /// How long it may be kept within these limits: `ttl` at most. `None` if not at all.
    pub(crate) fn may_be_kept(&self, limits: Limits, ttl: Duration) -> Option<Duration> {
        let history = match &self.reused {
            None => History {
                age: Duration::ZERO,
                taken: 0,
            },
            Some(reused) => match reused.history {
                Some(history) => history,
                None => return Some(ttl),
            },
        };
        let age = history.age.saturating_add(self.since.elapsed());
        let left = limits.age.saturating_sub(age);
        let is_worn = left.is_zero() || history.taken >= limits.reuse;
        (!is_worn).then(|| ttl.min(left))
    }

    /// The endpoint that the connection leads to, and that it is put back under.
    #[must_use]
    pub fn endpoint(&self) -> &[u8] {
        &self.names.endpoint
    }

    /// Takes the connection for good.
    #[must_use = "a connection that is not used is closed"]
    pub fn into_inner(self) -> C {
        self.connection
    }

    pub(crate) fn pool(&self) -> &P {
        &self.pool
    }

    pub(crate) fn save<'a>(&'a self, ttl: Duration, properties: &'a Properties) -> Save<'a> {
        Save {
            destination_property: properties.destination(),
            property: properties.connection(),
            ..Save::new(ttl, &self.names.destination, &self.names.endpoint)
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

impl<C: fmt::Debug, P> fmt::Debug for Checkout<C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkout")
            .field("connection", &self.connection)
            .field("destination", &Text(&self.names.destination))
            .field("endpoint", &Text(&self.names.endpoint))
            .field("reused", &self.reused())
            .field("history", &self.history())
            .finish_non_exhaustive()
    }
}
