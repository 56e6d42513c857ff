//! A cache whose process is stopped while a program checks connections out of it and releases them.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use scache_client::Pool;
use scache_tests::fake_master::{Setup, stock};
use scache_tests::scached::Scached;

use crate::Counts;
use crate::report::Report;

/// One checkout or release waits for half a second. The rest is for a machine that is busy.
const MOST: Duration = Duration::from_secs(5);

pub fn measure(_counts: &Counts, report: &mut Report) {
    report.part(
        "the cache is stopped; a program checks out and releases until it has waited three times",
    );
    let stock = Setup::new(&stock()).start();
    measure_one(report, "stock", stock.socket_path(), stock.pid());
    let ours = Scached::for_all_users(&[]);
    let longest = measure_one(report, "ours", ours.path(), ours.pid());
    report.promise(
        "no checkout and no release waits for the ten seconds that a single request may take",
        longest < MOST,
    );
}

/// Returns how long the slowest checkout or release took.
fn measure_one(report: &mut Report, name: &str, socket: &Path, pid: u32) -> Duration {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.expect("a process");
    let pool = Pool::new(socket);
    cycle(&pool);
    kill_process(pid, Signal::STOP).expect("it runs");
    let (mut longest, mut waited, mut cycles) = (Duration::ZERO, Duration::ZERO, 0u32);
    while pool.counters().cache_errors < 3 {
        for took in cycle(&pool) {
            longest = longest.max(took);
            waited += took;
        }
        cycles += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    kill_process(pid, Signal::CONT).expect("it is there");
    report.row(
        name,
        &format!(
            "{cycles} checkouts and releases, longest wait {longest:.1?}, all waits {waited:.1?}"
        ),
    );
    longest
}

/// Returns how long a checkout and a release took.
fn cycle(pool: &Pool) -> [Duration; 2] {
    let began = Instant::now();
    let made = pool.checkout(b"d", &["e"], |_| UnixStream::pair().map(|(near, _)| near));
    let checked_out = began.elapsed();
    made.expect("a pair of sockets")
        .release(Duration::from_secs(2));
    [checked_out, began.elapsed() - checked_out]
}
