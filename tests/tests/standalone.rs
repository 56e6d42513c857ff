//! `scached` as a user meets it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, Signal, kill_process};
use scache_client::Client;
use scache_tests::fake_master::built;
use scache_tests::wire::{self, Connection, Heard};

struct Daemon {
    child: Child,
    screen: BufReader<std::process::ChildStderr>,
}

impl Daemon {
    fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(built("scached"))
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("scached");
        let stderr = child.stderr.take().expect("its standard error");
        Self {
            child,
            screen: BufReader::new(stderr),
        }
    }

    fn first_line(&mut self) -> String {
        let mut line = String::new();
        self.screen.read_line(&mut line).expect("a line");
        line
    }

    /// The exit status and the rest of what it said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        self.screen.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it ends");
        (status.code(), rest)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refused(arguments: &[&str]) -> String {
    let output = Command::new(built("scached"))
        .args(arguments)
        .output()
        .expect("scached");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn it_says_where_it_listens_serves_and_ends_on_a_signal() {
    for signal in [Signal::INT, Signal::TERM] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("made/for/it/socket");
        let mut daemon = Daemon::start(&["--socket", text(&path), "--mode", "0660"]);
        let line = daemon.first_line();
        assert!(line.contains(text(&path)), "{line}");
        let mode = path.metadata().expect("a socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let (connection, _other_end) = UnixStream::pair().expect("a pair");
        let mut client = Client::new(&path);
        client
            .save_endpoint(Duration::from_secs(9), b"e", b"p", &connection)
            .expect("saved");
        assert!(client.find_endpoint(b"e").expect("asked").is_some());
        kill_process(Pid::from_child(&daemon.child), signal).expect("it runs");
        let (code, _) = daemon.end();
        assert_eq!(code, Some(0));
        assert!(!path.exists(), "the socket file stays behind");
    }
}

#[test]
fn it_ends_when_nobody_comes() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let daemon = Daemon::start(&["--socket", text(&path), "--max-idle", "1s"]);
    assert_eq!(daemon.end().0, Some(0));
}

#[test]
fn a_live_socket_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let mut daemon = Daemon::start(&["--socket", text(&path)]);
    daemon.first_line();
    let message = refused(&["--socket", text(&path)]);
    assert!(
        message.contains(text(&path)) && message.contains("in use"),
        "{message}"
    );
    assert!(Client::new(&path).find_endpoint(b"e").is_ok());
}

#[test]
fn what_is_wrong_is_named() {
    let long = format!("/tmp/{}", "x".repeat(120));
    for (arguments, named) in [
        (&["--socket", long.as_str()][..], "too long"),
        (&["--socket", "/proc/none/socket"], "/proc/none/socket"),
        (&["--socket", "/dev/null"], "not a socket"),
        (&["--ttl-limit", "5x"], "--ttl-limit"),
        (&["--mode", "999"], "--mode"),
        (&["--sokcet", "x"], "--sokcet"),
    ] {
        let message = refused(arguments);
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
}

#[test]
fn a_client_that_said_much_and_will_say_no_more_is_answered_and_let_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let mut daemon = Daemon::start(&["--socket", text(&path)]);
    daemon.first_line();
    let client = wire::Client::connect(&path).expect("connected");
    assert_eq!(client.hear_list(), wire::announcement());
    // All of it is there before the daemon sees any of it, and more reads than it does in one turn.
    let saves = 40;
    let process = Pid::from_child(&daemon.child);
    kill_process(process, Signal::STOP).expect("it runs");
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
    kill_process(process, Signal::CONT).expect("it runs");
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
