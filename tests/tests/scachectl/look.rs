//! Looking into a cache: `stats` and `list`; and `purge` and `drain`.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};

use scache_client::{Client, Save};
use scache_tests::wire::Connection;
use serde_json::Value;

use crate::caches::{Cache, Said, TTL};
use crate::schemas::Judge;

/// Labels of the fields that Postfix makes them of.
const DESTINATION: &str = "smtp\nexample.com\n*";
const ENDPOINT: &str = "smtp\n192.0.2.1\n25\n*";

#[test]
fn stats_tell_what_was_done() {
    for cache in Cache::each() {
        let connections = cache.save(DESTINATION, ENDPOINT, 2);
        let mut client = cache.client();
        let found = client.find_destination(DESTINATION.as_bytes());
        let found = found.expect("asked").expect("it is there").found;
        assert!(connections[0].check(&found.connection));
        assert!(client.find_destination(b"d").expect("asked").is_none());

        let lines = cache.lines(&["stats"]);
        let row = |name: &str| {
            let row = lines.iter().find(|line| {
                line.split_whitespace().next() == Some(name) && line.starts_with("  ")
            });
            row.map(|row| row.split_whitespace().nth(1).expect("a number").to_owned())
        };
        assert_eq!(row("destination_hits").as_deref(), Some("1"), "{lines:?}");
        assert_eq!(row("connections").as_deref(), Some("1"), "{lines:?}");
        assert_eq!(row("dropped_reset"), None, "{lines:?}");
        let rate = lines.iter().find(|line| line.starts_with("hit rate"));
        let rate = rate.expect("a hit rate");
        assert!(rate.contains("by destination 50.0 %"), "{rate}");

        let all = cache.lines(&["stats", "--all", "--explain"]).join("\n");
        assert!(
            all.contains("Idle connections that their peers had reset."),
            "{all}"
        );

        let json = cache.lines(&["stats", "--json"]);
        assert_eq!(json.len(), 1, "{json:?}");
        let stats = Judge::new("stats.schema.json").check(&json[0]);
        assert_eq!(stats["destination_hits"], 1);
        assert_eq!(stats["destination_misses"], 1);
        assert_eq!(stats["connections_saved"], 2);
        assert_eq!(stats["taken_times"]["count"], 1);
    }
}

#[test]
fn settings_are_shown_with_where_they_come_from() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("scache.toml");
    std::fs::write(
        &file,
        "max-idle = \"1h\"\n[goodbyes]\n\"smtp\" = \"QUIT\"\n",
    )
    .expect("written");
    let file = file.to_str().expect("a plain path");
    let cache = Cache::scached_with(&["--config", file]);
    let lines = cache.lines(&["settings"]);
    let row = |name: &str| -> Vec<&str> {
        let row = lines
            .iter()
            .find(|line| line.split(' ').next() == Some(name));
        let row = row.unwrap_or_else(|| panic!("{name}: {lines:?}"));
        row.split("  ")
            .map(str::trim)
            .filter(|cell| !cell.is_empty())
            .collect()
    };
    assert_eq!(row("ttl-limit"), ["ttl-limit", "60s", "command line"]);
    assert_eq!(row("max-idle"), ["max-idle", "3600s", "file"]);
    assert_eq!(row("watch"), ["watch", "yes", "default"]);
    assert_eq!(row("client-limit")[2], "descriptor limit");
    assert_eq!(
        row("goodbyes.\"smtp\""),
        ["goodbyes.\"smtp\"", "\"QUIT\"", "file"]
    );
    let judge = Judge::new("settings.schema.json");
    let some = cache.lines(&["settings", "--json", "--prefix", "ttl"]);
    assert_eq!(some.len(), 1, "{some:?}");
    let ttl = judge.check(&some[0]);
    assert_eq!(
        ttl,
        serde_json::json!({"name": "ttl-limit", "value": "60s", "origin": "command line"})
    );

    let lines = Cache::ours().lines(&["settings", "--prefix", "connection_cache"]);
    let is_default =
        |line: &String| line.starts_with("connection_cache_order") && line.ends_with("default");
    assert!(lines.iter().any(is_default), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.ends_with("descriptor limit")),
        "{lines:?}"
    );
}

#[test]
fn a_list_shows_fields_peer_and_times() {
    for cache in Cache::each() {
        let connections = cache.save(DESTINATION, ENDPOINT, 1);
        // Taken once and given back.
        let mut client = cache.client();
        let found = client.find_endpoint(ENDPOINT.as_bytes()).expect("asked");
        let save = Save::new(TTL, DESTINATION.as_bytes(), ENDPOINT.as_bytes());
        let found = found.expect("it is there").connection;
        let peer = rustix::net::getpeername(&found).expect("a peer");
        let peer = std::net::SocketAddr::try_from(peer.expect("an address")).expect("of TCP");
        client.save(&save, &found).expect("saved");
        drop(found);
        let odd = save_plain(&mut client, b"odd \x1b[2J\xff\n\nend");

        let lines = cache.lines(&["list"]);
        let words = |label: &str| -> Vec<String> {
            let line = lines.iter().find(|line| line.ends_with(label));
            let line = line.unwrap_or_else(|| panic!("{label}: {lines:?}"));
            line.split_whitespace().map(str::to_owned).collect()
        };
        let row = words("  smtp 192.0.2.1 25 *");
        assert_eq!(
            (row[2].as_str(), row[3].as_str()),
            ("1", peer.to_string().as_str())
        );
        let row = words("  odd\\x20\\x1b[2J\\xff \"\" end");
        assert_eq!(row[2], "0");
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(cache.lines(&["list", "--prefix", "smtp\\n"]).len(), 2);

        let judge = Judge::new("list.schema.json");
        let objects = |arguments: &[&str]| -> Vec<Value> {
            let arguments = [&["list", "--json"], arguments].concat();
            let lines = cache.lines(&arguments);
            lines.iter().map(|line| judge.check(line)).collect()
        };
        let all = objects(&["--sort", "taken"]);
        assert_eq!(all[0]["label"], ENDPOINT);
        assert_eq!(all[0]["taken"], 1);
        assert_eq!(all[0]["peer"], peer.to_string());
        assert!(all[0]["ttl_ms"].as_u64().is_some_and(|left| left <= 60_000));
        assert_eq!(all[1]["label"], "odd \u{1b}[2J\u{fffd}\n\nend");
        assert_eq!(all[1]["label_hex"], "6f6464201b5b324aff0a0a656e64");
        let bindings = objects(&["bindings"]);
        assert_eq!(bindings.len(), 1);
        assert_eq!(bindings[0]["label"], DESTINATION);
        assert_eq!(bindings[0]["endpoint"], ENDPOINT);
        drop((connections, odd));
    }
}

/// A terminal command in one character, the reverse direction of writing, DEL.
const TRAP: &str = "a\u{9b}2J\u{202e}b\u{7f}";

#[test]
fn a_label_does_nothing_to_the_terminal_in_text_or_json() {
    let cache = Cache::scached();
    let _connections = cache.save(TRAP, TRAP, 2);
    // Destinations are listed once they were asked for.
    let found = cache.client().find_destination(TRAP.as_bytes());
    assert!(found.expect("asked").is_some());
    for kind in ["connections", "bindings", "destinations"] {
        for arguments in [&["list", kind][..], &["list", "--json", kind]] {
            let lines = cache.lines(arguments);
            let line = lines.last().expect("an entry");
            assert!(line.is_ascii() && !line.contains('\x7f'), "{line:?}");
            if arguments.contains(&"--json") {
                let entry: Value = serde_json::from_str(line).expect("JSON");
                assert_eq!(entry["label"], TRAP);
            }
        }
    }
}

#[test]
fn a_list_goes_through_all_pages_and_sorts() {
    let cache = Cache::scached();
    let mut client = cache.client();
    let kept: Vec<Connection> = (0..300)
        .map(|number| {
            let label = format!("e\n{number:03}");
            save_plain(&mut client, label.as_bytes())
        })
        .collect();
    let labels = |arguments: &[&str]| -> Vec<String> {
        let lines = cache.lines(&[&["list"], arguments].concat());
        let labels = lines[1..].iter().map(|line| {
            let mut words = line.rsplit(' ');
            words.next().expect("a field").to_owned()
        });
        labels.collect()
    };
    let wanted: Vec<String> = (0..300).map(|number| format!("{number:03}")).collect();
    let mut all = labels(&[]);
    all.sort();
    assert_eq!(all, wanted);
    assert_eq!(labels(&["--sort", "label"]), wanted);
    assert_eq!(
        labels(&["--sort", "label", "--reverse", "--limit", "2"]),
        ["299", "298"]
    );
    assert_eq!(
        labels(&["--sort", "label", "--limit", "100"]),
        wanted[..100]
    );
    assert_eq!(labels(&["--limit", "70"]).len(), 70);
    let refused = cache.ask(&["list", "bindings", "--sort", "age"]);
    refused.assert_failed(64, &["age", "label, left"]);
    drop(kept);
}

#[test]
fn destinations_come_by_what_was_asked_for() {
    for cache in Cache::each() {
        let mut client = cache.client();
        for (name, times) in [("few", 1), ("many", 5), ("some", 3)] {
            for _ in 0..times {
                assert!(
                    client
                        .find_destination(name.as_bytes())
                        .expect("asked")
                        .is_none()
                );
            }
        }
        let kept = cache.save("some", "e", 1);
        let lines = cache.lines(&["list", "destinations", "--json"]);
        let judge = Judge::new("list.schema.json");
        let told: Vec<(String, u64, u64)> = lines
            .iter()
            .map(|line| judge.check(line))
            .map(|value| {
                let number = |name: &str| value[name].as_u64().expect("a number");
                let label = value["label"].as_str().expect("text");
                (label.to_owned(), number("misses"), number("cached"))
            })
            .collect();
        let wanted = [("many", 5, 0), ("some", 3, 1), ("few", 1, 0)];
        assert_eq!(
            told,
            wanted.map(|(name, misses, cached)| (name.to_owned(), misses, cached))
        );
        drop(kept);
    }
}

#[test]
fn purge_lets_go_of_what_it_is_told() {
    for cache in Cache::each() {
        let kept = [
            cache.save("a\nd", "a\ne", 2),
            cache.save("b\nd", "b\ne", 2),
            cache.save("c\nd", "c\ne", 2),
        ];
        let purge = |arguments: &[&str]| cache.lines(&[&["purge"], arguments].concat());
        assert_eq!(
            purge(&["--label", "a\\ne"]),
            ["purged: 2 connections, 1 bindings"]
        );
        assert_eq!(
            purge(&["--destination", "b\\nd"]),
            ["purged: 2 connections, 1 bindings"]
        );
        assert_eq!(
            purge(&["--prefix", "a\\n"]),
            ["purged: 0 connections, 0 bindings"]
        );
        assert_eq!(cache.lines(&["list"]).len(), 3);
        assert_eq!(purge(&["--all"]), ["purged: 2 connections, 1 bindings"]);
        let mut client = cache.client();
        for name in ["a\nd", "b\nd", "c\nd"] {
            assert!(
                client
                    .find_destination(name.as_bytes())
                    .expect("asked")
                    .is_none()
            );
        }
        for connection in kept.iter().flatten() {
            // QUIT under Postfix, nothing of scached; and then the end.
            assert!(
                connection.far_hears_to_the_end().is_some(),
                "it is not closed"
            );
        }
        cache
            .ask(&["purge", "--prefix", ""])
            .assert_failed(64, &["--all"]);
    }
}

#[test]
fn drain_keeps_nothing_new_until_it_is_off() {
    for cache in Cache::each() {
        let before = cache.save("d", "before", 1);
        let said = cache.lines(&["drain"]);
        assert!(
            said.len() == 1 && said[0].starts_with("draining:"),
            "{said:?}"
        );
        let during = cache.save("d", "during", 1);
        assert!(
            during[0].far_hears_to_the_end().is_some(),
            "it is not closed"
        );
        assert!(cache.lines(&["stats"])[0].contains("draining"));

        let mut waiting = cache
            .command(&["drain", "--wait"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("scachectl");
        let mut lines = lines(&mut waiting);
        assert!(
            lines
                .next()
                .expect("a line")
                .expect("text")
                .starts_with("draining")
        );
        let found = cache.client().find_endpoint(b"before").expect("asked");
        assert!(before[0].check(&found.expect("it is there").connection));
        assert!(
            lines
                .next()
                .expect("a line")
                .expect("text")
                .starts_with("empty")
        );
        assert_eq!(waiting.wait().expect("it ends").code(), Some(0));

        assert_eq!(cache.lines(&["drain", "--off"]).len(), 1);
        let after = cache.save("d", "after", 1);
        let found = cache.client().find_endpoint(b"after").expect("asked");
        assert!(after[0].check(&found.expect("it is there").connection));
    }
}

#[test]
fn who_waits_is_told_that_the_cache_drains_no_more() {
    let cache = Cache::scached();
    let kept = cache.save("d", "e", 1);
    let mut waiting = cache
        .command(&["drain", "--wait"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("scachectl");
    let first = lines(&mut waiting).next().expect("a line").expect("text");
    assert!(first.starts_with("draining"), "{first}");
    cache.lines(&["drain", "--off"]);
    let said = Said::of(&waiting.wait_with_output().expect("it ends"));
    said.assert_failed(75, &["drain again"]);
    drop(kept);
}

#[test]
fn a_reader_that_goes_is_no_failure() {
    let cache = Cache::scached();
    let mut client = cache.client();
    // More than a pipe holds.
    let label = vec![b'x'; 32 * 1024];
    let kept: Vec<Connection> = (0..16).map(|_| save_plain(&mut client, &label)).collect();
    for arguments in [&["list"][..], &["list", "--json", "--sort", "age"]] {
        let mut child = cache
            .command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scachectl");
        let mut lines = lines(&mut child);
        lines.next().expect("a line").expect("text");
        drop(lines);
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
    drop(kept);
}

pub fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().expect("its standard output")).lines()
}

/// Saves a connection without a destination. The far end is the test's.
pub fn save_plain(client: &mut Client, endpoint: &[u8]) -> Connection {
    let mut connection = Connection::new();
    client
        .save_endpoint(TTL, endpoint, b"", &connection.near())
        .expect("saved");
    connection.let_go();
    connection
}
