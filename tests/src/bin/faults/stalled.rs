//! Clients that stall, and how long others wait meanwhile.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scache_tests::exchange::{Broken, ask, find_endp, greeted, save_endp, try_find, try_save};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};
use scache_tests::wire::{Client, Connection, dummy};

use crate::Counts;
use crate::report::{Report, Times};

/// A stock server that does not answer for so long is frozen.
const FROZEN: Duration = Duration::from_secs(5);

/// Baseline and measurement, so often; the best ratio counts, for a machine that does other things as well.
const ROUNDS: usize = 3;

pub fn measure(counts: &Counts, report: &mut Report) {
    let (clients, requests) = (counts.stalled_clients, counts.requests);
    report.part(&format!(
        "{clients} stalled clients of four kinds; {requests} requests of another one are timed"
    ));
    measure_stock(clients, requests, report);
    measure_ours(clients, requests, report);
}

fn measure_stock(clients: usize, requests: usize, report: &mut Report) {
    let master = Setup::new(&stock()).start();
    let other = greeted(master.connect());
    match timed(&other, requests) {
        Ok(times) => report.row("stock, none stalled", &times.to_string()),
        Err(broken) => report.row("stock, none stalled", &format!("{broken:?}")),
    }
    let first = greeted(master.connect());
    first.send(b"r").expect("the server listens");
    // It may have turned to us first.
    let began = Instant::now();
    let mut answered = 0;
    let text = loop {
        other
            .send(&find_endp("x"))
            .expect("a request fits into the socket");
        if other.hear_list_until(Instant::now() + FROZEN).is_empty() {
            let others = clients.saturating_sub(1);
            break format!(
                "no answer in {} s ({others} more not needed)",
                FROZEN.as_secs()
            );
        }
        answered += 1;
        if began.elapsed() > 2 * FROZEN {
            break format!("{answered} answers");
        }
    };
    report.row("stock, one stalled", &text);
}

fn measure_ours(clients: usize, requests: usize, report: &mut Report) {
    // They are to stall for as long as is measured.
    let master = Setup::new(&ours())
        .setting("connection_cache_request_timeout", "1h")
        .setting(
            "connection_cache_client_limit",
            &(clients + 100).to_string(),
        )
        .start();
    let other = greeted(master.connect());
    let mut best: Option<(f64, Times, Times)> = None;
    let mut broken = None;
    for _ in 0..ROUNDS {
        let alone = timed(&other, requests);
        let stalled = Stalled::start(&master, clients);
        let among = stalled.during(|| timed(&other, requests));
        match (alone, among) {
            (Ok(alone), Ok(among)) => {
                let ratio = among.per_mille(990).as_secs_f64() / alone.per_mille(990).as_secs_f64();
                if best.as_ref().is_none_or(|(best, ..)| ratio < *best) {
                    best = Some((ratio, alone, among));
                }
            }
            (Err(error), _) | (_, Err(error)) => broken = Some(error),
        }
    }
    if let Some(broken) = &broken {
        report.row("ours", &format!("{broken:?}"));
    }
    if let Some((ratio, alone, among)) = &best {
        report.row("ours, none stalled", &alone.to_string());
        report.row(&format!("ours, {clients} stalled"), &among.to_string());
        report.row("ours, ratio of p99", &format!("{ratio:.2}"));
    }
    report.promise(
        "every request is answered while others stall",
        broken.is_none(),
    );
    report.timed_promise(
        "the 99th percentile among stalled clients is at most twice that without",
        best.is_some_and(|(ratio, ..)| ratio <= 2.0),
    );
}

/// A save or a find at a time.
fn timed(client: &Client, requests: usize) -> Result<Times, Broken> {
    let connection = Connection::new();
    let mut times = Vec::with_capacity(requests);
    for _ in 0..requests / 2 {
        let began = Instant::now();
        let status = try_save(client, 60, "timed", "p", connection.near())?;
        times.push(began.elapsed());
        assert_eq!(status, 0);
        let began = Instant::now();
        let found = try_find(client, "timed")?;
        times.push(began.elapsed());
        let found = found.expect("what was just saved is found");
        assert!(connection.check(&found.descriptor), "another connection");
    }
    Ok(Times::new(times))
}

/// Clients of four kinds, a quarter each.
struct Stalled {
    silent: Vec<Client>,
    dribbling: Vec<Client>,
    not_reading: Vec<Client>,
    withholding: Vec<Client>,
}

impl Stalled {
    fn start(master: &FakeMaster, clients: usize) -> Self {
        let of_a_kind = |stall: fn(&Client)| {
            (0..clients / 4)
                .map(|_| {
                    let client = greeted(master.connect());
                    stall(&client);
                    client
                })
                .collect()
        };
        Self {
            silent: of_a_kind(|client| client.send(b"r").expect("the server listens")),
            dribbling: of_a_kind(|client| client.send(b"r").expect("the server listens")),
            // What fits into its socket, and a part of what the server keeps beyond that.
            not_reading: of_a_kind(|client| {
                for _ in 0..22 {
                    if client.send(&find_endp("x").repeat(500)).is_err() {
                        break;
                    }
                }
            }),
            withholding: of_a_kind(|client| {
                ask(client, &save_endp("60", "withheld", "p"), &dummy());
            }),
        }
    }

    /// Dribbles while something else is done, then lets all of them go.
    fn during<T>(self, act: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        let (over, dribbling) = (&over, &self.dribbling);
        let result = thread::scope(|scope| {
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for client in dribbling {
                        let _ = client.send(b"r");
                    }
                    thread::sleep(Duration::from_millis(500));
                }
            });
            let result = act();
            over.store(true, Ordering::Relaxed);
            result
        });
        drop((self.silent, self.not_reading, self.withholding));
        result
    }
}
