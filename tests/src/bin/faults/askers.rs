//! Clients that look at the cache all the time: how long a find of another one takes beside them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scache_tests::exchange::{ask, find_dest, greeted, no_dest, save_dest, status};
use scache_tests::fake_master::{FakeMaster, Setup, ours};
use scache_tests::wire::{Client, list};

use crate::Counts;
use crate::report::{Report, Times};

const ASKERS: usize = 20;

/// As many as one destination may have.
const BINDINGS: usize = 256;

/// Destinations of so many bindings in one answer.
const TOLD: usize = 4;

const PROMISED: Duration = Duration::from_millis(10);

pub fn measure(counts: &Counts, report: &mut Report) {
    let destinations = (counts.requests / 100).clamp(20, 380);
    let finds = (counts.requests / 10).max(200);
    report.part(&format!(
        "{ASKERS} clients list destinations, of which {destinations} have {BINDINGS} bindings; {finds} finds of another one are timed"
    ));
    report.row("stock", "has no such request");
    let master = Setup::new(&ours())
        .setting("connection_cache_ttl_limit", "1h")
        .setting("connection_cache_binding_limit", "1000000")
        .start();
    let other = greeted(master.connect());
    for destination in 0..destinations {
        let name = format!("d{destination}");
        for binding in 0..BINDINGS {
            let request = save_dest("3600", &name, &binding.to_string(), &format!("e{binding}"));
            ask(&other, &request, &status(0));
        }
        ask(&other, &find_dest(&name), &no_dest(2));
    }
    report.row("ours, nobody asks", &timed(&other, finds).to_string());
    for (name, prefix) in [("ours, all are told", "d"), ("ours, none is told", "x")] {
        let times = beside(&master, prefix, || timed(&other, finds));
        let most = times.per_mille(1_000).as_secs_f64() * 1e3;
        report.row(name, &format!("{times}  most {most:.1} ms"));
        // Fewer have no hundredth that means anything.
        if finds >= 4_000 {
            report.promise(
                "a find beside those who look takes 10 ms at most, but for one in a hundred",
                times.per_mille(990) <= PROMISED,
            );
        }
    }
    other.send(&listing("d")).expect("it fits into the socket");
    let answer = other.hear_list();
    let told = answer
        .windows(6)
        .filter(|bytes| bytes == b"entry\0")
        .count();
    report.promise(
        "an answer walks a thousand bindings at most",
        (1..=TOLD).contains(&told),
    );
}

/// Does something while others ask for destinations that begin so.
fn beside<T>(master: &FakeMaster, prefix: &str, act: impl FnOnce() -> T) -> T {
    let request = listing(prefix);
    let askers: Vec<Client> = (0..ASKERS).map(|_| greeted(master.connect())).collect();
    let (began, over) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for asker in &askers {
                    asker.send(&request).expect("it fits into the socket");
                }
                for asker in &askers {
                    assert!(!asker.hear_list().is_empty(), "an answer");
                }
                began.store(true, Ordering::Relaxed);
            }
        });
        while !began.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let result = act();
        over.store(true, Ordering::Relaxed);
        result
    })
}

fn listing(prefix: &str) -> Vec<u8> {
    list(&[
        ("request", "list"),
        ("what", "destinations"),
        ("prefix", prefix),
        ("from", "0"),
    ])
}

fn timed(client: &Client, finds: usize) -> Times {
    let times = (0..finds).map(|_| {
        let began = Instant::now();
        ask(client, &find_dest("nothing"), &no_dest(2));
        began.elapsed()
    });
    Times::new(times.collect())
}
