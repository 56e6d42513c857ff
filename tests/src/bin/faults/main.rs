//! Measures what faults do to a running scache, stock beside ours: `make faults`.
//!
//! Each part prints its table and what was promised. The exit status is 1 when ours broke a promise. Only UNIX
//! sockets and the loopback interface are used, and no process stays behind. `--short` runs everything with
//! small numbers; the environment sets single ones (`--help` lists them).

mod askers;
mod closes;
mod endurance;
mod exhaustion;
mod exporter;
mod memory;
mod other_user;
mod planted;
mod reload;
mod report;
mod slots;
mod stalled;
mod stopped;
mod takeovers;
mod unread;

use std::process::ExitCode;

use report::Report;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How much of everything.
#[derive(Clone, Copy, Debug)]
struct Counts {
    stalled_clients: usize,
    requests: usize,
    pairs: usize,
    hostile_messages: usize,
    bindings: usize,
    connections: usize,
    races: usize,
}

const FULL: Counts = Counts {
    stalled_clients: 1_000,
    requests: 40_000,
    pairs: 1_000_000,
    hostile_messages: 100_000,
    bindings: 10_000,
    connections: 2_000,
    races: 100,
};

const SHORT: Counts = Counts {
    stalled_clients: 40,
    requests: 500,
    pairs: 500,
    hostile_messages: 200,
    bindings: 200,
    connections: 80,
    races: 8,
};

/// A part: its name on the command line, and what it does.
type Part = (&'static str, fn(&Counts, &mut Report));

const PARTS: &[Part] = &[
    ("stalled", stalled::measure),
    ("endurance", endurance::measure),
    ("exhaustion", exhaustion::measure),
    ("reload", reload::measure),
    ("closes", closes::measure),
    ("exporter", exporter::measure),
    ("planted", planted::measure),
    ("takeovers", takeovers::measure),
    ("unread", unread::measure),
    ("slots", slots::measure),
    ("askers", askers::measure),
    ("memory", memory::measure),
    ("stopped", stopped::measure),
];

const VARIABLES: &str = "\
SCACHE_FAULTS_CLIENTS      stalled clients
SCACHE_FAULTS_REQUESTS     requests of others that are timed
SCACHE_FAULTS_PAIRS        connections saved and found again
SCACHE_FAULTS_MESSAGES     hostile messages
SCACHE_FAULTS_BINDINGS     bindings that are handed over
SCACHE_FAULTS_CONNECTIONS  connections that are handed over
SCACHE_FAULTS_RACES        daemons that take over or start at the same time
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        // For the tests: not meant for people.
        ["hold-in-flight", count] => return other_user::hold(count),
        ["connect", path] => return other_user::connect(path),
        ["take-and-save", path, label] => return other_user::take_and_save(path, label),
        _ => {}
    }
    let (short, parts) = match words.split_first() {
        Some((&"--short", parts)) => (true, parts),
        _ => (false, &words[..]),
    };
    let known = |part: &&str| PARTS.iter().any(|(name, _)| name == part);
    if !parts.iter().all(known) {
        print!("{}", help());
        return ExitCode::from(2);
    }
    let counts = if short { SHORT } else { FULL };
    let counts = match from_environment(counts) {
        Ok(counts) => counts,
        Err(message) => {
            eprintln!("faults: {message}");
            return ExitCode::from(2);
        }
    };
    raise_descriptor_limit();
    let mut report = Report::new(!short);
    for (name, measure) in PARTS {
        if parts.is_empty() || parts.contains(name) {
            measure(&counts, &mut report);
        }
    }
    report.conclude()
}

fn help() -> String {
    let names: Vec<String> = PARTS.iter().map(|(name, _)| format!("[{name}]")).collect();
    format!(
        "Usage: faults [--short] {}\n\nWithout the name of a part all of them run.\n\n{VARIABLES}",
        names.join(" ")
    )
}

fn from_environment(mut counts: Counts) -> Result<Counts, String> {
    for (name, count) in [
        ("SCACHE_FAULTS_CLIENTS", &mut counts.stalled_clients),
        ("SCACHE_FAULTS_REQUESTS", &mut counts.requests),
        ("SCACHE_FAULTS_PAIRS", &mut counts.pairs),
        ("SCACHE_FAULTS_MESSAGES", &mut counts.hostile_messages),
        ("SCACHE_FAULTS_BINDINGS", &mut counts.bindings),
        ("SCACHE_FAULTS_CONNECTIONS", &mut counts.connections),
        ("SCACHE_FAULTS_RACES", &mut counts.races),
    ] {
        if let Ok(text) = std::env::var(name) {
            let number: usize = text.parse().map_err(|_| format!("{name}: no number"))?;
            *count = number.max(8);
        }
    }
    Ok(counts)
}

/// Clients and far ends are all in this process, and what is started inherits the limit.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).expect("a soft limit can be raised to the hard one");
}
