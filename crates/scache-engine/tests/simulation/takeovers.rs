//! Somebody takes over, and dies after each pass of the process that hands over.

use std::time::{Duration, Instant};

use scache_engine::{Phase, Transport};

use crate::clients::Client;
use crate::failures::settings;
use crate::sim::Sim;
use crate::trace::Asked;
use crate::world::Successor;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The process serves again.
    Resumed,
    /// It had handed over everything before.
    Left,
}

/// The life of a process that is taken over, by somebody who dies after so many of its passes. `is_served`: another
/// process serves meanwhile; otherwise whoever takes over never gets that far.
pub fn live(passes: usize, is_served: bool, origin: Instant) -> Outcome {
    let random = fastrand::Rng::with_seed(1);
    let mut sim = Sim::with_settings(random, settings(), Transport::Unix, origin);
    sim.requests.may_change = false;
    sim.world.borrow_mut().successor = Successor::Listener;
    sim.world.borrow_mut().processes[0].may_yield = true;
    for _ in 0..4 {
        let socket = sim.world.borrow_mut().connect([4000, 4000], Some(0));
        sim.clients.push(Client::polite(socket));
    }
    sim.everybody_saves();
    let saved = sim.engines[0].engine.counts().connections;
    assert_eq!(saved, 4);
    let socket = sim.world.borrow_mut().connect([4000, 4000], Some(0));
    let mut asker = Client::polite(socket);
    let mut world = sim.world.borrow_mut();
    asker.ask_for(&mut world, &mut sim.requests, Asked::TakeOver);
    asker.go_on(&mut world, &mut sim.requests, usize::MAX);
    drop(world);
    sim.world.borrow_mut().patience = Duration::from_micros(1);
    // Until the request is read there is nothing that could end.
    while sim.engines[0].phase == Phase::Serving {
        sim.pass(0);
    }
    if is_served {
        sim.start();
    }
    for _ in 0..passes {
        (0..sim.engines.len())
            .rev()
            .for_each(|index| sim.pass(index));
    }
    let mut has_left = sim.engines.len() == usize::from(is_served);
    asker.die(&mut sim.world.borrow_mut());
    let mut more = 0;
    while !has_left && sim.engines[0].phase != Phase::Serving {
        let before = sim.engines.len();
        sim.pass(0);
        has_left = sim.engines.len() < before;
        more += 1;
        assert!(more < 100, "{passes}: it does not serve again");
    }
    let engines = sim.engines.iter();
    let left: usize = engines
        .map(|running| running.engine.counts().connections)
        .sum();
    // One may have been on its way.
    assert!(left + 1 >= saved, "{passes}: {left} of {saved} are left");
    sim.settle();
    sim.somebody_is_served();
    sim.finish();
    if has_left {
        Outcome::Left
    } else {
        Outcome::Resumed
    }
}
