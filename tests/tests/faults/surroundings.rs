//! What is around the server and does not work (row 19): a master that was stopped, a log that is full or missing, a
//! screen that nobody reads.

use scache_tests::exchange::{ask, find_endp, greeted, no_endp, save, take};
use scache_tests::fake_master::{LogSocket, LogTarget, Setup, ours};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET};

use crate::common::{Daemon, Side, client_of, is_served, with_both};

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

#[cfg(feature = "system")]
#[test]
fn a_log_that_is_full_or_missing_holds_up_nobody() {
    scache_tests::needs_root();
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

#[cfg(feature = "system")]
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

#[cfg(feature = "system")]
#[test]
fn lines_arrive_where_somebody_reads() {
    scache_tests::needs_root();
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

#[test]
fn a_screen_that_nobody_reads_holds_up_nobody() {
    let mut daemon = Daemon::start(&["-v"]);
    let client = greeted(Client::connect(&daemon.path()).expect("connect"));
    let label = "x".repeat(1_000);
    // Several times what a pipe holds.
    for _ in 0..500 {
        ask(&client, &find_endp(&label), &no_endp(2));
    }
    daemon.ends();
}

#[test]
fn a_screen_that_is_gone_ends_nothing() {
    let mut daemon = Daemon::start(&["-v"]);
    let client = greeted(Client::connect(&daemon.path()).expect("connect"));
    daemon.close_screen();
    for _ in 0..100 {
        is_served(&client);
    }
    is_served(&greeted(Client::connect(&daemon.path()).expect("connect")));
    daemon.ends();
}
