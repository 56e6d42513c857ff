//! `make bench`: the same work for stock scache(8) and for ours, in turn, on one processor.
//!
//! The machine may be noisy, so what counts is the ratio of medians within one run. Processor time is the
//! scheduler's, of the server only.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use scache_client::Client;
use scache_tests::fake_master::{Program, Setup, ours, stock};

/// A server that takes part.
struct Contender {
    name: &'static str,
    program: Program,
    settings: &'static [(&'static str, &'static str)],
}

/// What is asked of it.
struct Workload {
    name: &'static str,
    /// How many connections are saved before the first of them is taken.
    batch: usize,
    /// How long they idle in between.
    idle: Duration,
    cycles: usize,
}

/// Save a binding, save a connection, find it by its destination: three requests.
const WORKLOADS: [Workload; 2] = [
    Workload {
        name: "taken at once",
        batch: 1,
        idle: Duration::ZERO,
        cycles: 20_000,
    },
    Workload {
        name: "taken after idling 100 ms",
        batch: 500,
        idle: Duration::from_millis(100),
        cycles: 4_000,
    },
];

const ROUNDS: usize = 7;
const TTL: Duration = Duration::from_secs(60);
const PROPERTY: &[u8] = b"destination=example.com\nhost_name=mx.example.com\nhost_addr=192.0.2.1\n";

fn main() {
    pin(None);
    let unwatched = &[("connection_cache_watch", "no")];
    let contenders = [
        ("stock", stock(), &[][..]),
        ("ours", ours(), &[]),
        ("ours, unwatched", ours(), unwatched),
    ]
    .map(|(name, program, settings)| Contender {
        name,
        program,
        settings,
    });
    println!(
        "Processor time of the server per cycle of three requests, median of {ROUNDS} rounds:"
    );
    for workload in &WORKLOADS {
        let mut samples = contenders.each_ref().map(|_| Vec::new());
        for _ in 0..ROUNDS {
            for (contender, samples) in contenders.iter().zip(&mut samples) {
                samples.push(measure(contender, workload));
            }
        }
        let medians = samples.map(median);
        println!("{}", workload.name);
        for (contender, time) in contenders.iter().zip(medians) {
            let ratio = time.as_secs_f64() / medians[0].as_secs_f64();
            let micros = time.as_secs_f64() * 1e6;
            println!(
                "    {:20}{micros:8.2} µs   {ratio:.2} of stock",
                contender.name
            );
        }
        let ratio = medians[1].as_secs_f64() / medians[2].as_secs_f64();
        println!("    watched / unwatched: {ratio:.3}");
    }
    println!("The machine may be noisy: compare the ratios, not the numbers.");
}

fn measure(contender: &Contender, workload: &Workload) -> Duration {
    let mut setup = Setup::new(&contender.program);
    for (name, value) in contender.settings {
        setup = setup.setting(name, value);
    }
    let master = setup.start();
    pin(Some(master.pid()));
    let mut client = Client::new(master.socket_path());
    run(&mut client, workload, workload.batch);
    let before = cpu_time(master.pid());
    run(&mut client, workload, workload.cycles);
    (cpu_time(master.pid()) - before) / workload.cycles as u32
}

fn run(client: &mut Client, workload: &Workload, cycles: usize) {
    let (connection, _peer) = UnixStream::pair().expect("a pair of sockets");
    for _ in 0..cycles / workload.batch {
        for _ in 0..workload.batch {
            client
                .save_destination(
                    TTL,
                    b"smtp\nexample.com\n*\n*",
                    PROPERTY,
                    b"smtp\n192.0.2.1\n25\n*",
                )
                .expect("a binding is saved");
            client
                .save_endpoint(TTL, b"smtp\n192.0.2.1\n25\n*", PROPERTY, &connection)
                .expect("a connection is saved");
        }
        idle(workload.idle);
        for _ in 0..workload.batch {
            let found = client.find_destination(b"smtp\nexample.com\n*\n*");
            assert!(found.expect("an answer").is_some(), "it was saved");
        }
    }
}

fn idle(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    samples[samples.len() / 2]
}

/// Keeps a process (this one for `None`) on the first processor.
fn pin(process: Option<u32>) {
    let mut first = CpuSet::new();
    first.set(0);
    let process = process.and_then(|process| Pid::from_raw(process as i32));
    sched_setaffinity(process, &first).expect("a processor to run on");
}

/// What the scheduler counted, to the nanosecond.
fn cpu_time(process: u32) -> Duration {
    let path = format!("/proc/{process}/schedstat");
    let text = std::fs::read_to_string(path).expect("the scheduler's count");
    let nanoseconds = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
}
