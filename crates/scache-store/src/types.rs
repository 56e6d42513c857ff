//! What goes into a store besides requests, and what comes out of it.

use std::time::{Duration, Instant};

/// How much a store keeps, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest anything is kept, whatever time to live is asked for.
    pub ttl_limit: Duration,
    /// Connections in all, at least one; the soonest to expire makes room.
    pub connections: usize,
    /// Connections of one endpoint; 0 is no limit. The soonest to expire of them makes room.
    pub connections_per_endpoint: usize,
    /// Bindings in all, at least one; the soonest to expire makes room.
    pub bindings: usize,
    /// Bindings of one destination, at least one; the first of them makes room. A find walks through them.
    pub bindings_per_destination: usize,
    /// Bytes of all names and properties together; what expires soonest makes room, but never for itself.
    pub bytes: usize,
    /// Which connection of an endpoint is taken first.
    pub order: Order,
}

/// Which connection of an endpoint is taken first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The one saved first, as in stock: the load is spread over all of them.
    #[default]
    Oldest,
    /// The one saved last: those not needed expire.
    Newest,
}

/// A connection in the store, as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId {
    /// Its place, which another connection may have later.
    pub slot: u32,
    /// Tells it from those.
    pub generation: u32,
}

/// A binding of a destination to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The destination.
    pub destination: Box<[u8]>,
    /// The endpoint.
    pub endpoint: Box<[u8]>,
    /// What was saved with the binding.
    pub property: Box<[u8]>,
    /// When it expires.
    pub deadline: Instant,
}

/// Everything that was in a store.
#[derive(Debug)]
pub struct Entries<H> {
    /// The connections, those of one endpoint in their order.
    pub connections: Vec<Taken<H>>,
    /// The bindings, those of one destination in their order.
    pub bindings: Vec<Bound>,
}

impl<H> Default for Entries<H> {
    fn default() -> Self {
        Self {
            connections: Vec::new(),
            bindings: Vec::new(),
        }
    }
}

/// A connection taken out of the store, with all that is needed to put it back.
#[derive(Debug)]
pub struct Taken<H> {
    /// The connection.
    pub handle: H,
    /// The name it was saved under.
    pub endpoint: Box<[u8]>,
    /// What was saved with it.
    pub property: Box<[u8]>,
    /// When it expires.
    pub deadline: Instant,
}

/// A connection found by a destination.
#[derive(Debug)]
pub struct FoundThrough<H> {
    /// What was saved with the binding it was found through.
    pub destination_property: Box<[u8]>,
    /// The connection.
    pub taken: Taken<H>,
}

/// A connection that the store let go of.
#[derive(Debug)]
pub struct Released<H> {
    /// The connection.
    pub handle: H,
    /// The name it was saved under.
    pub endpoint: Box<[u8]>,
    /// Why.
    pub reason: Reason,
}

impl<H> Released<H> {
    /// A connection that was taken out and will not be put back.
    pub fn of(taken: Taken<H>, reason: Reason) -> Self {
        Self {
            handle: taken.handle,
            endpoint: taken.endpoint,
            reason,
        }
    }
}

/// Why a connection was let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Its time was over.
    Expired,
    /// It made room for another one.
    Evicted,
    /// Somebody wanted it gone.
    Purged,
    /// It was not kept, because nothing new is to be.
    Drained,
    /// It was not kept, because it was taken too often or is too old.
    Retired,
    /// The store was cleared.
    Cleared,
    /// Its peer had closed it.
    Closed,
    /// Its peer had reset it.
    Reset,
    /// Its peer had said something that nobody asked for.
    Spoke,
}

/// What happened since the statistics were last taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Connections found by destination.
    pub destination_hits: u64,
    /// Destinations without a connection.
    pub destination_misses: u64,
    /// Connections found by endpoint, not counting those found by destination.
    pub endpoint_hits: u64,
    /// Endpoints without a connection, likewise.
    pub endpoint_misses: u64,
    /// The most destinations there were after a binding was saved.
    pub most_destinations: usize,
    /// The most endpoints with connections there were after anything was saved.
    pub most_endpoints: usize,
    /// The most connections there were after one was saved.
    pub most_connections: usize,
}

/// What happened since the start, besides what [`Statistics`] are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Connections saved.
    pub connections_saved: u64,
    /// Bindings saved that were not there.
    pub bindings_saved: u64,
    /// Bindings saved that were there.
    pub bindings_renewed: u64,
    /// Bindings whose time was over.
    pub bindings_expired: u64,
    /// Bindings that made room, whatever for.
    pub bindings_evicted: u64,
    /// Connections that made room because of [`Limits::connections`].
    pub evicted_for_connections: u64,
    /// Connections that made room because of [`Limits::connections_per_endpoint`].
    pub evicted_for_endpoint: u64,
    /// Connections that made room because of [`Limits::bytes`].
    pub evicted_for_bytes: u64,
    /// Connections that made room by [`crate::Store::evict`].
    pub evicted_on_demand: u64,
}

/// A connection in the store, as one sees it from outside.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionView<'a, H> {
    /// Its place, which another connection may have later.
    pub slot: u32,
    /// The endpoint it is saved under.
    pub endpoint: &'a [u8],
    /// When it expires.
    pub deadline: Instant,
    /// Since it was saved. Too little while thousands of connections are saved each second; wraps after six days.
    pub age: Duration,
    /// The connection.
    pub handle: &'a H,
}

/// A binding in the store, as one sees it from outside.
#[derive(Clone, Copy, Debug)]
pub struct BindingView<'a> {
    /// Its place, which another binding may have later.
    pub slot: u32,
    /// The destination.
    pub destination: &'a [u8],
    /// The endpoint.
    pub endpoint: &'a [u8],
    /// When it expires.
    pub deadline: Instant,
}

/// A destination that was asked for, as one sees it from outside.
#[derive(Clone, Copy, Debug)]
pub struct DestinationView<'a> {
    /// Its place, which another one may have later.
    pub slot: u32,
    /// The destination.
    pub destination: &'a [u8],
    /// How often a connection was found, since it is counted.
    pub hits: u64,
    /// How often none was.
    pub misses: u64,
}

/// How much there is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Destinations, each with a binding at least.
    pub destinations: usize,
    /// Endpoints with a connection at least.
    pub endpoints: usize,
    /// Connections.
    pub connections: usize,
    /// Bindings.
    pub bindings: usize,
    /// Bytes of all names and properties.
    pub bytes: usize,
}
