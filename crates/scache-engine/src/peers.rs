//! Everybody who is connected, by key.
//!
//! A key carries the generation of its place, so that an event or a deadline that was meant for a
//! client which is gone cannot reach the next one in its place.

use std::time::Instant;

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
    peer: Peer<D>,
}

#[derive(Debug)]
pub(crate) struct Peers<D> {
    places: Slab<Place<D>>,
    generation: u32,
}

impl<D> Peers<D> {
    pub(crate) fn new() -> Self {
        Self {
            places: Slab::new(),
            generation: 0,
        }
    }

    pub(crate) fn insert(&mut self, peer: Peer<D>) -> Key {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let slot = self.places.insert(Place {
            generation,
            queued: false,
            peer,
        }) as u32;
        Key { slot, generation }
    }

    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Peer<D>> {
        self.place(key).map(|place| &mut place.peer)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Peer<D>> {
        self.place(key)?;
        self.places
            .try_remove(key.slot as usize)
            .map(|place| place.peer)
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
        self.places.drain().map(|place| place.peer).collect()
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
