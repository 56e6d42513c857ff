//! The program that measures (`make faults`), with small numbers.

use std::process::Command;

use scache_tests::fake_master::built;

#[cfg(feature = "system")]
#[test]
fn a_short_run_of_the_measurements_finds_every_promise_kept() {
    let output = Command::new(built("faults"))
        .arg("--short")
        .output()
        .expect("the program is built beside the tests");
    let screen = String::from_utf8_lossy(&output.stdout);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{screen}{complaints}");
    assert!(screen.contains("All promises were kept"), "{screen}");
}
