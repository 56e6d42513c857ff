//! No descriptor left: what that costs, and how soon it is over.

use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_tests::exchange::{find_endp, greeted};
use scache_tests::fake_master::{Setup, ours, stock};
use scache_tests::wire::{Client, DEADLINE};

use crate::Counts;
use crate::report::{Report, Times};

/// How long the processor's time is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// Waiting clients.
const CLIENTS: usize = 50;

/// As often; the middle one counts, for a machine that does other things as well.
const ROUNDS: usize = 5;

pub fn measure(_counts: &Counts, report: &mut Report) {
    report.part("Out of descriptors, with clients waiting");
    let mut master = Setup::new(&stock()).start();
    // Not while it still loads its libraries.
    let witness = greeted(master.connect());
    master.process().exhaust_descriptors();
    let began = Instant::now();
    let waiting: Vec<Client> = (0..CLIENTS).map(|_| master.connect()).collect();
    while master.runs() && began.elapsed() < DEADLINE {
        sleep(Duration::from_millis(10));
    }
    let text = if master.runs() {
        "still runs".to_owned()
    } else {
        let time = began.elapsed().as_secs_f64();
        format!("ended after {time:.2} s, {}", master.wait_for_exit())
    };
    drop((waiting, witness));
    report.row("stock", &text);

    let mut reliefs = Vec::new();
    let mut share: f64 = 0.0;
    let mut lived = true;
    for round in 0..ROUNDS {
        let mut master = Setup::new(&ours())
            .setting("connection_cache_client_limit", "100000")
            .start();
        let witness = greeted(master.connect());
        master.process().exhaust_descriptors();
        let waiting: Vec<Client> = (0..CLIENTS).map(|_| master.connect()).collect();
        let last = waiting.last().expect("there are some");
        last.send(&find_endp("x")).expect("it fits into the socket");
        // Let it come to rest, then watch; not to meet the same moment of its pauses each time.
        sleep(Duration::from_millis(300 + 37 * round as u64));
        let before = master.process().processor_time();
        sleep(WATCHED / ROUNDS as u32);
        let used = master.process().processor_time() - before;
        share = share.max(used.as_secs_f64() / (WATCHED / ROUNDS as u32).as_secs_f64());
        let began = Instant::now();
        master.process().limit_descriptors(10_000);
        let announced = !last.hear_list().is_empty();
        let answered = announced && !last.hear_list().is_empty();
        let relief = began.elapsed();
        lived &= answered && master.runs() && witness.send(&find_endp("x")).is_ok();
        reliefs.push(relief);
    }
    let reliefs = Times::new(reliefs);
    let (best, middle, worst) = (
        reliefs.per_mille(0),
        reliefs.per_mille(500),
        reliefs.per_mille(1_000),
    );
    report.row(
        "ours",
        &format!(
            "{:.1} % of a processor; from relief to the next answer {best:.1?} to {worst:.1?}",
            share * 100.0
        ),
    );
    report.promise("it lives and serves who waited", lived);
    report.timed_promise(
        "it uses less than 5 % of a processor meanwhile",
        share < 0.05,
    );
    report.timed_promise(
        "accept resumes within 100 ms of relief",
        middle <= Duration::from_millis(100),
    );
}
