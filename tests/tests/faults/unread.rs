//! Connections that clients were handed out and do not read (row 31).
//!
//! The daemon runs as an ordinary user: root may have any number of descriptors in flight.

use std::time::Instant;

use scache_tests::exchange::{ask, find_endp, found_endp, greeted, miss, no_endp, saved, take};
use scache_tests::hoard::{DESCRIPTORS, Hoarder, daemon, inline, successor};
use scache_tests::scached::Scached;
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, dummy};

use crate::common::{becomes_true, is_served};

/// Promised in docs/PROTOCOL.md.
const UNREAD: usize = 16;

fn client(daemon: &Scached) -> Client {
    greeted(Client::connect(daemon.path()).expect("connect"))
}

/// Eight that ask for 200 connections each, and read none.
fn hoarders(daemon: &Scached) -> Vec<Hoarder> {
    (0..8)
        .map(|number| Hoarder::start(daemon.path(), &format!("hoarded {number}"), 200))
        .collect()
}

/// Somebody else saves and finds, each time at once.
fn others_are_served(witness: &Client, times: usize) {
    for _ in 0..times {
        let connection = saved(witness, 60, Connection::new(), "another");
        take(witness, "another", &connection);
    }
}

#[test]
fn only_clients_that_do_not_read_are_dropped() {
    let daemon = daemon();
    let witness = client(&daemon);
    let hoarders = hoarders(&daemon);
    others_are_served(&witness, 100);
    for hoarder in &hoarders {
        assert!(hoarder.is_dropped(), "it has had its time");
    }
    others_are_served(&witness, 100);
    for hoarder in hoarders {
        assert!(hoarder.reads() <= UNREAD);
    }
}

#[test]
fn a_takeover_beside_clients_that_do_not_read_loses_nothing() {
    let mut old = daemon();
    let witness = client(&old);
    let connections: Vec<_> = (0..50)
        .map(|_| saved(&witness, 600, Connection::new(), "kept"))
        .collect();
    let hoarders = hoarders(&old);
    let new = successor(&old);
    becomes_true("the old daemon ends", || {
        old.child().try_wait().expect("wait").is_some()
    });
    let witness = client(&new);
    for connection in &connections {
        take(&witness, "kept", connection);
    }
    drop(hoarders);
}

#[test]
fn what_clients_that_leave_have_not_read_still_counts() {
    let daemon = daemon();
    let witness = client(&daemon);
    let hoarders: Vec<_> = (0..150)
        .map(|number| {
            let hoarder = Hoarder::start(daemon.path(), &format!("hoarded {number}"), UNREAD);
            hoarder.says_no_more();
            is_served(&witness);
            hoarder
        })
        .collect();
    others_are_served(&witness, 100);
    let in_flight: usize = hoarders.into_iter().map(Hoarder::reads).sum();
    let most = DESCRIPTORS as usize / 2;
    assert!(in_flight <= most, "{in_flight} were in flight");
}

#[test]
fn a_client_of_the_stock_protocol_that_does_not_read_has_sixteen_on_their_way_at_most() {
    let daemon = daemon();
    let (witness, hoarder) = (client(&daemon), client(&daemon));
    let connections: Vec<_> = (0..3 * UNREAD)
        .map(|_| saved(&witness, 60, Connection::new(), "hoarded"))
        .collect();
    let find = [find_endp("hoarded"), dummy(), dummy()].concat();
    hoarder
        .send(&find.repeat(connections.len()))
        .expect("the requests fit");
    // It has its turn before this one, or is dropped without having had any more.
    is_served(&witness);
    for connection in &connections[UNREAD..] {
        take(&witness, "hoarded", connection);
    }
    miss(&witness, "hoarded");
}

#[test]
fn a_client_that_reads_late_gets_everything_that_it_asked_for() {
    let daemon = daemon();
    let witness = client(&daemon);
    let connections: Vec<_> = (0..100)
        .map(|_| saved(&witness, 60, Connection::new(), "wanted"))
        .collect();
    let late = inline(daemon.path());
    late.send(&find_endp("wanted").repeat(connections.len()))
        .expect("the requests fit");
    is_served(&witness);
    // Replies come in order, each with its connection on the first byte.
    for connection in &connections {
        let mut descriptor = None;
        for expected in found_endp("wanted") {
            match late.hear(Instant::now() + DEADLINE) {
                Heard::Byte(byte, with_it) => {
                    assert_eq!(byte, expected);
                    descriptor = descriptor.or(with_it);
                }
                other => panic!("the reply does not come: {other:?}"),
            }
        }
        assert!(connection.check(&descriptor.expect("a descriptor")));
    }
    ask(&late, &find_endp("wanted"), &no_endp(2));
}
