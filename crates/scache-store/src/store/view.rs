//! The store seen from outside: a part at a time, so that nobody else waits long, and without changing it; and
//! what is picked out of it by name.
//!
//! Places do not move: what is there all the time while somebody goes through all parts is seen once.

use std::time::Instant;

use scache_proto::administration::{Names, Purged};

use super::Store;
use crate::busiest::Busiest;
use crate::list::NONE;
use crate::{BindingView, ConnectionView, DestinationView, Reason};

/// Where the next part begins, if there is one.
type Next = Option<u32>;

/// Places of bindings come behind all places of connections.
const BINDINGS: u64 = 1 << 32;

impl<H> Store<H> {
    /// Looks at `places` places of connections from one on, until `look` has had enough (`false`). Where to go
    /// on.
    pub fn look_at_connections(
        &self,
        now: Instant,
        from: u32,
        places: usize,
        mut look: impl FnMut(ConnectionView<'_, H>) -> bool,
    ) -> Next {
        let now = self.nanoseconds(now);
        walk(from, places, self.connections.capacity(), |slot| {
            self.connections
                .get(slot as usize)
                .filter(|connection| !self.is_overdue(&self.connection_deadlines, connection.place))
                .is_none_or(|connection| {
                    look(ConnectionView {
                        slot,
                        endpoint: self.endpoints.name(connection.endpoint),
                        deadline: self.instant(self.connection_deadlines.of(connection.place)),
                        age: connection.generation.age(now),
                        handle: &connection.handle,
                    })
                })
        })
    }

    /// The same with bindings.
    pub fn look_at_bindings(
        &self,
        from: u32,
        places: usize,
        mut look: impl FnMut(BindingView<'_>) -> bool,
    ) -> Next {
        walk(from, places, self.bindings.capacity(), |slot| {
            let binding = self.bindings.get(slot as usize);
            let binding =
                binding.filter(|binding| !self.is_overdue(&self.binding_deadlines, binding.place));
            binding.is_none_or(|binding| {
                look(BindingView {
                    slot,
                    destination: self.destinations.name(binding.destination),
                    endpoint: self.endpoints.name(binding.endpoint),
                    deadline: self.instant(self.binding_deadlines.of(binding.place)),
                })
            })
        })
    }

    /// The same with the destinations that were asked for most, whether they are bound now or not.
    pub fn look_at_destinations(
        &self,
        from: u32,
        places: usize,
        mut look: impl FnMut(DestinationView<'_>) -> bool,
    ) -> Next {
        walk(from, places, Busiest::MOST, |slot| {
            self.busiest.at(slot).is_none_or(|(destination, asked)| {
                look(DestinationView {
                    slot,
                    destination,
                    hits: asked.hits,
                    misses: asked.misses,
                })
            })
        })
    }

    /// Returns whether an endpoint has connections that have not expired.
    pub fn has_connections(&self, endpoint: &[u8]) -> bool {
        let number = self.endpoints.find(endpoint);
        number.is_some_and(|number| self.is_open(number))
    }

    /// Returns whether a destination is bound to an endpoint that has such connections.
    pub fn leads_somewhere(&self, destination: &[u8]) -> bool {
        let number = self.destinations.find(destination);
        number.is_some_and(|number| {
            let mut endpoints = self.endpoints_of(number).flatten();
            endpoints.any(|endpoint| self.is_open(endpoint))
        })
    }

    fn is_open(&self, endpoint: u32) -> bool {
        let mut slot = self.endpoints.record(endpoint).connections.first;
        let mut connections = std::iter::from_fn(|| {
            let connection = self.connections.get(slot as usize);
            let connection = connection.filter(|_| slot != NONE)?;
            slot = connection.links.next;
            Some(connection.place)
        });
        connections.any(|place| !self.is_overdue(&self.connection_deadlines, place))
    }

    /// Walks the bindings of a destination: the endpoint of each, `None` for one that has expired.
    fn endpoints_of(&self, destination: u32) -> impl Iterator<Item = Option<u32>> {
        let mut slot = self.destinations.record(destination).bindings.first;
        std::iter::from_fn(move || {
            let binding = self.bindings.get(slot as usize).filter(|_| slot != NONE)?;
            slot = binding.links.next;
            let is_overdue = self.is_overdue(&self.binding_deadlines, binding.place);
            Some((!is_overdue).then_some(binding.endpoint))
        })
    }

    /// Returns how many connections a find of a destination would go through, and how many bindings were walked to know
    /// that: [`crate::Limits::bindings_per_destination`] at most.
    pub fn connections_of(&self, destination: &[u8]) -> (usize, usize) {
        let Some(destination) = self.destinations.find(destination) else {
            return (0, 0);
        };
        let mut walked = 0;
        let bindings = self.endpoints_of(destination).inspect(|_| walked += 1);
        let mut endpoints: Vec<u32> = bindings.flatten().collect();
        // Bindings of different properties may lead to one endpoint.
        endpoints.sort_unstable();
        endpoints.dedup();
        let lengths = endpoints
            .iter()
            .map(|endpoint| self.endpoints.record(*endpoint).connections.length());
        (lengths.sum(), walked)
    }

    /// Lets go of the connections whose endpoint has one of these names, and of the bindings whose destination
    /// or endpoint has, looking at `places` places at most and letting go of `most` connections at most.
    pub fn purge(&mut self, names: &Names<'_>, from: u64, places: usize, most: usize) -> Purged {
        let mut purged = Purged::default();
        let mut at = from;
        for _ in 0..places {
            if at < BINDINGS {
                if at as usize >= self.connections.capacity() {
                    at = BINDINGS;
                    continue;
                }
                if purged.connections == most as u64 {
                    break;
                }
                let slot = at as u32;
                let connection = self.connections.get(slot as usize);
                if connection.is_some_and(|connection| {
                    names.contain(self.endpoints.name(connection.endpoint))
                }) {
                    self.release(slot, Reason::Purged);
                    purged.connections += 1;
                }
            } else {
                let slot = at - BINDINGS;
                if slot as usize >= self.bindings.capacity() {
                    return purged;
                }
                let binding = self.bindings.get(slot as usize);
                if binding.is_some_and(|binding| {
                    names.contain(self.destinations.name(binding.destination))
                        || names.contain(self.endpoints.name(binding.endpoint))
                }) {
                    self.unbind(slot as u32);
                    purged.bindings += 1;
                }
            }
            at += 1;
        }
        purged.next = Some(at);
        purged
    }
}

/// Goes through `places` places from one on, of all before `end`, until `goes_on` says no. Where to go on.
fn walk(from: u32, places: usize, end: usize, mut goes_on: impl FnMut(u32) -> bool) -> Next {
    let from = from as usize;
    let last = from.saturating_add(places).min(end);
    let stopped_at = (from..last).find(|slot| !goes_on(*slot as u32));
    let next = stopped_at.map_or(last, |slot| slot + 1);
    (next < end).then(|| u32::try_from(next).ok()).flatten()
}
