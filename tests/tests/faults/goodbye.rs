//! Goodbyes (row 25): what an idle connection hears before it is closed, and what must never hear one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use scache_tests::exchange::{
    ask, find_endp, found_endp, miss, save, save_for, saved, take, try_save,
};
use scache_tests::fake_master::Setup;
use scache_tests::waiting_close::fill;
use scache_tests::wire::{Connection, DEADLINE, Heard, QUIET, dummy, ready};

use crate::common::{QUIT, Side, client_of, is_served, last_words, ours_with, with_both};

/// Longer than any test: an answer has to end the wait.
const FOREVER: (&str, &str) = ("connection_cache_goodbye_timeout", "1h");

#[test]
fn a_connection_that_expires_hears_a_goodbye() {
    with_both(|side, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let connections =
            [Connection::new(), Connection::tcp()].map(|one| saved(&client, 1, one, "endp"));
        let expected = if side == Side::Stock { "" } else { QUIT };
        for connection in connections {
            assert_eq!(last_words(&connection), expected, "{side:?}");
        }
        miss(&client, "endp");
    });
}

/// The goodbye alone, while the connection stays open.
fn hears_goodbye(connection: &Connection) {
    let line = connection.far_hears_line();
    assert_eq!(line.escape_ascii().to_string(), QUIT);
}

#[test]
fn the_answer_to_a_goodbye_is_waited_for_and_read() {
    for answer in [
        "221 2.0.0 Bye\r\n",
        "221-2.0.0 Bye\r\n221 2.0.0 Bye\r\n",
        "\n",
    ] {
        for connection in [Connection::new(), Connection::tcp()] {
            let master = ours_with(&[FOREVER]);
            let client = client_of(&master);
            let connection = saved(&client, 1, connection, "endp");
            hears_goodbye(&connection);
            miss(&client, "endp");
            assert!(connection.far_hears_nothing(QUIET), "it does not wait");
            connection.far_says(answer.as_bytes());
            // An end, not a reset: the answer was read before the close.
            let mut byte = [0];
            connection
                .far()
                .set_read_timeout(Some(DEADLINE))
                .expect("a timeout");
            let end = std::io::Read::read(&mut connection.far(), &mut byte);
            assert!(matches!(end, Ok(0)), "{answer:?}: {end:?}");
        }
    }
}

#[test]
fn a_peer_that_closes_after_a_goodbye_ends_the_wait() {
    let master = ours_with(&[FOREVER]);
    let client = client_of(&master);
    let connection = Connection::tcp();
    save_for(&client, 1, &connection, "endp", "p");
    hears_goodbye(&connection);
    assert!(master.process().holds(connection.identity()));
    connection.far_closes();
    assert!(master.process().lets_go_of(connection.identity()));
    is_served(&client);
}

#[test]
fn an_answer_that_does_not_come_is_not_waited_for_longer_than_its_time() {
    // It is closed in the end, but not before.
    let master = ours_with(&[("connection_cache_goodbye_timeout", "2s")]);
    let client = client_of(&master);
    let connection = saved(&client, 1, Connection::tcp(), "endp");
    let saved_at = Instant::now();
    hears_goodbye(&connection);
    assert_eq!(last_words(&connection), "");
    let time = saved_at.elapsed();
    assert!(time >= Duration::from_millis(2_800), "{time:?}");
    is_served(&client);
}

#[test]
fn the_goodbye_can_be_another_one_or_none() {
    for (goodbye, expected) in [
        ("BYE now", "BYE now\\r\\n"),
        ("", ""),
        ("quit", "quit\\r\\n"),
    ] {
        let master = ours_with(&[("connection_cache_goodbye", goodbye)]);
        let client = client_of(&master);
        let connection = saved(&client, 1, Connection::new(), "endp");
        assert_eq!(last_words(&connection), expected);
    }
}

#[test]
fn a_connection_that_takes_no_more_is_closed_without_a_goodbye_and_without_waiting() {
    let master = ours_with(&[FOREVER]);
    let client = client_of(&master);
    let connection = Connection::new();
    let sent = fill(connection.near());
    let connection = saved(&client, 1, connection, "endp");
    assert!(master.process().lets_go_of(connection.identity()));
    is_served(&client);
    let heard = connection.far_hears_to_the_end().expect("the end");
    assert_eq!(
        heard.len(),
        sent,
        "something was said behind what was there"
    );
}

#[test]
fn a_peer_that_does_not_read_holds_up_nobody() {
    let master = ours_with(&[]);
    let client = client_of(&master);
    let connection = Connection::tcp();
    let sent = fill(connection.near());
    let connection = saved(&client, 1, connection, "endp");
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        is_served(&client);
        sleep(Duration::from_millis(20));
    }
    assert!(master.process().lets_go_of(connection.identity()));
    // The kernel may have found room for a few more bytes by then.
    let heard = connection.far_hears_to_the_end().expect("the end");
    let behind = heard[sent..].escape_ascii().to_string();
    assert!(behind.is_empty() || behind == QUIT, "{behind}");
}

#[test]
fn one_that_was_handed_out_never_hears_a_goodbye() {
    with_both(|_, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let other = client_of(&master);
        let connections: Vec<Connection> = (0..4).map(|_| Connection::tcp()).collect();
        for connection in &connections {
            save_for(&client, 5, connection, "endp", "p");
        }
        // One to the end; one without the last dummy; one whose client dies with it; one not even looked at.
        let taken = take(&client, "endp", &connections[0]);
        for (step, connection) in connections.iter().enumerate().skip(1) {
            let client = client_of(&master);
            ask(&client, &find_endp("endp"), &found_endp("p"));
            client.send(&dummy()).expect("send a dummy");
            if step == 3 {
                // The server must have got to the dummy before the client goes.
                let deadline = Instant::now() + DEADLINE;
                let sent = ready(&client, PollFlags::IN, deadline);
                assert!(matches!(sent, Ok(true)), "no descriptor: {sent:?}");
                continue;
            }
            match client.hear(Instant::now() + DEADLINE) {
                Heard::Byte(0, Some(descriptor)) => {
                    assert!(connection.check(&descriptor));
                }
                other => panic!("no descriptor but {other:?}"),
            }
        }
        // Past the time of all, and stock's timers fire up to a second late.
        sleep(Duration::from_millis(6_200));
        is_served(&other);
        drop(client);
        for connection in &connections {
            assert_eq!(connection.far_has_heard().escape_ascii().to_string(), "");
        }
        drop(taken);
        drop(master);
    });
}

#[test]
fn many_silent_peers_do_not_use_up_the_descriptors() {
    // Each goodbye would be waited for longer than the test lasts.
    let mut master = crate::common::with_settings(
        Setup::new(&scache_tests::fake_master::ours()).descriptor_limit(200),
        &[FOREVER],
    )
    .start();
    let client = client_of(&master);
    for round in 0..3 {
        let far: Vec<Connection> = (0..120)
            .map(|_| {
                let mut connection = Connection::new();
                let status = try_save(&client, 1, "endp", "p", connection.near());
                assert_eq!(status, Ok(0), "round {round}");
                connection.let_go();
                connection
            })
            .collect();
        sleep(Duration::from_millis(1300));
        is_served(&client_of(&master));
        miss(&client, "endp");
        drop(far);
    }
    let kept = Connection::new();
    save(&client, &kept, "kept", "p");
    take(&client, "kept", &kept);
    assert!(master.runs());
}

#[test]
fn one_that_its_client_never_got_hears_a_goodbye_when_its_time_comes() {
    let master = ours_with(&[]);
    let witness = client_of(&master);
    let connection = saved(&witness, 5, Connection::new(), "endp");
    let client = client_of(&master);
    ask(&client, &find_endp("endp"), &found_endp("endp"));
    drop(client);
    assert_eq!(last_words(&connection), QUIT);
    miss(&witness, "endp");
}
