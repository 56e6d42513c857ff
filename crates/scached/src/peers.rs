//! Everybody who is connected, by token.
//!
//! A token carries the generation of its place, so that an event or a deadline that was meant for a
//! client which is gone cannot reach the next one in its place.

use std::os::fd::RawFd;
use std::time::Instant;

use mio::Token;
use slab::Slab;

use crate::client::Client;
use crate::handoff::HandOff;

/// Tokens below this are not peers.
pub(crate) const FIRST_TOKEN: usize = 1024;

const INDEX_BITS: u32 = 32;

#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all peers are clients: a box would cost each of them an allocation"
)]
pub(crate) enum Peer {
    Client(Client),
    HandOff(HandOff),
}

#[derive(Debug)]
struct Place {
    generation: u32,
    /// A deadline of this peer is in the queue.
    queued: bool,
    peer: Peer,
}

#[derive(Debug, Default)]
pub(crate) struct Peers {
    places: Slab<Place>,
    generation: u32,
}

impl Peers {
    pub(crate) fn insert(&mut self, peer: Peer) -> Token {
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        let index = self.places.insert(Place {
            generation,
            queued: false,
            peer,
        });
        Token(((generation as usize) << INDEX_BITS) | (index + FIRST_TOKEN))
    }

    pub(crate) fn find(&mut self, token: Token) -> Option<&mut Peer> {
        self.place(token).map(|place| &mut place.peer)
    }

    pub(crate) fn remove(&mut self, token: Token) -> Option<Peer> {
        self.place(token)?;
        self.places
            .try_remove(index(token)?)
            .map(|place| place.peer)
    }

    /// The deadline to put into the queue for this peer: its own, if none is there yet.
    pub(crate) fn deadline_to_queue(&mut self, token: Token) -> Option<Instant> {
        let place = self.place(token)?;
        if place.queued {
            return None;
        }
        let deadline = place.peer.deadline()?;
        place.queued = true;
        Some(deadline)
    }

    /// A deadline of this peer left the queue.
    pub(crate) fn unqueued(&mut self, token: Token) {
        if let Some(place) = self.place(token) {
            place.queued = false;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether somebody is in the middle of something.
    pub(crate) fn any_busy(&self) -> bool {
        self.places
            .iter()
            .any(|(_, place)| place.peer.deadline().is_some())
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Peer> {
        self.places.drain().map(|place| place.peer)
    }

    fn place(&mut self, token: Token) -> Option<&mut Place> {
        let generation = (token.0 >> INDEX_BITS) as u32;
        self.places
            .get_mut(index(token)?)
            .filter(|place| place.generation == generation)
    }
}

impl Peer {
    pub(crate) fn number(&self) -> RawFd {
        match self {
            Self::Client(client) => client.number(),
            Self::HandOff(handoff) => handoff.number(),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Client(client) => client.deadline(),
            Self::HandOff(handoff) => handoff.deadline(),
        }
    }
}

fn index(token: Token) -> Option<usize> {
    (token.0 & (u32::MAX as usize)).checked_sub(FIRST_TOKEN)
}
