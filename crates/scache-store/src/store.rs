//! The store itself: who is bound to whom, in which order, until when.

mod generation;
mod room;
mod view;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use scache_proto::{Label, Property, Ttl};
use slab::Slab;

use generation::Generation;

use crate::busiest::Busiest;
use crate::deadlines::{Deadlines, Expiring};
use crate::list::{Linked, Links, List, NONE};
use crate::names::Names;
use crate::{
    Bound, ConnectionId, Counts, Entries, FoundThrough, Limits, Order, Reason, Released,
    Statistics, Taken, Tally,
};

/// Destinations, endpoints and connections.
#[derive(Debug)]
pub struct Store<H> {
    limits: Limits,
    /// Where time begins: deadlines are kept as nanoseconds since then.
    origin: Instant,
    destinations: Names<Destination>,
    endpoints: Names<Endpoint>,
    bindings: Slab<Binding>,
    binding_deadlines: Deadlines,
    connections: Slab<Connection<H>>,
    connection_deadlines: Deadlines,
    /// Of the connection inserted last.
    generation: Generation,
    /// Endpoints that have connections.
    open_endpoints: usize,
    /// Of all properties together.
    property_bytes: usize,
    released: VecDeque<Released<H>>,
    /// The latest time that the store was told: what has a deadline until then is not given out.
    expires_at: u64,
    /// How many may still be expired at that time.
    expiring: room::Expiring,
    /// Entries that were walked, looked at, or taken out.
    steps: u64,
    statistics: Statistics,
    tally: Tally,
    busiest: Busiest,
}

#[derive(Debug, Default)]
struct Destination {
    bindings: List,
}

/// How many connections a find looks at before it gives up, if all of them are of no use. There are that many only
/// where peers end thousands of connections in the moment before a find, and each costs a system call or two.
const LOOKS: usize = 64;

/// An endpoint is remembered while it has connections or is bound to.
#[derive(Debug, Default)]
struct Endpoint {
    connections: List,
    bound: u32,
}

#[derive(Debug)]
struct Binding {
    destination: u32,
    endpoint: u32,
    property: Box<[u8]>,
    /// Of the property, so that those of one destination need not be compared byte by byte.
    hash: u32,
    links: Links,
    place: u32,
}

#[derive(Debug)]
struct Connection<H> {
    handle: H,
    endpoint: u32,
    property: Box<[u8]>,
    generation: Generation,
    links: Links,
    place: u32,
}

impl<H> Store<H> {
    /// An empty store. No time that it is told may be before `origin`.
    pub fn new(limits: Limits, origin: Instant) -> Self {
        Self {
            limits,
            origin,
            destinations: Names::new(),
            endpoints: Names::new(),
            bindings: Slab::new(),
            binding_deadlines: Deadlines::default(),
            connections: Slab::new(),
            connection_deadlines: Deadlines::default(),
            generation: Generation::default(),
            open_endpoints: 0,
            property_bytes: 0,
            released: VecDeque::new(),
            expires_at: 0,
            expiring: room::Expiring::default(),
            steps: 0,
            statistics: Statistics::default(),
            tally: Tally::default(),
            busiest: Busiest::new(),
        }
    }

    /// Adds a connection behind those the endpoint has.
    pub fn save_endpoint(
        &mut self,
        now: Instant,
        ttl: Ttl,
        endpoint: Label<'_>,
        property: Property<'_>,
        handle: H,
    ) -> ConnectionId {
        self.expire(now);
        let deadline = self.deadline(now, ttl);
        self.make_room_for_bytes(&[endpoint.as_bytes(), property.as_bytes()]);
        let endpoint = self.endpoints.number(endpoint.as_bytes());
        let property = property.as_bytes().into();
        let id = self.insert(now, endpoint, property, deadline, handle, End::Back);
        self.tally.connections_saved += 1;
        let counts = self.counts();
        let most = &mut self.statistics;
        most.most_endpoints = most.most_endpoints.max(counts.endpoints);
        most.most_connections = most.most_connections.max(counts.connections);
        id
    }

    /// Binds a destination to an endpoint, behind the bindings it has. A binding that is there already,
    /// with the same property, keeps its place and gets the new time.
    pub fn save_destination(
        &mut self,
        now: Instant,
        ttl: Ttl,
        destination: Label<'_>,
        property: Property<'_>,
        endpoint: Label<'_>,
    ) {
        self.expire(now);
        let deadline = self.deadline(now, ttl);
        let (destination, endpoint) = (destination.as_bytes(), endpoint.as_bytes());
        let property = property.as_bytes();
        let hash = self.destinations.hash(property);
        let found = self.find_binding(destination, endpoint, property, hash);
        let overdue = found.filter(|slot| {
            self.is_overdue(&self.binding_deadlines, self.bindings[*slot as usize].place)
        });
        if let Some(slot) = overdue {
            self.unbind(slot);
            self.tally.bindings_expired += 1;
        }
        if let Some(slot) = found.filter(|_| overdue.is_none()) {
            self.binding_deadlines
                .change(&mut self.bindings, deadline, slot);
            self.tally.bindings_renewed += 1;
        } else {
            self.make_room_for_bytes(&[destination, endpoint, property]);
            let destination = self.destinations.number(destination);
            let endpoint = self.endpoints.number(endpoint);
            self.bind(destination, endpoint, property, hash, deadline);
            self.tally.bindings_saved += 1;
        }
        let counts = self.counts();
        let most = &mut self.statistics;
        most.most_destinations = most.most_destinations.max(counts.destinations);
        most.most_endpoints = most.most_endpoints.max(counts.endpoints);
    }

    /// Takes a connection of an endpoint out: the first in [`Limits::order`] that `judge` finds nothing wrong
    /// with. Those before it are released for the reason that `judge` gives; after 64 of them nothing is found.
    pub fn find_endpoint(
        &mut self,
        now: Instant,
        endpoint: Label<'_>,
        mut judge: impl FnMut(&H) -> Option<Reason>,
    ) -> Option<Taken<H>> {
        self.expire(now);
        let taken = self
            .endpoints
            .find(endpoint.as_bytes())
            .and_then(|endpoint| self.take_usable(endpoint, &mut { LOOKS }, &mut judge));
        match taken {
            Some(_) => self.statistics.endpoint_hits += 1,
            None => self.statistics.endpoint_misses += 1,
        }
        taken
    }

    /// Goes through the bindings of a destination in their order and takes the first connection out that
    /// `judge` finds nothing wrong with, or nothing after 64 that something is wrong with. The bindings stay.
    pub fn find_destination(
        &mut self,
        now: Instant,
        destination: Label<'_>,
        mut judge: impl FnMut(&H) -> Option<Reason>,
    ) -> Option<FoundThrough<H>> {
        self.expire(now);
        let found = self.find_through(destination.as_bytes(), &mut judge);
        self.busiest.asked(destination.as_bytes(), found.is_some());
        match found {
            Some(_) => self.statistics.destination_hits += 1,
            None => self.statistics.destination_misses += 1,
        }
        found
    }

    /// Puts a connection back where it is the next to be taken of its endpoint, with the deadline it had. If
    /// that has passed the connection is released instead.
    pub fn put_back(&mut self, now: Instant, taken: Taken<H>) -> Option<ConnectionId> {
        let next = match self.limits.order {
            Order::Oldest => End::Front,
            Order::Newest => End::Back,
        };
        self.put_at(now, taken, next)
    }

    /// Puts a connection that [`Store::take_entries`] took out behind those of its endpoint, with the deadline it had.
    /// If that has passed the connection is released instead.
    pub fn restore_connection(&mut self, now: Instant, taken: Taken<H>) -> Option<ConnectionId> {
        self.put_at(now, taken, End::Back)
    }

    /// Puts a binding that [`Store::take_entries`] took out behind those of its destination, with the deadline it had,
    /// unless that has passed.
    pub fn restore_binding(&mut self, now: Instant, bound: &Bound) {
        if bound.deadline <= now {
            return;
        }
        let deadline = self.nanoseconds(bound.deadline);
        self.make_room_for_bytes(&[&bound.destination, &bound.endpoint, &bound.property]);
        let destination = self.destinations.number(&bound.destination);
        let endpoint = self.endpoints.number(&bound.endpoint);
        let hash = self.destinations.hash(&bound.property);
        self.bind(destination, endpoint, &bound.property, hash, deadline);
    }

    fn put_at(&mut self, now: Instant, taken: Taken<H>, end: End) -> Option<ConnectionId> {
        self.expire(now);
        if taken.deadline <= now {
            self.released.push_back(Released {
                handle: taken.handle,
                endpoint: taken.endpoint,
                reason: Reason::Expired,
            });
            return None;
        }
        let deadline = self.nanoseconds(taken.deadline);
        self.make_room_for_bytes(&[&taken.endpoint, &taken.property]);
        let endpoint = self.endpoints.number(&taken.endpoint);
        Some(self.insert(now, endpoint, taken.property, deadline, taken.handle, end))
    }

    /// The connection of an id, if it is still here.
    pub fn connection(&mut self, id: ConnectionId) -> Option<&mut H> {
        let slot = self.slot(id)?;
        Some(&mut self.connections[slot as usize].handle)
    }

    /// Releases the connection of an id. Whether it was still here.
    pub fn let_go(&mut self, id: ConnectionId, reason: Reason) -> bool {
        let slot = self.slot(id);
        if let Some(slot) = slot {
            self.release(slot, reason);
        }
        slot.is_some()
    }

    /// Takes everything out, to be kept elsewhere: connections in the order of their endpoint, bindings in
    /// that of their destination.
    pub fn take_entries(&mut self) -> Entries<H> {
        let mut entries = Entries::default();
        for destination in self.destinations.numbers() {
            let mut slot = self.destinations.record(destination).bindings.first;
            while slot != NONE {
                let binding = &self.bindings[slot as usize];
                entries.bindings.push(Bound {
                    destination: self.destinations.name(destination).into(),
                    endpoint: self.endpoints.name(binding.endpoint).into(),
                    property: binding.property.clone(),
                    deadline: self.instant(self.binding_deadlines.of(binding.place)),
                });
                slot = binding.links.next;
            }
        }
        for endpoint in self.endpoints.numbers() {
            // The endpoint stays known while its connections go.
            self.endpoints.record_mut(endpoint).bound += 1;
            while let Some(slot) = self.first(endpoint, Order::Oldest) {
                entries.connections.push(self.remove(slot));
            }
            self.endpoints.record_mut(endpoint).bound -= 1;
            self.forget_endpoint_if_unused(endpoint);
        }
        while let Some((_, slot)) = self.binding_deadlines.soonest() {
            self.unbind(slot);
        }
        entries
    }

    /// Forgets everything and releases all connections, the soonest to expire first.
    pub fn clear(&mut self) {
        while let Some((_, slot)) = self.binding_deadlines.soonest() {
            self.unbind(slot);
        }
        while let Some((_, slot)) = self.connection_deadlines.soonest() {
            self.release(slot, Reason::Cleared);
        }
    }

    /// The next connection that was let go of.
    pub fn poll_released(&mut self) -> Option<Released<H>> {
        let released = self.released.pop_front();
        if self.released.is_empty() {
            self.released.shrink_to(1024);
        }
        released
    }

    /// Whether [`Store::poll_released`] has something to give.
    pub fn has_released(&self) -> bool {
        !self.released.is_empty()
    }

    /// When [`Store::expire`] has something to do next.
    pub fn next_deadline(&self) -> Option<Instant> {
        let soonest = [&self.binding_deadlines, &self.connection_deadlines]
            .into_iter()
            .filter_map(Deadlines::soonest)
            .min()?;
        Some(self.instant(soonest.0))
    }

    /// Returns how many entries were walked, looked at or taken out so far: what all that was asked for has cost, but for
    /// the logarithm that a heap takes.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// How much there is, with what has expired and was not released yet.
    pub fn counts(&self) -> Counts {
        Counts {
            destinations: self.destinations.len(),
            endpoints: self.open_endpoints,
            connections: self.connections.len(),
            bindings: self.bindings.len(),
            bytes: self.bytes(),
        }
    }

    /// What happened since the start.
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// What happened since it was last taken.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// What happened since this was last asked.
    pub fn take_statistics(&mut self) -> Statistics {
        std::mem::take(&mut self.statistics)
    }

    fn find_binding(
        &mut self,
        destination: &[u8],
        endpoint: &[u8],
        property: &[u8],
        hash: u32,
    ) -> Option<u32> {
        let destination = self.destinations.find(destination)?;
        let endpoint = self.endpoints.find(endpoint)?;
        let mut slot = self.destinations.record(destination).bindings.first;
        while slot != NONE {
            self.steps += 1;
            let binding = &self.bindings[slot as usize];
            let is_like = binding.endpoint == endpoint && binding.hash == hash;
            if is_like && *binding.property == *property {
                return Some(slot);
            }
            slot = binding.links.next;
        }
        None
    }

    fn find_through(
        &mut self,
        destination: &[u8],
        judge: &mut impl FnMut(&H) -> Option<Reason>,
    ) -> Option<FoundThrough<H>> {
        let destination = self.destinations.find(destination)?;
        let mut slot = self.destinations.record(destination).bindings.first;
        let mut looks = LOOKS;
        while slot != NONE && looks > 0 {
            self.steps += 1;
            let binding = &self.bindings[slot as usize];
            let (endpoint, next) = (binding.endpoint, binding.links.next);
            if self.is_overdue(&self.binding_deadlines, binding.place) {
                slot = next;
                continue;
            }
            // Taking the connection leaves the binding, which keeps its endpoint known.
            if let Some(taken) = self.take_usable(endpoint, &mut looks, judge) {
                return Some(FoundThrough {
                    destination_property: self.bindings[slot as usize].property.clone(),
                    taken,
                });
            }
            slot = next;
        }
        None
    }

    /// Takes the first connection of an endpoint that can be used, unless more than `looks` cannot.
    fn take_usable(
        &mut self,
        endpoint: u32,
        looks: &mut usize,
        judge: &mut impl FnMut(&H) -> Option<Reason>,
    ) -> Option<Taken<H>> {
        // The endpoint stays known while its connections go.
        self.endpoints.record_mut(endpoint).bound += 1;
        let mut usable = None;
        while *looks > 0 {
            let Some(slot) = self.first(endpoint, self.limits.order) else {
                break;
            };
            *looks -= 1;
            self.steps += 1;
            let connection = &self.connections[slot as usize];
            let reason = if self.is_overdue(&self.connection_deadlines, connection.place) {
                Some(Reason::Expired)
            } else {
                judge(&connection.handle)
            };
            match reason {
                Some(reason) => self.release(slot, reason),
                None => {
                    usable = Some(self.remove(slot));
                    break;
                }
            }
        }
        self.endpoints.record_mut(endpoint).bound -= 1;
        self.forget_endpoint_if_unused(endpoint);
        usable
    }

    fn first(&self, endpoint: u32, order: Order) -> Option<u32> {
        let connections = &self.endpoints.record(endpoint).connections;
        let slot = match order {
            Order::Oldest => connections.first,
            Order::Newest => connections.last,
        };
        (slot != NONE).then_some(slot)
    }

    fn slot(&self, id: ConnectionId) -> Option<u32> {
        self.connections
            .get(id.slot as usize)
            .filter(|connection| connection.generation.0 == id.generation)
            .map(|_| id.slot)
    }

    fn insert(
        &mut self,
        now: Instant,
        endpoint: u32,
        property: Box<[u8]>,
        deadline: u64,
        handle: H,
        end: End,
    ) -> ConnectionId {
        self.make_room_for_connection(endpoint);
        self.property_bytes += property.len();
        self.generation = self.generation.next(self.nanoseconds(now));
        let generation = self.generation;
        let slot = self.connections.insert(Connection {
            handle,
            endpoint,
            property,
            generation,
            links: Links::default(),
            place: 0,
        }) as u32;
        self.connection_deadlines
            .insert(&mut self.connections, deadline, slot);
        let list = &mut self.endpoints.record_mut(endpoint).connections;
        self.open_endpoints += usize::from(list.length() == 0);
        match end {
            End::Back => list.push_back(&mut self.connections, slot),
            End::Front => list.push_front(&mut self.connections, slot),
        }
        ConnectionId {
            slot,
            generation: generation.0,
        }
    }

    fn bind(&mut self, destination: u32, endpoint: u32, property: &[u8], hash: u32, deadline: u64) {
        self.property_bytes += property.len();
        let slot = self.bindings.insert(Binding {
            destination,
            endpoint,
            property: property.into(),
            hash,
            links: Links::default(),
            place: 0,
        }) as u32;
        self.endpoints.record_mut(endpoint).bound += 1;
        let list = &mut self.destinations.record_mut(destination).bindings;
        list.push_back(&mut self.bindings, slot);
        let of_one = self.limits.bindings_per_destination.max(1);
        let first = (list.length() > of_one).then_some(list.first);
        if let Some(first) = first {
            self.evict_binding(first);
        }
        // The new one is linked but cannot expire yet, so it is not what makes room.
        while self.bindings.len() > self.limits.bindings.max(1) {
            let Some((_, soonest)) = self.binding_deadlines.soonest() else {
                break;
            };
            self.evict_binding(soonest);
        }
        self.binding_deadlines
            .insert(&mut self.bindings, deadline, slot);
    }

    fn unbind(&mut self, slot: u32) {
        self.steps += 1;
        self.binding_deadlines.remove(&mut self.bindings, slot);
        let list = &mut self
            .destinations
            .record_mut(self.bindings[slot as usize].destination)
            .bindings;
        list.unlink(&mut self.bindings, slot);
        let empty = list.length() == 0;
        let binding = self.bindings.remove(slot as usize);
        give_back(&mut self.bindings);
        self.property_bytes -= binding.property.len();
        if empty {
            self.destinations.forget(binding.destination);
        }
        self.endpoints.record_mut(binding.endpoint).bound -= 1;
        self.forget_endpoint_if_unused(binding.endpoint);
    }

    fn release(&mut self, slot: u32, reason: Reason) {
        let taken = self.remove(slot);
        self.released.push_back(Released {
            handle: taken.handle,
            endpoint: taken.endpoint,
            reason,
        });
    }

    fn remove(&mut self, slot: u32) -> Taken<H> {
        self.steps += 1;
        let place = self.connections[slot as usize].place;
        let deadline = self.instant(self.connection_deadlines.of(place));
        self.connection_deadlines
            .remove(&mut self.connections, slot);
        let endpoint = self.connections[slot as usize].endpoint;
        let list = &mut self.endpoints.record_mut(endpoint).connections;
        list.unlink(&mut self.connections, slot);
        self.open_endpoints -= usize::from(list.length() == 0);
        let connection = self.connections.remove(slot as usize);
        give_back(&mut self.connections);
        self.property_bytes -= connection.property.len();
        let taken = Taken {
            handle: connection.handle,
            endpoint: self.endpoints.name(endpoint).into(),
            property: connection.property,
            deadline,
        };
        self.forget_endpoint_if_unused(endpoint);
        taken
    }

    fn forget_endpoint_if_unused(&mut self, endpoint: u32) {
        let record = self.endpoints.record(endpoint);
        if record.bound == 0 && record.connections.length() == 0 {
            self.endpoints.forget(endpoint);
        }
    }

    fn deadline(&self, now: Instant, ttl: Ttl) -> u64 {
        let ttl = Duration::from(ttl).min(self.limits.ttl_limit);
        self.nanoseconds(now).saturating_add(nanoseconds(ttl))
    }

    fn nanoseconds(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.origin))
    }

    fn instant(&self, deadline: u64) -> Instant {
        self.origin + Duration::from_nanos(deadline)
    }
}

/// Which end of its endpoint's list a connection goes to.
enum End {
    Front,
    Back,
}

impl Linked for Binding {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Expiring for Binding {
    fn place(&mut self) -> &mut u32 {
        &mut self.place
    }
}

impl<H> Linked for Connection<H> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<H> Expiring for Connection<H> {
    fn place(&mut self) -> &mut u32 {
        &mut self.place
    }
}

/// Frees what thousands of entries needed when the last of them is gone.
pub(crate) fn give_back<T>(entries: &mut Slab<T>) {
    const KEPT: usize = 1024;
    if entries.is_empty() && entries.capacity() > KEPT {
        *entries = Slab::new();
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
