//! What has to be true between two passes, and when everything has come to rest.

use std::collections::BTreeSet;
use std::time::Duration;

use scache_store::Counts;

use super::Oracle;
use super::clients::Peer;
use super::handoffs::HandOff;
use super::releases::reason;
use crate::leaving::Leaving;
use crate::world::{Health, World};

/// How long a connection may idle without being watched.
const YOUTH: Duration = Duration::from_millis(50);

impl Oracle {
    /// What has to be true when a pass is over.
    pub fn end_pass(&mut self, world: &World, counts: Counts, clients: usize, phase_is_over: bool) {
        self.assert_nothing_leaves();
        self.end_turns();
        assert!(self.expected.is_empty(), "not told: {:?}", self.expected);
        assert!(self.doomed.is_empty(), "not closed: {:?}", self.doomed);
        assert_eq!(self.promised, None, "it has no listening socket");
        assert!(!self.asker_is_gone, "nobody takes over any more");
        assert_eq!(std::mem::take(&mut self.timeouts), 0, "told without reason");
        assert_eq!(self.surplus, 0, "too many answers are awaited");
        assert!(
            self.readers.look_at.is_none_or(|at| at > self.now),
            "not looked at"
        );
        self.note_giver();
        self.room = 0;
        self.accept_failed = false;
        // Bindings go without a word, and connections that expired have gone with one.
        let overdue = self.cache.expire(self.now);
        assert!(overdue.is_empty(), "still cached: {overdue:?}");
        let endpoints = self.cache.entries.iter().map(|entry| &entry.endpoint);
        let destinations = self.cache.bindings.iter().map(|bound| &bound.destination);
        let expected = Counts {
            destinations: destinations.collect::<BTreeSet<_>>().len(),
            endpoints: endpoints.collect::<BTreeSet<_>>().len(),
            connections: self.cache.entries.len(),
            bindings: self.cache.bindings.len(),
            // The model of the store counts them.
            bytes: counts.bytes,
        };
        assert_eq!(counts, expected);
        assert_eq!(clients, self.peers.len() + self.handoffs.len());
        assert!(clients <= self.slots() + 1);
        let mut handoffs = self.handoffs.values();
        assert!(handoffs.all(|handoff| handoff.deadline > self.now));
        for parting in &self.partings {
            assert!(parting.deadline > self.now, "the answer is still awaited");
            assert!(!parting.is_answered(), "{parting:?} is still open");
        }
        let of_leaving = self.leaving.as_ref().map_or(0, Leaving::descriptors);
        let of_peers: usize = self.peers.values().map(Peer::descriptors).sum();
        let of_handoffs: usize = self.handoffs.values().map(HandOff::descriptors).sum();
        let open = usize::from(self.listener.is_some())
            + self.cache.entries.len()
            + self.partings.len()
            + self.readers.gone.len()
            + self.waiting()
            + of_leaving
            + of_peers
            + usize::from(self.asker.is_some())
            + of_handoffs;
        assert_eq!(
            world.processes[self.process].open, open,
            "leaked descriptors"
        );
        if phase_is_over {
            assert_eq!(open, 0, "something is left");
        }
    }

    /// What has to be true when everything has come to rest.
    pub fn assert_settled(&self, world: &World) {
        for (fd, peer) in &self.peers {
            let socket = world.socket(*fd);
            if peer.session.awaits_reader() {
                let has_unread = world.has_unread(socket);
                assert!(has_unread, "client {fd} has read and is kept waiting");
                continue;
            }
            if peer.postponed_at.is_some() {
                continue;
            }
            assert_eq!(world.queued(socket), 0, "client {fd} is not listened to");
            assert!(
                world.health(socket) == Health::Alive,
                "client {fd} is gone and still here"
            );
            let is_full = world.room(socket) == 0;
            assert!(peer.is_answered() || is_full, "client {fd} has no answer");
            assert!(!peer.is_owed, "client {fd} has to wait");
        }
        for entry in &self.cache.entries {
            let dead = reason(&world.health(world.socket(entry.fd)));
            assert!(
                dead.is_none()
                    || entry.excused
                    || entry.since + YOUTH > self.now
                    || !self.settings.watch,
                "{entry:?} is dead and still here: {dead:?}"
            );
        }
        for parting in &self.partings {
            let health = world.health(world.socket(parting.fd));
            assert!(
                health == Health::Alive || !world.is_watched(parting.fd),
                "{parting:?} has answered"
            );
        }
        if let Some(asker) = self.asker {
            let health = world.health(world.socket(asker));
            let is_here = matches!(health, Health::Alive | Health::Spoke(_));
            assert!(is_here, "{asker} takes nothing over any more");
        }
        for fd in self.handoffs.keys() {
            let health = world.health(world.socket(*fd));
            assert!(
                health == Health::Alive,
                "{fd} is not listened to: {health:?}"
            );
        }
        let is_full = self.served() >= self.slots();
        assert!(
            self.end.is_some() || is_full || world.waiting_clients() + self.waiting() == 0,
            "clients wait to be served"
        );
    }
}
