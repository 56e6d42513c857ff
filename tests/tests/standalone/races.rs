//! Daemons that start, take over or die at the same time.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::sockopt::socket_peercred;
use rustix::process::Signal;
use scache_client::Client;
use scache_tests::races::{self, Moment};
use scache_tests::wire::{self, Connection, Heard};

use crate::daemon::{Daemon, LONG, find, miss, place, refused, save, text};

const OPTIONS: [&str; 2] = ["--ttl-limit", "1h"];

fn take_over_request() -> Vec<u8> {
    wire::list(&[("request", "take_over")])
}

fn status(status: &str) -> Vec<u8> {
    wire::list(&[("status", status)])
}

/// A daemon that takes over from the test, which does not end for it yet: the connection over which it asked.
fn taking_over(path: &Path) -> (Daemon, wire::Client) {
    let listener = UnixListener::bind(path).expect("bound");
    let arguments = [&OPTIONS[..], &["--takeover", "--socket", text(path)]].concat();
    let mut daemon = Daemon::start(&arguments);
    let (asker, _) = listener.accept().expect("it connects");
    let asker = wire::Client::from(OwnedFd::from(asker));
    assert_eq!(asker.hear_list(), take_over_request());
    asker.send(&status("0")).expect("it listens");
    asker.send_descriptors(&[listener.as_fd()]).expect("sent");
    daemon.wait_for("listening on");
    (daemon, asker)
}

/// A client that has taken over: its connection, and the listening socket.
fn taken_over(path: &Path) -> (wire::Client, UnixListener) {
    let client = wire::Client::connect(path).expect("connected");
    assert_eq!(client.hear_list(), wire::announcement());
    client.send(&take_over_request()).expect("sent");
    assert_eq!(client.hear_list(), status("0"));
    match client.hear(Instant::now() + wire::DEADLINE) {
        Heard::Byte(0, Some(listener)) => (client, listener.into()),
        other => panic!("no listening socket: {other:?}"),
    }
}

/// Accepts the daemon that hands over, and hears so many of its requests, of which all but the last are answered.
fn hears(listener: &UnixListener, requests: usize) -> (wire::Client, Vec<Vec<u8>>) {
    // It is the daemon's as well, so it stays as it is: accepting from it does not wait.
    let ready = wire::ready(listener, PollFlags::IN, Instant::now() + wire::DEADLINE);
    assert!(ready.expect("it can be waited for"), "nobody connects");
    let (socket, _) = listener.accept().expect("it connects");
    let client = wire::Client::from(OwnedFd::from(socket));
    let heard = (0..requests)
        .map(|number| {
            let request = hear_with_descriptor(&client);
            if number + 1 < requests {
                client.send(&status("0")).expect("it listens");
            }
            request
        })
        .collect();
    (client, heard)
}

/// Hears a list whose first byte may come with a descriptor, which is closed.
fn hear_with_descriptor(client: &wire::Client) -> Vec<u8> {
    let first = match client.hear(Instant::now() + wire::DEADLINE) {
        Heard::Byte(byte, _) => byte,
        other => panic!("no request: {other:?}"),
    };
    [&[first][..], &client.hear_list()].concat()
}

#[test]
fn of_two_that_take_over_at_once_one_is_left_with_everything() {
    for round in 0..8 {
        let left = races::two_takeovers(20);
        assert!(left.is_whole(), "{round}: {left:?}");
    }
}

#[test]
fn of_several_that_start_at_once_one_is_left() {
    for round in 0..8 {
        let left = races::several_starts();
        assert!(left.is_whole(), "{round}: {left:?}");
    }
}

#[test]
fn who_takes_over_through_a_link_gets_everything() {
    let left = races::takeover_through_link(20);
    assert!(left.is_whole(), "{left:?}");
}

#[test]
fn a_daemon_serves_again_when_the_one_that_takes_over_is_killed() {
    for step in 0..16 {
        let moment = Moment::AfterTouching(Duration::from_millis(step));
        if let Some(left) = races::killed_takeover(20, moment) {
            assert!(left.is_whole_but_for_killed(), "{step}: {left:?}");
        }
    }
    if let Some(left) = races::killed_takeover(20, Moment::Listening) {
        assert!(left.is_whole_but_for_killed(), "{left:?}");
    }
}

/// Whoever takes over dies after each of its steps in turn, and there is nothing in the daemon's answer to that which
/// depends on when it is noticed.
#[test]
fn nothing_is_lost_whichever_step_was_the_last() {
    const CONNECTIONS: usize = 3;
    let (_directory, path) = place();
    let mut daemon = Daemon::listening(&path, &OPTIONS);
    // The question how to speak, three connections, and one binding; the last request is not answered.
    for requests in 0..=CONNECTIONS + 2 {
        let mut client = Client::new(&path);
        let connections: Vec<_> = (0..CONNECTIONS)
            .map(|number| save(&mut client, LONG, "e", &number.to_string()))
            .collect();
        client
            .save_destination(LONG, b"d", b"q", b"e")
            .expect("bound");
        let (asker, listener) = taken_over(&path);
        let heir = (requests > 0).then(|| hears(&listener, requests));
        // What was passed to it is closed, by whoever had it last.
        drop((heir, listener, asker));
        daemon.wait_for("serving again");
        let mut client = Client::new(&path);
        let passed = requests.saturating_sub(1).min(CONNECTIONS);
        for (number, connection) in connections.iter().enumerate().skip(passed) {
            find(&mut client, "e", &number.to_string(), connection);
        }
        miss(&mut client, "e");
        let last = save(&mut client, LONG, "e", "last");
        let bound = client.find_destination(b"d").expect("asked");
        // The binding was told, and that it was understood was not.
        let bound = bound.expect("still bound");
        assert!(last.check(&bound.found.connection), "{requests}");
    }
    assert_eq!(daemon.terminate().0, Some(0));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
}

#[test]
fn a_daemon_that_is_told_to_end_meanwhile_leaves_the_file_to_the_other() {
    let (_directory, path) = place();
    let daemon = Daemon::listening(&path, &OPTIONS);
    let connection = save(&mut Client::new(&path), LONG, "e", "p");
    let (_asker, listener) = taken_over(&path);
    let (_heir, _) = hears(&listener, 1);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.end().0, Some(0));
    assert!(connection.far_hears_to_the_end().is_some());
    assert!(path.exists());
    // Clients still get through to whoever took over.
    UnixStream::connect(&path).expect("it listens");
}

#[test]
fn nobody_takes_over_from_a_daemon_that_is_taking_over() {
    let (_directory, path) = place();
    let (_daemon, asker) = taking_over(&path);
    let ask = || {
        let client = wire::Client::connect(&path).expect("connected");
        assert_eq!(client.hear_list(), wire::announcement());
        client.send(&take_over_request()).expect("sent");
        client.hear_list()
    };
    assert_eq!(ask(), status("2"));
    let message = refused(&["--takeover", "--socket", text(&path)]);
    for part in [text(&path), "starting or taking over", "--socket"] {
        assert!(message.contains(part), "{message}");
    }
    drop(asker);
    // It notices that sooner or later.
    let deadline = Instant::now() + wire::DEADLINE;
    while ask() == status("2") {
        assert!(Instant::now() < deadline, "it waits for who is gone");
    }
}

#[test]
fn a_daemon_that_has_not_got_everything_leaves_the_file_to_the_one_before() {
    for is_over in [false, true] {
        let (_directory, path) = place();
        let (daemon, asker) = taking_over(&path);
        // Clients are told that it is the one that listens.
        let client = UnixStream::connect(&path).expect("connected");
        let listener = socket_peercred(&client).expect("it has a peer");
        assert_eq!(listener.pid, daemon.pid());
        if is_over {
            drop(asker);
            let lock = path.with_file_name(".socket.lock");
            let deadline = Instant::now() + wire::DEADLINE;
            while lock.exists() {
                assert!(Instant::now() < deadline, "it waits for who is gone");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        assert_eq!(daemon.terminate().0, Some(0));
        assert_eq!(path.exists(), !is_over);
    }
}

#[test]
fn a_daemon_ends_when_no_client_can_find_it() {
    type Loss = fn(&Path);
    let removed: Loss = |path| fs::remove_file(path).expect("removed");
    let replaced: Loss = |path| {
        fs::remove_file(path).expect("removed");
        // A listener of somebody else, who goes on.
        std::mem::forget(UnixListener::bind(path).expect("bound"));
    };
    let moved: Loss = |path| {
        let directory = path.parent().expect("a directory");
        let elsewhere = directory.with_extension("moved");
        fs::rename(directory, &elsewhere).expect("renamed");
    };
    for (loss, stays) in [(removed, false), (replaced, true), (moved, false)] {
        let directory = tempfile::tempdir().expect("a directory");
        let inner = directory.path().join("inner");
        fs::create_dir(&inner).expect("made");
        let path = inner.join("socket");
        let options = [
            &OPTIONS[..],
            &["--goodbye", "QUIT", "--goodbye-timeout", "0"],
        ]
        .concat();
        let daemon = Daemon::listening(&path, &options);
        let connection = save(&mut Client::new(&path), LONG, "e", "p");
        loss(&path);
        let (code, said) = daemon.end();
        assert_eq!(code, Some(1), "{said}");
        for part in [text(&path), "does not lead to this daemon"] {
            assert!(said.contains(part), "{said}");
        }
        assert_eq!(
            connection.far_hears_to_the_end().as_deref(),
            Some(&b"QUIT\r\n"[..])
        );
        assert_eq!(path.exists(), stays);
    }
}

#[test]
fn a_directory_that_is_moved_away_and_back_does_no_harm() {
    let (directory, path) = place();
    let daemon = Daemon::listening(&path, &OPTIONS);
    let connection: Connection = save(&mut Client::new(&path), LONG, "e", "p");
    let elsewhere = directory.path().with_extension("elsewhere");
    fs::rename(directory.path(), &elsewhere).expect("renamed");
    fs::rename(&elsewhere, directory.path()).expect("renamed");
    // Longer than it takes to look twice.
    std::thread::sleep(Duration::from_secs(7));
    find(&mut Client::new(&path), "e", "p", &connection);
    assert_eq!(daemon.terminate().0, Some(0));
}
