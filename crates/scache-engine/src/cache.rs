//! The store with real connections in it: watched while they idle, looked at before they are handed out,
//! said goodbye to when they go.
//!
//! Connections are begun to be watched a batch at a time, every [`Cache::BATCH`]: a busy one is taken before
//! that, and looking at it then (which is done in any case) costs less than asking for events and asking for
//! none again. Nor is the batch's time short: a kernel that has to set its clock for each wait takes longer
//! over that than over everything else.

use std::time::{Duration, Instant};

use scache_proto::request::Request;
use scache_proto::server::{Answer, HandOut};
use scache_store::{
    ConnectionId, Counts, Entries, Limits, Reason, Released, Statistics, Store, Taken,
};

use crate::entries;
use crate::partings::Partings;
use crate::{
    Complaint, Counters, Failure, Goodbyes, Host, Interest, Kernel, Key, Note, Settings, Token,
};

/// A connection in the store.
#[derive(Debug)]
pub(crate) struct Kept<D> {
    pub(crate) descriptor: D,
    /// The kernel was asked for its events.
    pub(crate) watched: bool,
}

/// A connection on its way to a client.
#[derive(Debug)]
pub(crate) struct HandedOut<D> {
    taken: Taken<Kept<D>>,
    destination_property: Option<Box<[u8]>>,
}

impl<D> HandedOut<D> {
    pub(crate) fn descriptor(&self) -> &D {
        &self.taken.handle.descriptor
    }
}

impl<D> HandOut for HandedOut<D> {
    fn properties(&self) -> impl Iterator<Item = &[u8]> {
        self.destination_property
            .iter()
            .chain(std::iter::once(&self.taken.property))
            .map(AsRef::as_ref)
    }

    fn endpoint(&self) -> &[u8] {
        &self.taken.endpoint
    }
}

/// What one pass of the loop works with.
pub(crate) struct Pass<'a, K, H> {
    pub(crate) now: Instant,
    pub(crate) kernel: &'a mut K,
    pub(crate) host: &'a mut H,
}

/// The store, and what is done about what leaves it.
#[derive(Debug)]
pub(crate) struct Cache<D> {
    store: Store<Kept<D>>,
    watch: bool,
    /// Connections that will be watched if they are still here at `watch_at`.
    unwatched: Vec<ConnectionId>,
    watch_at: Option<Instant>,
    goodbyes: Goodbyes,
    partings: Partings<D>,
    counters: Counters,
    line: Vec<u8>,
}

/// How much is remembered of what a peer said, in bytes.
const SAID_BYTES: usize = 200;

/// What looking at an idle connection shows.
enum Look {
    Alive,
    /// Nobody can tell: it is no connection.
    Unknown,
    Dead(Reason),
}

impl<D> Cache<D> {
    /// Bindings of one destination: many times what the addresses of a mail domain come to.
    const BINDINGS_PER_DESTINATION: usize = 256;

    /// Bytes of all names and properties: many times what full caches of real smtp(8) come to.
    const BYTES: usize = 256 << 20;

    /// How long a connection may idle before it is watched.
    const BATCH: Duration = Duration::from_millis(50);

    /// How many connections are parted from in one go: thousands may expire in one moment.
    const PARTINGS_AT_ONCE: usize = 64;

    /// For how many connections of a batch memory is kept.
    const KEPT_UNWATCHED: usize = 1024;

    pub(crate) fn new(settings: &Settings, now: Instant) -> Self {
        let limits = Limits {
            ttl_limit: settings.ttl_limit,
            connections: settings.connection_limit,
            connections_per_endpoint: settings.endpoint_limit,
            bindings: settings.binding_limit,
            bindings_per_destination: Self::BINDINGS_PER_DESTINATION,
            bytes: Self::BYTES,
            order: settings.order,
        };
        Self {
            store: Store::new(limits, now),
            watch: settings.watch,
            unwatched: Vec::new(),
            watch_at: None,
            goodbyes: settings.goodbyes.clone(),
            partings: Partings::new(settings.parting_limit, settings.goodbye_timeout),
            counters: Counters::default(),
            line: Vec::new(),
        }
    }

    /// Carries out a request that brings a connection.
    pub(crate) fn save<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        request: Request<'_>,
        descriptor: D,
    ) -> Answer<HandedOut<D>> {
        // The end of such a client would never be seen: the other end of its connection would be here.
        if pass.kernel.leads_here(&descriptor) {
            pass.host.complain(pass.now, Complaint::OwnConnection);
            return Answer::Failed;
        }
        let (ttl, endpoint, property) = match request {
            Request::SaveEndpoint {
                ttl,
                endpoint,
                property,
            } => (ttl, endpoint, property),
            Request::Save {
                ttl,
                destination,
                destination_property,
                endpoint,
                property,
            } => {
                self.store.save_destination(
                    pass.now,
                    ttl,
                    destination,
                    destination_property,
                    endpoint,
                );
                (ttl, endpoint, property)
            }
            _ => return Answer::Failed,
        };
        let kept = Kept {
            descriptor,
            watched: false,
        };
        let id = self
            .store
            .save_endpoint(pass.now, ttl, endpoint, property, kept);
        self.watch_later(pass.now, id);
        self.settle(pass);
        Answer::Done
    }

    pub(crate) fn answer<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        request: Request<'_>,
    ) -> Answer<HandedOut<D>> {
        let now = pass.now;
        let watch = self.watch;
        let mut judge = |kept: &Kept<D>| {
            if !watch {
                return None;
            }
            match look(pass.kernel, &kept.descriptor) {
                Look::Dead(reason) => Some(reason),
                Look::Alive | Look::Unknown => None,
            }
        };
        let found = match request {
            Request::FindEndpoint { endpoint } => self
                .store
                .find_endpoint(now, endpoint, judge)
                .map(|taken| HandedOut {
                    taken,
                    destination_property: None,
                }),
            Request::FindDestination { destination } => self
                .store
                .find_destination(now, destination, judge)
                .map(|found| HandedOut {
                    taken: found.taken,
                    destination_property: Some(found.destination_property),
                }),
            Request::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                self.store
                    .save_destination(now, ttl, destination, property, endpoint);
                self.settle(pass);
                return Answer::Done;
            }
            Request::Find {
                destination,
                endpoints,
            } => {
                let found = self.store.find_destination(now, destination, &mut judge);
                match found {
                    Some(found) => Some(HandedOut {
                        taken: found.taken,
                        destination_property: Some(found.destination_property),
                    }),
                    None => endpoints
                        .into_iter()
                        .find_map(|endpoint| self.store.find_endpoint(now, endpoint, &mut judge))
                        .map(|taken| HandedOut {
                            taken,
                            destination_property: Some(Box::default()),
                        }),
                }
            }
            // Those that bring a connection come by `save`; the others are not about the cache.
            Request::SaveEndpoint { .. }
            | Request::Save { .. }
            | Request::Inline
            | Request::TakeOver => None,
        };
        self.settle(pass);
        match found {
            Some(mut handed_out) => {
                // A registration would outlive our copy of the descriptor.
                self.unwatch(pass.kernel, &mut handed_out.taken.handle);
                Answer::Found(handed_out)
            }
            None => Answer::Failed,
        }
    }

    /// Takes back a connection that its client never got.
    pub(crate) fn put_back<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        handed_out: HandedOut<D>,
    ) {
        if let Some(id) = self.store.put_back(pass.now, handed_out.taken) {
            self.watch_later(pass.now, id);
        }
        self.settle(pass);
    }

    /// Lets go of what has expired, begins to watch what has idled, and closes who did not answer.
    pub(crate) fn do_what_is_due<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) {
        self.store.expire(pass.now);
        self.settle(pass);
        if self.watch_at.is_some_and(|at| at <= pass.now) {
            self.watch_batch(pass);
        }
        self.partings.expire(pass.kernel, pass.now);
    }

    /// Something happened to an idle connection.
    pub(crate) fn attend<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        key: Key,
    ) {
        let id = ConnectionId {
            slot: key.slot,
            generation: key.generation,
        };
        let Some(kept) = self.store.connection(id) else {
            return;
        };
        match look(pass.kernel, &kept.descriptor) {
            Look::Alive => {}
            Look::Unknown => {
                kept.watched = false;
                pass.kernel.unwatch(&kept.descriptor);
            }
            Look::Dead(reason) => {
                self.store.let_go(id, reason);
                self.settle(pass);
            }
        }
    }

    /// Something can be read from a connection that goodbye was said to.
    pub(crate) fn attend_parting<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        key: Key,
        buffer: &mut [u8],
    ) {
        let answered = self.partings.turn(pass.kernel, key, buffer);
        self.counters.goodbyes_answered += u64::from(answered);
    }

    /// Gives a descriptor back to the system, now: of a connection that was said goodbye to, or else of
    /// the one that is the soonest to expire, which is told but not waited for. Whether there was one.
    pub(crate) fn make_room<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> bool {
        if self.partings.close_first(pass.kernel) {
            return true;
        }
        if !self.store.evict() {
            return false;
        }
        self.settle(pass);
        self.partings.close_first(pass.kernel);
        true
    }

    /// Takes everything out, to be given to somebody else.
    pub(crate) fn take_entries(&mut self) -> Entries<Kept<D>> {
        self.unwatched.clear();
        self.store.take_entries()
    }

    /// The same, without what is of no use any more.
    pub(crate) fn take_usable_entries<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> Entries<D> {
        let entries = self.take_entries();
        let mut usable = Entries {
            connections: Vec::with_capacity(entries.connections.len()),
            bindings: entries.bindings,
        };
        for mut taken in entries.connections {
            match self.is_usable(pass.kernel, &mut taken.handle) {
                Ok(()) => usable.connections.push(Taken {
                    handle: taken.handle.descriptor,
                    endpoint: taken.endpoint,
                    property: taken.property,
                    deadline: taken.deadline,
                }),
                Err(reason) => self.part(pass, Released::of(taken, reason)),
            }
        }
        usable
    }

    /// Saves everything of these that is of use, each with what is left of its time.
    pub(crate) fn put_entries<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        entries: Entries<D>,
    ) {
        for taken in entries.connections {
            let mut kept = Kept {
                descriptor: taken.handle,
                watched: false,
            };
            let unusable = self.is_usable(pass.kernel, &mut kept).err();
            let request = entries::save_connection(
                &taken.endpoint,
                &taken.property,
                taken.deadline,
                pass.now,
            );
            match (unusable, request) {
                (None, Ok(request)) => {
                    self.save(pass, request, kept.descriptor);
                }
                (unusable, _) => self.part(
                    pass,
                    Released {
                        handle: kept,
                        endpoint: taken.endpoint,
                        reason: unusable.unwrap_or(Reason::Expired),
                    },
                ),
            }
        }
        for bound in &entries.bindings {
            if let Ok(request) = entries::save_binding(bound, pass.now) {
                self.answer(pass, request);
            }
        }
        self.settle(pass);
    }

    /// Says goodbye to everything that is cached, and waits for no answer longer than for `patience`.
    pub(crate) fn clear<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        patience: Duration,
    ) {
        self.partings.hurry(pass.now, patience);
        self.store.clear();
        self.settle(pass);
    }

    /// Looks at a connection that is on its way to the next process. Whether it is of use.
    pub(crate) fn is_usable<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        kept: &mut Kept<D>,
    ) -> Result<(), Reason> {
        self.unwatch(kernel, kept);
        if !self.watch {
            return Ok(());
        }
        match look(kernel, &kept.descriptor) {
            Look::Dead(reason) => Err(reason),
            Look::Alive | Look::Unknown => Ok(()),
        }
    }

    /// Does what is to be done about a connection that left the store.
    pub(crate) fn part<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        released: Released<Kept<D>>,
    ) {
        let Released {
            handle: mut kept,
            endpoint,
            reason,
        } = released;
        self.counters.released(reason);
        let mut said = [0; SAID_BYTES];
        let length = match reason {
            // It is still there to be read.
            Reason::Spoke => pass.kernel.peek(&kept.descriptor, &mut said).unwrap_or(0),
            _ => 0,
        };
        pass.host.note(Note::Released {
            endpoint: &endpoint,
            reason,
            said: &said[..length],
        });
        let is_dead = matches!(reason, Reason::Closed | Reason::Reset | Reason::Spoke);
        if is_dead || !self.say_goodbye(pass.kernel, &endpoint, &kept.descriptor) {
            self.unwatch(pass.kernel, &mut kept);
            return;
        }
        self.counters.goodbyes_said += 1;
        self.partings
            .insert(pass.kernel, pass.now, kept.descriptor, kept.watched);
    }

    /// Whether connections that the store let go of wait to be parted from.
    pub(crate) fn is_behind(&self) -> bool {
        self.store.has_released()
    }

    /// When there is something to do next, unless it is behind.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [
            self.store.next_deadline(),
            self.watch_at,
            self.partings.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// How many connections wait for the answer to a goodbye.
    pub(crate) fn partings(&self) -> usize {
        self.partings.len()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.store.counts()
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(crate) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    pub(crate) fn take_statistics(&mut self) -> Statistics {
        self.store.take_statistics()
    }

    fn watch_later(&mut self, now: Instant, id: ConnectionId) {
        if self.watch {
            self.unwatched.push(id);
            self.watch_at.get_or_insert(now + Self::BATCH);
        }
    }

    fn watch_batch<K: Kernel<Descriptor = D>, H: Host>(&mut self, pass: &mut Pass<'_, K, H>) {
        self.watch_at = None;
        let mut batch = std::mem::take(&mut self.unwatched);
        for id in batch.drain(..) {
            let Some(kept) = self.store.connection(id) else {
                continue;
            };
            match look(pass.kernel, &kept.descriptor) {
                Look::Alive => {
                    let token = Token::Kept(key(id));
                    // What the kernel has no room to watch is looked at when it is asked for.
                    kept.watched = pass
                        .kernel
                        .watch(&kept.descriptor, token, Interest::Readable)
                        .is_ok();
                }
                // Somebody's file system may be asked for the events of a file, and take its time.
                Look::Unknown => {}
                Look::Dead(reason) => {
                    self.store.let_go(id, reason);
                }
            }
        }
        batch.shrink_to(Self::KEPT_UNWATCHED);
        self.unwatched = batch;
        self.settle(pass);
    }

    fn unwatch<K: Kernel<Descriptor = D>>(&self, kernel: &mut K, kept: &mut Kept<D>) {
        if std::mem::take(&mut kept.watched) {
            kernel.unwatch(&kept.descriptor);
        }
    }

    /// Does what is to be done about what the store let go of, as far as one client may be kept waiting for it.
    fn settle<K: Kernel<Descriptor = D>, H: Host>(&mut self, pass: &mut Pass<'_, K, H>) {
        for _ in 0..Self::PARTINGS_AT_ONCE {
            let Some(released) = self.store.poll_released() else {
                return;
            };
            self.part(pass, released);
        }
    }

    /// Whether there was something to say, and the peer could be told.
    fn say_goodbye<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        endpoint: &[u8],
        connection: &D,
    ) -> bool {
        let Some(line) = self.goodbyes.of(endpoint) else {
            return false;
        };
        let mut scratch = [0; 1];
        // Who has closed, or spoke out of turn, is not talked to.
        if kernel.peek(connection, &mut scratch) != Err(Failure::WouldBlock) {
            return false;
        }
        self.line.clear();
        self.line.extend_from_slice(line);
        self.line.extend_from_slice(b"\r\n");
        kernel.send(connection, &self.line, None) == Ok(self.line.len())
    }
}

/// Looks at an idle connection.
fn look<K: Kernel>(kernel: &mut K, connection: &K::Descriptor) -> Look {
    match kernel.peek(connection, &mut [0]) {
        Ok(0) => Look::Dead(Reason::Closed),
        Ok(_) => Look::Dead(Reason::Spoke),
        // Out of memory says nothing about the connection.
        Err(Failure::WouldBlock | Failure::Exhausted) => Look::Alive,
        Err(Failure::Unsupported) => Look::Unknown,
        Err(Failure::Lost) => Look::Dead(Reason::Reset),
    }
}

fn key(id: ConnectionId) -> Key {
    Key {
        slot: id.slot,
        generation: id.generation,
    }
}
