//! Random operations on the store and on a model that is too simple to be wrong.
//!
//! `SCACHE_MODEL_OPERATIONS` sets how many (a million otherwise), `SCACHE_MODEL_SEED` which.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "the seed comes from the environment, and virtual time has to begin somewhere"
)]

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use scache_proto::administration::Names;
use scache_proto::{Label, Property, Ttl};
use scache_store::{ConnectionId, Counts, Limits, Order, Reason, Statistics, Store, Taken};

/// A connection: alive from its making to its drop, and never in two places.
#[derive(Debug)]
struct Connection {
    nonce: u64,
    alive: Rc<RefCell<HashSet<u64>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        assert!(self.alive.borrow_mut().remove(&self.nonce), "dropped twice");
    }
}

struct Saved {
    endpoint: Vec<u8>,
    property: Vec<u8>,
    deadline: Instant,
    nonce: u64,
}

struct Bound {
    destination: Vec<u8>,
    endpoint: Vec<u8>,
    property: Vec<u8>,
    deadline: Instant,
}

/// Everything in the order in which it is found.
struct Model {
    limits: Limits,
    connections: Vec<Saved>,
    bindings: Vec<Bound>,
    statistics: Statistics,
    released: Vec<(u64, Reason)>,
    /// Connections that a find finds something wrong with.
    dead: HashSet<u64>,
}

impl Model {
    fn expire(&mut self, now: Instant) {
        self.bindings.retain(|binding| binding.deadline > now);
        for index in (0..self.connections.len()).rev() {
            if self.connections[index].deadline <= now {
                let nonce = self.connections.remove(index).nonce;
                self.released.push((nonce, Reason::Expired));
            }
        }
    }

    /// What all names and properties take, each name once.
    fn bytes(&self) -> usize {
        let destinations: HashSet<_> = self.bindings.iter().map(|b| &b.destination).collect();
        let mut endpoints: HashSet<_> = self.bindings.iter().map(|b| &b.endpoint).collect();
        endpoints.extend(self.connections.iter().map(|c| &c.endpoint));
        let properties = self.bindings.iter().map(|b| b.property.len());
        let properties = properties.chain(self.connections.iter().map(|c| c.property.len()));
        let names = destinations.into_iter().chain(endpoints).map(Vec::len);
        properties.sum::<usize>() + names.sum::<usize>()
    }

    /// Lets go of what has one of these names. How many connections and bindings went.
    fn purge(&mut self, names: &Names<'_>) -> (u64, u64) {
        let is_named = |name: &[u8]| match names {
            Names::Is(label) => name == label.as_bytes(),
            Names::Begin(prefix) => name.starts_with(prefix.as_bytes()),
        };
        let before = (self.connections.len(), self.bindings.len());
        for index in (0..self.connections.len()).rev() {
            if is_named(&self.connections[index].endpoint) {
                let nonce = self.connections.remove(index).nonce;
                self.released.push((nonce, Reason::Purged));
            }
        }
        self.bindings
            .retain(|b| !is_named(&b.destination) && !is_named(&b.endpoint));
        (
            (before.0 - self.connections.len()) as u64,
            (before.1 - self.bindings.len()) as u64,
        )
    }

    fn make_room_for_bytes(&mut self, strings: &[&[u8]]) {
        let more: usize = strings.iter().map(|string| string.len()).sum();
        while self.bytes() + more > self.limits.bytes {
            let binding = self.bindings.iter().map(|b| b.deadline).min();
            let connection = self.connections.iter().map(|c| c.deadline).min();
            match (binding, connection) {
                (None, None) => return,
                (Some(binding), connection) if connection.is_none_or(|other| binding < other) => {
                    self.bindings.retain(|b| b.deadline != binding);
                }
                _ => self.evict(|saved| Some(saved.deadline) == connection),
            }
        }
    }

    fn save(&mut self, saved: Saved, front: bool) {
        self.make_room_for_bytes(&[&saved.endpoint, &saved.property]);
        let of_one = self.limits.connections_per_endpoint;
        while of_one > 0 && self.of(&saved.endpoint).count() >= of_one {
            let soonest = self.of(&saved.endpoint).map(|saved| saved.deadline).min();
            self.evict(|other| other.endpoint == saved.endpoint && Some(other.deadline) == soonest);
        }
        while self.connections.len() >= self.limits.connections {
            let soonest = self.connections.iter().map(|saved| saved.deadline).min();
            self.evict(|other| Some(other.deadline) == soonest);
        }
        let place = if front { 0 } else { self.connections.len() };
        self.connections.insert(place, saved);
    }

    /// Deadlines are unique here, so it is always clear who goes.
    fn evict(&mut self, which: impl Fn(&Saved) -> bool) {
        let index = self.connections.iter().position(which).unwrap();
        let nonce = self.connections.remove(index).nonce;
        self.released.push((nonce, Reason::Evicted));
    }

    fn of<'a>(&'a self, endpoint: &'a [u8]) -> impl Iterator<Item = &'a Saved> {
        self.connections
            .iter()
            .filter(move |saved| saved.endpoint == endpoint)
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

    fn counts(&self) -> Counts {
        let destinations: HashSet<_> = self.bindings.iter().map(|b| &b.destination).collect();
        let endpoints: HashSet<_> = self.connections.iter().map(|c| &c.endpoint).collect();
        Counts {
            destinations: destinations.len(),
            endpoints: endpoints.len(),
            connections: self.connections.len(),
            bindings: self.bindings.len(),
            bytes: self.bytes(),
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

#[test]
fn random_operations_do_what_the_model_does() {
    let seed = setting("SCACHE_MODEL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let operations = setting("SCACHE_MODEL_OPERATIONS").unwrap_or(1_000_000);
    println!("SCACHE_MODEL_SEED={seed} cargo test -p scache-store --test model");
    let mut random = fastrand::Rng::with_seed(seed);
    let mut done = 0;
    // Many short lives see more than one long one: each has limits of its own.
    while done < operations {
        let steps = random.u64(100..20_000).min(operations - done);
        live(&mut random, steps, seed);
        done += steps;
    }
}

#[expect(clippy::too_many_lines, reason = "one operation after the other")]
fn live(random: &mut fastrand::Rng, steps: u64, seed: u64) {
    let limits = Limits {
        ttl_limit: Duration::from_secs(random.u64(1..8)),
        connections: random.usize(1..40),
        connections_per_endpoint: random.usize(0..6),
        bindings: random.usize(1..40),
        bindings_per_destination: random.usize(1..10),
        bytes: random.usize(40..400),
        order: if random.bool() {
            Order::Oldest
        } else {
            Order::Newest
        },
    };
    let mut now = Instant::now();
    let mut store = Store::new(limits.clone(), now);
    let mut model = Model {
        limits: limits.clone(),
        connections: Vec::new(),
        bindings: Vec::new(),
        statistics: Statistics::default(),
        released: Vec::new(),
        dead: HashSet::new(),
    };
    let mut ids: HashMap<u64, ConnectionId> = HashMap::new();
    let alive = Rc::default();
    let mut nonce = 0;
    let mut taken: Vec<Taken<Connection>> = Vec::new();
    let names: [&[u8]; 6] = [b"", b"a", b"b", b"\xff\n", b"smtp\n[127.0.0.1]:25", b"e"];
    for step in 0..steps {
        // Odd steps, so that equal deadlines are rare; who goes first of two equals is not defined.
        now += Duration::from_nanos(random.u64(1..100_000_000) * 2 + 1);
        if random.u8(..) == 0 {
            now += Duration::from_secs(random.u64(1..10));
        }
        let name = names[random.usize(..names.len())];
        let other = names[random.usize(..names.len())];
        let property = names[random.usize(..3)];
        let ttl = Ttl::from_secs(random.u32(1..10)).unwrap();
        let deadline = now + Duration::from(ttl).min(limits.ttl_limit);
        let label = Label::new(name).unwrap();
        let context = format!("seed {seed}, step {step}");
        let clash = model.connections.iter().any(|c| c.deadline == deadline)
            || model.bindings.iter().any(|b| b.deadline == deadline)
            || taken.iter().any(|t| t.deadline == deadline);
        match random.u8(0..10) {
            0..=2 if !clash => {
                nonce += 1;
                RefCell::borrow_mut(&alive as &Rc<RefCell<HashSet<u64>>>).insert(nonce);
                let handle = Connection {
                    nonce,
                    alive: Rc::clone(&alive),
                };
                let property_ = Property::new(property).unwrap();
                let id = store.save_endpoint(now, ttl, label, property_, handle);
                ids.insert(nonce, id);
                model.expire(now);
                model.save(
                    Saved {
                        endpoint: name.to_vec(),
                        property: property.to_vec(),
                        deadline,
                        nonce,
                    },
                    false,
                );
                let counts = model.counts();
                let most = &mut model.statistics;
                most.most_endpoints = most.most_endpoints.max(counts.endpoints);
                most.most_connections = most.most_connections.max(counts.connections);
            }
            3..=4 if !clash => {
                let endpoint = Label::new(other).unwrap();
                let property_ = Property::new(property).unwrap();
                store.save_destination(now, ttl, label, property_, endpoint);
                model.expire(now);
                let same = model.bindings.iter_mut().find(|binding| {
                    (
                        &*binding.destination,
                        &*binding.endpoint,
                        &*binding.property,
                    ) == (name, other, property)
                });
                if let Some(same) = same {
                    same.deadline = deadline;
                } else {
                    model.make_room_for_bytes(&[name, other, property]);
                    let of_it = |b: &Bound| b.destination == name;
                    let first = model.bindings.iter().position(of_it);
                    if model.bindings.iter().filter(|b| of_it(b)).count()
                        >= limits.bindings_per_destination
                    {
                        model.bindings.remove(first.unwrap());
                    }
                    while model.bindings.len() >= limits.bindings {
                        let soonest = model.bindings.iter().map(|b| b.deadline).min();
                        model.bindings.retain(|b| Some(b.deadline) != soonest);
                    }
                    model.bindings.push(Bound {
                        destination: name.to_vec(),
                        endpoint: other.to_vec(),
                        property: property.to_vec(),
                        deadline,
                    });
                }
                let counts = model.counts();
                let most = &mut model.statistics;
                most.most_destinations = most.most_destinations.max(counts.destinations);
                most.most_endpoints = most.most_endpoints.max(counts.endpoints);
            }
            5 => {
                model.expire(now);
                let expected = model.take(name);
                let found = store.find_endpoint(now, label, |handle| {
                    model.dead.contains(&handle.nonce).then_some(Reason::Reset)
                });
                assert_same(found.as_ref(), expected.as_ref(), &context);
                if expected.is_some() {
                    model.statistics.endpoint_hits += 1;
                } else {
                    model.statistics.endpoint_misses += 1;
                }
                taken.extend(found);
            }
            6..=7 => {
                model.expire(now);
                let through: Vec<_> = model
                    .bindings
                    .iter()
                    .filter(|binding| binding.destination == name)
                    .map(|binding| (binding.endpoint.clone(), binding.property.clone()))
                    .collect();
                let expected = through
                    .into_iter()
                    .find_map(|(endpoint, property)| Some((property, model.take(&endpoint)?)));
                let found = store.find_destination(now, label, |handle| {
                    model.dead.contains(&handle.nonce).then_some(Reason::Reset)
                });
                assert_eq!(
                    found.as_ref().map(|found| &*found.destination_property),
                    expected.as_ref().map(|(property, _)| &**property),
                    "{context}"
                );
                assert_same(
                    found.as_ref().map(|found| &found.taken),
                    expected.as_ref().map(|(_, saved)| saved),
                    &context,
                );
                if expected.is_some() {
                    model.statistics.destination_hits += 1;
                } else {
                    model.statistics.destination_misses += 1;
                }
                taken.extend(found.map(|found| found.taken));
            }
            8 if !taken.is_empty() => {
                let back = taken.swap_remove(random.usize(..taken.len()));
                model.expire(now);
                let saved = Saved {
                    endpoint: back.endpoint.to_vec(),
                    property: back.property.to_vec(),
                    deadline: back.deadline,
                    nonce: back.handle.nonce,
                };
                if saved.deadline <= now {
                    model.released.push((saved.nonce, Reason::Expired));
                } else {
                    model.save(saved, limits.order == Order::Oldest);
                }
                let nonce = back.handle.nonce;
                if let Some(id) = store.put_back(now, back) {
                    ids.insert(nonce, id);
                }
            }
            9 if random.u8(..) == 0 => {
                store.clear();
                model.bindings.clear();
                let cleared = model.connections.drain(..);
                model
                    .released
                    .extend(cleared.map(|saved| (saved.nonce, Reason::Cleared)));
            }
            9 if random.u8(..) < 64 && nonce > 0 => {
                // Any connection there ever was: an id that is no longer valid names nothing.
                let any = random.u64(nonce.saturating_sub(50)..nonce) + 1;
                if random.bool() {
                    model.dead.insert(any);
                } else if let Some(id) = ids.get(&any) {
                    let index = model.connections.iter().position(|c| c.nonce == any);
                    assert_eq!(
                        store.connection(*id).map(|handle| handle.nonce),
                        index.map(|_| any),
                        "{context}"
                    );
                    assert_eq!(
                        store.let_go(*id, Reason::Closed),
                        index.is_some(),
                        "{context}"
                    );
                    if let Some(index) = index {
                        model.connections.remove(index);
                        model.released.push((any, Reason::Closed));
                    }
                }
            }
            9 if random.u8(..) < 16 => {
                let soonest = model.connections.iter().map(|saved| saved.deadline).min();
                if soonest.is_some() {
                    model.evict(|saved| Some(saved.deadline) == soonest);
                }
                assert_eq!(store.evict(), soonest.is_some(), "{context}");
            }
            9 if random.u8(..) < 8 => {
                let prefix = Property::new(&name[..1.min(name.len())]).unwrap();
                let names = if random.bool() {
                    Names::Is(label)
                } else {
                    Names::Begin(prefix)
                };
                let (places, most) = (random.usize(1..200), random.usize(1..20));
                let purged = purge(&mut store, &names, places, most);
                assert_eq!(purged, model.purge(&names), "{context}");
            }
            9 if random.u8(..) < 8 => {
                let places = random.usize(1..200);
                assert_looks_like(&store, &model, now, places, &context);
            }
            _ => {
                taken.clear();
                store.expire(now);
                model.expire(now);
            }
        }
        let mut released: Vec<_> = std::iter::from_fn(|| store.poll_released())
            .map(|released| (released.handle.nonce, released.reason))
            .collect();
        released.sort_by_key(|(nonce, _)| *nonce);
        model.released.sort_by_key(|(nonce, _)| *nonce);
        assert_eq!(released, model.released, "{context}");
        model.released.clear();
        assert_eq!(store.counts(), model.counts(), "{context}");
        let soonest = model
            .connections
            .iter()
            .map(|saved| saved.deadline)
            .chain(model.bindings.iter().map(|binding| binding.deadline))
            .min();
        assert_eq!(store.next_deadline(), soonest, "{context}");
        if random.u8(..) == 0 {
            let statistics = std::mem::take(&mut model.statistics);
            assert_eq!(store.take_statistics(), statistics, "{context}");
        }
        let held = model.connections.len() + taken.len();
        assert_eq!(alive.borrow().len(), held, "{context}: a connection leaked");
    }
    assert_same_entries(&mut store, &model, seed);
}

/// Purges part by part. How many connections and bindings went.
fn purge(
    store: &mut Store<Connection>,
    names: &Names<'_>,
    places: usize,
    most: usize,
) -> (u64, u64) {
    let (mut connections, mut bindings) = (0, 0);
    let mut from = Some(0);
    while let Some(at) = from {
        let purged = store.purge(names, at, places, most);
        assert!(purged.connections <= most as u64);
        connections += purged.connections;
        bindings += purged.bindings;
        from = purged.next;
    }
    (connections, bindings)
}

/// That who looks at the store part by part sees each connection and each binding once.
fn assert_looks_like(
    store: &Store<Connection>,
    model: &Model,
    now: Instant,
    places: usize,
    context: &str,
) {
    let mut connections = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = store.look_at_connections(now, at, places, |view| {
            connections.push((view.handle.nonce, view.endpoint.to_vec(), view.deadline));
            connections.len() % 3 != 0
        });
    }
    let mut expected: Vec<_> = model
        .connections
        .iter()
        .map(|c| (c.nonce, c.endpoint.clone(), c.deadline))
        .collect();
    connections.sort();
    expected.sort();
    assert_eq!(connections, expected, "{context}");
    let mut bindings = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = store.look_at_bindings(at, places, |view| {
            bindings.push((
                view.destination.to_vec(),
                view.endpoint.to_vec(),
                view.deadline,
            ));
            bindings.len() % 3 != 0
        });
    }
    let mut expected: Vec<_> = model
        .bindings
        .iter()
        .map(|b| (b.destination.clone(), b.endpoint.clone(), b.deadline))
        .collect();
    bindings.sort();
    expected.sort();
    assert_eq!(bindings, expected, "{context}");
    let mut destinations = HashSet::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = store.look_at_destinations(at, places, |view| {
            assert!(destinations.insert(view.destination.to_vec()), "{context}");
            let bound = model.bindings.iter();
            let endpoints: HashSet<_> = bound
                .filter(|b| *b.destination == *view.destination)
                .map(|b| &b.endpoint)
                .collect();
            let connections = model.connections.iter();
            let cached = connections.filter(|c| endpoints.contains(&c.endpoint));
            assert_eq!(view.connections, cached.count(), "{context}");
            destinations.len() % 3 != 0
        });
    }
}

/// That the store gives everything out in order, and then is empty.
fn assert_same_entries(store: &mut Store<Connection>, model: &Model, seed: u64) {
    let entries = store.take_entries();
    assert_eq!(store.counts(), Counts::default(), "seed {seed}");
    assert_eq!(store.next_deadline(), None, "seed {seed}");
    let mut names: Vec<&[u8]> = model.connections.iter().map(|c| &*c.endpoint).collect();
    names.extend(model.bindings.iter().map(|b| &*b.destination));
    names.sort_unstable();
    names.dedup();
    assert_eq!(entries.connections.len(), model.connections.len());
    assert_eq!(entries.bindings.len(), model.bindings.len());
    for name in names {
        let given: Vec<_> = entries
            .connections
            .iter()
            .filter(|taken| *taken.endpoint == *name)
            .map(|taken| (taken.handle.nonce, &*taken.property, taken.deadline))
            .collect();
        let expected: Vec<_> = model
            .of(name)
            .map(|saved| (saved.nonce, &*saved.property, saved.deadline))
            .collect();
        assert_eq!(given, expected, "seed {seed}");
        let given: Vec<_> = entries
            .bindings
            .iter()
            .filter(|bound| *bound.destination == *name)
            .map(|bound| (&*bound.endpoint, &*bound.property, bound.deadline))
            .collect();
        let expected: Vec<_> = model
            .bindings
            .iter()
            .filter(|bound| bound.destination == name)
            .map(|bound| (&*bound.endpoint, &*bound.property, bound.deadline))
            .collect();
        assert_eq!(given, expected, "seed {seed}");
    }
}

fn assert_same(found: Option<&Taken<Connection>>, expected: Option<&Saved>, context: &str) {
    let found = found.map(|taken| {
        (
            taken.handle.nonce,
            &*taken.endpoint,
            &*taken.property,
            taken.deadline,
        )
    });
    let expected = expected.map(|saved| {
        (
            saved.nonce,
            &*saved.endpoint,
            &*saved.property,
            saved.deadline,
        )
    });
    assert_eq!(found, expected, "{context}");
}
