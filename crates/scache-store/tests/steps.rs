//! No one call costs many steps, however much has expired, died or is bound.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]

use std::time::{Duration, Instant};

use scache_proto::{Label, Property, Ttl};
use scache_store::{Limits, Order, Reason, Store};

/// More than any call below may cost.
const MOST: u64 = 1024;

const MANY: usize = 20_000;

fn store(now: Instant) -> Store<usize> {
    let limits = Limits {
        ttl_limit: Duration::from_secs(1000),
        connections: 2 * MANY,
        connections_per_endpoint: 0,
        bindings: 2 * MANY,
        bindings_per_destination: 256,
        bytes: 64 << 20,
        order: Order::Oldest,
    };
    Store::new(limits, now)
}

fn label(text: &str) -> Label<'_> {
    Label::new(text.as_bytes()).unwrap()
}

fn property(text: &[u8]) -> Property<'_> {
    Property::new(text).unwrap()
}

fn seconds(seconds: u32) -> Ttl {
    Ttl::from_secs(seconds).unwrap()
}

/// Does something, which must not cost much.
fn cheaply<T>(store: &mut Store<usize>, what: &str, act: impl FnOnce(&mut Store<usize>) -> T) -> T {
    let before = store.steps();
    let result = act(store);
    let steps = store.steps() - before;
    assert!(steps <= MOST, "{what}: {steps} steps");
    result
}

/// A store in which very much has just expired, of one endpoint and of many, and one connection of each has not.
fn just_expired() -> (Store<usize>, Instant) {
    let now = Instant::now();
    let mut store = store(now);
    for number in 0..MANY {
        let name = number.to_string();
        let endpoint = if number % 2 == 0 { "crowded" } else { &name };
        store.save_endpoint(now, seconds(1), label(endpoint), property(b""), number);
        store.save_destination(now, seconds(1), label(&name), property(b"p"), label("e"));
    }
    store.save_endpoint(now, seconds(9), label("crowded"), property(b""), MANY);
    store.save_endpoint(now, seconds(9), label("alone"), property(b""), MANY + 1);
    (store, now + Duration::from_secs(2))
}

#[test]
fn what_expires_at_one_instant_leaves_bit_by_bit_and_is_never_given_out() {
    let (mut store, now) = just_expired();
    let found = cheaply(&mut store, "find", |store| {
        store.find_endpoint(now, label("alone"), |_| None)
    });
    assert_eq!(found.map(|taken| taken.handle), Some(MANY + 1));
    let found = cheaply(&mut store, "find of what has expired", |store| {
        store.find_endpoint(now, label("crowded"), |_| None)
    });
    assert_eq!(found.map(|taken| taken.handle), None);
    let mut released = 0;
    let mut later = now;
    while store.next_deadline().is_some_and(|at| at <= now) {
        later += Duration::from_nanos(1);
        cheaply(&mut store, "expire", |store| store.expire(later));
        while let Some(gone) = store.poll_released() {
            assert_eq!(gone.reason, Reason::Expired);
            released += 1;
        }
    }
    assert_eq!(released, MANY);
    let counts = store.counts();
    assert_eq!((counts.connections, counts.bindings), (1, 0));
    assert_eq!(store.tally().bindings_expired, MANY as u64);
    let found = store.find_endpoint(later, label("crowded"), |_| None);
    assert_eq!(found.map(|taken| taken.handle), Some(MANY));
}

#[test]
fn what_has_expired_and_is_still_there_makes_room_and_is_not_renewed() {
    let (mut store, now) = just_expired();
    store.expire(now);
    let before = store.tally();
    // The last to be saved is the last to go: it is still there, without being so for anybody who asks.
    let last = (MANY - 1).to_string();
    cheaply(&mut store, "save of a binding", |store| {
        store.save_destination(now, seconds(9), label(&last), property(b"p"), label("e"));
    });
    let tally = store.tally();
    assert_eq!(tally.bindings_saved, before.bindings_saved + 1);
    assert_eq!(tally.bindings_renewed, before.bindings_renewed);
    while store.poll_released().is_some() {}
    assert!(store.evict());
    let gone = store.poll_released().map(|gone| gone.reason);
    assert_eq!(gone, Some(Reason::Expired));
    assert_eq!(store.tally().evicted_on_demand, 0);
    let mut told = Vec::new();
    store.look_at_connections(now, 0, MANY * 2, |view| {
        told.push(*view.handle);
        true
    });
    assert_eq!(told, [MANY, MANY + 1]);
}

#[test]
fn a_find_gives_up_where_very_many_are_dead() {
    let now = Instant::now();
    let mut store = store(now);
    for number in 0..1000 {
        store.save_endpoint(now, seconds(9), label("e"), property(b""), number);
    }
    store.save_destination(now, seconds(9), label("d"), property(b"p"), label("e"));
    let is_dead = |handle: &usize| (*handle < 999).then_some(Reason::Closed);
    let mut finds = 0;
    let found = loop {
        finds += 1;
        let found = cheaply(&mut store, "find", |store| {
            store.find_destination(now, label("d"), is_dead)
        });
        if let Some(found) = found {
            break found.taken.handle;
        }
    };
    assert_eq!((found, finds), (999, 16));
}

#[test]
fn a_long_save_does_not_push_out_thousands_of_short_ones() {
    let now = Instant::now();
    let mut store = store(now);
    for number in 0..MANY {
        let name = number.to_string();
        store.save_destination(now, seconds(9), label(&name), property(b""), label("e"));
    }
    let long = vec![b'x'; 60_000];
    for number in 0..MANY / 10 {
        let name = number.to_string();
        cheaply(&mut store, "save", |store| {
            store.save_endpoint(now, seconds(99), label(&name), property(&long), number);
        });
        while store.poll_released().is_some() {}
    }
    // It is over the limit by less than what a few hundred saves are long.
    assert!(store.counts().bytes < 80 << 20, "{:?}", store.counts());
}

#[test]
fn to_look_at_a_destination_costs_as_much_as_it_has_bindings() {
    let now = Instant::now();
    let mut store = store(now);
    for number in 0..300 {
        let name = (number % 200).to_string();
        let saved_with = number.to_string();
        store.save_destination(
            now,
            seconds(9),
            label("d"),
            property(saved_with.as_bytes()),
            label(&name),
        );
    }
    for name in ["0", "1", "1"] {
        store.save_endpoint(now, seconds(9), label(name), property(b""), 0);
    }
    assert_eq!(store.connections_of(b"d"), (3, 256));
    assert_eq!(store.connections_of(b"nothing"), (0, 0));
}
