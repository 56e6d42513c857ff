//! Finds that wait for what another process hands over.

use std::time::{Duration, Instant};

use super::Oracle;
use crate::session::{State, Step};
use crate::trace::Asked;
use crate::world::Fd;

/// How long a find waits at most, and how long more is expected after something was handed over.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct Arrivals {
    /// More may be handed over until then, for all that is known.
    until: Option<Instant>,
    /// The same, if it is certain: known before this pass, and not over.
    certain_until: Option<Instant>,
    /// Who handed over last.
    giver: Option<Fd>,
    /// Something happened in this pass that others may have waited for: they may be served in the next one only.
    has_changed: bool,
}

impl Arrivals {
    pub fn new(now: Instant, expects_entries: bool) -> Self {
        let until = expects_entries.then(|| now + PATIENCE);
        Self {
            until,
            certain_until: until,
            giver: None,
            has_changed: false,
        }
    }

    pub fn are_over(&mut self) {
        self.until = None;
        self.certain_until = None;
        self.giver = None;
        self.has_changed = true;
    }

    pub fn are_possible(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

impl Oracle {
    /// A request is carried out.
    pub(super) fn note_arrival(&mut self, fd: Fd, asked: &Asked) {
        let now = self.now;
        let peer = &self.peers[&fd];
        let may_wait = peer.postponed_at.is_none_or(|at| now < at + PATIENCE);
        let arrivals = &self.arrivals;
        let is_certain = arrivals.certain_until.is_some_and(|until| now < until);
        if is_certain && may_wait && !peer.may_be_postponed {
            assert!(!self.lacks(asked), "{asked:?} does not wait");
        }
        self.peer(fd).postponed_at = None;
        self.peer(fd).may_be_postponed = false;
        self.arrivals.has_changed = true;
        if self.peers[&fd].leisure.hands_over() {
            self.arrivals.giver = Some(fd);
            self.arrivals.until = Some(now + PATIENCE);
        }
    }

    /// A client is parted from.
    pub(super) fn giver_parts(&mut self, fd: Fd) {
        self.arrivals.has_changed = true;
        if self.arrivals.giver == Some(fd) {
            self.arrivals.are_over();
        }
    }

    /// A pass is over.
    pub(super) fn note_giver(&mut self) {
        self.arrivals.has_changed = false;
        self.arrivals.certain_until = self.arrivals.until;
    }

    /// Whether nothing is to be done for a client before more is read or written, but what nobody is told of. Where
    /// that was not seen a find may have been put off.
    pub(super) fn comes_to_rest(&mut self, fd: Fd) -> bool {
        let session = &self.peers[&fd].session;
        if session.is_uncertain() {
            return true;
        }
        let mut next = session.clone();
        let (rests, waits) = match next.look_ahead() {
            Step::Stuck => (true, false),
            Step::Request(asked, None) => {
                let waits = self.arrivals.are_possible(self.now) && self.lacks(&asked);
                (waits, waits)
            }
            _ => (false, false),
        };
        let peer = self.peer(fd);
        if rests {
            peer.session = next;
        }
        peer.may_be_postponed |= waits;
        rests
    }

    /// Puts off what a client asks for next, if that may be.
    pub(super) fn postpones(&mut self, fd: Fd, asked: &Asked) -> bool {
        let now = self.now;
        let peer = &self.peers[&fd];
        let is_in_time = peer.postponed_at.is_none_or(|at| now < at + PATIENCE);
        let may_be_postponed = peer.postponed_at.is_some() || peer.may_be_postponed;
        let is_behind = self.arrivals.has_changed && may_be_postponed;
        let waits = self.arrivals.are_possible(now) && self.lacks(asked);
        if !is_in_time || !waits && !is_behind {
            return false;
        }
        let peer = self.peer(fd);
        peer.postponed_at.get_or_insert(now);
        peer.session.state = State::Postponed(asked.clone());
        true
    }

    /// When those who wait are to be served.
    pub(super) fn postponed_until(&self) -> Option<Instant> {
        let peers = self.peers.values();
        let since = peers.filter_map(|peer| peer.postponed_at).min()?;
        Some(since + PATIENCE)
    }

    /// Whether this is a find that comes to nothing.
    fn lacks(&self, asked: &Asked) -> bool {
        let is_left = |deadline: Instant| deadline > self.now;
        let has = |endpoint: &[u8]| {
            let mut entries = self.cache.entries.iter();
            entries.any(|entry| entry.endpoint == endpoint && is_left(entry.deadline))
        };
        let leads = |destination: &[u8]| {
            let mut bindings = self.cache.bindings.iter();
            bindings.any(|bound| {
                bound.destination == destination && is_left(bound.deadline) && has(&bound.endpoint)
            })
        };
        match asked {
            Asked::FindEndpoint(endpoint) => !has(endpoint),
            Asked::FindDestination(destination) => !leads(destination),
            Asked::Find {
                destination,
                endpoints,
            } => !leads(destination) && !endpoints.iter().any(|endpoint| has(endpoint)),
            _ => false,
        }
    }
}
