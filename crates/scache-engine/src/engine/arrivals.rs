//! Finds that wait for entries which another process hands over.
//!
//! After a reload or a take-over clients ask this process for what the one before has not handed over yet. A find that
//! would come to nothing is put off while that goes on, for [`ENTRIES_PATIENCE`] at most. A process that may have had
//! one before it expects a hand-over for so long after its start, since clients may be faster to connect.

use std::collections::BTreeSet;
use std::time::Instant;

use super::Engine;
use crate::client::ENTRIES_PATIENCE;
use crate::peers::Peer;
use crate::{Host, Kernel, Key};

/// Who waits, and for how long that makes sense.
#[derive(Debug)]
pub(super) struct Arrivals {
    /// Until then more may be handed over.
    until: Option<Instant>,
    /// The client that hands over.
    giver: Option<Key>,
    /// Clients whose find is put off.
    waiting: BTreeSet<Key>,
    /// When the first of them has waited long enough.
    due: Option<Instant>,
    /// Something happened since they had their turns that they may have waited for.
    is_behind: bool,
}

impl Arrivals {
    pub(super) fn new(expected_until: Option<Instant>) -> Self {
        Self {
            until: expected_until,
            giver: None,
            waiting: BTreeSet::new(),
            due: None,
            is_behind: false,
        }
    }

    /// Returns whether finds may wait.
    pub(super) fn are_expected(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Nothing more will be handed over.
    pub(super) fn are_over(&mut self) {
        self.until = None;
        self.giver = None;
        self.is_behind = true;
    }

    /// Returns when those who wait are to be served at the latest.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let until = self.until.filter(|_| !self.waiting.is_empty());
        self.due.into_iter().chain(until).min()
    }

    /// Takes note that a client is gone.
    pub(super) fn parted(&mut self, key: Key) {
        self.is_behind = true;
        if self.giver == Some(key) {
            self.are_over();
        }
    }

    fn arrived(&mut self, key: Key, now: Instant) {
        self.giver = Some(key);
        self.until = Some(now + ENTRIES_PATIENCE);
    }

    /// Takes note that requests were carried out.
    pub(super) fn answered(&mut self) {
        self.is_behind = true;
    }

    /// Returns whether those who wait are to have their turns at once.
    pub(super) fn are_behind(&self) -> bool {
        self.is_behind && !self.waiting.is_empty()
    }
}

impl<K: Kernel, H: Host> Engine<K, H> {
    /// Takes note of what a turn of a client came to. `is_handed_over`: something was.
    pub(super) fn note_arrivals(&mut self, key: Key, is_handed_over: bool, now: Instant) {
        let Some(Peer::Client(client)) = self.peers.find(key) else {
            return;
        };
        if let Some(until) = client.postponed_until() {
            let due = &mut self.arrivals.due;
            *due = Some(due.map_or(until, |due| due.min(until)));
            self.arrivals.waiting.insert(key);
        }
        if is_handed_over {
            let is_known = self.arrivals.giver == Some(key);
            let mut user = || self.kernel.user(client.socket());
            if is_known || user().is_some_and(|user| self.settings.is_privileged(user)) {
                self.arrivals.arrived(key, now);
            }
        }
    }

    /// Serves those whose find was put off, as far as it comes to something by now or has waited long enough.
    pub(super) fn serve_postponed(&mut self, now: Instant) {
        self.arrivals.due = None;
        self.arrivals.is_behind = false;
        for key in std::mem::take(&mut self.arrivals.waiting) {
            self.turn(key, now, true, true);
        }
    }
}
