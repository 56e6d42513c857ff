//! Clients that take connections out and read none: how others fare, and what a hand-over loses.

use std::time::{Duration, Instant};

use scache_tests::exchange::{greeted, saved, try_find, try_save};
use scache_tests::hoard::{self, DESCRIPTORS, Hoarder};
use scache_tests::scached::Scached;
use scache_tests::wire::{Client, Connection};

use crate::Counts;
use crate::report::{Report, Times};

/// Clients that do not read, and what each asks for.
const HOARDERS: usize = 8;
const HOARDED: usize = 200;

/// What another client saves and finds meanwhile.
const PAIRS: usize = 200;

/// What is cached besides.
const KEPT: usize = 50;

/// An answer after so long comes from a client's time limit.
const PROMPT: Duration = Duration::from_secs(2);

/// Stock knows no inline descriptors, and waits for each client to take the one that it is given.
pub fn measure(_counts: &Counts, report: &mut Report) {
    report.part(&format!(
        "{HOARDERS} clients ask for {HOARDED} connections each and read none; the daemon may have {DESCRIPTORS} \
         descriptors"
    ));
    let mut daemon = hoard::daemon();
    let connect = |daemon: &Scached| greeted(Client::connect(daemon.path()).expect("connect"));
    let witness = connect(&daemon);
    let kept: Vec<_> = (0..KEPT)
        .map(|_| saved(&witness, 600, Connection::new(), "kept"))
        .collect();
    let hoarders: Vec<_> = (0..HOARDERS)
        .map(|number| Hoarder::start(daemon.path(), &format!("hoarded {number}"), HOARDED))
        .collect();
    let (mut times, mut found) = (Vec::new(), 0);
    let mut other = connect(&daemon);
    while times.len() < PAIRS {
        let connection = Connection::new();
        let began = Instant::now();
        let saved = try_save(&other, 60, "another", "p", connection.near());
        let result = saved.and_then(|_| try_find(&other, "another"));
        times.push(began.elapsed());
        match result {
            Ok(answer) => found += usize::from(answer.is_some()),
            Err(_) => other = connect(&daemon),
        }
        if began.elapsed() > PROMPT {
            break;
        }
    }
    let (pairs, times) = (times.len(), Times::new(times));
    let slowest = times.per_mille(1_000);
    report.row(
        "ours, another client",
        &format!("{times}, slowest {slowest:.1?}, {found} of {pairs} found"),
    );
    report.promise(
        "who reads finds what was saved, at once",
        found == PAIRS && slowest < PROMPT,
    );
    let successor = hoard::successor(&daemon);
    let ended = daemon.child().wait().expect("it ends");
    let witness = connect(&successor);
    let survived = kept
        .iter()
        .filter(|_| matches!(try_find(&witness, "kept"), Ok(Some(_))))
        .count();
    report.row(
        "ours, take-over",
        &format!("{survived} of {KEPT} connections, {ended}"),
    );
    report.promise("a take-over loses nothing", survived == KEPT);
    let most = hoarders.into_iter().map(Hoarder::reads).max().unwrap_or(0);
    report.row(
        "ours, unread",
        &format!("{most} connections of a client at most"),
    );
    report.promise("a client has 16 connections unread at most", most <= 16);
}
