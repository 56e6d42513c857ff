//! The equipment itself: whatever becomes of a test, no Postfix is left running.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_tests::fake_master::built;
use scache_tests::instance::processes_below;

#[test]
fn a_test_that_is_killed_leaves_no_postfix_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let wait = |otherwise: &str, until: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(60);
        while !until() {
            let left = processes_below(directory.path());
            assert!(Instant::now() < end, "{otherwise}: {left:?}");
            sleep(Duration::from_millis(20));
        }
    };
    // The demonstration makes an instance just as a test does.
    let mut demo = Command::new(built("demo"))
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the demonstration");
    wait("no Postfix is started", &|| {
        let processes = processes_below(directory.path());
        ["smtp-sink", "master", "smtp", "scache"]
            .iter()
            .all(|name| processes.iter().any(|process| process.name == *name))
    });
    demo.kill().expect("it still runs");
    demo.wait().expect("it ends");
    wait("these are left", &|| {
        processes_below(directory.path()).is_empty()
    });
    wait("the directory is left", &|| {
        fs::read_dir(directory.path()).is_ok_and(|mut entries| entries.next().is_none())
    });
}
