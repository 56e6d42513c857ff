//! Who is watched no more goes: a client, and what was on its way to it.

use scache_engine::Failure;

use super::clients::Peer;
use super::{Draining, Oracle};
use crate::model::Entry;
use crate::session::State;
use crate::world::{Fd, World};

impl Oracle {
    pub(super) fn watched(&mut self, fd: Fd, result: Result<(), Failure>) {
        if result.is_ok() {
            return;
        }
        if let Some(peer) = self.peers.get_mut(&fd) {
            peer.may_go = true;
            self.room += 1;
            self.accept_failed = true;
        } else if let Some(handoff) = self.handoffs.get_mut(&fd) {
            handoff.may_go = true;
            self.room += 1;
            self.accept_failed = true;
        } else if let Some(entry) = self.cache.entries.iter_mut().find(|entry| entry.fd == fd) {
            entry.excused = true;
        } else if let Some(leaving) = self.leaving_on(fd) {
            leaving.disconnected();
            self.doomed.push(fd);
        }
    }

    pub(super) fn unwatched(&mut self, world: &World, fd: Fd) {
        let now = self.now;
        if self.listener == Some(fd) {
            assert!(self.end.is_some(), "it stops listening");
            self.listener = None;
            self.doomed.push(fd);
        } else if self.peers.contains_key(&fd) {
            self.part(fd);
        } else if self.asker == Some(fd) {
            self.asker_is_let_go_of(fd);
        } else if self.handoffs.contains_key(&fd) {
            self.hand_off_is_over(world, fd);
        } else if let Some(leaving) = self.leaving_on(fd) {
            let is_kept = leaving.is_broken_off(now);
            let (released, doomed) = if is_kept {
                (Vec::new(), leaving.break_off())
            } else {
                leaving.close(now)
            };
            self.releases.push_all(released);
            self.doomed.extend(doomed);
        }
    }

    /// A client is parted from.
    fn part(&mut self, fd: Fd) {
        self.finish_turn();
        self.giver_parts(fd);
        self.assert_nothing_leaves();
        let mut peers = self.peers.values();
        let any_busy =
            peers.any(|peer| peer.session.waited_since().is_some()) || !self.handoffs.is_empty();
        let mut peer = self.peers.remove(&fd).unwrap();
        let late = self
            .request_deadline(&peer)
            .is_some_and(|at| at <= self.now)
            || peer.session.is_uncertain();
        let finishes = self
            .finish_by()
            .is_some_and(|at| !any_busy || at <= self.now);
        let has_reason = peer.must_go
            || peer.may_go
            || self.has_no_stand_in()
            || peer.session.broken
            || finishes;
        if late && self.timeouts > 0 {
            self.timeouts -= 1;
        } else if !has_reason || self.overdue || self.looked_at == Some(fd) {
            self.makes_slot(fd, &mut peer);
        }
        if self.promised == Some(fd) {
            self.promised = None;
        }
        if !self.is_kept(fd, peer.session.unread) {
            self.doomed.push(fd);
        }
        if !peer.ended {
            self.drains = Some(Draining::new(fd));
        }
        self.end_session(peer);
        if self.peers.is_empty() && self.handoffs.is_empty() {
            self.idle_since = Some(self.now);
        }
    }

    /// What a client had of the cache, and what it sent, goes back or is closed.
    pub(super) fn end_session(&mut self, peer: Peer) {
        self.doomed.extend(peer.session.held());
        let delivered = peer.session.delivered.iter().map(|entry| entry.fd);
        self.doomed.extend(delivered);
        match peer.session.state {
            State::AwaitDummy(entry) => self.to_put_back.push_back(entry),
            State::AwaitReceipt(entry) => self.doomed.push(entry.fd),
            State::Idle | State::Sending | State::Postponed(_) | State::AwaitDescriptor(_) => {}
        }
        // The last taken first, so that all are where they were.
        let unsent = peer.session.riders.into_iter().rev();
        let unsent = unsent.map(|(_, entry)| entry);
        if peer.session.stand_in {
            self.doomed.extend(unsent.map(|entry| entry.fd));
        } else {
            self.to_put_back.extend(unsent);
        }
        self.put_back_next();
    }

    /// Puts back what is to be put back, until somebody has to make room for it first.
    pub(super) fn put_back_next(&mut self) {
        while self.releases.is_empty() {
            let Some(entry) = self.to_put_back.pop_front() else {
                break;
            };
            self.put_back(entry);
        }
    }

    /// Everybody who had to go is gone.
    pub(super) fn assert_nothing_leaves(&self) {
        self.releases.assert_empty();
        assert!(self.to_put_back.is_empty(), "not put back");
    }

    pub(super) fn put_back(&mut self, mut entry: Entry) {
        self.releases.assert_empty();
        let expired = self.cache.expire(self.now);
        self.releases.expire(expired);
        if entry.deadline <= self.now {
            self.releases.expire(vec![entry]);
        } else {
            entry.since = self.now;
            self.book.count("connections_put_back", 1);
            let evicted = self.cache.put_back(entry);
            self.releases.choose(evicted);
        }
    }
}
