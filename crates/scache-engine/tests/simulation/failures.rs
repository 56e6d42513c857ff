//! Each call that can fail, with each failure, at each of its first calls: one at a time, in a life in which
//! nothing else goes wrong.

use std::time::{Duration, Instant};

use scache_engine::{End, Failure, Goodbyes, Phase, Settings, Transport};
use scache_store::Order;

use crate::faults::{Call, Failing};
use crate::sim::Sim;
use crate::world::Successor;

/// How often ordinary clients come, before the process ends and behind it.
const ROUNDS: [usize; 2] = [30, 5];

/// From when on calls are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Start,
    /// When the process begins to leave, and with the calls of the next one.
    End,
}

/// What somebody says too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flood {
    Saves,
    /// Requests about the cache.
    Looks,
}

/// Runs the life with one failure. Whether the call came to it.
pub fn live(failing: Option<Failing>, from: From, origin: Instant) -> bool {
    let mut sim = Sim::with_settings(
        fastrand::Rng::with_seed(1),
        settings(),
        Transport::Unix,
        origin,
    );
    sim.requests.may_change = false;
    if from == From::Start {
        sim.world.borrow_mut().faults.single = failing;
    }
    for round in 0..ROUNDS[0] {
        sim.ordinary_round(round);
    }
    sim.settle();
    // Enough that is worth to be handed over, and time enough for it.
    for _ in 0..3 {
        sim.everybody_saves();
    }
    if from == From::End {
        sim.world.borrow_mut().faults.single = failing;
    }
    sim.end_with(End::Succession);
    sim.world.borrow_mut().successor = Successor::Listener;
    sim.pass(0);
    sim.start();
    // Requests under way, each step of the hand-over, and goodbyes may take a second each.
    for _ in 0..2000 {
        sim.world.borrow_mut().patience = Duration::from_millis(2);
        (0..sim.engines.len())
            .rev()
            .for_each(|index| sim.pass(index));
        if sim.engines.len() == 1 {
            break;
        }
    }
    assert_eq!(sim.engines.len(), 1, "it does not leave");
    assert_eq!(sim.engines[0].phase, Phase::Serving);
    let handed_over = sim.done[0].connections_handed_over;
    // Only who cannot reach the successor, or loses it, or is sent away as there is no place for it, keeps
    // anything to itself.
    let may_fail =
        failing.is_some_and(|(call, failure, _)| failure == Failure::Lost || call == Call::Watch);
    assert!(handed_over > 0 || may_fail, "nothing was handed over");
    for round in 0..ROUNDS[1] {
        sim.ordinary_round(round);
    }
    sim.settle();
    sim.somebody_is_served();
    let struck = sim.world.borrow().faults.single.is_none();
    sim.finish();
    struck
}

/// A life with a client that floods.
pub fn flooded_life(what: Flood, origin: Instant) {
    let mut sim = Sim::with_settings(
        fastrand::Rng::with_seed(1),
        settings(),
        Transport::Unix,
        origin,
    );
    sim.somebody_floods(what, 100);
    sim.settle();
    sim.finish();
}

/// How many calls of a kind there are to fail.
pub fn expected(call: Call, from: From) -> u32 {
    match (call, from) {
        // There is one hand-over, which connects once.
        (Call::Connect, _) => 1,
        (_, From::Start) => 50,
        (Call::Accept | Call::Pass | Call::Peek, From::End) => 10,
        (_, From::End) => 30,
    }
}

/// Settings with which nothing that is saved in these lives makes room for anything else.
pub fn settings() -> Settings {
    Settings {
        ttl_limit: Duration::from_secs(2),
        statistics_interval: Some(Duration::from_secs(600)),
        max_idle: None,
        request_timeout: Duration::from_secs(10),
        announce: true,
        connection_limit: 30,
        endpoint_limit: 10,
        binding_limit: 1000,
        client_limit: 20,
        unread_limit: 1000,
        descriptor_limit: None,
        parting_limit: 10,
        order: Order::Oldest,
        watch: true,
        goodbyes: Goodbyes::all(b"QUIT"),
        goodbye_timeout: Duration::from_secs(1),
        hand_over: true,
        expects_entries: true,
        reuse_limit: 0,
        lifetime_limit: None,
        allowed_users: None,
        own_user: 1,
        described: Vec::new(),
    }
}
