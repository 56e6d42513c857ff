//! Connections that died or spoke while they were cached (rows 11 to 13): stock hands them out, ours lets go of them.

use std::io::Write;
use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::Duration;

use rustix::net::SendFlags;
use rustix::net::sockopt::set_socket_linger;
use scache_tests::exchange::{
    bind, miss, save, save_for, saved, take, try_find, try_find_for, try_save,
};
use scache_tests::fake_master::{Setup, ours};
use scache_tests::wire::{Client, Connection, QUIET};

use crate::common::{
    Side, becomes_true, client_of, is_served, last_words, logged, ours_with, with_both,
};

/// A way for a connection to become useless, and the word for it in the log.
pub struct End {
    pub what: &'static str,
    pub connection: fn() -> Connection,
    pub comes: fn(&Connection),
    reason: &'static str,
}

/// A single byte of urgent data, which an ordinary read skips.
const URGENTLY: &str = "spoke urgently";

pub const ENDS: &[End] = &[
    End {
        what: "closed, a UNIX socket",
        connection: Connection::new,
        comes: Connection::far_closes,
        reason: "closed",
    },
    End {
        what: "closed, TCP",
        connection: Connection::tcp,
        comes: Connection::far_closes,
        reason: "closed",
    },
    End {
        what: "closed in one direction",
        connection: Connection::tcp,
        comes: |connection| {
            connection
                .far()
                .shutdown(std::net::Shutdown::Write)
                .expect("shut the far end down");
        },
        reason: "closed",
    },
    End {
        what: "reset",
        connection: Connection::tcp,
        comes: |connection| {
            // Taking a TCP socket back to its beginning resets its peer.
            rustix::net::connect_unspec(connection.far()).expect("reset");
        },
        reason: "reset",
    },
    End {
        what: "spoke, a UNIX socket",
        connection: Connection::new,
        comes: |connection| connection.far_says(b"421 too long\x1b idle\r\n"),
        reason: "spoke",
    },
    End {
        what: "spoke, TCP",
        connection: Connection::tcp,
        comes: |connection| connection.far_says(b"421 too long\x1b idle\r\n"),
        reason: "spoke",
    },
    End {
        what: URGENTLY,
        connection: Connection::tcp,
        comes: |connection| {
            let sent = rustix::net::send(connection.far(), b"!", SendFlags::OOB);
            assert_eq!(sent, Ok(1));
        },
        reason: "spoke",
    },
    End {
        what: "spoke and closed",
        connection: Connection::tcp,
        comes: |connection| {
            connection.far_says(b"421 too long\x1b idle\r\n");
            connection.far_closes();
        },
        reason: "spoke",
    },
];

#[test]
fn a_useless_connection_is_let_go_of_before_anybody_asks() {
    with_both(|side, program| {
        for end in ENDS {
            let master = Setup::new(program).start();
            let client = client_of(&master);
            let connection = (end.connection)();
            save(&client, &connection, "endp", "p");
            (end.comes)(&connection);
            match side {
                Side::Stock => {
                    sleep(QUIET);
                    assert!(
                        master.process().holds(connection.identity()),
                        "{}",
                        end.what
                    );
                    let found = try_find(&client, "endp");
                    assert!(matches!(found, Ok(Some(_))), "{}: {found:?}", end.what);
                }
                Side::Ours => {
                    let gone = master.process().lets_go_of(connection.identity());
                    assert!(gone, "still there: {}", end.what);
                    miss(&client, "endp");
                    is_served(&client);
                }
            }
        }
    });
}

#[test]
fn a_connection_that_was_useless_when_it_was_saved_is_not_kept() {
    let master = ours_with(&[]);
    let client = client_of(&master);
    for end in ENDS {
        let connection = (end.connection)();
        (end.comes)(&connection);
        let status = try_save(&client, 60, "endp", "p", connection.near());
        assert!(matches!(status, Ok(0 | 2)), "{}: {status:?}", end.what);
        assert!(
            master.process().lets_go_of(connection.identity()),
            "still there: {}",
            end.what
        );
        miss(&client, "endp");
    }
}

#[test]
fn none_is_handed_out_whose_end_came_ten_milliseconds_before() {
    const ROUNDS: usize = 60;
    let master = ours_with(&[]);
    let client = client_of(&master);
    for _ in 0..ROUNDS {
        for end in ENDS {
            let connection = (end.connection)();
            save(&client, &connection, "endp", "p");
            (end.comes)(&connection);
            sleep(Duration::from_millis(10));
            let found = try_find(&client, "endp");
            assert!(matches!(found, Ok(None)), "{}: {found:?}", end.what);
        }
    }
}

#[test]
fn a_find_goes_on_to_the_next_connection() {
    with_both(|side, program| {
        for by_destination in [false, true] {
            for end in ENDS {
                let master = Setup::new(program).start();
                let client = client_of(&master);
                let first = (end.connection)();
                let (second, third) = (Connection::new(), Connection::tcp());
                bind(&client, "dest", "d", "endp1");
                bind(&client, "dest", "d", "endp2");
                save(&client, &first, "endp1", "first");
                save(&client, &second, "endp1", "second");
                save(&client, &third, "endp2", "third");
                (end.comes)(&first);
                sleep(Duration::from_millis(10));
                let find = |client: &Client| {
                    if by_destination {
                        try_find_for(client, "dest")
                    } else {
                        try_find(client, "endp1")
                    }
                };
                let expected = if side == Side::Stock { &first } else { &second };
                let found = find(&client).expect("answered").expect("found");
                assert!(expected.check(&found.descriptor), "{side:?} {}", end.what);
                if side == Side::Ours && by_destination {
                    // Also to the next endpoint.
                    let found = find(&client).expect("answered").expect("found");
                    assert!(third.check(&found.descriptor), "{}", end.what);
                    assert!(matches!(find(&client), Ok(None)), "{}", end.what);
                }
            }
        }
    });
}

#[test]
fn nothing_is_said_to_a_useless_connection() {
    for end in ENDS {
        let master = ours_with(&[]);
        let client = client_of(&master);
        let connection = saved(&client, 60, (end.connection)(), "endp");
        let closed_by_far = end.reason != "spoke";
        (end.comes)(&connection);
        miss(&client, "endp");
        is_served(&client);
        if !closed_by_far {
            assert_eq!(last_words(&connection), "", "{}", end.what);
        } else {
            assert_eq!(connection.far_has_heard(), b"", "{}", end.what);
        }
    }
}

#[test]
fn with_more_logging_the_reason_is_logged() {
    for end in ENDS {
        let master = Setup::new(&ours()).arguments(&["-v"]).start();
        let client = client_of(&master);
        let connection = (end.connection)();
        save(&client, &connection, "endp", "p");
        (end.comes)(&connection);
        assert!(master.process().lets_go_of(connection.identity()));
        let mut line = None;
        becomes_true(end.what, || {
            line = logged(&master)
                .into_iter()
                .find(|line| line.contains(end.reason) && !line.contains(" fd "));
            line.is_some()
        });
        let line = line.expect("it became true");
        let says_what_was_said = line.contains("421 too long") && line.contains("idle");
        let says_something = end.reason == "spoke" && end.what != URGENTLY;
        assert_eq!(says_what_was_said, says_something, "{line:?}");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}

#[test]
fn without_more_logging_nothing_is_logged_of_it() {
    let master = ours_with(&[]);
    let client = client_of(&master);
    for end in ENDS {
        let connection = (end.connection)();
        save(&client, &connection, "endp", "p");
        (end.comes)(&connection);
        assert!(master.process().lets_go_of(connection.identity()));
    }
    assert_eq!(logged(&master), [""; 0]);
}

#[test]
fn what_was_said_is_logged_up_to_its_first_bytes() {
    let master = Setup::new(&ours()).arguments(&["-v"]).start();
    let client = client_of(&master);
    let connection = Connection::tcp();
    save(&client, &connection, "endp", "p");
    connection.far_says(&b"long".repeat(10_000));
    assert!(master.process().lets_go_of(connection.identity()));
    becomes_true("a line about it", || {
        logged(&master).iter().any(|line| line.contains("longlong"))
    });
    let longest = logged(&master).iter().map(String::len).max();
    assert!(longest < Some(1_000), "{longest:?} bytes in a line");
}

#[test]
fn without_the_watch_connections_are_not_judged_as_in_stock() {
    let master = ours_with(&[("connection_cache_watch", "no")]);
    let client = client_of(&master);
    for end in ENDS {
        let connection = (end.connection)();
        save(&client, &connection, "endp", "p");
        (end.comes)(&connection);
        sleep(Duration::from_millis(100));
        let found = try_find(&client, "endp");
        assert!(matches!(found, Ok(Some(_))), "{}: {found:?}", end.what);
    }
}

#[test]
fn what_a_handed_out_connection_does_is_no_longer_our_affair() {
    with_both(|_, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let mut kept = Vec::new();
        for round in 0..50 {
            let connection = Connection::tcp();
            save(&client, &connection, "endp", "p");
            let taken = take(&client, "endp", &connection);
            // The next one is likely to get the same number in the server.
            let label = format!("next {round}");
            let next = Connection::tcp();
            save(&client, &next, &label, "p");
            connection.far_says(b"250 what you asked for\r\n");
            if round % 2 == 0 {
                connection.far_closes();
            }
            kept.push((label, next, connection, taken));
        }
        is_served(&client);
        let before = master.process().processor_time();
        sleep(QUIET);
        let used = master.process().processor_time() - before;
        assert!(used < QUIET / 10, "{used:?} of the processor for nothing");
        for (label, next, _, taken) in &kept {
            take(&client, label, next);
            // The client's copy has all that was said.
            let mut said = [0; 64];
            let count = rustix::io::read(taken.as_fd(), &mut said[..]).expect("read");
            assert_eq!(&said[..count], b"250 what you asked for\r\n");
        }
    });
}

#[test]
fn a_connection_that_its_client_goes_on_using_is_not_watched_by_mistake() {
    // Client and cache hold the same socket: what the client does with its copy after the save is its affair,
    // as long as the peer is silent.
    let master = ours_with(&[]);
    let client = client_of(&master);
    let connection = Connection::tcp();
    save_for(&client, 60, &connection, "endp", "p");
    let mut copy = std::fs::File::from(connection.near().try_clone_to_owned().expect("a copy"));
    copy.write_all(b"NOOP\r\n").expect("write");
    assert_eq!(connection.far_hears_line(), b"NOOP\r\n");
    sleep(QUIET);
    take(&client, "endp", &connection);
    // Taken once more after it was saved again, with its flags changed between.
    set_socket_linger(connection.near(), None).expect("set it");
    save_for(&client, 60, &connection, "endp", "p");
    take(&client, "endp", &connection);
}
