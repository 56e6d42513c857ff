//! What clients were handed out and have not read, as far as the engine can know.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use scache_engine::Complaint;
use scache_proto::limits;

use super::Oracle;
use crate::model::Entry;
use crate::world::Fd;

#[derive(Debug, Default)]
pub struct Readers {
    /// Clients that are gone and have not read, and how many connections.
    pub gone: Vec<(Fd, usize)>,
    /// When those are looked at at the latest.
    pub look_at: Option<Instant>,
    /// Whom the engine asked about just now, and whether something is unread.
    pub last_look: Option<(Fd, bool)>,
    /// When all clients were asked about, and who of them is still to be.
    counted_at: Option<Instant>,
    counting: BTreeSet<Fd>,
    /// The kernel refused to pass a descriptor.
    refused_until: Option<Instant>,
}

impl Readers {
    /// Something else happened than a look at what is unread.
    pub fn looked(&mut self) {
        self.last_look = None;
        assert!(
            self.counting.is_empty(),
            "not asked about: {:?}",
            self.counting
        );
    }

    /// A socket of a client that is gone is let go of.
    pub fn forget(&mut self, fd: Fd) -> bool {
        let at = self.gone.iter().position(|(gone, _)| *gone == fd);
        if let Some(at) = at {
            self.gone.remove(at);
        }
        if self.gone.is_empty() {
            self.look_at = None;
        }
        at.is_some()
    }
}

/// How often those that are gone are looked at.
const LOOKS: Duration = Duration::from_secs(1);

/// How often all clients are asked about at most.
const COUNTS: Duration = Duration::from_millis(50);

/// How long no connection is promised after one could not be sent.
const REFUSED: Duration = Duration::from_secs(2);

impl Oracle {
    fn unread(&self) -> usize {
        let gone = self.readers.gone.iter().map(|(_, unread)| unread);
        let peers = self.peers.values().map(|peer| &peer.session.unread);
        gone.chain(peers).sum()
    }

    /// How many a client may have unread in its turn, which is now.
    pub(super) fn limit_unread(&mut self, fd: Fd) {
        let others = self.unread() - self.peers[&fd].session.unread;
        let room = self.settings.unread_limit.saturating_sub(others);
        self.peer(fd).session.most_unread = room.clamp(1, limits::DESCRIPTORS);
    }

    /// All clients are asked about that are between two requests.
    pub(super) fn count_unread(&mut self) {
        self.finish_turn();
        assert!(self.unread() >= self.settings.unread_limit, "there is room");
        let is_time = |at| at + COUNTS <= self.now;
        assert!(self.readers.counted_at.is_none_or(is_time), "too often");
        self.readers.counted_at = Some(self.now);
        let peers = self.peers.iter();
        let counted = peers
            .filter(|(_, peer)| peer.session.unread > 0 && peer.session.waited_since().is_none())
            .map(|(fd, _)| *fd);
        self.readers.counting = counted.collect();
    }

    pub(super) fn looked_at_unread(&mut self, fd: Fd, has_unread: bool, parts: bool) {
        let now = self.now;
        self.readers.last_look = Some((fd, has_unread));
        if parts {
            return;
        }
        if self.readers.counting.remove(&fd) {
            if !has_unread {
                let peer = self.peer(fd);
                peer.may_go_on |= peer.session.is_held_up();
                peer.session.seen(now, false);
            }
        } else if self.peers.contains_key(&fd) {
            if self.current != Some(fd) {
                self.finish_turn();
                self.current = Some(fd);
            }
            self.limit_unread(fd);
            let peer = self.peer(fd);
            peer.session.seen(now, has_unread);
            // What waited may come to nothing that is seen here: then it becomes idle now.
            peer.leisure.is_uncertain = true;
        } else {
            self.readers.look_at = Some(now + LOOKS);
            if !has_unread {
                assert!(self.readers.forget(fd), "{fd} is nobody's");
                self.doomed.push(fd);
            }
        }
    }

    /// Whether the socket of a client that is parted from is kept, so that what it has not read is not forgotten.
    pub(super) fn is_kept(&mut self, fd: Fd, unread: usize) -> bool {
        if unread == 0 {
            return false;
        }
        let has_unread = match self.readers.last_look {
            Some((looked_at, has_unread)) if looked_at == fd => has_unread,
            // At the end nobody is kept, and nobody looked at.
            _ => {
                assert!(self.end.is_some(), "nobody has looked at {fd}");
                false
            }
        };
        if !has_unread {
            return false;
        }
        let gone = &mut self.readers.gone;
        if gone.len() >= self.settings.unread_limit / limits::DESCRIPTORS {
            let all = gone.iter().enumerate();
            let Some((at, (_, least))) = all.min_by_key(|(_, (_, unread))| *unread) else {
                return false;
            };
            if *least >= unread {
                return false;
            }
            let (other, _) = gone.swap_remove(at);
            self.doomed.push(other);
        }
        gone.push((fd, unread));
        self.readers.look_at.get_or_insert(self.now + LOOKS);
        true
    }

    pub(super) fn said_no_more(&mut self, fd: Fd) {
        let last = self.readers.gone.last();
        assert!(
            last.is_some_and(|(gone, _)| *gone == fd),
            "{fd} is not kept"
        );
        self.is_drained(fd);
    }

    /// What somebody said who is parted from was read.
    pub(super) fn is_drained(&mut self, fd: Fd) {
        if self.drains.as_ref().is_some_and(|drains| drains.fd == fd) {
            let drains = self.drains.take().unwrap();
            assert!(drains.is_over, "{fd} was not read to its end");
        }
    }

    /// The kernel refused to pass a descriptor: what was found goes back to where it was.
    pub(super) fn withdraw(&mut self, fd: Fd) {
        self.expected.push(Complaint::TooManyInFlight);
        self.readers.refused_until = Some(self.now + REFUSED);
        let peer = self.peers.get_mut(&fd).unwrap();
        if !peer.session.inline {
            peer.must_go = true;
            return;
        }
        for place in (0..peer.session.riders.len()).rev() {
            self.to_put_back.extend(peer.session.withdraw(place));
        }
    }

    /// What was found, unless nothing can be passed and the client could not be told so later.
    pub(super) fn unless_refused(&mut self, fd: Fd, found: Option<Entry>) -> Option<Entry> {
        let is_refused = self
            .readers
            .refused_until
            .is_some_and(|until| self.now < until);
        if !is_refused || self.peers[&fd].session.inline {
            return found;
        }
        self.to_put_back.extend(found);
        None
    }
}
