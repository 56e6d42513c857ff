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
    let becomes_so = |so: &dyn Fn() -> bool| {
        let end = Instant::now() + Duration::from_secs(60);
        while !so() && Instant::now() < end {
            sleep(Duration::from_millis(20));
        }
        so()
    };
    let left = || processes_below(directory.path());
    // The demonstration makes an instance just as a test does.
    let mut demo = Command::new(built("demo"))
        .env("TMPDIR", directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the demonstration");
    let started = becomes_so(&|| {
        let processes = left();
        ["smtp-sink", "master", "smtp", "scache"]
            .iter()
            .all(|name| processes.iter().any(|process| process.name == *name))
    });
    demo.kill().expect("it still runs");
    demo.wait().expect("it ends");
    assert!(started, "no Postfix was started");
    assert!(becomes_so(&|| left().is_empty()), "{:?}", left());
    assert!(
        becomes_so(&|| fs::read_dir(directory.path()).is_ok_and(|mut left| left.next().is_none())),
        "the directory is left"
    );
}
