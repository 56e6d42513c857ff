//! One life: a store and the model do the same.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use scache_proto::administration::Names;
use scache_proto::{Label, Property, Ttl};
use scache_store::{ConnectionId, Limits, Order, Reason, Store, Taken};

use crate::looks::{assert_looks_like, assert_same_entries, bindings_of};
use crate::naive::{Bound, Choices, Model, Saved};

/// A connection: alive from its making to its drop, and never in two places.
#[derive(Debug)]
pub struct Connection {
    pub nonce: u64,
    alive: Rc<RefCell<HashSet<u64>>>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        assert!(self.alive.borrow_mut().remove(&self.nonce), "dropped twice");
    }
}

const NAMES: [&[u8]; 6] = [b"", b"a", b"b", b"\xff\n", b"smtp\n[127.0.0.1]:25", b"e"];

struct Life {
    random: fastrand::Rng,
    now: Instant,
    store: Store<Connection>,
    model: Model,
    /// Several may expire at the same instant, and it is the store that chooses among them.
    has_ties: bool,
    /// Of all connections that there ever were.
    ids: HashMap<u64, ConnectionId>,
    alive: Rc<RefCell<HashSet<u64>>>,
    made: u64,
    taken: Vec<Taken<Connection>>,
}

/// Does so many random operations.
pub fn live(random: fastrand::Rng, operations: u64) {
    let mut life = Life::new(random);
    for operation in 0..operations {
        let context = Context { operation };
        life.pass_time();
        life.operate();
        life.compare();
        std::mem::forget(context);
    }
    assert_same_entries(&mut life.store, &life.model);
}

/// Says at which operation it failed.
struct Context {
    operation: u64,
}

impl Drop for Context {
    fn drop(&mut self) {
        eprintln!("in operation {}", self.operation);
    }
}

impl Life {
    fn new(mut random: fastrand::Rng) -> Self {
        let has_ties = random.bool();
        let limits = Limits {
            ttl_limit: Duration::from_secs(random.u64(1..8)),
            connections: random.usize(1..40),
            connections_per_endpoint: random.usize(0..6),
            bindings: random.usize(1..40),
            bindings_per_destination: random.usize(1..10),
            // If bytes make room, how many have to go depends on which goes first, which is not seen.
            bytes: if has_ties {
                usize::MAX
            } else {
                random.usize(40..400)
            },
            order: if random.bool() {
                Order::Oldest
            } else {
                Order::Newest
            },
        };
        let now = Instant::now();
        Self {
            random,
            now,
            store: Store::new(limits.clone(), now),
            model: Model::new(limits),
            has_ties,
            ids: HashMap::new(),
            alive: Rc::default(),
            made: 0,
            taken: Vec::new(),
        }
    }

    fn pass_time(&mut self) {
        let random = &mut self.random;
        if !self.has_ties || random.u8(0..4) == 0 {
            self.now += Duration::from_nanos(random.u64(1..100_000_000) * 2 + 1);
        }
        if random.u8(..) == 0 {
            self.now += Duration::from_secs(random.u64(1..10));
        }
    }

    fn name(&mut self) -> &'static [u8] {
        NAMES[self.random.usize(..NAMES.len())]
    }

    fn operate(&mut self) {
        match self.random.u8(0..10) {
            0..=2 => self.save_endpoint(),
            3..=4 => self.save_destination(),
            5 => self.find_endpoint(),
            6..=7 => self.find_destination(),
            8 => self.put_back(),
            _ => match self.random.u8(..) {
                0 => {
                    self.store.clear();
                    self.model.clear();
                }
                1..64 => self.one_connection(),
                64..80 => {
                    let evicted = self.store.evict();
                    self.see();
                    assert_eq!(self.model.evict(), evicted);
                }
                80..88 => self.purge(),
                88..96 => {
                    let places = self.random.usize(1..200);
                    assert_looks_like(&self.store, &self.model, self.now, places);
                }
                _ => {
                    self.taken.clear();
                    self.store.expire(self.now);
                    self.model.expire(self.now);
                }
            },
        }
    }

    fn save_endpoint(&mut self) {
        let (name, property) = (self.name(), NAMES[self.random.usize(..3)]);
        let Some((ttl, deadline)) = self.ttl() else {
            return;
        };
        self.made += 1;
        let nonce = self.made;
        RefCell::borrow_mut(&self.alive).insert(nonce);
        let handle = Connection {
            nonce,
            alive: Rc::clone(&self.alive),
        };
        let (label, bytes) = (Label::new(name).unwrap(), Property::new(property).unwrap());
        let id = self
            .store
            .save_endpoint(self.now, ttl, label, bytes, handle);
        self.ids.insert(nonce, id);
        self.see();
        self.model.expire(self.now);
        self.model.save(Saved {
            endpoint: name.to_vec(),
            property: property.to_vec(),
            deadline,
            nonce,
        });
    }

    fn save_destination(&mut self) {
        let (destination, endpoint) = (self.name(), self.name());
        let property = NAMES[self.random.usize(..3)];
        let Some((ttl, deadline)) = self.ttl() else {
            return;
        };
        // Nobody sees which of two goes that differ in nothing but the property.
        let is_twin = |bound: &Bound| {
            (&*bound.destination, &*bound.endpoint, bound.deadline)
                == (destination, endpoint, deadline)
                && bound.property != property
        };
        if self.model.bindings.iter().any(is_twin) {
            return;
        }
        let label = |name| Label::new(name).unwrap();
        self.store.save_destination(
            self.now,
            ttl,
            label(destination),
            Property::new(property).unwrap(),
            label(endpoint),
        );
        self.see();
        self.model.expire(self.now);
        self.model.bind(Bound {
            destination: destination.to_vec(),
            endpoint: endpoint.to_vec(),
            property: property.to_vec(),
            deadline,
        });
    }

    /// A time to live, and when it is over; none if something else expires then and it matters which goes first.
    fn ttl(&mut self) -> Option<(Ttl, Instant)> {
        let ttl = Ttl::from_secs(self.random.u32(1..10)).unwrap();
        let deadline = self.now + Duration::from(ttl).min(self.model.limits.ttl_limit);
        let model = &self.model;
        let is_tie = model.connections.iter().any(|c| c.deadline == deadline)
            || model.bindings.iter().any(|b| b.deadline == deadline)
            || self.taken.iter().any(|t| t.deadline == deadline);
        (self.has_ties || !is_tie).then_some((ttl, deadline))
    }

    fn find_endpoint(&mut self) {
        let name = self.name();
        let dead = &self.model.dead;
        let found = self
            .store
            .find_endpoint(self.now, Label::new(name).unwrap(), |handle| {
                dead.contains(&handle.nonce).then_some(Reason::Reset)
            });
        self.model.expire(self.now);
        let expected = self.model.find_endpoint(name);
        assert_same(found.as_ref(), expected.as_ref());
        self.taken.extend(found);
    }

    fn find_destination(&mut self) {
        let name = self.name();
        let dead = &self.model.dead;
        let found = self
            .store
            .find_destination(self.now, Label::new(name).unwrap(), |handle| {
                dead.contains(&handle.nonce).then_some(Reason::Reset)
            });
        self.model.expire(self.now);
        let expected = self.model.find_destination(name);
        assert_eq!(
            found.as_ref().map(|found| &*found.destination_property),
            expected.as_ref().map(|(property, _)| &**property),
        );
        assert_same(
            found.as_ref().map(|found| &found.taken),
            expected.as_ref().map(|(_, saved)| saved),
        );
        self.taken.extend(found.map(|found| found.taken));
    }

    fn put_back(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let at = self.random.usize(..self.taken.len());
        let back = self.taken.swap_remove(at);
        let saved = Saved {
            endpoint: back.endpoint.to_vec(),
            property: back.property.to_vec(),
            deadline: back.deadline,
            nonce: back.handle.nonce,
        };
        if let Some(id) = self.store.put_back(self.now, back) {
            self.ids.insert(saved.nonce, id);
        }
        self.see();
        self.model.expire(self.now);
        self.model.put_back(saved, self.now);
    }

    /// Something becomes of a connection, any that there ever was: an id that is no longer valid names nothing.
    fn one_connection(&mut self) {
        if self.made == 0 {
            return;
        }
        let any = self.random.u64(self.made.saturating_sub(50)..self.made) + 1;
        if self.random.bool() {
            self.model.dead.insert(any);
        } else if let Some(id) = self.ids.get(&any) {
            let mut connections = self.model.connections.iter();
            let is_here = connections.any(|saved| saved.nonce == any);
            let handle = self.store.connection(*id);
            assert_eq!(handle.map(|handle| handle.nonce), is_here.then_some(any));
            assert_eq!(self.store.let_go(*id, Reason::Closed), is_here);
            assert_eq!(self.model.let_go(any, Reason::Closed), is_here);
        }
    }

    /// Purges part by part.
    fn purge(&mut self) {
        let name = self.name();
        let names = if self.random.bool() {
            Names::Is(Label::new(name).unwrap())
        } else {
            Names::Begin(Property::new(&name[..1.min(name.len())]).unwrap())
        };
        let (places, most) = (self.random.usize(1..200), self.random.usize(1..20));
        let (mut connections, mut bindings) = (0, 0);
        let mut from = Some(0);
        while let Some(at) = from {
            let purged = self.store.purge(&names, at, places, most);
            assert!(purged.connections <= most as u64);
            connections += purged.connections;
            bindings += purged.bindings;
            from = purged.next;
        }
        assert_eq!((connections, bindings), self.model.purge(&names));
    }

    /// Takes what the store released, and sees what it chose.
    fn see(&mut self) {
        self.release();
        if self.has_ties && self.model.bindings.len() >= self.model.limits.bindings {
            self.model.choices.bound = bindings_of(&self.store, usize::MAX);
        }
    }

    fn release(&mut self) {
        while let Some(released) = self.store.poll_released() {
            let nonce = released.handle.nonce;
            if released.reason == Reason::Evicted {
                self.model.choices.evicted.push(nonce);
            }
            self.model.seen.push((nonce, released.reason));
        }
    }

    fn compare(&mut self) {
        self.release();
        let (store, model) = (&mut self.store, &mut self.model);
        model.seen.sort_by_key(|(nonce, _)| *nonce);
        model.released.sort_by_key(|(nonce, _)| *nonce);
        assert_eq!(model.seen, model.released);
        model.seen.clear();
        model.released.clear();
        model.choices = Choices::default();
        assert_eq!(store.counts(), model.counts());
        assert_eq!(store.next_deadline(), model.next_deadline());
        assert_eq!(store.tally(), model.tally);
        if self.random.u8(..) == 0 {
            let statistics = std::mem::take(&mut model.statistics);
            assert_eq!(store.take_statistics(), statistics);
        }
        let held = model.connections.len() + self.taken.len();
        assert_eq!(self.alive.borrow().len(), held, "a connection leaked");
    }
}

fn assert_same(found: Option<&Taken<Connection>>, expected: Option<&Saved>) {
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
    assert_eq!(found, expected);
}
