//! Clients that die in a find (row 17): the connection has one owner at most, and is lost only when it may have had one.

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use scache_tests::exchange::{
    ask, bind, find_dest, find_endp, found_dest, found_endp, miss, save, saved, take, try_find,
};
use scache_tests::fake_master::{Setup, ours};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, dummy, ready};

use crate::common::{Side, becomes_true, client_of, last_words, ours_with, with_both};

/// A step of a find at which the client dies.
struct Death {
    what: &'static str,
    /// Also closes what the client was given.
    reach: fn(&Client),
    /// Whether the descriptor was on its way by then.
    sent: bool,
}

const DEATHS: &[Death] = &[
    Death {
        what: "with status 0 there to be read",
        reach: |client| {
            client.send(&find_endp("endp")).expect("send");
            assert!(matches!(arrives(client), Ok(true)));
        },
        sent: false,
    },
    Death {
        what: "with status 0 read",
        reach: |client| ask(client, &find_endp("endp"), &found_endp("first")),
        sent: false,
    },
    Death {
        what: "with status 0 of a find by destination read",
        reach: |client| ask(client, &find_dest("dest"), &found_dest("d", "first")),
        sent: false,
    },
    Death {
        what: "in the first dummy",
        reach: |client| {
            ask(client, &find_endp("endp"), &found_endp("first"));
            client.send(b"dummy\0").expect("send");
        },
        sent: false,
    },
    Death {
        what: "after words that are no dummy",
        reach: |client| {
            ask(client, &find_endp("endp"), &found_endp("first"));
            client.send(&find_endp("x")).expect("send");
        },
        sent: false,
    },
    Death {
        what: "with the descriptor there to be taken",
        reach: |client| {
            ask(client, &find_endp("endp"), &found_endp("first"));
            client.send(&dummy()).expect("send");
            assert!(matches!(arrives(client), Ok(true)));
        },
        sent: true,
    },
    Death {
        what: "with the descriptor taken",
        reach: |client| {
            ask(client, &find_endp("endp"), &found_endp("first"));
            client.send(&dummy()).expect("send");
            let heard = client.hear(Instant::now() + DEADLINE);
            assert!(matches!(heard, Heard::Byte(0, Some(_))), "{heard:?}");
        },
        sent: true,
    },
    Death {
        what: "in the last dummy",
        reach: |client| {
            ask(client, &find_endp("endp"), &found_endp("first"));
            client.send(&dummy()).expect("send");
            let heard = client.hear(Instant::now() + DEADLINE);
            assert!(matches!(heard, Heard::Byte(0, Some(_))), "{heard:?}");
            client.send(b"dummy").expect("send");
        },
        sent: true,
    },
];

fn arrives(client: &Client) -> std::io::Result<bool> {
    ready(client, PollFlags::IN, Instant::now() + DEADLINE)
}

#[test]
fn one_that_was_not_sent_is_the_first_again_and_one_that_was_sent_is_closed() {
    with_both(|side, program| {
        for death in DEATHS {
            let master = Setup::new(program).start();
            let witness = client_of(&master);
            bind(&witness, "dest", "d", "endp");
            let connections = ["first", "second"].map(|property| {
                let mut connection = Connection::tcp();
                save(&witness, &connection, "endp", property);
                connection.let_go();
                connection
            });
            let held = master.process().descriptors().len();
            let client = client_of(&master);
            (death.reach)(&client);
            drop(client);
            let [first, second] = &connections;
            if death.sent || side == Side::Stock {
                assert_eq!(last_words(first), "", "{side:?} {}", death.what);
                take(&witness, "endp", second);
            } else {
                let left = master.process().settles_at(held);
                assert_eq!(left, held, "{}", death.what);
                take(&witness, "endp", first);
                take(&witness, "endp", second);
            }
            miss(&witness, "endp");
        }
    });
}

#[test]
fn one_that_comes_back_has_the_time_it_had() {
    let master = ours_with(&[]);
    let witness = client_of(&master);
    let connection = saved(&witness, 6, Connection::new(), "endp");
    let saved_at = Instant::now();
    sleep(Duration::from_millis(1_000));
    let client = client_of(&master);
    ask(&client, &find_endp("endp"), &found_endp("endp"));
    drop(client);
    sleep(Duration::from_millis(6_100).saturating_sub(saved_at.elapsed()));
    miss(&witness, "endp");
    assert!(!last_words(&connection).contains("no end"));
}

#[test]
fn one_whose_time_runs_out_while_it_is_on_its_way_is_not_found_again() {
    let master = ours_with(&[]);
    let witness = client_of(&master);
    let connection = saved(&witness, 5, Connection::new(), "endp");
    let client = client_of(&master);
    ask(&client, &find_endp("endp"), &found_endp("endp"));
    sleep(Duration::from_millis(5_200));
    drop(client);
    assert_ne!(last_words(&connection), "no end");
    miss(&witness, "endp");
}

#[test]
fn one_that_died_on_its_way_back_is_not_found_again() {
    let master = ours_with(&[]);
    let witness = client_of(&master);
    let connection = Connection::tcp();
    save(&witness, &connection, "endp", "p");
    let client = client_of(&master);
    ask(&client, &find_endp("endp"), &found_endp("p"));
    connection.far_closes();
    drop(client);
    assert!(master.process().lets_go_of(connection.identity()));
    miss(&witness, "endp");
}

#[test]
fn no_connection_has_two_takers_and_none_is_closed_that_nobody_took() {
    const ROUNDS: usize = 400;
    let master = Setup::new(&ours()).start();
    let witness = client_of(&master);
    let held = master.process().descriptors().len();
    let mut lost = 0;
    for round in 0..ROUNDS {
        let label = format!("endp {round}");
        let connection = saved(&witness, 60, Connection::new(), &label);
        let client = client_of(&master);
        // Said at once, with the end behind it: the server finds as much of it as there is.
        let words = [find_endp(&label), dummy(), dummy()].concat();
        let said = words.len() * (round % 16) / 15;
        client.send(&words[..said]).expect("send");
        if round % 3 == 0 {
            let _ = client.hear(Instant::now() + Duration::from_millis(1));
        }
        drop(client);
        // Other tests that are starting a program may hold a copy of the client's socket for a moment.
        becomes_true("the client is gone", || {
            master.process().descriptors().len() <= held + 1
        });
        // Either it can be had, by one, or it ends without a word: both would be two owners.
        match try_find(&witness, &label).expect("answered") {
            Some(found) => {
                assert!(connection.check(&found.descriptor), "round {round}");
                miss(&witness, &label);
            }
            None => {
                assert!(said > find_endp(&label).len(), "lost in round {round}");
                assert_eq!(last_words(&connection), "", "round {round}");
                lost += 1;
            }
        }
    }
    assert!(lost < ROUNDS, "all are lost");
    assert_eq!(master.process().settles_at(held), held, "descriptors");
}
