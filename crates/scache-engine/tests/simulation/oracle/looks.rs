//! The last look at a connection that waited for its client, and what becomes of it if it shows something.

use std::time::Duration;

use scache_engine::Failure;
use scache_store::Reason;

use super::Oracle;
use crate::model::Entry;
use crate::session::State;
use crate::world::{Fd, World};

/// How long a look counts.
const FRESH: Duration = Duration::from_millis(10);

impl Oracle {
    pub(super) fn made_closed_connection(&mut self, result: Result<Fd, Failure>) {
        assert!(self.stand_in.is_none(), "made two at once");
        self.stand_in = Some(result);
    }

    /// Whether a client is to be hung up on since no closed connection could be made.
    pub(super) fn has_no_stand_in(&mut self) -> bool {
        self.stand_in.take_if(|result| result.is_err()).is_some()
    }

    /// What is wrong with a connection on its way to a client.
    fn flaw(&self, world: &World, entry: &Entry) -> Option<Reason> {
        if entry.deadline <= self.now {
            return Some(Reason::Expired);
        }
        let (watch, blinded) = (self.settings.watch, &self.blinded);
        Self::judge(watch, blinded, world, entry.fd, &(0..usize::MAX))
    }

    /// What is sent with the next bytes to a client was looked at if it waited.
    pub(super) fn is_looked_at(&mut self, world: &World, client: Fd) {
        let session = &self.peers[&client].session;
        let first = session.riders.front().filter(|(at, _)| *at == 0);
        let Some((_, entry)) = first.filter(|_| !session.stand_in) else {
            return;
        };
        if entry.since + FRESH < self.now {
            let flaw = self.flaw(world, entry);
            assert_eq!(flaw, None, "{} is handed out", entry.fd);
            let now = self.now;
            self.peer(client).session.riders[0].1.since = now;
        }
    }

    /// Of a connection on its way to a client that does not get it, as it is of no use any more.
    pub(super) fn given_up(&mut self, world: &World, fd: Fd, reason: Reason) -> Option<Entry> {
        let awaits_dummy = |client: &Fd| {
            let peer = self.peers.get(client);
            peer.is_some_and(|peer| matches!(peer.session.state, State::AwaitDummy(_)))
        };
        if let Some(client) = self.current.filter(awaits_dummy) {
            // Nothing was seen of its dummy.
            self.nothing_is_left_undone(client);
        }
        let (client, entry) = self.peers.iter().find_map(|(client, peer)| {
            let first = peer.session.riders.front();
            let (_, entry) = first.filter(|(at, entry)| *at == 0 && entry.fd == fd)?;
            Some((*client, entry))
        })?;
        assert!(entry.since + FRESH < self.now, "it was looked at just now");
        assert_eq!(self.flaw(world, entry), Some(reason), "{fd} is given up");
        if self.current != Some(client) {
            self.finish_turn();
            self.current = Some(client);
        }
        if !self.peers[&client].session.looked_at {
            // What it said before that is carried out first, told of or not.
            self.limit_unread(client);
            self.nothing_is_left_undone(client);
        }
        let stand_in = self.stand_in.take();
        let (now, session) = (self.now, &mut self.peer(client).session);
        session.looked_at = true;
        if session.inline {
            return session.withdraw(0);
        }
        let stand_in = stand_in.expect("nothing is sent in its place");
        let (_, entry) = session.riders.front_mut()?;
        let given_up = entry.clone();
        (entry.fd, entry.since) = (stand_in.unwrap(), now);
        session.stand_in = true;
        Some(given_up)
    }
}
