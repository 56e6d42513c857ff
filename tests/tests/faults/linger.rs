//! Sockets whose close waits (row 14): SO_LINGER with data that nobody reads. Stock stops for all the time that was set.

use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;
use rustix::process::Signal;
use scache_tests::exchange::{
    ask, find_endp, found_endp, save_endp, save_for, saved, status, try_find,
};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};
use scache_tests::waiting_close::{self, spoil};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, dummy, list};

use crate::common::{client_of, hears_the_end, is_kept_waiting, is_served, with_settings};

/// Beyond any deadline here.
const LINGER: Duration = Duration::from_secs(40);

/// A way in which the server comes to close the last copy of such a socket.
struct Close {
    what: &'static str,
    settings: &'static [(&'static str, &'static str)],
    /// Leads to the close, with what must stay open meanwhile.
    reach: fn(&FakeMaster) -> (Connection, Option<Client>),
    /// Whether stock freezes too.
    in_stock: bool,
}

const CLOSES: &[Close] = &[
    Close {
        what: "it expires",
        settings: &[],
        reach: |master| {
            let client = client_of(master);
            (saved(&client, 1, lingering(), "endp"), Some(client))
        },
        in_stock: true,
    },
    Close {
        what: "it makes room",
        settings: &[("connection_cache_connection_limit", "1")],
        reach: |master| {
            let client = client_of(master);
            let first = saved(&client, 10, lingering(), "endp");
            let second = Connection::new();
            save_for(&client, 60, &second, "endp", "p");
            (first, Some(client))
        },
        in_stock: false,
    },
    Close {
        what: "its peer closed one direction",
        settings: &[],
        reach: |master| {
            let client = client_of(master);
            let connection = saved(&client, 60, lingering(), "endp");
            connection
                .far()
                .shutdown(std::net::Shutdown::Write)
                .expect("shut the far end down");
            (connection, Some(client))
        },
        in_stock: false,
    },
    Close {
        what: "its peer spoke",
        settings: &[],
        reach: |master| {
            let client = client_of(master);
            let connection = saved(&client, 60, lingering(), "endp");
            connection.far_says(b"421 too long idle\r\n");
            (connection, Some(client))
        },
        in_stock: false,
    },
    Close {
        what: "its client is done with it before the last dummy",
        settings: &[],
        reach: |master| {
            let (client, connection) = taken_and_spoilt(master);
            client.send(&dummy()).expect("send a dummy");
            (connection, Some(client))
        },
        in_stock: true,
    },
    Close {
        what: "its client dies with it before the last dummy",
        settings: &[],
        reach: |master| (taken_and_spoilt(master).1, None),
        in_stock: true,
    },
    Close {
        what: "its client says something else than the last dummy",
        settings: &[],
        reach: |master| {
            let (client, connection) = taken_and_spoilt(master);
            client.send(&find_endp("x")).expect("send");
            (connection, Some(client))
        },
        in_stock: true,
    },
    Close {
        what: "it is one of several in a message",
        settings: &[],
        reach: |master| {
            let client = client_of(master);
            ask(&client, &save_endp("60", "endp", "p"), &dummy());
            let connection = lingering();
            let other = Connection::new();
            // Stock has room for two, of which it forgets, and lets the kernel close the third.
            let connection = let_go_of(master, connection, |connection| {
                client.send_descriptors(&[other.near(), other.near(), connection.near()])
            });
            (connection, Some(client))
        },
        in_stock: true,
    },
    Close {
        what: "it belongs nowhere",
        settings: &[],
        reach: |master| {
            let client = client_of(master);
            let connection = let_go_of(master, lingering(), |connection| {
                client.send_descriptors(&[connection.near()])
            });
            (connection, Some(client))
        },
        in_stock: true,
    },
    Close {
        what: "it was never read when its client was dropped",
        settings: &[],
        reach: |master| {
            let client = client_of(master);
            // Refused when a part of it was read: the rest, and what comes behind it, stays in the socket.
            let too_long = list(&[("x", "y".repeat(100_000))]);
            let connection = let_go_of(master, lingering(), |connection| {
                client.send(&too_long)?;
                client.send_descriptors(&[connection.near()])
            });
            let _ = client.hear_list();
            hears_the_end(&client);
            (connection, Some(client))
        },
        in_stock: false,
    },
    Close {
        what: "it waits for its goodbye to be answered",
        settings: &[("connection_cache_goodbye_timeout", "1s")],
        reach: |master| {
            let client = client_of(master);
            let connection = Connection::tcp();
            set_socket_linger(connection.near(), Some(LINGER)).expect("set the time to linger");
            (saved(&client, 1, connection, "endp"), Some(client))
        },
        in_stock: false,
    },
];

/// A client that took a connection, filled it, closed its own copy, and owes the last dummy.
fn taken_and_spoilt(master: &FakeMaster) -> (Client, Connection) {
    let client = client_of(master);
    let connection = saved(&client, 60, Connection::tcp(), "endp");
    ask(&client, &find_endp("endp"), &found_endp("endp"));
    client.send(&dummy()).expect("send a dummy");
    let Heard::Byte(0, Some(taken)) = client.hear(Instant::now() + DEADLINE) else {
        panic!("no descriptor")
    };
    assert!(connection.check(&taken));
    spoil(taken.as_fd(), LINGER);
    (client, connection)
}

/// Sends a connection and closes the copy here before the server sees any of it: the last close is not to be ours.
fn let_go_of(
    master: &FakeMaster,
    mut connection: Connection,
    send: impl FnOnce(&Connection) -> std::io::Result<()>,
) -> Connection {
    master.signal(Signal::STOP);
    let sent = send(&connection);
    connection.let_go();
    master.signal(Signal::CONT);
    sent.expect("send");
    connection
}

fn lingering() -> Connection {
    waiting_close::lingering(LINGER)
}

#[test]
fn no_close_waits_whoever_set_what() {
    std::thread::scope(|scope| {
        for close in CLOSES {
            scope.spawn(move || {
                let setup = with_settings(Setup::new(&ours()), close.settings);
                let master = setup.start();
                let witness = client_of(&master);
                let (connection, _client) = (close.reach)(&master);
                // For as long as any of these takes to come to its close.
                let until = Instant::now() + Duration::from_secs(4);
                while Instant::now() < until {
                    assert!(try_find(&witness, "x").is_ok(), "{}", close.what);
                    sleep(Duration::from_millis(50));
                }
                let closed = master.process().lets_go_of(connection.identity());
                assert!(closed, "still open: {}", close.what);
            });
        }
    });
}

#[cfg(feature = "system")]
#[test]
fn in_stock_a_close_waits_and_everybody_with_it() {
    std::thread::scope(|scope| {
        for close in CLOSES.iter().filter(|close| close.in_stock) {
            scope.spawn(move || {
                let master = Setup::new(&stock()).start();
                let witness = client_of(&master);
                let (_connection, _client) = (close.reach)(&master);
                assert!(is_kept_waiting(&witness), "{}", close.what);
                // Nor later.
                let heard = witness.hear(Instant::now() + Duration::from_secs(3));
                assert!(matches!(heard, Heard::Nothing), "{}: {heard:?}", close.what);
            });
        }
    });
}

#[test]
fn the_status_of_a_save_of_several_comes_although_one_of_them_lingers() {
    let master = Setup::new(&ours()).start();
    let client = client_of(&master);
    ask(&client, &save_endp("60", "endp", "p"), &dummy());
    let connection = let_go_of(&master, lingering(), |connection| {
        client.send_descriptors(&[connection.near(), connection.near()])
    });
    assert_eq!(client.hear_list(), status(2));
    is_served(&client);
    assert!(master.process().lets_go_of(connection.identity()));
}

#[test]
fn the_end_does_not_wait_for_a_connection_that_lingers() {
    let mut master = Setup::new(&ours())
        .setting("connection_cache_handover", "no")
        .start();
    let client = client_of(&master);
    let connection = saved(&client, 60, lingering(), "endp");
    assert_eq!(master.dismiss().code(), Some(0));
    master.wait_for_all();
    drop(connection);
}
