//! Reloads of Postfix while clients go on: what is still cached afterwards, in what order, and for how long.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use scache_tests::exchange::{Broken, greeted, try_bind, try_find, try_find_for, try_save};
use scache_tests::fake_master::{FakeMaster, Program, Setup, ours, stock};
use scache_tests::wire::{Client, Connection, DEADLINE, announcement};

use crate::Counts;
use crate::report::{Report, percent};

/// Connections of one endpoint, in an order.
const PER_ENDPOINT: usize = 4;

/// The time of those that are watched until they expire.
const SHORT_TTL: u32 = 10;

pub fn measure(counts: &Counts, report: &mut Report) {
    let (bindings, connections) = (counts.bindings, counts.connections);
    report.part(&format!(
        "A reload with {bindings} bindings and {connections} connections cached, while clients go on"
    ));
    for (name, old, new) in [
        ("stock to stock", stock(), stock()),
        ("ours to stock", ours(), stock()),
        ("ours to ours", ours(), ours()),
    ] {
        let survival = reloaded(&old, &new, counts);
        report.row(name, &survival.to_string());
        if name == "ours to ours" {
            report.promise(
                "at least 99.9 % of the unexpired entries survive",
                percent(survival.entries(), bindings + connections) >= 99.9,
            );
            report.promise(
                "their order is kept",
                survival.connections > 0 && survival.out_of_order == 0,
            );
            report.promise("no connection is another one", survival.wrong == 0);
            let expired = times_kept(counts.connections.min(200), report);
            report.promise("nothing expires before its time", expired);
        }
    }
}

#[derive(Debug, Default)]
struct Survival {
    bindings: usize,
    connections: usize,
    all: usize,
    out_of_order: usize,
    wrong: usize,
    answers: usize,
    failures: usize,
    seconds: f64,
}

impl Survival {
    fn entries(&self) -> usize {
        self.bindings + self.connections
    }
}

impl std::fmt::Display for Survival {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.2} % ({} bindings, {} connections, {} out of order) in {:.2} s; others had {} answers, {} failures",
            percent(self.entries(), self.all),
            self.bindings,
            self.connections,
            self.out_of_order,
            self.seconds,
            self.answers,
            self.failures,
        )
    }
}

fn reloaded(old: &Program, new: &Program, counts: &Counts) -> Survival {
    let mut master = setup(old, counts).start();
    let client = greeted(master.connect());
    let fars = fill(&client, counts);
    drop(client);
    let mut survival = Survival {
        all: counts.bindings + counts.connections,
        ..Survival::default()
    };
    let (over, answers, failures) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let path = master.socket_path().to_owned();
    thread::scope(|scope| {
        for number in 0..2 {
            let (path, over, answers, failures) = (&path, &over, &answers, &failures);
            scope.spawn(move || go_on(path, &format!("other {number}"), over, answers, failures));
        }
        sleep(Duration::from_millis(200));
        let began = Instant::now();
        master.reload(new);
        wait_for_predecessor(&master);
        survival.seconds = began.elapsed().as_secs_f64();
        sleep(Duration::from_millis(200));
        over.store(true, Ordering::Relaxed);
    });
    survival.answers = answers.load(Ordering::Relaxed);
    survival.failures = failures.load(Ordering::Relaxed);
    let client = greeted(master.connect());
    count_connections(&client, &fars, &mut survival);
    count_bindings(&client, counts.bindings, &mut survival);
    survival
}

fn setup(program: &Program, counts: &Counts) -> Setup {
    // Everybody keeps what this run saves, and none of it expires meanwhile.
    Setup::new(program)
        .setting("connection_cache_ttl_limit", "600s")
        .setting(
            "connection_cache_connection_limit",
            &(counts.connections + 1_000).to_string(),
        )
        .setting(
            "connection_cache_binding_limit",
            &(counts.bindings + 1_000).to_string(),
        )
}

fn fill(client: &Client, counts: &Counts) -> Vec<Connection> {
    for number in 0..counts.bindings {
        let status = try_bind(
            client,
            600,
            &format!("dest {number}"),
            &format!("d{number}"),
            &format!("bound {number}"),
        );
        assert_eq!(status, Ok(0));
    }
    (0..counts.connections)
        .map(|number| {
            let mut connection = Connection::new();
            let label = format!("endp {}", number / PER_ENDPOINT);
            let status = try_save(client, 600, &label, number.to_string(), connection.near());
            assert_eq!(status, Ok(0));
            connection.let_go();
            connection
        })
        .collect()
}

fn wait_for_predecessor(master: &FakeMaster) {
    let deadline = Instant::now() + DEADLINE;
    while master
        .servers()
        .iter()
        .any(|process| process.pid() != master.pid())
        && Instant::now() < deadline
    {
        sleep(Duration::from_millis(5));
    }
}

fn count_connections(client: &Client, fars: &[Connection], survival: &mut Survival) {
    for (endpoint, of_endpoint) in fars.chunks(PER_ENDPOINT).enumerate() {
        let mut last = None;
        while let Ok(Some(found)) = try_find(client, format!("endp {endpoint}")) {
            let Some(place) = of_endpoint
                .iter()
                .position(|far| far.check(&found.descriptor))
            else {
                survival.wrong += 1;
                continue;
            };
            survival.connections += 1;
            survival.out_of_order += usize::from(last.is_some_and(|last| place <= last));
            last = Some(place);
        }
    }
}

fn count_bindings(client: &Client, bindings: usize, survival: &mut Survival) {
    let probe = Connection::new();
    for number in 0..bindings {
        let saved = try_save(client, 60, format!("bound {number}"), "p", probe.near());
        assert_eq!(saved, Ok(0));
        if let Ok(Some(found)) = try_find_for(client, &format!("dest {number}")) {
            let property = format!("d{number}");
            let right = found
                .properties
                .first()
                .is_some_and(|it| *it == property.as_bytes());
            survival.bindings += usize::from(right && probe.check(&found.descriptor));
        } else {
            // Not to be found by anybody else.
            let _ = try_find(client, format!("bound {number}"));
        }
    }
}

/// A client that saves and finds, and comes again when the server is gone.
fn go_on(
    path: &Path,
    label: &str,
    over: &AtomicBool,
    answers: &AtomicUsize,
    failures: &AtomicUsize,
) {
    let mut client = None;
    while !over.load(Ordering::Relaxed) {
        match save_and_find(&mut client, path, label) {
            Ok(()) => answers.fetch_add(2, Ordering::Relaxed),
            Err(_) => {
                client = None;
                failures.fetch_add(1, Ordering::Relaxed)
            }
        };
        sleep(Duration::from_millis(1));
    }
}

fn save_and_find(client: &mut Option<Client>, path: &Path, label: &str) -> Result<(), Broken> {
    let client = match client {
        Some(client) => client,
        None => {
            let new = Client::connect(path).map_err(|_| Broken::default())?;
            if new.hear_list() != announcement() {
                return Err(Broken::default());
            }
            client.insert(new)
        }
    };
    let connection = Connection::new();
    let status = try_save(client, 60, label, "p", connection.near())?;
    assert_eq!(status, 0);
    if let Some(found) = try_find(client, label)? {
        // One that it saved before may have been handed over late.
        let _ = found;
    }
    Ok(())
}

/// Whether connections that were handed over expire when they would have: not before, and how much later.
fn times_kept(connections: usize, report: &Report) -> bool {
    let mut master = Setup::new(&ours())
        .setting("connection_cache_ttl_limit", "600s")
        .start();
    let client = greeted(master.connect());
    let fars: Vec<(Instant, Instant, Connection)> = (0..connections)
        .map(|number| {
            let mut connection = Connection::new();
            let before = Instant::now();
            let label = format!("short {number}");
            let status = try_save(&client, SHORT_TTL, label, "p", connection.near());
            assert_eq!(status, Ok(0));
            connection.let_go();
            (before, Instant::now(), connection)
        })
        .collect();
    drop(client);
    sleep(Duration::from_millis(1_500));
    master.dismiss();
    if !master.somebody_connects(Duration::from_secs(2)) {
        report.row("their times", "nothing is handed over");
        return false;
    }
    master.start_successor(&ours());
    let ttl = Duration::from_secs(u64::from(SHORT_TTL));
    let mut early = 0;
    let mut latest = Duration::ZERO;
    // A millisecond for rounding.
    let rounding = Duration::from_millis(1);
    for (before, after, far) in &fars {
        let _ = far.far_hears_line();
        let heard = Instant::now();
        early += usize::from(heard.duration_since(*before) + rounding < ttl);
        latest = latest.max(heard.duration_since(*after).saturating_sub(ttl));
    }
    report.row(
        "their times",
        &format!("{connections} expired, {early} too early, the last {latest:.1?} late"),
    );
    early == 0
}
