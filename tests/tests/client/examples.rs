//! The examples of the library, as their readers would run them.

use std::process::Command;

use scache_tests::fake_master::built;
use scache_tests::redis::Redis;

use crate::servers::{KINDS, Server};

/// What an example says when all goes well.
fn run(name: &str, arguments: &[&str]) -> String {
    let program = built(&format!("examples/{name}"));
    let output = Command::new(program).args(arguments).output();
    let output = output.expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}{complained}");
    assert!(complained.is_empty(), "{name}: {complained}");
    println!("{said}");
    said
}

#[test]
fn ten_senders_use_one_smtp_session() {
    for kind in KINDS {
        let server = Server::start(kind);
        let said = run("smtp", &[&server.path().display().to_string()]);
        assert!(
            said.contains("without the cache: 10 messages, sessions at the server: 10\n"),
            "{said}"
        );
        assert!(
            said.contains("\nwith the cache: 10 messages, sessions at the server: 1\n"),
            "{said}"
        );
    }
}

#[cfg(feature = "system")]
#[test]
fn ten_processes_log_in_to_redis_once() {
    let redis = Redis::start("secret");
    for (round, kind) in KINDS.into_iter().enumerate() {
        let server = Server::start(kind);
        let cache = server.path().display().to_string();
        let said = run("redis", &[&cache, redis.address(), "secret"]);
        let numbers = |title: &str| {
            let line = said.lines().find_map(|line| line.strip_prefix(title));
            let numbers = line.expect(title).split_whitespace().map(str::parse);
            numbers.collect::<Result<Vec<u32>, _>>().expect("numbers")
        };
        let [without, with] = ["without the cache", "with the cache"].map(numbers);
        // Connections, logins, and commands; newer servers are told more than the password.
        assert_eq!(
            (&without[..2], &with[..2]),
            (&[10, 10][..], &[1, 1][..]),
            "{kind:?}"
        );
        assert!(with[2] + 9 <= without[2], "{said}");
        assert!(
            said.contains(&format!("counted to {}\n", 20 * (round + 1))),
            "{said}"
        );
    }
}
