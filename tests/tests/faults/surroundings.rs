//! What is around the server and does not work (row 19): a master that was stopped, a log that is full or missing, a
//! screen that nobody reads.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;
use scache_tests::exchange::{ask, find_endp, greeted, no_endp, save, take};
use scache_tests::fake_master::{LogSocket, LogTarget, Setup, built, ours};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET};

use crate::common::{Side, client_of, is_served, with_both};

#[test]
fn a_master_that_was_stopped_stops_nobody() {
    const REQUESTS: usize = 2_000;
    with_both(|side, program| {
        let mut master = Setup::new(program).stopped_master().start();
        let client = client_of(&master);
        let answered = (0..REQUESTS)
            .take_while(|_| {
                client.send(&find_endp("x")).expect("send");
                let deadline =
                    std::time::Instant::now() + if side == Side::Stock { QUIET } else { DEADLINE };
                client.hear_list_until(deadline) == no_endp(2)
            })
            .count();
        match side {
            // Two records for each request fill the channel.
            Side::Stock => assert!(answered < REQUESTS, "stock answered all"),
            Side::Ours => {
                assert_eq!(answered, REQUESTS);
                drop(client);
                assert_eq!(master.dismiss().code(), Some(0));
            }
        }
    });
}

#[test]
fn a_log_that_is_full_or_missing_holds_up_nobody() {
    std::thread::scope(|scope| {
        for target in [LogTarget::Postlog, LogTarget::Syslog] {
            for socket in [LogSocket::Full, LogSocket::Missing] {
                scope.spawn(move || {
                    // At -v each request is worth several lines.
                    let mut master = Setup::new(&ours())
                        .arguments(&["-v"])
                        .log(target, socket)
                        .start();
                    let client = client_of(&master);
                    for _ in 0..500 {
                        is_served(&client);
                    }
                    let connection = Connection::new();
                    save(&client, &connection, "endp", "p");
                    take(&client, "endp", &connection);
                    is_served(&client_of(&master));
                    drop(client);
                    assert_eq!(
                        master.dismiss().code(),
                        Some(0),
                        "{target:?} {socket:?}: the last lines are not waited for"
                    );
                });
            }
        }
    });
}

#[test]
fn in_stock_a_full_log_holds_everybody_up() {
    let master = Setup::new(&scache_tests::fake_master::stock())
        .arguments(&["-v"])
        .log(LogTarget::Postlog, LogSocket::Full)
        .start();
    let client = Client::connect(master.socket_path()).expect("connect");
    let heard = client.hear(std::time::Instant::now() + 3 * QUIET);
    assert!(matches!(heard, Heard::Nothing), "{heard:?}");
}

#[test]
fn lines_arrive_where_somebody_reads() {
    // Or the tests of full logs would prove nothing.
    for target in [LogTarget::Postlog, LogTarget::Syslog] {
        with_both(|side, program| {
            let mut master = Setup::new(program).log(target, LogSocket::Read).start();
            let client = client_of(&master);
            is_served(&client);
            drop(client);
            assert_eq!(master.dismiss().code(), Some(0));
            let lines = master.log_lines(2);
            assert!(
                lines.iter().any(|line| line.contains("address lookup")),
                "{side:?} {target:?}: {lines:#?}"
            );
        });
    }
}

/// `scached` with its standard error in a pipe.
struct Daemon {
    child: Child,
    screen: Option<BufReader<std::process::ChildStderr>>,
    path: std::path::PathBuf,
    _directory: tempfile::TempDir,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let mut child = Command::new(built("scached"))
            .arg("-v")
            .arg("--socket")
            .arg(&path)
            .stderr(Stdio::piped())
            .spawn()
            .expect("scached");
        let mut screen = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut line = String::new();
        screen.read_line(&mut line).expect("a line");
        Self {
            child,
            screen: Some(screen),
            path,
            _directory: directory,
        }
    }

    fn ends(&mut self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, Signal::TERM).expect("it runs");
        let deadline = std::time::Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait") {
                assert_eq!(status.code(), Some(0));
                return;
            }
            assert!(std::time::Instant::now() < deadline, "it does not end");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_screen_that_nobody_reads_holds_up_nobody() {
    let mut daemon = Daemon::start();
    let client = greeted(Client::connect(&daemon.path).expect("connect"));
    let label = "x".repeat(1_000);
    // Several times what a pipe holds.
    for _ in 0..500 {
        ask(&client, &find_endp(&label), &no_endp(2));
    }
    daemon.ends();
}

#[test]
fn a_screen_that_is_gone_ends_nothing() {
    let mut daemon = Daemon::start();
    let client = greeted(Client::connect(&daemon.path).expect("connect"));
    daemon.screen = None;
    for _ in 0..100 {
        is_served(&client);
    }
    is_served(&greeted(Client::connect(&daemon.path).expect("connect")));
    daemon.ends();
}
