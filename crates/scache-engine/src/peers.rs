//! Everybody who is connected, by key.
//!
//! A key carries the generation of its place, so that an event or a deadline that was meant for a
//! client which is gone cannot reach the next one in its place.
//!
//! Each peer is in one of two lists: that of the idle ones, in the order in which they became idle, or that of the
//! busy ones, in the order in which they stopped being idle. So who has been so the longest is known at once.
//! Likewise known is what they all hold in memory, and who of those that hold much holds the most.

use std::collections::BTreeSet;
use std::time::Instant;

use scache_store::list::{Linked, Links, List, NONE};
use slab::Slab;

use crate::Key;
use crate::client::Client;
use crate::handoff::HandOff;

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all peers are clients: a box would cost each of them an allocation"
)]
pub(crate) enum Peer<D> {
    Client(Client<D>),
    HandOff(HandOff<D>),
}

#[derive(Debug)]
struct Place<D> {
    generation: u32,
    /// A deadline of this peer is in the queue.
    queued: bool,
    /// It is in the list of idle peers, else in that of busy ones.
    is_idle: bool,
    /// When it came into that list.
    since: Instant,
    links: Links,
    /// Bytes of memory that it held after its last turn.
    memory: usize,
    peer: Peer<D>,
}

/// For how many peers memory is kept when all are gone.
const KEPT_PLACES: usize = 64;

/// Who holds more bytes of memory than this is looked for when all together hold too much.
const MUCH: usize = 8 * 1024;

#[derive(Debug)]
pub(crate) struct Peers<D> {
    places: Slab<Place<D>>,
    generation: u32,
    idle: List,
    busy: List,
    /// Bytes of memory that all of them hold.
    memory: usize,
    /// Those that hold much, by how much.
    large: BTreeSet<(usize, Key)>,
}

impl<D> Linked for Place<D> {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl<D> Peers<D> {
    pub(crate) fn new() -> Self {
        Self {
            places: Slab::new(),
            generation: 0,
            idle: List::default(),
            busy: List::default(),
            memory: 0,
            large: BTreeSet::new(),
        }
    }

    /// Adds a peer, which is busy until [`Peers::sort`] says otherwise.
    pub(crate) fn insert(&mut self, peer: Peer<D>, now: Instant) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.places.insert(Place {
            generation,
            queued: false,
            is_idle: false,
            since: now,
            links: Links::default(),
            memory: 0,
            peer,
        }) as u32;
        self.busy.push_back(&mut self.places, slot);
        Key { slot, generation }
    }

    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Peer<D>> {
        self.place(key).map(|place| &mut place.peer)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Peer<D>> {
        self.place(key)?;
        self.unlink(key.slot);
        self.hold(key, 0);
        let place = self.places.try_remove(key.slot as usize)?;
        if self.places.is_empty() && self.places.capacity() > KEPT_PLACES {
            // What thousands needed is not kept for the few that may come.
            self.places = Slab::new();
        }
        Some(place.peer)
    }

    /// Puts a peer that had a turn behind the others in the list that it belongs to, unless it did nothing. Returns
    /// whether it moved: then another one may be the first.
    pub(crate) fn sort(&mut self, key: Key, now: Instant) -> bool {
        let Some(place) = self.place(key) else {
            return false;
        };
        let memory = match &place.peer {
            Peer::Client(client) => client.memory(),
            Peer::HandOff(handoff) => handoff.memory(),
        };
        let was_idle = place.is_idle;
        let (is_idle, is_active) = match &mut place.peer {
            Peer::Client(client) => (client.is_idle(), client.take_active()),
            Peer::HandOff(_) => (false, false),
        };
        let moves = is_idle != was_idle || is_idle && is_active;
        if moves {
            self.relink(key.slot, is_idle, now);
        }
        self.hold(key, memory);
        moves
    }

    /// Returns how many bytes of memory all of them hold.
    pub(crate) fn memory(&self) -> usize {
        self.memory
    }

    /// Returns the peer that holds the most, if any holds much.
    pub(crate) fn largest(&self) -> Option<Key> {
        self.large.last().map(|(_, key)| *key)
    }

    /// Returns whether a peer is still here.
    pub(crate) fn contains(&self, key: Key) -> bool {
        self.places
            .get(key.slot as usize)
            .is_some_and(|place| place.generation == key.generation)
    }

    /// Counts an idle peer as busy: it has said something that was not read yet.
    pub(crate) fn set_busy(&mut self, key: Key, now: Instant) {
        if self.place(key).is_some() {
            self.relink(key.slot, false, now);
        }
    }

    /// Returns the peer that has been idle the longest, and since when.
    pub(crate) fn longest_idle(&self) -> Option<(Key, Instant)> {
        self.at(self.idle.first)
    }

    /// Returns the peer that has been busy the longest without being idle in between, and since when.
    pub(crate) fn longest_busy(&self) -> Option<(Key, Instant)> {
        self.at(self.busy.first)
    }

    /// The deadline to put into the queue for this peer: its own, if none is there yet.
    pub(crate) fn deadline_to_queue(&mut self, key: Key) -> Option<Instant> {
        let place = self.place(key)?;
        if place.queued {
            return None;
        }
        let deadline = place.peer.deadline()?;
        place.queued = true;
        Some(deadline)
    }

    /// A deadline of this peer left the queue.
    pub(crate) fn unqueued(&mut self, key: Key) {
        if let Some(place) = self.place(key) {
            place.queued = false;
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether somebody is in the middle of something.
    pub(crate) fn any_busy(&self) -> bool {
        self.places
            .iter()
            .any(|(_, place)| place.peer.deadline().is_some())
    }

    /// Whether everybody got an answer and is not in the middle of something.
    pub(crate) fn all_answered(&self) -> bool {
        self.places.iter().all(|(_, place)| match &place.peer {
            Peer::Client(client) => client.is_answered(),
            Peer::HandOff(_) => false,
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Peer<D>> {
        self.places.iter_mut().map(|(_, place)| &mut place.peer)
    }

    pub(crate) fn drain(&mut self) -> Vec<Peer<D>> {
        (self.idle, self.busy) = (List::default(), List::default());
        self.large.clear();
        self.memory = 0;
        self.places.drain().map(|place| place.peer).collect()
    }

    fn at(&self, slot: u32) -> Option<(Key, Instant)> {
        let place = self.places.get(slot as usize).filter(|_| slot != NONE)?;
        let generation = place.generation;
        Some((Key { slot, generation }, place.since))
    }

    /// Takes note of what a peer holds.
    fn hold(&mut self, key: Key, memory: usize) {
        let Some(place) = self.place(key) else {
            return;
        };
        let before = std::mem::replace(&mut place.memory, memory);
        if before == memory {
            return;
        }
        self.memory = self.memory - before + memory;
        if before > MUCH {
            self.large.remove(&(before, key));
        }
        if memory > MUCH {
            self.large.insert((memory, key));
        }
    }

    fn relink(&mut self, slot: u32, is_idle: bool, now: Instant) {
        self.unlink(slot);
        let place = &mut self.places[slot as usize];
        (place.is_idle, place.since) = (is_idle, now);
        let list = if is_idle {
            &mut self.idle
        } else {
            &mut self.busy
        };
        list.push_back(&mut self.places, slot);
    }

    fn unlink(&mut self, slot: u32) {
        let is_idle = self.places[slot as usize].is_idle;
        let list = if is_idle {
            &mut self.idle
        } else {
            &mut self.busy
        };
        list.unlink(&mut self.places, slot);
    }

    fn place(&mut self, key: Key) -> Option<&mut Place<D>> {
        self.places
            .get_mut(key.slot as usize)
            .filter(|place| place.generation == key.generation)
    }
}

impl<D> Peer<D> {
    pub(crate) fn socket(&self) -> &D {
        match self {
            Self::Client(client) => client.socket(),
            Self::HandOff(handoff) => handoff.socket(),
        }
    }

    /// Whether everything that it ever said was read.
    pub(crate) fn has_ended(&self) -> bool {
        match self {
            Self::Client(client) => client.has_ended(),
            Self::HandOff(_) => false,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Client(client) => client.deadline(),
            Self::HandOff(handoff) => handoff.deadline(),
        }
    }
}
