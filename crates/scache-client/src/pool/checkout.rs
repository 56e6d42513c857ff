//! A connection that is checked out.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::os::fd::AsFd;
use std::time::Duration;

use scache_proto::{Label, ValueError};
use scache_sys::generation::Generation;

use super::Pool;
use crate::properties::Text;
use crate::{Properties, Save};

/// A connection, the caller's until [`Checkout::release`]. Dropping it closes it.
#[must_use = "a connection that is not used is closed"]
pub struct Checkout<C, P = Pool> {
    connection: C,
    names: Names,
    reused: Option<Properties>,
    pool: P,
    /// The process that it belongs to: the child of one has a copy.
    generation: Generation,
}

/// What a connection is put back under.
#[derive(Clone)]
pub(crate) struct Names {
    pub(crate) destination: Box<[u8]>,
    pub(crate) endpoint: Box<[u8]>,
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
    /// What the caller's function said of the last endpoint.
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
    /// Puts the connection back for the next one, for `ttl` at most, without properties. Says whether the cache
    /// has it; if not it is closed.
    ///
    /// In a child of the process that checked it out only the child's copy is closed.
    ///
    /// Only a session that is clean may be put back: every reply read, nothing under way, no state that the next one
    /// does not expect.
    pub fn release(self, ttl: Duration) -> bool {
        self.release_with(ttl, &Properties::default())
    }

    /// Puts the connection back as [`Checkout::release`] does, with what the next one is to know.
    pub fn release_with(self, ttl: Duration, properties: &Properties) -> bool {
        if !self.is_own() {
            return false;
        }
        let Some((mut client, permit)) = self.pool().0.client() else {
            return false;
        };
        let save = self.save(ttl, properties);
        client.set_timeout(self.pool().0.settings.timeout);
        let saved = client.save(&save, &self.connection);
        let saved = self.pool().0.note(permit, saved);
        self.pool().0.put_back(client);
        saved
    }
}

impl<C, P> Checkout<C, P> {
    pub(crate) fn new(pool: P, connection: C, names: Names, reused: Option<Properties>) -> Self {
        Self {
            connection,
            names,
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
    #[must_use]
    pub fn reused(&self) -> Option<&Properties> {
        self.reused.as_ref()
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
            .field("reused", &self.reused)
            .finish_non_exhaustive()
    }
}
