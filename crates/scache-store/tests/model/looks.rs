//! What is seen in the store from outside, beside what is in the model.

use std::collections::BTreeSet;
use std::time::Instant;

use scache_store::{Counts, Store};

use crate::life::Connection;
use crate::naive::Model;

/// That who looks at the store part by part sees each connection and each binding once.
pub fn assert_looks_like(store: &Store<Connection>, model: &Model, now: Instant, places: usize) {
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
    assert_eq!(connections, expected);
    let mut bindings = bindings_of(store, places);
    let mut expected: Vec<_> = model
        .bindings
        .iter()
        .map(|b| (b.destination.clone(), b.endpoint.clone(), b.deadline))
        .collect();
    bindings.sort();
    expected.sort();
    assert_eq!(bindings, expected);
    assert_destinations_look_like(store, model, places);
}

/// The bindings of a store, looked at part by part: destination, endpoint and deadline of each.
pub fn bindings_of(store: &Store<Connection>, places: usize) -> Vec<(Vec<u8>, Vec<u8>, Instant)> {
    let mut bindings = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = store.look_at_bindings(at, places, |view| {
            bindings.push((
                view.destination.to_vec(),
                view.endpoint.to_vec(),
                view.deadline,
            ));
            places == usize::MAX || bindings.len() % 3 != 0
        });
    }
    bindings
}

fn assert_destinations_look_like(store: &Store<Connection>, model: &Model, places: usize) {
    let mut destinations = BTreeSet::new();
    let mut from = Some(0);
    while let Some(at) = from {
        from = store.look_at_destinations(at, places, |view| {
            assert!(destinations.insert(view.destination.to_vec()));
            let bound = model.bindings.iter();
            let endpoints: BTreeSet<_> = bound
                .filter(|b| *b.destination == *view.destination)
                .map(|b| &b.endpoint)
                .collect();
            let connections = model.connections.iter();
            let cached = connections.filter(|c| endpoints.contains(&c.endpoint));
            let (told, _) = store.connections_of(view.destination);
            assert_eq!(told, cached.count());
            destinations.len() % 3 != 0
        });
    }
}

/// That the store gives everything out in order, and then is empty.
pub fn assert_same_entries(store: &mut Store<Connection>, model: &Model) {
    let entries = store.take_entries();
    assert_eq!(store.counts(), Counts::default());
    assert_eq!(store.next_deadline(), None);
    let mut names: BTreeSet<&[u8]> = model.connections.iter().map(|c| &*c.endpoint).collect();
    names.extend(model.bindings.iter().map(|b| &*b.destination));
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
        assert_eq!(given, expected);
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
        assert_eq!(given, expected);
    }
}
