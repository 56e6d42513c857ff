//! What leaves the store because its time is over or because others need room.
//!
//! Any number of entries can expire at one instant, and whoever asks next must not wait for all of them. So a limited
//! number leaves at each time that the store is told. The others are still counted but never given out, and if they
//! make room for something they have expired, not been evicted.

use std::time::Instant;

use super::Store;
use crate::Reason;
use crate::deadlines::Deadlines;
use crate::list::NONE;

/// How many may still be expired before the store is told of a later time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expiring {
    connections: usize,
    bindings: usize,
}

impl Default for Expiring {
    fn default() -> Self {
        Self {
            connections: 64,
            bindings: 256,
        }
    }
}

/// Entries that make room for the names and properties of one save at most: a few times what it can be long, if
/// entries are of ordinary length. What is missing then is made up for by the saves that follow.
const EVICTED_FOR_BYTES: usize = 256;

impl<H> Store<H> {
    /// Forgets bindings and releases connections whose deadline is `now` or was before: 256 and 64 at most, until a later
    /// time is told. Those left are not given out.
    pub fn expire(&mut self, now: Instant) {
        let now = self.nanoseconds(now);
        if now > self.expires_at {
            self.expires_at = now;
            self.expiring = Expiring::default();
        }
        while self.expiring.bindings > 0 {
            let Some(slot) = self.binding_deadlines.overdue(now) else {
                break;
            };
            self.expiring.bindings -= 1;
            self.unbind(slot);
            self.tally.bindings_expired += 1;
        }
        while self.expiring.connections > 0 {
            let Some(slot) = self.connection_deadlines.overdue(now) else {
                break;
            };
            self.expiring.connections -= 1;
            self.release(slot, Reason::Expired);
        }
    }

    /// Releases the connection that is the soonest to expire. Whether there was one.
    pub fn evict(&mut self) -> bool {
        match self.evict_soonest() {
            Some(Reason::Evicted) => self.tally.evicted_on_demand += 1,
            Some(_) => {}
            None => return false,
        }
        true
    }

    /// Returns whether the deadline at a place has passed.
    pub(super) fn is_overdue(&self, deadlines: &Deadlines, place: u32) -> bool {
        deadlines.of(place) <= self.expires_at
    }

    /// Evicts until one more connection is within the limits. The endpoint itself stays known.
    pub(super) fn make_room_for_connection(&mut self, endpoint: u32) {
        self.endpoints.record_mut(endpoint).bound += 1;
        let of_one = self.limits.connections_per_endpoint;
        while of_one > 0 && self.endpoints.record(endpoint).connections.length() >= of_one {
            let soonest = self.soonest_of(endpoint);
            if self.evict_connection(soonest) == Reason::Evicted {
                self.tally.evicted_for_endpoint += 1;
            }
        }
        while self.connections.len() >= self.limits.connections.max(1) {
            let Some(reason) = self.evict_soonest() else {
                break;
            };
            self.tally.evicted_for_connections += u64::from(reason == Reason::Evicted);
        }
        self.endpoints.record_mut(endpoint).bound -= 1;
    }

    /// Lets go of what expires soonest, connection or binding, until these strings are within the limit.
    pub(super) fn make_room_for_bytes(&mut self, strings: &[&[u8]]) {
        let more: usize = strings.iter().map(|string| string.len()).sum();
        for _ in 0..EVICTED_FOR_BYTES {
            if self.bytes() + more <= self.limits.bytes {
                return;
            }
            let binding = self.binding_deadlines.soonest();
            match (binding, self.connection_deadlines.soonest()) {
                (None, None) => return,
                (Some((binding, slot)), connection)
                    if connection.is_none_or(|(connection, _)| binding <= connection) =>
                {
                    self.evict_binding(slot);
                }
                _ => {
                    let reason = self.evict_soonest();
                    self.tally.evicted_for_bytes += u64::from(reason == Some(Reason::Evicted));
                }
            }
        }
    }

    /// Forgets a binding that makes room.
    pub(super) fn evict_binding(&mut self, slot: u32) {
        let place = self.bindings[slot as usize].place;
        if self.is_overdue(&self.binding_deadlines, place) {
            self.tally.bindings_expired += 1;
        } else {
            self.tally.bindings_evicted += 1;
        }
        self.unbind(slot);
    }

    fn evict_soonest(&mut self) -> Option<Reason> {
        let (_, slot) = self.connection_deadlines.soonest()?;
        Some(self.evict_connection(slot))
    }

    /// Releases a connection that makes room. For what reason.
    fn evict_connection(&mut self, slot: u32) -> Reason {
        let place = self.connections[slot as usize].place;
        let reason = if self.is_overdue(&self.connection_deadlines, place) {
            Reason::Expired
        } else {
            Reason::Evicted
        };
        self.release(slot, reason);
        reason
    }

    /// What all names and properties take.
    pub(super) fn bytes(&self) -> usize {
        self.destinations.bytes() + self.endpoints.bytes() + self.property_bytes
    }

    fn soonest_of(&mut self, endpoint: u32) -> u32 {
        let first = self.endpoints.record(endpoint).connections.first;
        let (mut soonest, mut soonest_deadline) = (first, u64::MAX);
        let mut slot = first;
        while slot != NONE {
            self.steps += 1;
            let connection = &self.connections[slot as usize];
            let deadline = self.connection_deadlines.of(connection.place);
            if deadline < soonest_deadline {
                (soonest, soonest_deadline) = (slot, deadline);
            }
            slot = connection.links.next;
        }
        soonest
    }
}
