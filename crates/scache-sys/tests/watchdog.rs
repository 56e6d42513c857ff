//! The watchdog, in a process that it may end.

use std::io;
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use scache_sys::watchdog;

const ROLE: &str = "SCACHE_WATCHDOG_ROLE";
const LAST_WORDS: &str = "fatal: watchdog timeout\n";

/// Runs this test again, in a role.
fn run_as(role: &str) -> Output {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "a_stuck_process_ends_and_another_does_not"])
        .env(ROLE, role)
        .output()
        .expect("this program runs")
}

fn start(timeout: Duration) {
    let log = io::stderr().as_fd().try_clone_to_owned().expect("a copy");
    watchdog::start(timeout, Some(log), LAST_WORDS.as_bytes().to_vec()).expect("it starts");
}

#[test]
fn a_stuck_process_ends_and_another_does_not() {
    match std::env::var(ROLE).as_deref() {
        Ok("stuck") => {
            start(Duration::from_millis(300));
            loop {
                std::thread::sleep(Duration::from_secs(60));
            }
        }
        Ok("busy") => {
            // So long may a busy machine leave it without a processor.
            let timeout = Duration::from_secs(4);
            start(timeout);
            let end = Instant::now() + timeout + Duration::from_secs(1);
            while Instant::now() < end {
                watchdog::pat();
            }
        }
        _ => {
            let stuck = run_as("stuck");
            assert_eq!(stuck.status.code(), Some(1));
            assert_eq!(String::from_utf8_lossy(&stuck.stderr), LAST_WORDS);
            let busy = run_as("busy");
            assert_eq!(busy.status.code(), Some(0), "{busy:?}");
        }
    }
}
