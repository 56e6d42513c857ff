//! A process that is killed at any moment (row 26): the next one serves, and nobody gets what another one has.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use scache_tests::exchange::{Broken, try_find, try_save};
use scache_tests::fake_master::Setup;
use scache_tests::wire::{Client, Connection, announcement};

use crate::common::{becomes_true, with_both};

const KILLS: usize = 25;
const CLIENTS: usize = 4;

#[test]
fn a_client_needs_one_more_attempt_for_each_kill_at_most() {
    with_both(|side, program| {
        let mut master = Setup::new(program).start();
        let path = master.socket_path().to_owned();
        let over = AtomicBool::new(false);
        let successes: [AtomicUsize; CLIENTS] = Default::default();
        let failures: [AtomicUsize; CLIENTS] = Default::default();
        thread::scope(|scope| {
            for (index, (successes, failures)) in successes.iter().zip(&failures).enumerate() {
                let (path, over) = (&path, &over);
                scope.spawn(move || {
                    let label = format!("endp {index}");
                    let mut client = None;
                    while !over.load(Ordering::Relaxed) {
                        match save_and_find(&mut client, path, &label) {
                            Ok(()) => successes.fetch_add(1, Ordering::Relaxed),
                            Err(_) => {
                                client = None;
                                failures.fetch_add(1, Ordering::Relaxed)
                            }
                        };
                    }
                });
            }
            for kill in 1..=KILLS {
                // Between two kills everybody succeeds once.
                let before: Vec<usize> = counts(&successes);
                becomes_true("everybody is served", || {
                    counts(&successes)
                        .iter()
                        .zip(&before)
                        .all(|(now, before)| now > before)
                });
                thread::sleep(Duration::from_micros(700 * (kill as u64 % 7)));
                master.kill();
                assert!(master.somebody_connects(Duration::from_secs(20)));
                master.start_successor(program);
                let failed = counts(&failures);
                assert!(
                    failed.iter().all(|count| *count <= kill),
                    "{side:?}: {failed:?}"
                );
            }
            over.store(true, Ordering::Relaxed);
        });
        let failed = counts(&failures);
        assert!(
            failed.iter().all(|count| *count <= KILLS),
            "{side:?}: {failed:?}"
        );
        assert!(failed.iter().sum::<usize>() > 0, "no kill hit anybody");
    });
}

fn counts(counters: &[AtomicUsize]) -> Vec<usize> {
    counters
        .iter()
        .map(|counter| counter.load(Ordering::Relaxed))
        .collect()
}

/// One connection saved and found again, over a connection to the server that is kept.
fn save_and_find(
    client: &mut Option<Client>,
    path: &std::path::Path,
    label: &str,
) -> Result<(), Broken> {
    let client = match client {
        Some(client) => client,
        None => {
            let new = Client::connect(path).expect("master holds the listening socket");
            if new.hear_list() != announcement() {
                return Err(Broken::default());
            }
            client.insert(new)
        }
    };
    let connection = Connection::new();
    let status = try_save(client, 60, label, "p", connection.near())?;
    assert_eq!(status, 0);
    // A kill in between loses it, which is no wrong connection.
    if let Some(found) = try_find(client, label)? {
        assert!(connection.check(&found.descriptor), "another connection");
    }
    Ok(())
}
