//! Clients that stop, dribble or do not read (rows 1 to 4): stock serves nobody else meanwhile, ours everybody.

use std::io::ErrorKind;
use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_tests::exchange::{
    ask, find_endp, found_endp, no_endp, save, save_dest, save_endp, take,
};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET, dummy};

use crate::common::{
    Side, client_of, hears_the_end, is_kept_waiting, is_served, is_served_at_last, ours_with,
    with_both,
};

/// A moment at which a client says no more.
struct Stop {
    what: &'static str,
    reach: fn(&Client),
}

/// All of these with `kept` saved before.
const STOPS: &[Stop] = &[
    Stop {
        what: "after the first byte",
        reach: |client| client.send(b"r").expect("send"),
    },
    Stop {
        what: "in a value",
        reach: |client| client.send(b"request\0find_e").expect("send"),
    },
    Stop {
        what: "between two attributes",
        reach: |client| client.send(b"request\0find_endp\0").expect("send"),
    },
    Stop {
        what: "before the last NUL",
        reach: |client| {
            let request = save_dest("60", "dest", "d", "endp");
            client.send(&request[..request.len() - 1]).expect("send");
        },
    },
    Stop {
        what: "before its descriptor",
        reach: |client| ask(client, &save_endp("60", "other", "p"), &dummy()),
    },
    Stop {
        what: "before its descriptor, without having read that it is wanted",
        reach: |client| client.send(&save_endp("60", "other", "p")).expect("send"),
    },
    Stop {
        what: "before its first dummy",
        reach: |client| ask(client, &find_endp("kept"), &found_endp("p")),
    },
    Stop {
        what: "in its first dummy",
        reach: |client| {
            ask(client, &find_endp("kept"), &found_endp("p"));
            client.send(b"dum").expect("send");
        },
    },
];

#[test]
fn a_client_that_stops_anywhere_stops_nobody_else() {
    with_both(|side, program| {
        for stop in STOPS {
            let master = Setup::new(program).start();
            let witness = client_of(&master);
            let client = client_of(&master);
            let connection = Connection::new();
            save(&witness, &connection, "kept", "p");
            (stop.reach)(&client);
            match side {
                Side::Stock => {
                    assert!(is_kept_waiting(&witness), "{}", stop.what);
                    drop(client);
                    is_served_at_last(&witness);
                }
                Side::Ours => is_served(&witness),
            }
        }
    });
}

#[test]
fn a_client_that_stops_is_dropped_when_the_time_of_its_request_is_over() {
    for stop in STOPS {
        let master = ours_with(&[("connection_cache_request_timeout", "1s")]);
        let witness = client_of(&master);
        let client = client_of(&master);
        let connection = Connection::new();
        save(&witness, &connection, "kept", "p");
        let before = Instant::now();
        (stop.reach)(&client);
        // What it was sent before it stopped is still there to be read.
        while let Heard::Byte(..) = client.hear(Instant::now() + DEADLINE) {}
        hears_the_end(&client);
        let time = before.elapsed();
        assert!(
            time >= Duration::from_millis(900),
            "{}: {time:?}",
            stop.what
        );
        // Whatever it had asked for, the connection is still to be had.
        take(&witness, "kept", &connection);
    }
}

#[test]
fn a_request_has_ten_seconds() {
    let master = ours_with(&[]);
    let client = client_of(&master);
    let before = Instant::now();
    client.send(b"request\0").expect("send");
    let heard = client.hear(before + Duration::from_secs(60));
    assert!(matches!(heard, Heard::End), "{heard:?}");
    let time = before.elapsed();
    assert!(time >= Duration::from_millis(9_900), "{time:?}");
}

#[test]
fn a_request_has_no_more_than_ipc_timeout() {
    with_both(|side, program| {
        let master = Setup::new(program)
            .setting("ipc_timeout", "2s")
            .setting("connection_cache_request_timeout", "1h")
            .start();
        let witness = client_of(&master);
        let client = client_of(&master);
        client.send(b"request\0").expect("send");
        match side {
            // Stock gives the request up and keeps the client.
            Side::Stock => {
                assert!(is_kept_waiting(&witness));
                is_served_at_last(&witness);
            }
            Side::Ours => hears_the_end(&client),
        }
    });
}

#[test]
fn a_client_that_waits_between_requests_is_not_dropped() {
    let master = ours_with(&[("connection_cache_request_timeout", "1s")]);
    let client = client_of(&master);
    for _ in 0..2 {
        sleep(Duration::from_millis(1500));
        is_served(&client);
    }
}

#[test]
fn bytes_one_by_one_buy_no_time() {
    // Each byte comes long before the time for a single read is over.
    let master = ours_with(&[("connection_cache_request_timeout", "2s")]);
    let witness = client_of(&master);
    let client = client_of(&master);
    let before = Instant::now();
    let mut dropped = false;
    while !dropped && before.elapsed() < DEADLINE {
        dropped = client.send(b"r").is_err();
        is_served(&witness);
        sleep(Duration::from_millis(100));
    }
    assert!(dropped, "it still dribbles");
    assert!(before.elapsed() >= Duration::from_millis(1900));
}

#[cfg(feature = "system")]
#[test]
fn in_stock_bytes_one_by_one_hold_everybody_up_past_any_time_limit() {
    let master = Setup::new(&stock()).setting("ipc_timeout", "4s").start();
    let witness = client_of(&master);
    let client = client_of(&master);
    client.send(b"r").expect("send");
    assert!(is_kept_waiting(&witness));
    let before = Instant::now();
    while before.elapsed() < Duration::from_secs(6) {
        client.send(b"r").expect("the server still listens");
        sleep(Duration::from_millis(100));
    }
    let heard = witness.hear(Instant::now());
    assert!(matches!(heard, Heard::Nothing), "{heard:?}");
}

#[test]
fn a_client_that_reads_no_replies_is_dropped_and_holds_up_nobody() {
    let master = Setup::new(&ours()).start();
    let witness = client_of(&master);
    let client = client_of(&master);
    let requests = find_endp("nothing is here").repeat(500);
    let mut bytes = 0;
    let error = loop {
        if let Err(error) = client.send(&requests) {
            break error;
        }
        bytes += requests.len();
        assert!(bytes < 64 << 20, "it takes all");
        is_served(&witness);
    };
    assert!(
        matches!(
            error.kind(),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
        ),
        "it is not dropped, but: {error}"
    );
    is_served(&witness);
}

#[cfg(feature = "system")]
#[test]
fn in_stock_a_client_that_reads_no_replies_holds_everybody_up() {
    let master = Setup::new(&stock()).start();
    let witness = client_of(&master);
    let client = client_of(&master);
    assert!(
        asks_without_reading(&master, &client, 5_000) < 5_000,
        "it answers all"
    );
    assert!(is_kept_waiting(&witness));
}

/// Asks again each time more has arrived, until nothing more arrives. How many replies came.
fn asks_without_reading(master: &FakeMaster, client: &Client, most: usize) -> usize {
    let arrived = || rustix::io::ioctl_fionread(client).expect("bytes to be read");
    for count in 0..most {
        let before = arrived();
        client.send(&find_endp("x")).expect("send");
        let deadline = Instant::now() + 2 * QUIET;
        while arrived() == before {
            if Instant::now() >= deadline {
                return count;
            }
            std::thread::yield_now();
        }
    }
    assert!(!master.process().descriptors().is_empty());
    most
}

#[test]
fn replies_within_the_limit_wait_for_one_who_reads_late() {
    let master = Setup::new(&ours()).start();
    let client = client_of(&master);
    let requests = 3_000;
    client
        .send(&find_endp("x").repeat(requests))
        .expect("the server reads all");
    sleep(QUIET);
    for _ in 0..requests {
        assert_eq!(client.hear_list(), no_endp(2));
    }
    is_served(&client);
}
