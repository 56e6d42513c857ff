//! The store with real connections in it: watched while they idle, looked at before they are handed out,
//! said goodbye to when they go.

mod administer;
mod journal;
mod lives;
mod portion;
mod release;
mod transfer;
mod watch;

use std::time::{Duration, Instant};

use scache_proto::entries::Happening;
use scache_proto::reply::History;
use scache_proto::request::Request;
use scache_proto::server::{Answer, Fault, HandOut};
use scache_proto::stats::Stats;
use scache_proto::{Label, Ttl};
use scache_store::{
    ConnectionId, Counts, FoundThrough, Limits, Reason, Released, Statistics, Store, Taken,
};

use crate::partings::Partings;
use crate::{Complaint, Goodbyes, Host, Kernel, Settings};
pub(crate) use administer::Surroundings;
use journal::Journal;
use lives::{LifeId, Lives};
use watch::death;

/// A connection in the store.
#[derive(Debug)]
pub(crate) struct Kept<D> {
    pub(crate) descriptor: D,
    /// The kernel was asked for its events.
    pub(crate) watched: bool,
    /// Its past.
    life: LifeId,
}

impl<D> Kept<D> {
    /// A connection that nothing is known of.
    fn new(descriptor: D) -> Self {
        Self {
            descriptor,
            watched: false,
            life: LifeId::NONE,
        }
    }
}

/// A connection outside of the cache, with what is known of it.
#[derive(Debug)]
pub struct Carried<D> {
    /// The connection.
    pub descriptor: D,
    /// Its past, if that is known.
    pub history: Option<History>,
}

/// A connection on its way to a client.
#[derive(Debug)]
pub(crate) struct HandedOut<D> {
    taken: Taken<Kept<D>>,
    destination_property: Option<Box<[u8]>>,
    history: Option<History>,
    /// When it was last known to be alive and not expired.
    looked_at: Instant,
    /// The client gets a closed connection in its place.
    is_stand_in: bool,
}

impl<D> HandedOut<D> {
    fn new(taken: Taken<Kept<D>>, destination_property: Option<Box<[u8]>>, now: Instant) -> Self {
        Self {
            taken,
            destination_property,
            history: None,
            looked_at: now,
            is_stand_in: false,
        }
    }

    fn through(found: FoundThrough<Kept<D>>, now: Instant) -> Self {
        Self::new(found.taken, Some(found.destination_property), now)
    }

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

    fn history(&self) -> Option<History> {
        self.history
    }
}

/// What requests have cost so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Entries of the store that were walked, looked at or taken out.
    steps: u64,
    /// Connections that finds looked at and found dead.
    dead: u64,
}

impl Work {
    /// Returns how many others a request counts for that did the rest of this since `before`: others wait as long for one
    /// that walks past hundreds of bindings, or finds dozens of connections dead, as for so many of another client.
    pub(crate) fn others(self, before: Self) -> usize {
        const STEPS: u64 = 128;
        const DEAD: u64 = 8;
        ((self.steps - before.steps) / STEPS + (self.dead - before.dead) / DEAD) as usize
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
    ttl_limit: Duration,
    reuse_limit: u32,
    lifetime_limit: Option<Duration>,
    watch: bool,
    /// Connections that will be watched if they are still here at `watch_at`.
    unwatched: Vec<ConnectionId>,
    watch_at: Option<Instant>,
    goodbyes: Goodbyes,
    partings: Partings<D>,
    /// When the cache began.
    began: Instant,
    stats: Stats,
    lives: Lives,
    journal: Journal,
    /// How many connections finds have looked at and found dead.
    dead: u64,
    /// Nothing new is kept.
    draining: bool,
    /// Until then the kernel is thought to refuse to pass descriptors.
    cannot_pass_until: Option<Instant>,
    line: Vec<u8>,
}

impl<D> Cache<D> {
    /// Bindings of one destination: many times what the addresses of a mail domain come to.
    const BINDINGS_PER_DESTINATION: usize = 256;

    /// Steps in the store after which a find by several names asks for no further one.
    const STEPS_PER_FIND: u64 = 512;

    /// Bytes of all names and properties: many times what full caches of real smtp(8) come to.
    const BYTES: usize = 256 << 20;

    /// How long no connection is promised to a client of the stock protocol after the kernel refused to pass one: longer
    /// than the second that smtp(8) waits before it asks again.
    const PASSING_PAUSE: Duration = Duration::from_secs(2);

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
        let has_limits = settings.reuse_limit > 0 || settings.lifetime_limit.is_some();
        Self {
            store: Store::new(limits, now),
            ttl_limit: settings.ttl_limit,
            reuse_limit: settings.reuse_limit,
            lifetime_limit: settings.lifetime_limit,
            watch: settings.watch,
            unwatched: Vec::new(),
            watch_at: None,
            goodbyes: settings.goodbyes.clone(),
            partings: Partings::new(settings.parting_limit, settings.goodbye_timeout),
            began: now,
            stats: Stats::default(),
            // Where nothing depends on them a few are enough.
            lives: Lives::new(if has_limits {
                settings.connection_limit
            } else {
                Lives::FEW
            }),
            journal: Journal::new(),
            dead: 0,
            draining: false,
            cannot_pass_until: None,
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
        let recognised = pass.kernel.recognise(&descriptor);
        if recognised.leads_here {
            pass.host.complain(pass.now, Complaint::OwnConnection);
            self.stats.saves_refused_own_connection += 1;
            return Answer::Failed;
        }
        if self.draining {
            if let Request::SaveEndpoint { endpoint, .. } | Request::Save { endpoint, .. } = request
            {
                self.turn_away(pass, endpoint, Kept::new(descriptor), Reason::Drained);
            }
            return Answer::Saved(Duration::ZERO);
        }
        let (ttl, endpoint, property, history) = match request {
            Request::SaveEndpoint {
                ttl,
                endpoint,
                property,
                history,
            } => (ttl, endpoint, property, history),
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
                (ttl, endpoint, property, None)
            }
            _ => return Answer::Failed,
        };
        let now = self.moment(pass.now);
        let kept = Kept {
            life: self.lives.save(recognised.identity, history, now),
            ..Kept::new(descriptor)
        };
        self.stats.saves_ttl_cut += u64::from(Duration::from(ttl) > self.ttl_limit);
        let past = self.history(pass.now, &kept);
        let Some(ttl) = self.remaining(past, ttl) else {
            self.store.expire(pass.now);
            self.turn_away(pass, endpoint, kept, Reason::Retired);
            self.settle(pass);
            return Answer::Saved(Duration::ZERO);
        };
        let was_taken = past.is_some_and(|past| past.taken > 0);
        self.stats.connections_new += u64::from(!was_taken && history.is_none());
        self.journal
            .record(pass.now, Happening::Saved, endpoint.as_bytes(), b"");
        let id = self
            .store
            .save_endpoint(pass.now, ttl, endpoint, property, kept);
        self.watch_later(pass.now, id);
        self.settle(pass);
        Answer::Saved(self.granted(ttl))
    }

    /// Whether this is a find, and nothing is cached that it could come to.
    pub(crate) fn lacks<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        request: &Request<'_>,
    ) -> bool {
        self.store.expire(pass.now);
        self.settle(pass);
        let has_destination = |name: Label<'_>| self.store.leads_somewhere(name.as_bytes());
        let has_endpoint = |name: Label<'_>| self.store.has_connections(name.as_bytes());
        match *request {
            Request::FindEndpoint { endpoint } => !has_endpoint(endpoint),
            Request::FindDestination { destination } => !has_destination(destination),
            Request::Find {
                destination,
                endpoints,
            } => !has_destination(destination) && !endpoints.into_iter().any(has_endpoint),
            _ => false,
        }
    }

    pub(crate) fn answer<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        request: Request<'_>,
    ) -> Answer<HandedOut<D>> {
        let now = pass.now;
        let watch = self.watch;
        let before = self.store.steps();
        let mut dead = 0;
        let mut judge = |kept: &Kept<D>| {
            let death = watch
                .then(|| death(pass.kernel, &kept.descriptor))
                .flatten();
            dead += u64::from(death.is_some());
            death
        };
        let found = match request {
            Request::FindEndpoint { endpoint } => self
                .store
                .find_endpoint(now, endpoint, judge)
                .map(|taken| HandedOut::new(taken, None, now)),
            Request::FindDestination { destination } => self
                .store
                .find_destination(now, destination, judge)
                .map(|found| HandedOut::through(found, now)),
            Request::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                if self.draining {
                    return Answer::Saved(Duration::ZERO);
                }
                self.store
                    .save_destination(now, ttl, destination, property, endpoint);
                self.settle(pass);
                return Answer::Saved(self.granted(ttl));
            }
            Request::Find {
                destination,
                endpoints,
            } => self
                .store
                .find_destination(now, destination, &mut judge)
                .map(|found| HandedOut::through(found, now))
                .or_else(|| {
                    let mut endpoints = endpoints.into_iter();
                    let taken = std::iter::from_fn(|| {
                        let goes_on = self.store.steps() - before < Self::STEPS_PER_FIND;
                        let endpoint = endpoints.next().filter(|_| goes_on)?;
                        Some(self.store.find_endpoint(now, endpoint, &mut judge))
                    })
                    .flatten()
                    .next()?;
                    Some(HandedOut::new(taken, Some(Box::default()), now))
                }),
            // Those that bring a connection come by `save`; the others are not about the cache.
            Request::SaveEndpoint { .. }
            | Request::Save { .. }
            | Request::Inline
            | Request::Details
            | Request::TakeOver
            | Request::Administer(_) => None,
        };
        self.dead += dead;
        self.settle(pass);
        match found {
            Some(mut handed_out) => {
                handed_out.history = self.count_taken(now, &handed_out);
                // A registration would outlive our copy of the descriptor.
                self.unwatch(pass.kernel, &mut handed_out.taken.handle);
                Answer::Found(handed_out)
            }
            None => {
                let (Request::FindEndpoint {
                    endpoint: wanted, ..
                }
                | Request::FindDestination {
                    destination: wanted,
                }
                | Request::Find {
                    destination: wanted,
                    ..
                }) = request
                else {
                    return Answer::Failed;
                };
                self.journal
                    .record(now, Happening::Missed, wanted.as_bytes(), b"");
                Answer::Failed
            }
        }
    }

    /// Takes note that the kernel refuses to pass descriptors.
    pub(crate) fn passing_failed(&mut self, now: Instant) {
        self.cannot_pass_until = now.checked_add(Self::PASSING_PAUSE);
    }

    /// Returns whether that was so a moment ago.
    pub(crate) fn cannot_pass(&self, now: Instant) -> bool {
        self.cannot_pass_until.is_some_and(|until| now < until)
    }

    /// Returns how much was done so far.
    pub(crate) fn work(&self) -> Work {
        Work {
            steps: self.store.steps(),
            dead: self.dead,
        }
    }

    /// Takes back a connection that its client never got.
    pub(crate) fn put_back<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        handed_out: HandedOut<D>,
    ) {
        if handed_out.is_stand_in {
            return;
        }
        if let Some(id) = self.store.put_back(pass.now, handed_out.taken) {
            self.stats.connections_put_back += 1;
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

    pub(crate) fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// A client that was between two requests was closed, since somebody else needed its slot.
    pub(crate) fn closed_idle_client(&mut self, now: Instant) {
        self.stats.clients_closed_idle += 1;
        let why = b"idle, closed to make room for another client";
        self.journal.record(now, Happening::ClientDropped, b"", why);
    }

    /// A client was dropped.
    pub(crate) fn client_dropped(&mut self, now: Instant, why: Complaint) {
        let counter = match why {
            Complaint::Fault(Fault::TooLong) => &mut self.stats.clients_dropped_too_long,
            Complaint::Fault(Fault::StrayDescriptor) => {
                &mut self.stats.clients_dropped_stray_descriptor
            }
            Complaint::Fault(Fault::NotReading) | Complaint::KeepsSlot => {
                &mut self.stats.clients_dropped_not_reading
            }
            Complaint::Memory => &mut self.stats.clients_dropped_memory,
            _ => &mut self.stats.clients_dropped_late,
        };
        *counter += 1;
        self.journal.record(
            now,
            Happening::ClientDropped,
            b"",
            why.to_string().as_bytes(),
        );
    }

    /// The loop was busy so long, with so many requests.
    pub(crate) fn was_busy(&mut self, time: Duration, requests: u64) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.stats.lag_microseconds.observe(microseconds, 1);
        self.stats.requests += requests;
        self.stats
            .service_microseconds
            .observe(microseconds, requests);
    }

    pub(crate) fn take_statistics(&mut self) -> Statistics {
        let interval = self.store.take_statistics();
        administer::add_interval(&mut self.stats, &interval);
        interval
    }

    /// Parts from a connection that would have been saved.
    fn turn_away<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        endpoint: Label<'_>,
        kept: Kept<D>,
        reason: Reason,
    ) {
        let released = Released {
            handle: kept,
            endpoint: endpoint.as_bytes().into(),
            reason,
        };
        self.part(pass, released);
    }

    /// Returns the past of a connection that is cached, if it is known.
    pub(crate) fn history(&self, now: Instant, kept: &Kept<D>) -> Option<History> {
        let life = self.lives.of(kept.life)?;
        Some(life.history(self.moment(now)))
    }

    /// Returns how long a connection may be kept for which `ttl` was asked, if at all.
    fn remaining(&self, past: Option<History>, ttl: Ttl) -> Option<Ttl> {
        let Some(past) = past else {
            return Some(ttl);
        };
        if self.reuse_limit > 0 && past.taken >= self.reuse_limit {
            return None;
        }
        let Some(limit) = self.lifetime_limit else {
            return Some(ttl);
        };
        let left = limit.checked_sub(past.age)?;
        Ttl::from_remaining(left.min(ttl.into())).ok()
    }

    /// Returns how long something is kept that was saved with a time to live.
    fn granted(&self, ttl: Ttl) -> Duration {
        Duration::from(ttl).min(self.ttl_limit)
    }

    /// Counts a connection that is taken. Returns its past, if that is known.
    fn count_taken(&mut self, now: Instant, handed_out: &HandedOut<D>) -> Option<History> {
        let taken = &handed_out.taken;
        self.journal
            .record(now, Happening::Taken, &taken.endpoint, b"");
        // Connections without a recorded past are not counted.
        let life = self.lives.take(taken.handle.life)?;
        let history = life.history(self.moment(now));
        self.stats.taken_times.observe(history.taken.into(), 1);
        self.stats
            .taken_age_seconds
            .observe(history.age.as_secs(), 1);
        Some(history)
    }
}
