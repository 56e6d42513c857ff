//! Requests, carried out on the store.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use scache_proto::request::Request;
use scache_proto::server::{Answer, HandOut};
use scache_proto::{Label, Property, Ttl};
use scache_store::{Limits, Statistics, Store, Taken};

use crate::settings::Settings;

/// A connection on its way to a client.
#[derive(Debug)]
pub(crate) struct HandedOut {
    taken: Taken<OwnedFd>,
    destination_property: Option<Box<[u8]>>,
}

impl HandedOut {
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.taken.handle.as_fd()
    }
}

impl HandOut for HandedOut {
    fn properties(&self) -> impl Iterator<Item = &[u8]> {
        self.destination_property
            .iter()
            .chain(std::iter::once(&self.taken.property))
            .map(AsRef::as_ref)
    }
}

/// The store with real descriptors in it.
#[derive(Debug)]
pub(crate) struct Cache {
    store: Store<OwnedFd>,
}

impl Cache {
    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let limits = Limits {
            ttl_limit: settings.ttl_limit,
            connections: settings.connection_limit,
            connections_per_endpoint: settings.endpoint_limit,
            bindings: settings.binding_limit,
        };
        Self {
            store: Store::new(limits, now),
        }
    }

    pub(crate) fn save(
        &mut self,
        now: Instant,
        ttl: Ttl,
        endpoint: Label<'_>,
        property: Property<'_>,
        descriptor: OwnedFd,
    ) -> Answer<HandedOut> {
        self.store
            .save_endpoint(now, ttl, endpoint, property, descriptor);
        self.close_released();
        Answer::Done
    }

    pub(crate) fn answer(&mut self, now: Instant, request: Request<'_>) -> Answer<HandedOut> {
        match request {
            Request::FindEndpoint { endpoint } => {
                self.store
                    .find_endpoint(now, endpoint)
                    .map_or(Answer::Failed, |taken| {
                        Answer::Found(HandedOut {
                            taken,
                            destination_property: None,
                        })
                    })
            }
            Request::FindDestination { destination } => self
                .store
                .find_destination(now, destination)
                .map_or(Answer::Failed, |found| {
                    Answer::Found(HandedOut {
                        taken: found.taken,
                        destination_property: Some(found.destination_property),
                    })
                }),
            Request::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                self.store
                    .save_destination(now, ttl, destination, property, endpoint);
                Answer::Done
            }
            // Comes with its descriptor, by `save`.
            Request::SaveEndpoint { .. } => Answer::Failed,
        }
    }

    /// Takes back a connection that its client never got.
    pub(crate) fn put_back(&mut self, now: Instant, handed_out: HandedOut) {
        self.store.put_back(now, handed_out.taken);
    }

    /// Lets go of what has expired.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.store.expire(now);
        self.close_released();
    }

    /// Closes what the store let go of, also what made room for something just saved.
    fn close_released(&mut self) {
        while let Some(released) = self.store.poll_released() {
            drop(released.handle);
        }
    }

    /// When something expires next.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.store.next_deadline()
    }

    pub(crate) fn take_statistics(&mut self) -> Statistics {
        self.store.take_statistics()
    }
}
