//! Memory: of many half requests together, and after very much was cached and taken again.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use scache_tests::exchange::{ask, find_endp, greeted, no_endp, try_find, try_save};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};

use crate::Counts;
use crate::report::{Report, Times};

const MIB: u64 = 1 << 20;

/// What one client says of a request that it never completes.
const HALF_REQUEST: usize = 250 * 1024;

/// What all clients together may make the server remember, and what it needs besides.
const PROMISED: u64 = (64 + 32) * MIB;

/// The length of a large property.
const PROPERTY: usize = 60_000;

pub fn measure(counts: &Counts, report: &mut Report) {
    let clients = counts.stalled_clients * 2;
    report.part(&format!(
        "{clients} clients that each say {} KiB of a request",
        HALF_REQUEST / 1024
    ));
    report.row("stock", "serves nobody beside the first");
    let master = start(Setup::new(&ours()).setting("connection_cache_request_timeout", "1h"));
    let before = master.process().memory();
    let other = greeted(master.connect());
    let half = half_request();
    let mut stalled = Vec::new();
    for _ in 0..clients {
        let client = greeted(master.connect());
        // Those that hold the most may be dropped before they have said all of it.
        let _ = client.send(&half);
        stalled.push(client);
    }
    ask(&other, &find_endp("x"), &no_endp(2));
    let grown = master.process().memory().saturating_sub(before);
    report.row("ours", &format!("{} MiB more", grown / MIB));
    report.promise("they take 96 MiB at most", grown <= PROMISED);
    let times = (0..200).map(|_| {
        let began = Instant::now();
        ask(&other, &find_endp("x"), &no_endp(2));
        began.elapsed()
    });
    let times = Times::new(times.collect());
    report.row("ours, another one", &times.to_string());
    drop(stalled);

    let connections = counts.connections * 2;
    report.part(&format!(
        "{connections} connections with {PROPERTY} bytes of properties each, taken again in their order"
    ));
    for (name, program) in [("stock", stock()), ("ours", ours())] {
        let master = start(Setup::new(&program));
        let [before, full, after] = filled_and_emptied(&master, connections);
        report.row(
            name,
            &format!(
                "{} MiB, full {} MiB, empty again {} MiB",
                before / MIB,
                full / MIB,
                after / MIB
            ),
        );
        if name == "ours" {
            report.promise(
                "an empty cache has given back nearly all of it",
                after.saturating_sub(before) <= 16 * MIB,
            );
        }
    }
}

fn start(setup: Setup) -> FakeMaster {
    setup
        .setting("connection_cache_ttl_limit", "1h")
        .setting("connection_cache_client_limit", "100000")
        .setting("connection_cache_connection_limit", "100000")
        .start()
}

/// The beginning of a list of attributes that are not too long each.
fn half_request() -> Vec<u8> {
    let mut half = b"request\0save_endp\0".to_vec();
    while half.len() + 1024 < HALF_REQUEST {
        half.extend_from_slice(b"n\0");
        half.extend_from_slice(&[b'v'; 1000]);
        half.push(0);
    }
    half
}

/// What a server takes before, with very much cached, and when that was taken.
fn filled_and_emptied(master: &FakeMaster, connections: usize) -> [u64; 3] {
    let process = master.process();
    let client = greeted(master.connect());
    let before = process.memory();
    // What is saved is one file each time: only names and properties take memory.
    let file = std::fs::File::open("/dev/null").expect("open /dev/null");
    let property = "p".repeat(PROPERTY);
    for _ in 0..connections {
        let saved = try_save(&client, 3600, "e", &property, file.as_fd());
        assert_eq!(saved, Ok(0));
    }
    let full = process.memory();
    for _ in 0..connections {
        assert!(try_find(&client, "e").expect("answered").is_some());
    }
    // It gives memory back when it has nothing else to do.
    let deadline = Instant::now() + Duration::from_secs(3);
    while process.memory() > before + 8 * MIB && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    [before, full, process.memory()]
}
