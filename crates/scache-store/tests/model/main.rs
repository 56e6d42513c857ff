//! Random operations on the store and on a model that is too simple to be wrong.
//!
//! Each seed is a life of some 10,000 operations with limits of its own: many short lives see more than one long one.
//! `scache_seeds` has the variables that say which seeds are taken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]

mod life;
mod looks;
mod naive;

use std::sync::atomic::{AtomicU64, Ordering};

use scache_seeds::RandomTest;

#[test]
fn random_operations_do_what_the_model_does() {
    let test = RandomTest {
        name: "MODEL",
        seeds: 100,
        failed: "",
        command: "cargo test -p scache-store --test model",
    };
    let done = AtomicU64::new(0);
    test.run(|seed| {
        let mut random = fastrand::Rng::with_seed(seed.number);
        let operations = random.u64(100..20_000);
        life::live(random, operations);
        done.fetch_add(operations, Ordering::Relaxed);
    });
    println!("{} operations without a difference", done.into_inner());
}
