//! Who takes over gets the listening socket, and goes on or is gone.

use scache_engine::{End, Failure};

use super::{Draining, Oracle};
use crate::leaving::Leaving;
use crate::trace::Got;
use crate::world::Fd;

impl Oracle {
    /// A client is told that it may take over.
    pub(super) fn promise_listener(&mut self, fd: Fd) {
        self.promised = Some(fd);
        self.asked_to_end = Some(End::Succession);
        let peer = self.peer(fd);
        // If it cannot get the socket at once it gets nothing.
        peer.may_go = true;
        peer.is_cut_short();
    }

    /// The listening socket is sent to a client.
    pub(super) fn yielded(&mut self, fd: Fd, bytes: &[u8], result: Result<usize, Failure>) {
        assert_eq!(
            self.promised,
            Some(fd),
            "the listening socket is not for it"
        );
        assert_eq!(bytes, b"\0");
        let waits = self.peer(fd).session.to_write().0;
        assert!(waits.is_empty(), "it was not told all before");
        if result.is_err() {
            return;
        }
        self.promised = None;
        let peer = self.peers.remove(&fd).unwrap();
        self.end_session(peer);
        self.asker = Some(fd);
    }

    /// Something is read from who takes over, which has nothing to say.
    pub(super) fn asker_received(&mut self, result: &Result<(Vec<u8>, Got), Failure>) {
        match result {
            Ok((bytes, _)) if bytes.is_empty() => self.asker_is_gone = true,
            Ok((_, Got::One(fd))) => self.doomed.push(*fd),
            Ok(_) | Err(Failure::WouldBlock | Failure::Exhausted | Failure::TooManyInFlight) => {}
            Err(Failure::Lost | Failure::Unsupported) => self.asker_is_gone = true,
        }
    }

    /// It is gone, or everything is over.
    pub(super) fn asker_is_let_go_of(&mut self, fd: Fd) {
        let is_over = self.listener.is_none();
        assert!(self.asker_is_gone || is_over, "{fd} takes over");
        if self.end != Some(End::Succession) {
            self.asker_is_gone = false;
        }
        self.asker = None;
        self.doomed.push(fd);
        self.drains = Some(Draining::new(fd));
        if self.asker_is_gone {
            if let Some(mut leaving) = self.leaving.take() {
                self.doomed.extend(leaving.break_off());
                self.restore(leaving);
            }
        }
    }

    /// It serves again, with what it did not hand over.
    pub(super) fn resumed(&mut self) {
        assert!(
            std::mem::take(&mut self.asker_is_gone),
            "somebody else serves"
        );
        assert_eq!(self.end, Some(End::Succession));
        self.end = None;
        self.ended_at = None;
        self.asked_to_end = None;
        if self.peers.is_empty() && self.handoffs.is_empty() {
            self.idle_since = Some(self.now);
        }
    }

    /// The hand-over begins. Whoever asked for it may go until it is over.
    pub(super) fn expect_asker(&mut self) {
        let (asks, before) = (self.asker.is_some(), self.handed_over_before);
        if let Some(leaving) = &mut self.leaving {
            leaving.waits_for_asker = asks;
            leaving.taken_over = before;
        }
    }

    /// What is left is cached again, before who took over is let go of.
    fn restore(&mut self, leaving: Leaving) {
        let (before, now) = (self.handed_over_before, leaving.taken_over);
        self.book
            .count("connections_handed_over", (now.0 - before.0) as u64);
        self.book
            .count("bindings_handed_over", (now.1 - before.1) as u64);
        self.handed_over_before = now;
        let (connections, bindings) = leaving.into_rest();
        for mut entry in connections {
            if entry.deadline <= self.now {
                self.releases.expire(vec![entry]);
            } else {
                entry.since = self.now;
                self.cache.entries.push(entry);
            }
        }
        let bindings = bindings.into_iter();
        self.cache
            .bindings
            .extend(bindings.filter(|bound| bound.deadline > self.now));
    }
}
