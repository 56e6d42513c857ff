//! What is limited (row 10), and settings that make no sense.

use scache_tests::exchange::{
    ask, bind, find_dest, find_endp, found_dest, miss, no_dest, receive, save, save_for, saved,
    take, try_find,
};
use scache_tests::fake_master::{Setup, ours};
use scache_tests::wire::Connection;

use crate::common::{
    QUIT, Side, client_of, hears_nothing, hears_the_end, is_served, last_words, ours_with,
    with_both, with_settings,
};

#[test]
fn the_connection_that_expires_soonest_makes_room_with_a_goodbye() {
    with_both(|side, program| {
        let settings = [("connection_cache_connection_limit", "3")];
        let master = with_settings(Setup::new(program), &settings).start();
        let client = client_of(&master);
        let fars: Vec<Connection> = [40, 20, 50, 30, 60]
            .iter()
            .map(|ttl| saved(&client, *ttl, Connection::tcp(), &ttl.to_string()))
            .collect();
        let there: Vec<bool> = ["40", "20", "50", "30", "60"]
            .iter()
            .zip(&fars)
            .map(|(label, far)| {
                let found = try_find(&client, label).expect("answered");
                found
                    .inspect(|found| assert!(far.check(&found.descriptor)))
                    .is_some()
            })
            .collect();
        match side {
            Side::Stock => assert_eq!(there, [true; 5]),
            Side::Ours => {
                assert_eq!(there, [true, false, true, false, true]);
                for evicted in [&fars[1], &fars[3]] {
                    assert_eq!(last_words(evicted), QUIT);
                }
            }
        }
    });
}

#[test]
fn an_endpoint_has_a_limit_of_its_own() {
    let master = ours_with(&[("connection_cache_endpoint_limit", "2")]);
    let client = client_of(&master);
    let other = saved(&client, 10, Connection::new(), "other");
    let [first, second, third] =
        [30, 20, 40].map(|ttl| saved(&client, ttl, Connection::new(), "endp"));
    assert_eq!(last_words(&second), QUIT);
    take(&client, "endp", &first);
    take(&client, "endp", &third);
    miss(&client, "endp");
    take(&client, "other", &other);
}

#[test]
fn a_connection_that_was_taken_so_often_gets_its_goodbye_when_it_is_saved() {
    let master = ours_with(&[("connection_cache_reuse_limit", "2")]);
    let client = client_of(&master);
    let connection = Connection::new();
    for _ in 0..2 {
        save(&client, &connection, "endp", "p");
        take(&client, "endp", &connection);
    }
    save(&client, &connection, "endp", "p");
    miss(&client, "endp");
    assert_eq!(connection.far_has_heard(), b"QUIT\r\n");
    // Others begin anew.
    let other = Connection::new();
    save(&client, &other, "endp", "p");
    take(&client, "endp", &other);
}

#[test]
fn a_connection_that_is_too_old_gets_its_goodbye() {
    let master = ours_with(&[
        ("connection_cache_lifetime_limit", "1"),
        ("connection_cache_ttl_limit", "1h"),
    ]);
    let client = client_of(&master);
    let connection = Connection::new();
    save_for(&client, 3600, &connection, "endp", "p");
    // In the cache it expires when its lifetime is over.
    assert_eq!(connection.far_hears_line(), b"QUIT\r\n");
    miss(&client, "endp");
    save(&client, &connection, "endp", "p");
    miss(&client, "endp");
    assert_eq!(connection.far_has_heard(), b"QUIT\r\n");
}

#[test]
fn bindings_have_a_limit() {
    let master = ours_with(&[("connection_cache_binding_limit", "2")]);
    let client = client_of(&master);
    let request =
        |ttl, destination| scache_tests::exchange::save_dest(ttl, destination, "d", destination);
    for (ttl, destination) in [("30", "first"), ("20", "second"), ("40", "third")] {
        ask(
            &client,
            &request(ttl, destination),
            &scache_tests::exchange::status(0),
        );
    }
    for destination in ["first", "second", "third"] {
        let connection = Connection::new();
        save(&client, &connection, destination, "p");
        if destination == "second" {
            ask(&client, &find_dest(destination), &no_dest(2));
        } else {
            ask(&client, &find_dest(destination), &found_dest("d", "p"));
            receive(&client, &connection);
        }
    }
}

#[test]
fn clients_above_the_limit_wait_until_one_leaves() {
    const LIMIT: usize = 3;
    let master = ours_with(&[("connection_cache_client_limit", "3")]);
    // In the middle of a request, so that they keep their slots; the fourth has the one kept for root.
    let busy = || {
        let client = client_of(&master);
        client.send(b"request\0").expect("send");
        client
    };
    let mut served: Vec<_> = (0..LIMIT + 1).map(|_| busy()).collect();
    for _ in 0..2 {
        // One at a time: whoever is idle would have to go for another one that waits.
        let client = master.connect();
        // What it says already is answered when its turn has come.
        client.send(&find_endp("nothing is here")).expect("send");
        hears_nothing(&client);
        drop(served.remove(0));
        let client = scache_tests::exchange::greeted(client);
        assert_eq!(client.hear_list(), scache_tests::exchange::no_endp(2));
        client.send(b"request\0").expect("send");
        served.push(client);
    }
}

#[test]
fn a_client_that_is_dropped_makes_room_for_one_that_waits() {
    let master = ours_with(&[
        ("connection_cache_client_limit", "1"),
        ("connection_cache_request_timeout", "1s"),
    ]);
    let stalled = client_of(&master);
    stalled.send(b"request\0").expect("send");
    let waiting = master.connect();
    hears_the_end(&stalled);
    is_served(&scache_tests::exchange::greeted(waiting));
}

#[test]
fn the_newest_connection_can_come_first() {
    for (order, expected) in [("oldest", [0, 1, 2]), ("newest", [2, 1, 0])] {
        let master = ours_with(&[("connection_cache_order", order)]);
        let client = client_of(&master);
        bind(&client, "dest", "d", "endp");
        let fars = [0; 3].map(|_| saved(&client, 60, Connection::new(), "endp"));
        let [first, second, third] = expected;
        take(&client, "endp", &fars[first]);
        ask(&client, &find_dest("dest"), &found_dest("d", "endp"));
        receive(&client, &fars[second]);
        take(&client, "endp", &fars[third]);
        miss(&client, "endp");
    }
}

#[test]
fn the_announcement_can_be_left_out() {
    let master = ours_with(&[("connection_cache_announce", "no")]);
    let client = master.connect();
    hears_nothing(&client);
    is_served(&client);
}

#[test]
fn a_setting_that_makes_no_sense_is_fatal_and_named() {
    let cases = [
        (
            "connection_cache_connection_limit",
            &["many", "-1", "1x"][..],
        ),
        ("connection_cache_endpoint_limit", &["few", "-1"]),
        ("connection_cache_binding_limit", &["some", "-1"]),
        ("connection_cache_client_limit", &["all", "-1"]),
        (
            "connection_cache_request_timeout",
            &["soon", "0", "10 moons"],
        ),
        ("connection_cache_watch", &["maybe", "2"]),
        ("connection_cache_goodbye_timeout", &["later", "5x"]),
        ("connection_cache_order", &["random", "Oldestt"]),
        ("connection_cache_announce", &["perhaps"]),
        ("connection_cache_handover", &["later"]),
    ];
    std::thread::scope(|scope| {
        for (name, values) in cases {
            scope.spawn(move || {
                for value in values {
                    is_fatal(Setup::new(&ours()).setting(name, value), name, value);
                    let option = format!("{name}={value}");
                    is_fatal(Setup::new(&ours()).arguments(&["-o", &option]), name, value);
                }
            });
        }
    });
}

fn is_fatal(setup: Setup, name: &str, value: &str) {
    let mut master = setup.start();
    assert_eq!(master.wait_for_exit().code(), Some(1), "{name} = {value}");
    let lines = crate::common::logged(&master);
    let [line] = &lines[..] else {
        panic!("{name} = {value}: not one line but {lines:#?}")
    };
    assert!(
        line.starts_with("fatal: ") && line.contains(name) && line.contains(value),
        "{name} = {value}: {line}"
    );
}

#[test]
fn every_setting_can_also_be_an_option() {
    let master = Setup::new(&ours())
        .arguments(&[
            "-o",
            "connection_cache_connection_limit=1",
            "-o",
            "connection_cache_goodbye=SO LONG",
        ])
        .start();
    let client = client_of(&master);
    let first = saved(&client, 60, Connection::new(), "endp");
    let second = saved(&client, 60, Connection::new(), "endp");
    assert_eq!(last_words(&first), "SO LONG\\r\\n");
    take(&client, "endp", &second);
}
