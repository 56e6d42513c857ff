//! Slots of clients: who gets one when all are taken.
//!
//! There are as many as [`crate::Settings::client_limit`] says, and one more, which only root and the user of this
//! process may have. When they are taken, the client that has been between two requests the longest is closed: a
//! client library connects again when it wants something. If nobody is idle, a client that has not been idle for as
//! long as a request may take is closed.
//!
//! The user of a client is known only when it was accepted, and then it cannot be put back. So a few clients are
//! accepted without being served, and wait for a slot. When those places are taken too, the others wait in the
//! backlog, but not when nobody got a slot for a second: root may be among them, so all are accepted then,
//! and the user who has the most clients that wait loses the last of those.

use std::time::{Duration, Instant};

use super::{Engine, Transport};
use crate::peers::Peer;
use crate::{Complaint, Host, Kernel, Key};

/// Slots beyond the limit, for root and the user of this process.
const RESERVED: usize = 1;

/// Clients that may wait without being served.
const WAITING: usize = 16;

/// How long nobody may get a slot before others are accepted to see whether root is among them.
const STANDSTILL: Duration = Duration::from_secs(1);

/// How long a client that has just connected may take to say something, and a process that hands over its cache to go
/// on, before it counts as idle.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// How many idle clients are looked at in one go for one that has said nothing meanwhile.
const LOOKED_AT: usize = 16;

/// A client that was accepted and waits for a slot.
#[derive(Debug)]
pub(super) struct Waiting<D> {
    socket: D,
    transport: Transport,
    user: Option<u32>,
    since: Instant,
}

/// What closing somebody to make room came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Room {
    Made,
    /// There may be some at this time, if nobody leaves before.
    NotBefore(Instant),
    None,
}

impl<K: Kernel, H: Host> Engine<K, H> {
    /// Returns whether it is worth accepting somebody: there may be a slot, or a place to wait.
    pub(super) fn has_place(&mut self, now: Instant) -> bool {
        let taken = self.peers.len();
        if taken < self.slots() {
            return true;
        }
        if taken >= self.slots() + RESERVED && !self.may_make_slot(now) {
            return false;
        }
        match self.waiting.front() {
            Some(first) if self.waiting.len() >= WAITING => {
                let is_still = first.since + STANDSTILL <= now;
                if !is_still {
                    self.retry_in(first.since + STANDSTILL - now, now);
                }
                is_still
            }
            _ => true,
        }
    }

    /// Gives slots to those who wait for one, the first first, as far as there are any.
    pub(super) fn admit_waiting(&mut self, now: Instant) {
        while !self.waiting.is_empty() {
            let first = if self.find_slot(now) {
                Some(0)
            } else {
                self.place_in_reserve()
            };
            let Some(waiting) = first.and_then(|place| self.waiting.remove(place)) else {
                self.full = true;
                return;
            };
            self.serve_peer(waiting.socket, waiting.transport, now);
        }
    }

    /// Gives somebody who was accepted a slot, or lets it wait.
    pub(super) fn place_client(
        &mut self,
        socket: K::Descriptor,
        transport: Transport,
        now: Instant,
    ) {
        if self.peers.len() < self.slots() && self.waiting.is_empty() {
            self.serve_peer(socket, transport, now);
            return;
        }
        let user = self.kernel.user(&socket);
        self.waiting.push_back(Waiting {
            socket,
            transport,
            user,
            since: now,
        });
        self.admit_waiting(now);
        if self.waiting.is_empty() {
            return;
        }
        self.host.complain(now, Complaint::ClientLimit);
        if self.waiting.len() > WAITING {
            self.refuse_one(now);
        }
    }

    /// Closes all who wait for a slot.
    pub(super) fn dismiss_waiting(&mut self) {
        for waiting in std::mem::take(&mut self.waiting) {
            self.shut(&waiting.socket);
        }
    }

    /// Another client is the first that may be closed, or one is gone: whoever waits may get its slot.
    pub(super) fn offer_slot(&mut self, now: Instant) {
        if std::mem::take(&mut self.full) {
            self.retry_in(Duration::ZERO, now);
        }
    }

    /// Returns whether there is a slot for anybody, after closing somebody if need be.
    fn find_slot(&mut self, now: Instant) -> bool {
        while self.peers.len() >= self.slots() {
            match self.make_slot(now) {
                Room::Made => {}
                Room::NotBefore(at) => {
                    self.retry_in(at.saturating_duration_since(now), now);
                    return false;
                }
                Room::None => return false,
            }
        }
        true
    }

    /// Returns who of those who wait may have the reserved slot, if that is free.
    fn place_in_reserve(&self) -> Option<usize> {
        let is_free = self.peers.len() < self.slots() + RESERVED;
        let is_privileged = |waiting: &Waiting<_>| {
            waiting
                .user
                .is_some_and(|user| self.settings.is_privileged(user))
        };
        self.waiting
            .iter()
            .position(is_privileged)
            .filter(|_| is_free)
    }

    /// Returns whether [`Engine::make_slot`] would find somebody to close, as far as is known without looking.
    fn may_make_slot(&mut self, now: Instant) -> bool {
        if self.end.is_some() {
            return false;
        }
        let idle = self.peers.longest_idle();
        let busy = self.peers.longest_busy();
        let soonest = [
            idle.map(|(key, since)| self.leisure_begins(key, since)),
            busy.and_then(|(_, since)| since.checked_add(self.settings.request_timeout)),
        ];
        match soonest.into_iter().flatten().min() {
            Some(at) if at <= now => true,
            Some(at) => {
                self.retry_in(at - now, now);
                false
            }
            None => false,
        }
    }

    /// Closes the client that has been idle the longest, or else one that has been busy for too long.
    fn make_slot(&mut self, now: Instant) -> Room {
        // All are closed soon, and one of them may be about to take over.
        if self.end.is_some() {
            return Room::None;
        }
        let mut soonest = None;
        for _ in 0..LOOKED_AT {
            let Some((key, since)) = self.peers.longest_idle() else {
                break;
            };
            let begins = self.leisure_begins(key, since);
            if begins > now {
                soonest = Some(begins);
                break;
            }
            let Some(peer) = self.peers.find(key) else {
                break;
            };
            if let Ok(1..) = self.kernel.peek(peer.socket(), &mut [0]) {
                // Its turn comes with its event.
                self.peers.set_busy(key, now);
                continue;
            }
            self.cache.closed_idle_client(now);
            self.part(key, now);
            return Room::Made;
        }
        let busy = self.peers.longest_busy().and_then(|(key, since)| {
            let ends = since.checked_add(self.settings.request_timeout)?;
            Some((key, ends))
        });
        match busy {
            Some((key, ends)) if ends <= now => {
                let deadline = self.peers.find(key).and_then(|peer| peer.deadline());
                let why = match deadline {
                    Some(deadline) if deadline <= now => Complaint::Timeout,
                    _ => Complaint::KeepsSlot,
                };
                self.host.complain(now, why);
                self.cache.client_dropped(now, why);
                self.part(key, now);
                Room::Made
            }
            busy => {
                let ends = busy.map(|(_, ends)| ends);
                let soonest = [soonest, ends].into_iter().flatten().min();
                soonest.map_or(Room::None, Room::NotBefore)
            }
        }
    }

    /// Returns from when on an idle client may be closed.
    fn leisure_begins(&mut self, key: Key, since: Instant) -> Instant {
        let Some(Peer::Client(client)) = self.peers.find(key) else {
            return since;
        };
        let hands_over = client.hands_over() && {
            let user = self.kernel.user(client.socket());
            user.is_some_and(|user| self.settings.is_privileged(user))
        };
        if client.served() && !hands_over {
            since
        } else {
            since + FIRST_WORD
        }
    }

    /// Closes the last of those who wait and are of the user that has the most of them.
    fn refuse_one(&mut self, now: Instant) {
        let of_user = |user| {
            self.waiting
                .iter()
                .filter(|other| other.user == user)
                .count()
        };
        let last = (0..self.waiting.len()).max_by_key(|place| of_user(self.waiting[*place].user));
        if let Some(waiting) = last.and_then(|place| self.waiting.remove(place)) {
            self.host.complain(now, Complaint::TooManyWait);
            self.cache.stats_mut().clients_refused_full += 1;
            self.shut(&waiting.socket);
        }
    }

    fn slots(&self) -> usize {
        self.settings.client_limit.max(1)
    }
}
