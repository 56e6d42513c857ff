//! The store seen from outside: a part at a time, so that nobody else waits long, and without changing it; and
//! what is picked out of it by name.
//!
//! Places do not move: what is there all the time while somebody goes through all parts is seen once.

use std::collections::BTreeSet;

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
        let end = self.connections.capacity();
        let now = self.nanoseconds(now);
        for slot in (from as usize..end).take(places) {
            let Some(connection) = self.connections.get(slot) else {
                continue;
            };
            let goes_on = look(ConnectionView {
                slot: slot as u32,
                endpoint: self.endpoints.name(connection.endpoint),
                deadline: self.instant(self.connection_deadlines.of(connection.place)),
                age: connection.generation.age(now),
                handle: &connection.handle,
            });
            if !goes_on {
                return place(slot + 1, end);
            }
        }
        place(from as usize + places, end)
    }

    /// The same with bindings.
    pub fn look_at_bindings(
        &self,
        from: u32,
        places: usize,
        mut look: impl FnMut(BindingView<'_>) -> bool,
    ) -> Next {
        let end = self.bindings.capacity();
        for slot in (from as usize..end).take(places) {
            let Some(binding) = self.bindings.get(slot) else {
                continue;
            };
            let goes_on = look(BindingView {
                slot: slot as u32,
                destination: self.destinations.name(binding.destination),
                endpoint: self.endpoints.name(binding.endpoint),
                deadline: self.instant(self.binding_deadlines.of(binding.place)),
            });
            if !goes_on {
                return place(slot + 1, end);
            }
        }
        place(from as usize + places, end)
    }

    /// The same with the destinations that were asked for most, whether they are bound now or not.
    pub fn look_at_destinations(
        &self,
        from: u32,
        places: usize,
        mut look: impl FnMut(DestinationView<'_>) -> bool,
    ) -> Next {
        let end = Busiest::MOST;
        for slot in (from as usize..end).take(places) {
            let slot = slot as u32;
            let Some((destination, asked)) = self.busiest.at(slot) else {
                continue;
            };
            let goes_on = look(DestinationView {
                slot,
                destination,
                hits: asked.hits,
                misses: asked.misses,
                connections: self.connections_of(destination),
            });
            if !goes_on {
                return place(slot as usize + 1, end);
            }
        }
        place(from as usize + places, end)
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

    fn connections_of(&self, destination: &[u8]) -> usize {
        let Some(destination) = self.destinations.find(destination) else {
            return 0;
        };
        let mut slot = self.destinations.record(destination).bindings.first;
        let bindings = std::iter::from_fn(|| {
            let binding = self.bindings.get(slot as usize).filter(|_| slot != NONE)?;
            slot = binding.links.next;
            Some(binding.endpoint)
        });
        // Bindings of different properties may lead to one endpoint.
        let endpoints: BTreeSet<u32> = bindings.collect();
        endpoints
            .into_iter()
            .map(|endpoint| self.endpoints.record(endpoint).connections.length())
            .sum()
    }
}

fn place(next: usize, end: usize) -> Next {
    (next < end).then(|| u32::try_from(next).ok()).flatten()
}
