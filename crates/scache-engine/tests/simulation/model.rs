//! What is cached, in lists, in the order in which it is found.

use std::collections::BTreeSet;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use scache_engine::Settings;
use scache_store::{Order, Reason, Statistics};

use crate::world::Fd;

/// Removes the entries that `is_meant` names, and returns them in their order.
pub fn extract(entries: &mut Vec<Entry>, is_meant: impl Fn(&Entry) -> bool) -> Vec<Entry> {
    let (meant, others) = std::mem::take(entries).into_iter().partition(is_meant);
    *entries = others;
    meant
}

/// A connection.
#[derive(Debug, Clone)]
pub struct Entry {
    pub fd: Fd,
    pub endpoint: Vec<u8>,
    pub property: Vec<u8>,
    pub deadline: Instant,
    /// When it was saved or put back, or last looked at on its way to a client.
    pub since: Instant,
    /// Its end may have been overlooked, because of a failure that was made.
    pub excused: bool,
}

#[derive(Debug, Clone)]
pub struct Bound {
    pub destination: Vec<u8>,
    pub endpoint: Vec<u8>,
    pub property: Vec<u8>,
    pub deadline: Instant,
}

#[derive(Debug)]
pub struct Cache {
    settings: Settings,
    pub entries: Vec<Entry>,
    pub bindings: Vec<Bound>,
    pub statistics: Statistics,
    pub bound: BoundCounts,
    /// It depends on something that nobody outside can see what the most endpoints were.
    pub is_uncertain: bool,
}

/// What became of bindings.
#[derive(Debug, Default)]
pub struct BoundCounts {
    pub saved: u64,
    pub renewed: u64,
    pub expired: u64,
    pub evicted: u64,
}

/// Reason that ends a life early: two bindings expire at the same instant and one of them makes room, and nobody
/// outside can see which. It is rare, and another life takes the steps that are left. The model test of the store
/// sees which one goes.
#[derive(Debug)]
pub struct Tie;

/// What came of adding a connection: one of these has to go.
pub type Evicted = Vec<Fd>;

impl Cache {
    pub fn new(settings: &Settings) -> Self {
        Self {
            settings: settings.clone(),
            entries: Vec::new(),
            bindings: Vec::new(),
            statistics: Statistics::default(),
            bound: BoundCounts::default(),
            is_uncertain: false,
        }
    }

    pub fn deadline(&self, now: Instant, ttl: Duration) -> Instant {
        now + self.granted(ttl)
    }

    /// How long something is kept that was saved with a time to live.
    pub fn granted(&self, ttl: Duration) -> Duration {
        ttl.min(self.settings.ttl_limit)
    }

    pub fn expire(&mut self, now: Instant) -> Vec<Entry> {
        let before = self.bindings.len();
        self.bindings.retain(|binding| binding.deadline > now);
        self.bound.expired += (before - self.bindings.len()) as u64;
        extract(&mut self.entries, |entry| entry.deadline <= now)
    }

    /// Adds a connection behind the others of its endpoint.
    pub fn save(&mut self, entry: Entry) -> Evicted {
        let evicted = self.too_many(&entry.endpoint);
        self.entries.push(entry);
        self.is_uncertain |= evicted.len() > 1;
        let (endpoints, gone) = (self.endpoints(&evicted), usize::from(!evicted.is_empty()));
        let most = &mut self.statistics;
        most.most_connections = most.most_connections.max(self.entries.len() - gone);
        most.most_endpoints = most.most_endpoints.max(endpoints);
        evicted
    }

    /// Adds a connection that was taken where it is the next to be taken.
    pub fn put_back(&mut self, entry: Entry) -> Evicted {
        let evicted = self.too_many(&entry.endpoint);
        match self.settings.order {
            Order::Oldest => self.entries.insert(0, entry),
            Order::Newest => self.entries.push(entry),
        }
        evicted
    }

    pub fn bind(&mut self, new: Bound) {
        let same = self.bindings.iter_mut().find(|bound| {
            (&bound.destination, &bound.endpoint, &bound.property)
                == (&new.destination, &new.endpoint, &new.property)
        });
        if let Some(same) = same {
            same.deadline = new.deadline;
            self.bound.renewed += 1;
        } else {
            while self.bindings.len() >= self.settings.binding_limit {
                let soonest = self.bindings.iter().map(|bound| bound.deadline).min();
                let before = self.bindings.len();
                self.bindings
                    .retain(|bound| Some(bound.deadline) != soonest);
                self.bound.evicted += 1;
                if self.bindings.len() < before - 1 {
                    resume_unwind(Box::new(Tie));
                }
            }
            self.bindings.push(new);
            self.bound.saved += 1;
        }
        let destinations: BTreeSet<_> = self.bindings.iter().map(|b| &b.destination).collect();
        let endpoints = self.endpoints(&[]);
        let most = &mut self.statistics;
        most.most_destinations = most.most_destinations.max(destinations.len());
        most.most_endpoints = most.most_endpoints.max(endpoints);
    }

    /// Takes the first that nothing is wrong with; those before it go into `dead`.
    pub fn find_endpoint(
        &mut self,
        endpoint: &[u8],
        judge: &impl Fn(Fd) -> Option<Reason>,
        dead: &mut Vec<(Entry, Reason)>,
    ) -> Option<Entry> {
        let found = self.take(endpoint, judge, dead);
        match found {
            Some(_) => self.statistics.endpoint_hits += 1,
            None => self.statistics.endpoint_misses += 1,
        }
        found
    }

    /// The same through the bindings of a destination, with the property of the one that led there.
    pub fn find_destination(
        &mut self,
        destination: &[u8],
        judge: &impl Fn(Fd) -> Option<Reason>,
        dead: &mut Vec<(Entry, Reason)>,
    ) -> Option<(Entry, Vec<u8>)> {
        for index in 0..self.bindings.len() {
            let bound = self.bindings[index].clone();
            if bound.destination != destination {
                continue;
            }
            if let Some(entry) = self.take(&bound.endpoint, judge, dead) {
                self.statistics.destination_hits += 1;
                return Some((entry, bound.property));
            }
        }
        self.statistics.destination_misses += 1;
        None
    }

    /// How many connections the bindings of a destination lead to.
    pub fn within_reach(&self, destination: &[u8]) -> u64 {
        let is_bound = |endpoint: &[u8]| {
            let mut bindings = self.bindings.iter();
            bindings.any(|bound| bound.destination == destination && bound.endpoint == endpoint)
        };
        let entries = self.entries.iter();
        entries.filter(|entry| is_bound(&entry.endpoint)).count() as u64
    }

    pub fn remove(&mut self, fd: Fd) -> Option<Entry> {
        let index = self.entries.iter().position(|entry| entry.fd == fd)?;
        Some(self.entries.remove(index))
    }

    /// The next deadline of all.
    pub fn next_deadline(&self) -> Option<Instant> {
        let entries = self.entries.iter().map(|entry| entry.deadline);
        entries
            .chain(self.bindings.iter().map(|bound| bound.deadline))
            .min()
    }

    /// Those that may make room: the soonest to expire, which may be several.
    pub fn soonest(&self) -> Vec<Fd> {
        soonest(self.entries.iter())
    }

    fn take(
        &mut self,
        endpoint: &[u8],
        judge: &impl Fn(Fd) -> Option<Reason>,
        dead: &mut Vec<(Entry, Reason)>,
    ) -> Option<Entry> {
        loop {
            let mut entries = self.entries.iter();
            let is_of_it = |entry: &Entry| entry.endpoint == endpoint;
            let index = match self.settings.order {
                Order::Oldest => entries.position(is_of_it),
                Order::Newest => entries.rposition(is_of_it),
            }?;
            let entry = self.entries.remove(index);
            match judge(entry.fd) {
                None => return Some(entry),
                Some(reason) => dead.push((entry, reason)),
            }
        }
    }

    /// Who may have to go so that one more of this endpoint is within the limits.
    fn too_many(&self, endpoint: &[u8]) -> Evicted {
        let of_it = || {
            self.entries
                .iter()
                .filter(|entry| entry.endpoint == endpoint)
        };
        let of_one = self.settings.endpoint_limit;
        if of_one > 0 && of_it().count() >= of_one {
            soonest(of_it())
        } else if self.entries.len() >= self.settings.connection_limit.max(1) {
            self.soonest()
        } else {
            Vec::new()
        }
    }

    /// How many endpoints have connections if the first of `evicted` goes.
    fn endpoints(&self, evicted: &[Fd]) -> usize {
        let gone = evicted.first();
        let entries = self.entries.iter().filter(|entry| Some(&entry.fd) != gone);
        entries
            .map(|entry| &entry.endpoint)
            .collect::<BTreeSet<_>>()
            .len()
    }
}

fn soonest<'a>(entries: impl Iterator<Item = &'a Entry> + Clone) -> Vec<Fd> {
    let soonest = entries.clone().map(|entry| entry.deadline).min();
    entries
        .filter(|entry| Some(entry.deadline) == soonest)
        .map(|entry| entry.fd)
        .collect()
}
