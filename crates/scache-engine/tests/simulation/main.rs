//! The whole server in a world of its own: virtual sockets, virtual time, and a naive model beside it.
//!
//! `SCACHE_SIM_STEPS` sets the steps of each seed, `SCACHE_SIM_SEED` runs one seed again (`scache_seeds` has the
//! other variables), and `SCACHE_SIM_TRACE` prints every call.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "the seed comes from the environment, and virtual time has to begin somewhere"
)]

mod about;
mod clients;
mod failures;
mod faults;
mod kernel;
mod leaving;
mod model;
mod oracle;
mod requests;
mod session;
mod sim;
mod successors;
mod takeovers;
mod trace;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use failures::From;
use faults::PLAUSIBLE;
use model::Tie;
use scache_engine::Stats;
use scache_proto::stats::Kind;
use scache_seeds::{RandomTest, for_each, number_in};
use sim::Sim;

/// Steps of each seed in an ordinary run.
const STEPS: u64 = 5000;

/// Steps of a seed that failed once: as many as it may have taken to fail.
const STEPS_OF_FAILED: u64 = 20_000;

/// Lives the life of a seed, and returns what was counted. If a [`Tie`] ends it early, which is counted, another life
/// takes the steps that are left, so that all of them are lived.
fn live(mut seed: u64, steps: u64, ties: &AtomicU64) -> Vec<Stats> {
    let mut done = Vec::new();
    let mut left = steps;
    loop {
        let life = catch_unwind(AssertUnwindSafe(|| {
            let mut sim = Sim::new(seed, Instant::now());
            while left > 0 {
                left -= 1;
                sim.step();
            }
            sim.finish()
        }));
        match life {
            Ok(stats) => done.extend(stats),
            Err(reason) if !reason.is::<Tie>() => resume_unwind(reason),
            Err(_) => _ = ties.fetch_add(1, Ordering::Relaxed),
        }
        if left == 0 {
            return done;
        }
        seed = fastrand::Rng::with_seed(seed).u64(..);
    }
}

#[test]
fn the_server_does_what_the_model_does() {
    let steps = number_in("SCACHE_SIM_STEPS").unwrap_or(STEPS);
    let done = Mutex::new(vec![0; Stats::FIELDS.len()]);
    let test = RandomTest {
        name: "SIM",
        seeds: 256,
        failed: include_str!("seeds.txt"),
        command: &format!(
            "SCACHE_SIM_STEPS={steps} cargo test -p scache-engine --test simulation the_server"
        ),
    };
    let (lived, ties) = (AtomicU64::new(0), AtomicU64::new(0));
    test.run(|seed| {
        let least = if seed.has_failed { STEPS_OF_FAILED } else { 0 };
        let counters = live(seed.number, steps.max(least), &ties);
        add(&mut done.lock().unwrap(), &counters);
        lived.fetch_add(1, Ordering::Relaxed);
    });
    let (lived, ties) = (lived.into_inner(), ties.into_inner());
    println!("{lived} seeds, {steps} steps each, without a difference; {ties} ties");
    if lived * steps >= 256 * STEPS {
        assert_everything_happened(&done.into_inner().unwrap());
    }
}

#[test]
fn one_failure_of_any_call_does_no_harm() {
    let origin = Instant::now();
    assert!(failures::live(None, From::Start, origin), "nothing fails");
    let cases: Vec<_> = [From::Start, From::End]
        .into_iter()
        .flat_map(|from| PLAUSIBLE.map(|(call, failure)| (call, failure, from)))
        .flat_map(|(call, failure, from)| {
            let calls = failures::expected(call, from);
            (0..calls).map(move |others| ((call, failure, others), from))
        })
        .collect();
    for_each(
        &cases,
        |(failing, from)| {
            let struck = failures::live(Some(*failing), *from, origin);
            assert!(struck, "{failing:?} did not come");
        },
        |case| format!("{case:?}"),
    );
}

#[test]
fn a_process_serves_again_when_the_one_that_takes_over_dies() {
    let origin = Instant::now();
    for passes in 0..30 {
        let outcome = takeovers::live(passes, false, origin);
        assert_eq!(outcome, takeovers::Outcome::Resumed, "{passes}");
    }
    let outcomes: Vec<_> = (0..30)
        .map(|passes| takeovers::live(passes, true, origin))
        .collect();
    // It resumes until the other process has everything, which takes some passes.
    let resumed = outcomes
        .iter()
        .take_while(|outcome| **outcome == takeovers::Outcome::Resumed)
        .count();
    assert!((5..25).contains(&resumed), "{outcomes:?}");
    let mut others = outcomes[resumed..].iter();
    assert!(others.all(|outcome| *outcome == takeovers::Outcome::Left));
}

#[test]
fn who_says_much_gets_no_more_turns_than_others() {
    for what in [failures::Flood::Saves, failures::Flood::Looks] {
        failures::flooded_life(what, Instant::now());
    }
}

fn add(sum: &mut [u64], more: &[Stats]) {
    for stats in more {
        for (sum, field) in sum.iter_mut().zip(Stats::FIELDS) {
            *sum += stats.value(field);
        }
    }
}

/// That the lives were not all dull.
fn assert_everything_happened(done: &[u64]) {
    // Names and properties are far too short here, and there are as many descriptors as the limits allow for.
    let never = ["evicted_byte_limit", "clients_dropped_memory"];
    let mut dull = Vec::new();
    for (sum, field) in done.iter().zip(Stats::FIELDS) {
        println!("{sum:10} {}", field.name);
        let is_counter = field.kind == Kind::Counter;
        if is_counter && *sum < 20 && !never.contains(&field.name) {
            dull.push(field.name);
        }
    }
    assert!(dull.is_empty(), "hardly ever: {dull:?}");
}
