//! Memory (row 33): what all clients make the server remember has one limit, and what was freed goes back.

use std::os::fd::AsFd;

use scache_tests::exchange::{try_find, try_save};
use scache_tests::fake_master::FakeMaster;
use scache_tests::wire::Client;

use crate::common::{becomes_true, client_of, is_served, ours_with};

const MIB: u64 = 1 << 20;

fn grown(master: &FakeMaster, before: u64) -> u64 {
    master.process().memory().saturating_sub(before)
}

#[test]
fn half_requests_of_all_clients_have_one_limit_and_small_requests_get_through() {
    const CLIENTS: usize = 800;
    let master = ours_with(&[
        ("connection_cache_client_limit", "10000"),
        ("connection_cache_request_timeout", "1h"),
    ]);
    let witness = client_of(&master);
    is_served(&witness);
    let before = master.process().memory();
    let mut half = b"request\0save_endp\0".to_vec();
    while half.len() < 250 * 1024 {
        half.extend_from_slice(b"n\0");
        half.extend_from_slice(&[b'v'; 1000]);
        half.push(0);
    }
    let stalled: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let client = client_of(&master);
            // One that holds the most may be dropped before it has said all.
            let _ = client.send(&half);
            client
        })
        .collect();
    is_served(&witness);
    // All of them together would take 195 MiB at least.
    let grown = grown(&master, before);
    assert!(grown < 110 * MIB, "{} MiB", grown / MIB);
    let mut administrator = scache_client::Client::new(master.socket_path());
    let stats = administrator.stats().expect("told");
    assert!(stats.clients_dropped_memory > 0);
    assert!(stats.clients > 100, "those that were not the largest stay");
    is_served(&witness);
    drop(stalled);
    becomes_true("their memory is given back", || {
        master.process().memory() < before + 16 * MIB
    });
}

#[test]
fn memory_of_what_was_taken_again_goes_back_whatever_its_size() {
    for (connections, bytes) in [(1000, 60_000), (6000, 10_000)] {
        let master = ours_with(&[
            ("connection_cache_ttl_limit", "1h"),
            ("connection_cache_connection_limit", "10000"),
        ]);
        let client = client_of(&master);
        is_served(&client);
        let before = master.process().memory();
        // One file each time: only names and properties take memory.
        let file = std::fs::File::open("/dev/null").expect("open /dev/null");
        let property = "p".repeat(bytes);
        for _ in 0..connections {
            let saved = try_save(&client, 3600, "e", &property, file.as_fd());
            assert_eq!(saved, Ok(0));
        }
        let full = grown(&master, before);
        assert!(full > 50 * MIB, "{} MiB", full / MIB);
        for _ in 0..connections {
            assert!(try_find(&client, "e").expect("answered").is_some());
        }
        becomes_true("nearly all of it is given back", || {
            master.process().memory() < before + 20 * MIB
        });
    }
}
