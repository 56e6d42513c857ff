//! It serves, and ends when it is told to or when nobody comes.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use rustix::process::Signal;
use scache_client::Client;
use scache_tests::wire::{self, Connection, Heard};

use crate::daemon::{Daemon, place, refused, text};

#[test]
fn it_says_where_it_listens_serves_and_ends_on_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let mut daemon = Daemon::start(&["--socket", text(&path), "--mode", "0660"]);
        let line = daemon.line();
        assert!(line.contains(text(&path)), "{line}");
        let mode = path.metadata().expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let (connection, _other_end) = UnixStream::pair().expect("a pair");
        let mut client = Client::new(&path);
        client
            .save_endpoint(Duration::from_secs(9), b"e", b"p", &connection)
            .expect("saved");
        assert!(client.find_endpoint(b"e").expect("asked").is_some());
        daemon.signal(signal);
        let (code, _) = daemon.end();
        assert_eq!(code, Some(0));
        assert!(!path.exists(), "the socket file stays behind");
    }
}

#[test]
fn it_ends_when_nobody_comes() {
    let (_directory, path) = place();
    let daemon = Daemon::start(&["--socket", text(&path), "--max-idle", "1s"]);
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_live_socket_is_left_alone() {
    let (_directory, path) = place();
    let _daemon = Daemon::listening(&path, &[]);
    let message = refused(&["--socket", text(&path)]);
    assert!(
        message.contains(text(&path)) && message.contains("in use"),
        "{message}"
    );
    assert!(Client::new(&path).find_endpoint(b"e").is_ok());
}

#[test]
fn what_is_wrong_with_a_socket_is_named() {
    let long = format!("/tmp/{}", "x".repeat(120));
    for (arguments, named) in [
        (&["--socket", long.as_str()][..], "too long"),
        (&["--socket", "/proc/none/socket"], "/proc/none/socket"),
        (&["--socket", "/dev/null"], "not a socket"),
    ] {
        let message = refused(arguments);
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
}

#[test]
fn a_client_that_said_much_and_will_say_no_more_is_answered_and_let_go() {
    let (_directory, path) = place();
    let daemon = Daemon::listening(&path, &[]);
    let client = wire::Client::connect(&path).expect("connected");
    assert_eq!(client.hear_list(), wire::announcement());
    // All of it is there before the daemon sees any of it, and more reads than it does in one turn.
    let saves = 40;
    daemon.signal(Signal::STOP);
    let connection = Connection::new();
    for _ in 0..saves {
        let save = [
            ("request", "save_endp"),
            ("ttl", "9"),
            ("label", "e"),
            ("property", "p"),
        ];
        client.send(&wire::list(&save)).expect("sent");
        client.send_descriptors(&[connection.near()]).expect("sent");
    }
    let find = wire::list(&[("request", "find_endp"), ("label", "none")]);
    client.send(&find).expect("sent");
    shutdown(&client, Shutdown::Write).expect("it is open");
    daemon.signal(Signal::CONT);
    let status = |status| wire::list(&[("status", status)]);
    for _ in 0..saves {
        assert_eq!(client.hear_list(), wire::dummy());
        assert_eq!(client.hear_list(), status("0"));
    }
    let miss = wire::list(&[("status", "2"), ("property", "")]);
    assert_eq!(client.hear_list(), miss);
    let heard = client.hear(Instant::now() + wire::DEADLINE);
    assert!(matches!(heard, Heard::End), "{heard:?}");
}
