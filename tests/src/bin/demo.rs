//! `make demo`: a real Postfix delivers to one destination, with stock scache(8) and then with ours.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};

const MESSAGES: usize = 500;

struct Figures {
    connections: usize,
    reuses: usize,
    elapsed: Duration,
    cpu: Duration,
}

/// A row of the table: its name, and its figure.
type Row = (&'static str, fn(&Figures) -> String);

const ROWS: [Row; 5] = [
    ("messages", |_| MESSAGES.to_string()),
    ("connections opened at the receiver", |figures| {
        figures.connections.to_string()
    }),
    ("messages over a reused connection", |figures| {
        figures.reuses.to_string()
    }),
    ("seconds", |figures| {
        format!("{:.2}", figures.elapsed.as_secs_f64())
    }),
    ("CPU time of scache, milliseconds", |figures| {
        format!("{:.1}", figures.cpu.as_secs_f64() * 1000.0)
    }),
];

fn main() {
    println!("A real Postfix delivers {MESSAGES} messages to one destination, five at once.");
    let (stock, ours) = (measure(stock()), measure(ours()));
    println!("{:36}{:>10}{:>10}", "", "stock", "ours");
    for (name, figure) in ROWS {
        println!("{name:36}{:>10}{:>10}", figure(&stock), figure(&ours));
    }
    println!("The machine may be noisy: compare the columns, not the numbers.");
}

fn measure(scache: Program) -> Figures {
    let instance = Instance::start(&Setup::new(scache));
    let mut used: HashMap<u32, Duration> = HashMap::new();
    let mut sample = |instance: &Instance| {
        if let Some(number) = instance.scache()
            && let Some(cpu) = cpu_time(number)
        {
            used.insert(number, cpu);
        }
    };
    let began = Instant::now();
    instance.meanwhile(Duration::from_secs(1), &mut sample, |instance| {
        instance.deliver(MESSAGES);
    });
    let elapsed = began.elapsed();
    sample(&instance);
    Figures {
        connections: instance.connections(),
        reuses: instance.log().reuses(),
        elapsed,
        cpu: used.into_values().sum(),
    }
}

/// What the scheduler counted, to the nanosecond.
fn cpu_time(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}
