//! Requests about the cache: who may not, who asks for very much, and what is told of connections that come and go.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use scache_client::Error;
use scache_client::administration::{ConnectionEntry, Label, Names, Page, Stats};
use scache_tests::exchange::{
    ask, find_dest, no_dest, save_dest, save_for, status, take, try_save,
};
use scache_tests::fake_master::{FakeMaster, Setup, built, ours};
use scache_tests::wire::{Client, Connection, list};

use crate::common::{client_of, is_served, logged, ours_with, warnings, with_settings};

/// daemon, on every Debian.
const USER: u32 = 1;

/// Long enough for what is looked at to stay.
const TTL_LIMIT: (&str, &str) = ("connection_cache_ttl_limit", "1h");

fn administrator(master: &FakeMaster) -> scache_client::Client {
    scache_client::Client::new(master.socket_path())
}

fn stats(master: &FakeMaster) -> Stats {
    administrator(master).stats().expect("told")
}

/// All connections, which have to fit in one answer.
fn connections(master: &FakeMaster) -> Vec<ConnectionEntry> {
    let Page { entries, next } = administrator(master).connections(b"", 0).expect("told");
    assert_eq!(next, None);
    entries
}

fn purge(prefix: &str) -> Vec<u8> {
    list(&[("request", "purge"), ("prefix", prefix), ("from", "0")])
}

fn drain(on: &str) -> Vec<u8> {
    list(&[("request", "drain"), ("on", on)])
}

#[cfg(feature = "system")]
#[test]
fn who_may_not_purge_nor_drain_is_refused_with_a_warning() {
    scache_tests::needs_root();
    let master = ours_with(&[TTL_LIMIT]);
    let mine = client_of(&master);
    let connection = Connection::new();
    save_for(&mine, 60, &connection, "endp", "p");
    master.as_user(USER, || {
        let other = client_of(&master);
        for request in [purge(""), drain("yes"), purge("endp")] {
            ask(&other, &request, &status(2));
        }
        // What is malformed is nobody's to know.
        ask(&other, &drain("maybe"), &status(1));
        // Looking is for all.
        let listing = list(&[
            ("request", "list"),
            ("what", "bindings"),
            ("prefix", ""),
            ("from", "0"),
        ]);
        ask(&other, &listing, &status(0));
        is_served(&other);
    });
    let mut warnings = warnings(&master);
    warnings.retain(|warning| !warning.contains("malformed"));
    // One, or one for each second that began.
    assert!((1..=3).contains(&warnings.len()), "{warnings:?}");
    assert!(warnings[0].contains("may not"), "{warnings:?}");
    let told = stats(&master);
    assert_eq!((told.draining, told.connections), (0, 1));
    assert_eq!(told.requests_refused_malformed, 1);
    take(&mine, "endp", &connection);
    // Who may, may.
    ask(&mine, &drain("yes"), &status(0));
    assert_eq!(stats(&master).draining, 1);
}

#[test]
fn an_answer_about_destinations_walks_few_of_them_if_they_have_many_bindings() {
    const DESTINATIONS: usize = 20;
    const BINDINGS: usize = 256;
    // A thousand bindings.
    const TOLD: usize = 4;
    let master = ours_with(&[TTL_LIMIT]);
    let client = client_of(&master);
    for destination in 0..DESTINATIONS {
        let name = format!("d{destination}");
        for binding in 0..BINDINGS {
            let request = save_dest("60", &name, &binding.to_string(), "endp");
            ask(&client, &request, &status(0));
        }
        ask(&client, &find_dest(&name), &no_dest(2));
    }
    let mut told = BTreeSet::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let page = administrator(&master).destinations(b"", at).expect("told");
        assert!(page.entries.len() <= TOLD, "{} told", page.entries.len());
        let labels = page.entries.into_iter().map(|entry| entry.destination);
        told.extend(labels);
        from = page.next;
    }
    assert_eq!(told.len(), DESTINATIONS);
}

#[test]
fn hundreds_of_thousands_of_bindings_are_each_told_once_while_others_go_on() {
    const BINDINGS: usize = 200_000;
    const AT_ONCE: usize = 1_000;
    let master = ours_with(&[TTL_LIMIT, ("connection_cache_binding_limit", "250000")]);
    let client = client_of(&master);
    for first in (0..BINDINGS).step_by(AT_ONCE) {
        let mut requests = Vec::new();
        for number in first..first + AT_ONCE {
            requests.extend(save_dest("3600", &format!("d{number}"), "p", "endp"));
        }
        client.send(&requests).expect("it reads");
        for _ in 0..AT_ONCE {
            assert_eq!(client.hear_list(), status(0));
        }
    }
    let mut administrator = administrator(&master);
    let mut told = vec![false; BINDINGS];
    let mut from = Some(0);
    let mut pages = 0;
    while let Some(at) = from {
        let page = administrator.bindings(b"", at).expect("told");
        assert!(page.next.is_none_or(|next| next > at), "it goes back");
        for entry in page.entries {
            let label = String::from_utf8(entry.destination.into()).expect("as it was saved");
            let number: usize = label[1..].parse().expect("as it was saved");
            assert!(!std::mem::replace(&mut told[number], true), "{label} again");
        }
        from = page.next;
        pages += 1;
        assert!(pages < BINDINGS, "it does not end");
        if pages % 100 == 1 {
            is_served(&client);
        }
    }
    assert_eq!(told.iter().filter(|told| **told).count(), BINDINGS);
    // So is what is purged, a part at a time.
    let label = Label::new(b"endp").expect("a label");
    let mut purged = 0;
    let mut from = Some(0);
    while let Some(at) = from {
        let part = administrator.purge(Names::Is(label), at).expect("purged");
        purged += part.bindings;
        from = part.next;
        is_served(&client);
    }
    assert_eq!(purged, BINDINGS as u64);
    assert_eq!(stats(&master).bindings, 0);
}

#[test]
fn who_asks_for_very_much_at_once_is_answered_and_others_too() {
    const REQUESTS: usize = 2_000;
    let master = ours_with(&[TTL_LIMIT]);
    let (greedy, other) = (client_of(&master), client_of(&master));
    greedy.send(&purge("").repeat(REQUESTS)).expect("it reads");
    is_served(&other);
    let nothing = list(&[("status", "0"), ("connections", "0"), ("bindings", "0")]);
    for _ in 0..REQUESTS {
        assert_eq!(greedy.hear_list(), nothing);
    }
    is_served(&greedy);
}

#[test]
fn a_connection_that_comes_and_goes_is_told_with_its_past() {
    const TIMES: u64 = 5;
    let master = ours_with(&[TTL_LIMIT]);
    let connection = Connection::tcp();
    let client = client_of(&master);
    save_for(&client, 60, &connection, "endp", "p");
    // So that its age is not that since it was saved last.
    thread::sleep(Duration::from_millis(300));
    for _ in 0..TIMES {
        takes_and_saves(master.socket_path(), "endp");
    }
    let told = connections(&master);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].taken, TIMES);
    assert!(told[0].age >= Duration::from_millis(300), "{:?}", told[0]);
    assert!(told[0].peer.starts_with("127.0.0.1:"), "{:?}", told[0]);
    // A copy has the same past, and what is done with it is that of both.
    save_for(&client, 60, &connection, "copy", "p");
    let told = connections(&master);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|entry| entry.taken == TIMES), "{told:?}");
    takes_and_saves(master.socket_path(), "copy");
    let told = connections(&master);
    assert!(told.iter().all(|entry| entry.taken == TIMES + 1));
    // Another one has none of it.
    let other = Connection::new();
    save_for(&client, 60, &other, "other", "p");
    let told = connections(&master);
    let other = told.iter().find(|entry| *entry.endpoint == *b"other");
    assert_eq!(other.expect("it is there").taken, 0);
    let times = stats(&master).taken_times;
    assert_eq!((times.count(), times.sum), (6, 1 + 2 + 3 + 4 + 5 + 6));
}

/// A process of its own takes a connection and saves it again.
fn takes_and_saves(path: &Path, label: &str) {
    let output = Command::new(built("faults"))
        .arg("take-and-save")
        .args([path.as_os_str(), label.as_ref()])
        .output()
        .expect("the program");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "saved\n");
}

#[test]
fn what_is_no_socket_has_no_past_and_does_no_harm() {
    let master = ours_with(&[TTL_LIMIT]);
    let client = client_of(&master);
    let (reading, _writing) = std::io::pipe().expect("a pipe");
    let reading = OwnedFd::from(reading);
    let file = OwnedFd::from(tempfile::tempfile().expect("a file"));
    for (label, descriptor) in [("pipe", &reading), ("file", &file)] {
        for _ in 0..3 {
            let saved = try_save(&client, 60, label, "p", descriptor.as_fd());
            assert_eq!(saved, Ok(0), "{label}");
            let told = connections(&master);
            assert_eq!((told.len(), told[0].taken), (1, 0), "{label}");
            takes(&client, label);
        }
    }
    let told = stats(&master);
    assert_eq!((told.endpoint_hits, told.taken_times.count()), (6, 0));
    is_served(&client);
}

fn takes(client: &Client, label: &str) {
    let found = scache_tests::exchange::try_find(client, label);
    assert!(matches!(found, Ok(Some(_))), "{label}: {found:?}");
}

#[test]
fn nothing_is_logged_of_requests_about_the_cache_but_with_v() {
    for verbose in [false, true] {
        let mut setup = Setup::new(&ours());
        if verbose {
            setup = setup.arguments(&["-v"]);
        }
        let master = with_settings(setup, &[TTL_LIMIT]).start();
        let client = client_of(&master);
        is_served(&client);
        let connection = Connection::new();
        save_for(&client, 60, &connection, "endp\n\x1b[2J", "p");
        let mut administrator = administrator(&master);
        administrator.stats().expect("told");
        administrator.connections(b"endp\n", 0).expect("told");
        administrator.bindings(b"", 0).expect("told");
        administrator.destinations(b"", 0).expect("told");
        administrator.events(0).expect("told");
        administrator.drain(true).expect("done");
        administrator.drain(false).expect("done");
        let names = Label::new(b"\x1b[2J\n").map(Names::Is).expect("a label");
        administrator.purge(names, 0).expect("done");
        drop(administrator);
        is_served(&client);
        let lines = logged(&master);
        if verbose {
            for word in ["stats", "list", "events", "drain", "purge"] {
                let tells = |line: &String| line.to_lowercase().contains(word);
                assert!(lines.iter().any(tells), "{word}: {lines:#?}");
            }
            let is_plain = |line: &String| !line.contains(['\x1b', '\n']);
            assert!(lines.iter().all(is_plain), "{lines:#?}");
            assert!(!lines.iter().any(|line| line.starts_with("warning")));
        } else {
            assert!(lines.is_empty(), "{lines:#?}");
        }
    }
}

#[cfg(feature = "system")]
#[test]
fn a_stock_server_is_told_from_ours() {
    let master = Setup::new(&scache_tests::fake_master::stock()).start();
    let mut administrator = administrator(&master);
    assert!(matches!(administrator.stats(), Err(Error::Unsupported)));
    assert!(matches!(administrator.drain(true), Err(Error::Unsupported)));
    is_served(&client_of(&master));
}
