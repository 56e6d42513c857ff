//! Slots of clients: who is closed for whom, and who waits.

use std::time::{Duration, Instant};

use scache_engine::{Failure, Transport};
use scache_proto::entries::Happening;

use super::clients::Peer;
use super::handoffs::HandOff;
use super::{Draining, Oracle};
use crate::session::{State, Step};
use crate::trace::Asked;
use crate::world::{Fd, World};

/// Somebody who was accepted and has no slot.
#[derive(Debug)]
pub struct Waiting {
    fd: Fd,
    user: Option<u32>,
    is_privileged: bool,
}

/// How many may wait.
const WAITING: usize = 16;

/// How long a client that has said nothing, or hands over its cache, is left in peace.
const FIRST_WORD: Duration = Duration::from_secs(1);

/// What is known of how a client spends its time.
#[derive(Debug)]
pub struct Leisure {
    /// Counts what clients did: who has the least did nothing for the longest.
    order: u64,
    /// When it did something last.
    pub since: Instant,
    /// Since when it has been busy, as far as was seen.
    pub busy_since: Option<Instant>,
    /// It said something that was not read yet.
    speaks: bool,
    /// Its turn may have been cut short since it did something: when it became idle was not seen.
    pub is_uncertain: bool,
    pub served: bool,
    hands_over: bool,
    is_privileged: bool,
}

impl Leisure {
    pub fn new(now: Instant, is_privileged: bool) -> Self {
        Self {
            order: 0,
            since: now,
            busy_since: None,
            speaks: false,
            is_uncertain: false,
            served: false,
            hands_over: false,
            is_privileged,
        }
    }

    /// When it may be closed, if it stays idle.
    fn begins(&self) -> Instant {
        if self.served && !(self.hands_over && self.is_privileged) {
            self.since
        } else {
            self.since + FIRST_WORD
        }
    }

    /// Whether what it asked for last was to keep something that is handed over.
    pub fn hands_over(&self) -> bool {
        self.hands_over && self.is_privileged
    }

    pub fn asked(&mut self, asked: &Asked) {
        self.served = true;
        self.hands_over = match asked {
            Asked::SaveEndpoint { ttl, .. }
            | Asked::SaveDestination { ttl, .. }
            | Asked::Save { ttl, .. } => ttl.subsec_millis() > 0,
            _ => false,
        };
    }
}

impl Peer {
    pub fn is_idle(&self) -> bool {
        let session = &self.session;
        matches!(session.state, State::Idle)
            && session.began.is_none()
            && session.input.is_empty()
            && session.is_answered()
            && session.delivered.is_empty()
            && !session.broken
    }

    /// Whether it is known to be idle: nothing is left for another turn of it.
    fn has_leisure(&self) -> bool {
        let leisure = &self.leisure;
        self.is_idle() && !leisure.speaks && !leisure.is_uncertain && !self.may_be_owed()
    }
}

impl Oracle {
    /// How many have slots.
    pub fn served(&self) -> usize {
        self.peers.len() + self.handoffs.len()
    }

    pub fn slots(&self) -> usize {
        self.settings.client_limit.max(1)
    }

    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_privileged(&self, user: Option<u32>) -> bool {
        user.is_some_and(|user| user == 0 || user == self.settings.own_user)
    }

    /// Somebody was accepted. Whether it waits for a slot.
    pub(super) fn waits(&mut self, fd: Fd, user: Option<u32>) -> bool {
        if self.served() < self.slots() && self.waiting.is_empty() {
            return false;
        }
        self.waiting.push_back(Waiting {
            fd,
            user,
            is_privileged: self.is_privileged(user),
        });
        assert!(self.waiting.len() <= WAITING + 1, "too many wait");
        true
    }

    /// Somebody who waited is to be served.
    pub(super) fn gets_slot(&mut self, world: &World, fd: Fd) {
        let Some(place) = self.waiting.iter().position(|waiting| waiting.fd == fd) else {
            return;
        };
        self.finish_turn();
        let taken = self.served();
        if taken < self.slots() {
            assert_eq!(place, 0, "{fd} is not the first");
        } else {
            assert_eq!(taken, self.slots(), "there is no slot");
            let mut before = self.waiting.range(..place);
            assert!(
                self.waiting[place].is_privileged && before.all(|other| !other.is_privileged),
                "the slot is not for {fd}"
            );
        }
        self.waiting.remove(place);
        self.serve(world, fd);
    }

    /// A client or somebody who hands one on is served from now on.
    pub(super) fn serve(&mut self, world: &World, fd: Fd) {
        if self.transport == Transport::Pass {
            let deadline = self.now + self.settings.request_timeout;
            self.handoffs.insert(fd, HandOff::new(deadline));
            self.count_clients();
            self.idle_since = None;
        } else {
            self.greet(world, fd);
        }
    }

    /// One of those who wait is sent away.
    pub(super) fn refused(&mut self) {
        assert!(self.waiting.len() > WAITING, "there is room to wait");
        let of_user = |user| {
            self.waiting
                .iter()
                .filter(|other| other.user == user)
                .count()
        };
        let most = self
            .waiting
            .iter()
            .map(|waiting| of_user(waiting.user))
            .max();
        let last = self
            .waiting
            .iter()
            .rposition(|waiting| Some(of_user(waiting.user)) == most);
        let refused = self.waiting.remove(last.unwrap()).unwrap();
        self.book.count("clients_refused_full", 1);
        self.is_shut(refused.fd);
    }

    /// The process ends: nobody waits any more.
    pub(super) fn dismissed(&mut self, fd: Fd) {
        if let Some(place) = self.waiting.iter().position(|waiting| waiting.fd == fd) {
            assert!(self.end.is_some(), "{fd} is sent away");
            self.waiting.remove(place);
            self.is_shut(fd);
        }
    }

    pub(super) fn is_shut(&mut self, fd: Fd) {
        self.doomed.push(fd);
        self.drains = Some(Draining::new(fd));
    }

    /// A client did something.
    pub(super) fn acts(&mut self, fd: Fd) {
        self.acts += 1;
        let (acts, now) = (self.acts, self.now);
        let leisure = &mut self.peer(fd).leisure;
        leisure.order = acts;
        leisure.since = now;
        leisure.speaks = false;
        leisure.is_uncertain = false;
    }

    /// A client is looked at: somebody needs a slot.
    pub(super) fn looked_at(&mut self, fd: Fd, result: Result<usize, Failure>) {
        self.looked_at = Some(fd);
        let now = self.now;
        if let (Some(peer), Ok(1..)) = (self.peers.get_mut(&fd), result) {
            peer.leisure.speaks = true;
            peer.leisure.busy_since.get_or_insert(now);
        }
    }

    /// A client was closed without a reason of its own: somebody else needs its slot.
    pub(super) fn makes_slot(&mut self, fd: Fd, peer: &mut Peer) {
        assert!(
            self.end.is_none() && !self.waiting.is_empty(),
            "{fd} is parted from without reason"
        );
        // What nobody is told of may not have been looked at here yet.
        let mut next = peer.session.clone();
        if !next.is_uncertain() && matches!(next.look_ahead(), Step::Stuck) {
            peer.session = next;
        }
        // This one is counted no more.
        assert!(self.served() + 1 >= self.slots(), "there is a slot");
        let others = self.peers.values().filter(|peer| peer.has_leisure());
        if std::mem::take(&mut self.overdue) {
            let busy_since = peer.leisure.busy_since.expect("it is idle");
            assert!(
                busy_since + self.settings.request_timeout <= self.now,
                "{fd} may go on"
            );
            return;
        }
        assert!(
            peer.is_idle() && !peer.leisure.speaks,
            "{fd} is not idle: {peer:?}"
        );
        assert_eq!(self.looked_at.take(), Some(fd), "{fd} was not looked at");
        assert!(peer.leisure.begins() <= self.now, "{fd} has just come");
        for other in others.filter(|_| !peer.leisure.is_uncertain) {
            assert!(
                other.leisure.order >= peer.leisure.order,
                "{other:?} was idle for longer than {peer:?}"
            );
        }
        self.book.count("clients_closed_idle", 1);
        let why = b"idle, closed to make room for another client";
        self.book
            .happens(self.now, Happening::ClientDropped, b"", why);
    }

    /// When somebody who waits has to get a slot.
    pub(super) fn slot_due(&self) -> Option<Instant> {
        if self.waiting.is_empty() || self.end.is_some() {
            return None;
        }
        // One of which it is not known when it became idle may be the first, and may be left in peace. One that speaks and
        // cannot be read counts as idle anew after each attempt.
        let is_unknown = |peer: &Peer| peer.leisure.is_uncertain || peer.leisure.speaks;
        if self.peers.values().any(is_unknown) {
            return None;
        }
        let idle = self.peers.values().filter(|peer| peer.has_leisure());
        let longest = idle.min_by_key(|peer| peer.leisure.order);
        longest.map(|peer| peer.leisure.begins())
    }

    /// A pass is over: who is busy has been so since then at the latest.
    pub(super) fn note_busy(&mut self) {
        let now = self.now;
        for peer in self.peers.values_mut() {
            if peer.has_leisure() {
                peer.leisure.busy_since = None;
            } else {
                peer.leisure.busy_since.get_or_insert(now);
            }
        }
    }
}
