//! Connections that end or expire when their client was told of them and has not asked for the descriptor yet (row 36):
//! stock sends them all the same, ours sends a closed one in their place.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_tests::exchange::{ask, find_endp, found_endp, miss, receive, save, save_for, saved};
use scache_tests::fake_master::Setup;
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, dummy};

use crate::common::{QUIT, Side, client_of, last_words, ours_with, with_both};
use crate::liveness::ENDS;

/// Well above what a look at a connection counts.
const LATE: Duration = Duration::from_millis(100);

/// The descriptor that follows status 0.
fn received(client: &Client) -> OwnedFd {
    client.send(&dummy()).expect("send a dummy");
    let heard = client.hear(Instant::now() + DEADLINE);
    let Heard::Byte(0, Some(descriptor)) = heard else {
        panic!("no descriptor but {heard:?}");
    };
    client.send(&dummy()).expect("send a dummy");
    descriptor
}

/// Whether reading from it is the end, and nothing else.
fn is_closed(descriptor: OwnedFd) -> bool {
    let mut connection = UnixStream::from(descriptor);
    connection
        .set_read_timeout(Some(DEADLINE))
        .expect("set a timeout");
    let mut heard = Vec::new();
    connection.read_to_end(&mut heard).is_ok() && heard.is_empty()
}

#[test]
fn a_connection_that_ends_before_its_client_asks_for_it_is_not_sent() {
    with_both(|side, program| {
        for end in ENDS {
            let master = Setup::new(program).start();
            let client = client_of(&master);
            let mut connection = (end.connection)();
            save(&client, &connection, "endp", "p");
            ask(&client, &find_endp("endp"), &found_endp("p"));
            (end.comes)(&connection);
            sleep(LATE);
            let descriptor = received(&client);
            match side {
                Side::Stock => assert!(connection.check(&descriptor), "{}", end.what),
                Side::Ours => {
                    assert!(is_closed(descriptor), "{}", end.what);
                    connection.let_go();
                    let gone = master.process().lets_go_of(connection.identity());
                    assert!(gone, "still there: {}", end.what);
                }
            }
            miss(&client, "endp");
        }
    });
}

#[test]
fn a_connection_that_expires_before_its_client_asks_for_it_is_told_goodbye() {
    let master = ours_with(&[("connection_cache_ttl_limit", "60s")]);
    let client = client_of(&master);
    let mut connection = Connection::new();
    save_for(&client, 1, &connection, "endp", "p");
    connection.let_go();
    ask(&client, &find_endp("endp"), &found_endp("p"));
    sleep(Duration::from_millis(1_100));
    assert!(is_closed(received(&client)));
    assert_eq!(last_words(&connection), QUIT);
    miss(&client, "endp");
}

#[test]
fn a_connection_that_is_alive_is_sent_however_late_its_client_asks_for_it() {
    for watch in ["yes", "no"] {
        let master = ours_with(&[
            ("connection_cache_ttl_limit", "60s"),
            ("connection_cache_watch", watch),
        ]);
        let client = client_of(&master);
        let connection = saved(&client, 60, Connection::new(), "endp");
        ask(&client, &find_endp("endp"), &found_endp("endp"));
        sleep(LATE);
        receive(&client, &connection);
        miss(&client, "endp");
    }
}
