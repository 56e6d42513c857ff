//! Clients that hold every slot: how long another one waits.

use std::time::{Duration, Instant};

use scache_tests::exchange::{Broken, try_find};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};
use scache_tests::wire::Client;

use crate::Counts;
use crate::report::{Report, Times};

/// A client that is not served for so long is locked out.
const LOCKED_OUT: Duration = Duration::from_secs(5);

/// Slots of ours; stock has no limit.
const SLOTS: usize = 4;

/// Clients that come while all slots are taken, one after the other.
const COMING: usize = 20;

pub fn measure(counts: &Counts, report: &mut Report) {
    let clients = (counts.stalled_clients / 10).max(2 * SLOTS);
    report.part(&format!(
        "{clients} clients that asked once and stay, of which {SLOTS} have slots; {COMING} more come, one by one"
    ));
    let master = Setup::new(&stock()).start();
    let (_idle, coming) = idle_then_coming(&master, clients);
    report.row("stock, without limit", &text(coming));

    let setup = || {
        Setup::new(&ours())
            .setting("connection_cache_client_limit", &SLOTS.to_string())
            .setting("connection_cache_request_timeout", "1h")
    };
    let master = setup().start();
    let (_idle, coming) = idle_then_coming(&master, clients);
    report.promise("idle clients keep nobody out", coming.is_some());
    report.row("ours", &text(coming));

    let master = setup().start();
    // Of another user, in the middle of requests; root is this process.
    let held = master.as_user(1, || {
        let held: Vec<Client> = (0..SLOTS).filter_map(|_| greeted_soon(&master)).collect();
        for client in &held {
            client.send(b"request\0").expect("the server listens");
        }
        (
            held,
            (0..clients).map(|_| master.connect()).collect::<Vec<_>>(),
        )
    });
    let began = Instant::now();
    let root =
        greeted_soon(&master).map(|client| (try_find(&client, "x").is_ok(), began.elapsed()));
    let row = match root {
        Some((_, time)) => format!("root is served after {:.0} ms", time.as_secs_f64() * 1e3),
        None => format!("root is not served in {} s", LOCKED_OUT.as_secs()),
    };
    report.row("ours, slots held", &row);
    report.promise(
        "another user's requests under way, and others that wait, do not keep root out",
        root.is_some_and(|(served, _)| served),
    );
    drop(held);
}

/// Clients that ask and stay, and how long those wait who come then, or `None` if one was not served.
fn idle_then_coming(master: &FakeMaster, clients: usize) -> (Vec<Client>, Option<Times>) {
    let mut idle = Vec::new();
    for _ in 0..clients {
        let Some(client) = greeted_soon(master) else {
            return (idle, None);
        };
        if try_find(&client, "x").is_err() {
            return (idle, None);
        }
        idle.push(client);
    }
    let mut times = Vec::new();
    for _ in 0..COMING {
        let began = Instant::now();
        let client = greeted_soon(master);
        let answered: Option<Result<_, Broken>> =
            client.as_ref().map(|client| try_find(client, "x"));
        if !matches!(answered, Some(Ok(_))) {
            return (idle, None);
        }
        times.push(began.elapsed());
        idle.extend(client);
    }
    (idle, Some(Times::new(times)))
}

/// A client that was announced to, unless that takes too long.
fn greeted_soon(master: &FakeMaster) -> Option<Client> {
    let client = master.connect();
    let heard = client.hear_list_until(Instant::now() + LOCKED_OUT);
    (!heard.is_empty()).then_some(client)
}

fn text(times: Option<Times>) -> String {
    times.map_or_else(
        || format!("not served in {} s", LOCKED_OUT.as_secs()),
        |times| format!("{times} until the first answer"),
    )
}
