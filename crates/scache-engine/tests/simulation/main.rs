//! The whole server in a world of its own: virtual sockets, virtual time, and a naive model beside it.
//!
//! `SCACHE_SIM_SEEDS` and `SCACHE_SIM_STEPS` say how many seeds and how many steps for each;
//! `SCACHE_SIM_SEED` runs one again, and `SCACHE_SIM_TRACE` prints every call then.

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
mod trace;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use failures::From;
use faults::PLAUSIBLE;
use model::Tie;
use scache_engine::Stats;
use scache_proto::stats::Kind;
use sim::Sim;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
    )
}

fn live(seed: u64, steps: u64) -> Vec<Stats> {
    let mut sim = Sim::new(seed, Instant::now());
    for _ in 0..steps {
        sim.step();
    }
    sim.finish()
}

/// Does work for each number below `count`, on all processors, until one fails.
fn for_each(count: u64, work: impl Fn(u64) + Sync, again: impl Fn(u64) -> String + Sync) {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count || failed.load(Ordering::Relaxed) > 0 {
                return;
            }
            let result = catch_unwind(AssertUnwindSafe(|| work(number)));
            if result.is_err_and(|reason| !reason.is::<Tie>()) {
                failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("again: {}", again(number));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run);
        }
    });
    assert_eq!(failed.into_inner(), 0, "see above");
}

#[test]
fn the_server_does_what_the_model_does() {
    let steps = setting("SCACHE_SIM_STEPS").unwrap_or(5000);
    let (first, seeds) = match setting("SCACHE_SIM_SEED") {
        Some(seed) => (seed, 1),
        None => (
            fastrand::u64(..) >> 16,
            setting("SCACHE_SIM_SEEDS").unwrap_or(256),
        ),
    };
    let done = Mutex::new(vec![0; Stats::FIELDS.len()]);
    for_each(
        seeds,
        |number| {
            let counters = live(first + number, steps);
            add(&mut done.lock().unwrap(), &counters);
        },
        |number| {
            format!(
                "SCACHE_SIM_SEED={} SCACHE_SIM_STEPS={steps} \
                 cargo test -p scache-engine --test simulation the_server",
                first + number
            )
        },
    );
    let done = done.into_inner().unwrap();
    if seeds * steps >= 256 * 5000 {
        assert_everything_happened(&done);
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
        cases.len() as u64,
        |number| {
            let (failing, from) = cases[number as usize];
            let struck = failures::live(Some(failing), from, origin);
            assert!(struck, "{failing:?} did not come");
        },
        |number| format!("{:?}", cases[number as usize]),
    );
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
    let never = ["evicted_byte_limit"];
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
