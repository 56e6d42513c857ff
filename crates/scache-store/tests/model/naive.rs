//! Everything that is cached, in lists, in the order in which it is found.

use std::collections::HashSet;
use std::time::Instant;

use scache_proto::administration::Names;
use scache_store::{Counts, Limits, Order, Reason, Statistics, Tally};

#[derive(Debug)]
pub struct Saved {
    pub endpoint: Vec<u8>,
    pub property: Vec<u8>,
    pub deadline: Instant,
    pub nonce: u64,
}

#[derive(Debug)]
pub struct Bound {
    pub destination: Vec<u8>,
    pub endpoint: Vec<u8>,
    pub property: Vec<u8>,
    pub deadline: Instant,
}

/// What the store did where it may choose: which of those that expire at the same instant made room.
#[derive(Debug, Default)]
pub struct Choices {
    /// Connections that made room.
    pub evicted: Vec<u64>,
    /// Bindings that are still there.
    pub bound: Vec<(Vec<u8>, Vec<u8>, Instant)>,
}

#[derive(Debug)]
pub struct Model {
    pub limits: Limits,
    pub connections: Vec<Saved>,
    pub bindings: Vec<Bound>,
    pub statistics: Statistics,
    pub tally: Tally,
    pub released: Vec<(u64, Reason)>,
    /// Connections that a find finds something wrong with.
    pub dead: HashSet<u64>,
    /// What the store released in this operation.
    pub seen: Vec<(u64, Reason)>,
    pub choices: Choices,
}

impl Model {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            connections: Vec::new(),
            bindings: Vec::new(),
            statistics: Statistics::default(),
            tally: Tally::default(),
            released: Vec::new(),
            dead: HashSet::new(),
            seen: Vec::new(),
            choices: Choices::default(),
        }
    }

    pub fn expire(&mut self, now: Instant) {
        let before = self.bindings.len();
        self.bindings.retain(|binding| binding.deadline > now);
        self.tally.bindings_expired += (before - self.bindings.len()) as u64;
        self.release_all(Reason::Expired, |saved| saved.deadline <= now);
    }

    /// Releases the connections whose endpoint has one of these names, and drops the bindings that have one. How
    /// many connections and bindings went.
    pub fn purge(&mut self, names: &Names<'_>) -> (u64, u64) {
        let is_named = |name: &[u8]| match names {
            Names::Is(label) => name == label.as_bytes(),
            Names::Begin(prefix) => name.starts_with(prefix.as_bytes()),
        };
        let before = self.bindings.len();
        self.bindings
            .retain(|b| !is_named(&b.destination) && !is_named(&b.endpoint));
        let connections = self.release_all(Reason::Purged, |saved| is_named(&saved.endpoint));
        (connections, (before - self.bindings.len()) as u64)
    }

    pub fn clear(&mut self) {
        self.bindings.clear();
        self.release_all(Reason::Cleared, |_| true);
    }

    /// Releases a connection, if it is cached.
    pub fn let_go(&mut self, nonce: u64, reason: Reason) -> bool {
        self.release_all(reason, |saved| saved.nonce == nonce) > 0
    }

    fn release_all(&mut self, reason: Reason, is_meant: impl Fn(&Saved) -> bool) -> u64 {
        let before = self.released.len();
        self.connections.retain(|saved| {
            let stays = !is_meant(saved);
            if !stays {
                self.released.push((saved.nonce, reason));
            }
            stays
        });
        (self.released.len() - before) as u64
    }

    /// Adds a connection where it is found last.
    pub fn save(&mut self, saved: Saved) {
        self.make_room_for(&saved);
        self.connections.push(saved);
        self.tally.connections_saved += 1;
        let counts = self.counts();
        let most = &mut self.statistics;
        most.most_endpoints = most.most_endpoints.max(counts.endpoints);
        most.most_connections = most.most_connections.max(counts.connections);
    }

    /// Adds a connection that was taken where it is the next to be taken.
    pub fn put_back(&mut self, saved: Saved, now: Instant) {
        if saved.deadline <= now {
            self.released.push((saved.nonce, Reason::Expired));
            return;
        }
        self.make_room_for(&saved);
        match self.limits.order {
            Order::Oldest => self.connections.insert(0, saved),
            Order::Newest => self.connections.push(saved),
        }
    }

    pub fn bind(&mut self, new: Bound) {
        let same = self.bindings.iter_mut().find(|bound| {
            (&bound.destination, &bound.endpoint, &bound.property)
                == (&new.destination, &new.endpoint, &new.property)
        });
        if let Some(same) = same {
            same.deadline = new.deadline;
            self.tally.bindings_renewed += 1;
        } else {
            self.make_room_for_bytes(&[&new.destination, &new.endpoint, &new.property]);
            let of_it = |bound: &Bound| bound.destination == new.destination;
            let of_one = self.bindings.iter().filter(|bound| of_it(bound)).count();
            if of_one >= self.limits.bindings_per_destination {
                let first = self.bindings.iter().position(of_it);
                self.bindings.remove(first.unwrap());
                self.tally.bindings_evicted += 1;
            }
            while self.bindings.len() >= self.limits.bindings {
                self.evict_binding();
            }
            self.bindings.push(new);
            self.tally.bindings_saved += 1;
        }
        let counts = self.counts();
        let most = &mut self.statistics;
        most.most_destinations = most.most_destinations.max(counts.destinations);
        most.most_endpoints = most.most_endpoints.max(counts.endpoints);
    }

    pub fn find_endpoint(&mut self, endpoint: &[u8]) -> Option<Saved> {
        let found = self.take(endpoint);
        match found {
            Some(_) => self.statistics.endpoint_hits += 1,
            None => self.statistics.endpoint_misses += 1,
        }
        found
    }

    /// Finds a connection through the bindings of a destination, with the property of the one that led there.
    pub fn find_destination(&mut self, destination: &[u8]) -> Option<(Vec<u8>, Saved)> {
        let bindings = self.bindings.iter();
        let through: Vec<_> = bindings
            .filter(|bound| bound.destination == destination)
            .map(|bound| (bound.endpoint.clone(), bound.property.clone()))
            .collect();
        let found = through
            .into_iter()
            .find_map(|(endpoint, property)| Some((property, self.take(&endpoint)?)));
        match found {
            Some(_) => self.statistics.destination_hits += 1,
            None => self.statistics.destination_misses += 1,
        }
        found
    }

    /// Evicts a connection, if there is one.
    pub fn evict(&mut self) -> bool {
        let is_one = !self.connections.is_empty();
        if is_one {
            self.evict_soonest(|_| true);
            self.tally.evicted_on_demand += 1;
        }
        is_one
    }

    pub fn of<'a>(&'a self, endpoint: &'a [u8]) -> impl Iterator<Item = &'a Saved> {
        self.connections
            .iter()
            .filter(move |saved| saved.endpoint == endpoint)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        let connections = self.connections.iter().map(|saved| saved.deadline);
        let bindings = self.bindings.iter().map(|bound| bound.deadline);
        connections.chain(bindings).min()
    }

    pub fn counts(&self) -> Counts {
        let destinations = distinct(self.bindings.iter().map(|b| &*b.destination), Vec::new());
        let endpoints = distinct(self.connections.iter().map(|c| &*c.endpoint), Vec::new());
        let with_connections = endpoints.len();
        let endpoints = distinct(self.bindings.iter().map(|b| &*b.endpoint), endpoints);
        let properties = self.bindings.iter().map(|b| b.property.len());
        let properties = properties.chain(self.connections.iter().map(|c| c.property.len()));
        // Each name once, whatever it is the name of several times.
        let names = destinations.iter().chain(&endpoints).map(|name| name.len());
        Counts {
            destinations: destinations.len(),
            endpoints: with_connections,
            connections: self.connections.len(),
            bindings: self.bindings.len(),
            bytes: properties.sum::<usize>() + names.sum::<usize>(),
        }
    }

    fn take(&mut self, endpoint: &[u8]) -> Option<Saved> {
        loop {
            let mut connections = self.connections.iter();
            let is_of_it = |saved: &Saved| saved.endpoint == endpoint;
            let index = match self.limits.order {
                Order::Oldest => connections.position(is_of_it),
                Order::Newest => connections.rposition(is_of_it),
            }?;
            let saved = self.connections.remove(index);
            if !self.dead.contains(&saved.nonce) {
                return Some(saved);
            }
            self.released.push((saved.nonce, Reason::Reset));
        }
    }

    fn make_room_for(&mut self, saved: &Saved) {
        self.make_room_for_bytes(&[&saved.endpoint, &saved.property]);
        let of_one = self.limits.connections_per_endpoint;
        while of_one > 0 && self.of(&saved.endpoint).count() >= of_one {
            self.evict_soonest(|other| other.endpoint == saved.endpoint);
            self.tally.evicted_for_endpoint += 1;
        }
        while self.connections.len() >= self.limits.connections {
            self.evict_soonest(|_| true);
            self.tally.evicted_for_connections += 1;
        }
    }

    fn make_room_for_bytes(&mut self, strings: &[&[u8]]) {
        let more: usize = strings.iter().map(|string| string.len()).sum();
        while self.counts().bytes + more > self.limits.bytes {
            let binding = self.bindings.iter().map(|b| b.deadline).min();
            let connection = self.connections.iter().map(|c| c.deadline).min();
            match (binding, connection) {
                (None, None) => return,
                (Some(binding), connection) if connection.is_none_or(|other| binding <= other) => {
                    self.evict_binding();
                }
                _ => {
                    self.evict_soonest(|_| true);
                    self.tally.evicted_for_bytes += 1;
                }
            }
        }
    }

    /// Evicts the connection that expires soonest of those that are meant; of several, the one that the store did.
    fn evict_soonest(&mut self, is_meant: impl Fn(&Saved) -> bool) {
        let meant = || self.connections.iter().filter(|saved| is_meant(saved));
        let soonest = meant().map(|saved| saved.deadline).min();
        let is_chosen = |saved: &Saved| {
            is_meant(saved)
                && Some(saved.deadline) == soonest
                && self.choices.evicted.contains(&saved.nonce)
        };
        let at = self.connections.iter().position(is_chosen);
        let at = at.expect("the store evicted none of those that expire soonest");
        let nonce = self.connections.remove(at).nonce;
        self.released.push((nonce, Reason::Evicted));
    }

    /// Drops the binding that expires soonest; of several, one that the store has no more.
    fn evict_binding(&mut self) {
        let soonest = self.bindings.iter().map(|bound| bound.deadline).min();
        let left = |bound: &Bound| {
            let mut left = self.choices.bound.iter();
            left.any(|(destination, endpoint, deadline)| {
                (destination, endpoint, deadline)
                    == (&bound.destination, &bound.endpoint, &bound.deadline)
            })
        };
        let mut bindings = self.bindings.iter();
        let at = bindings.position(|bound| Some(bound.deadline) == soonest && !left(bound));
        let at = at.expect("the store evicted none of the bindings that expire soonest");
        self.bindings.remove(at);
        self.tally.bindings_evicted += 1;
    }
}

/// Adds the names that are not there yet. There are so few different ones that a list is faster than a set.
fn distinct<'a>(names: impl Iterator<Item = &'a [u8]>, mut found: Vec<&'a [u8]>) -> Vec<&'a [u8]> {
    for name in names {
        if !found.contains(&name) {
            found.push(name);
        }
    }
    found
}
