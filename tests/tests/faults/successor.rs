//! A hand-over (row 24) seen by the successor, which the test plays by hand: what it is told, and what the predecessor
//! does when it is told nothing.

use std::os::fd::OwnedFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_tests::exchange::{ask, bind, find_endp, found_endp, save_dest, saved, shown, status};
use scache_tests::fake_master::{FakeMaster, Setup, ours};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET, announcement, dummy};

use crate::common::{QUIT, client_of, is_served, last_words, logged, ours_with};

/// A request of the predecessor, and when it was heard.
#[derive(Debug)]
struct Handed {
    attributes: Vec<(String, String)>,
    at: Instant,
    descriptor: Option<OwnedFd>,
}

impl Handed {
    fn names(&self) -> Vec<&str> {
        self.attributes
            .iter()
            .map(|(name, _)| name.as_str())
            .collect()
    }

    fn value(&self, index: usize) -> &str {
        &self.attributes[index].1
    }

    /// The time it has left: in seconds, rounded up, and to an inline successor in milliseconds as well.
    fn milliseconds_left(&self, manner: Manner) -> u64 {
        let number = |text: &str| text.parse::<u64>().expect("a plain number");
        let seconds = number(self.value(1));
        if manner == Manner::Stock {
            return seconds * 1_000;
        }
        let mut attributes = self.attributes.iter();
        let precise = attributes.find(|(name, _)| name == "ttl_ms");
        let milliseconds = number(&precise.expect("its time in milliseconds").1);
        assert_eq!(
            seconds,
            milliseconds.div_ceil(1_000),
            "{:?}",
            self.attributes
        );
        milliseconds
    }
}

/// How a successor wants to be spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Stock,
    /// Descriptors ride on the requests that they belong to, and times are exact.
    Inline,
}

/// The next request of the predecessor; none when it is done.
fn hear_request(predecessor: &Client) -> Option<Handed> {
    let (mut heard, descriptor) = match predecessor.hear(Instant::now() + DEADLINE) {
        Heard::Byte(first, descriptor) => (vec![first], descriptor),
        Heard::End => return None,
        Heard::Nothing => panic!("the predecessor neither goes on nor ends"),
    };
    heard.extend(predecessor.hear_list());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let strings: Vec<String> = heard.split(|byte| *byte == 0).map(text).collect();
    let attributes = strings[..strings.len() - 2]
        .chunks(2)
        .map(|pair| (pair[0].clone(), pair.get(1).cloned().unwrap_or_default()))
        .collect();
    Some(Handed {
        attributes,
        at: Instant::now(),
        descriptor,
    })
}

fn hear_descriptor(predecessor: &Client) -> OwnedFd {
    predecessor.send(&dummy()).expect("it listens");
    match predecessor.hear(Instant::now() + DEADLINE) {
        Heard::Byte(0, Some(descriptor)) => descriptor,
        other => panic!("no descriptor but {other:?}"),
    }
}

/// Takes in what the predecessor has, with a pause before each answer.
fn take_over(predecessor: &Client, pause: Duration) -> Vec<Handed> {
    let mut all = Vec::new();
    while let Some(mut handed) = hear_request(predecessor) {
        sleep(pause);
        if handed.value(0) == "save_endp" && handed.descriptor.is_none() {
            handed.descriptor = Some(hear_descriptor(predecessor));
        }
        predecessor.send(&status(0)).expect("it listens");
        all.push(handed);
    }
    all
}

/// Ends the process that master knows, while nobody answers its child.
fn dismissed(master: &mut FakeMaster) {
    let end = master.dismiss();
    assert_eq!(end.code(), Some(0), "{end}");
}

/// Accepts the predecessor as stock would, to whom it may not say anything unknown but once.
fn accepted(master: &FakeMaster) -> Client {
    accepted_as(master, Manner::Stock)
}

fn accepted_as(master: &FakeMaster, manner: Manner) -> Client {
    let predecessor = master.accept();
    predecessor.send(&announcement()).expect("it listens");
    answer_question(&predecessor, manner);
    predecessor
}

/// The predecessor asks first how it is to speak.
fn answer_question(predecessor: &Client, manner: Manner) {
    let asked = hear_request(predecessor).expect("it asks something");
    assert_eq!((asked.names(), asked.value(0)), (vec!["request"], "inline"));
    let code = match manner {
        Manner::Stock => 1,
        Manner::Inline => 0,
    };
    predecessor.send(&status(code)).expect("it listens");
}

#[test]
fn each_entry_is_saved_in_order_with_the_time_it_has_left() {
    for manner in [Manner::Stock, Manner::Inline] {
        each_entry_is_saved_in_order(manner);
    }
}

fn each_entry_is_saved_in_order(manner: Manner) {
    let mut master = ours_with(&[]);
    let client = client_of(&master);
    let before_saves = Instant::now();
    let endpoints = [("a", 50), ("b", 20), ("a", 30), ("a", 40), ("b", 60)];
    let connections = endpoints.map(|(label, ttl)| saved(&client, ttl, Connection::tcp(), label));
    for (destination, property, endpoint, ttl) in [
        ("x", "1", "b", "40"),
        ("y", "2", "a", "50"),
        ("x", "3", "a", "30"),
    ] {
        ask(
            &client,
            &save_dest(ttl, destination, property, endpoint),
            &status(0),
        );
    }
    let after_saves = Instant::now();
    sleep(Duration::from_millis(1_300));
    let before_reload = Instant::now();
    dismissed(&mut master);
    let predecessor = accepted_as(&master, manner);
    let handed = take_over(&predecessor, Duration::ZERO);
    let (rounding, more) = match manner {
        Manner::Stock => (Duration::from_secs(1), &[][..]),
        Manner::Inline => (Duration::from_millis(2), &["ttl_ms"][..]),
    };
    let history = match manner {
        Manner::Stock => &[][..],
        Manner::Inline => &["age_ms", "taken"][..],
    };
    let left_of = |handed: &Handed, ttl: u64| {
        let left = handed.milliseconds_left(manner);
        let ttl = Duration::from_secs(ttl);
        let most = ttl - (before_reload - after_saves) + rounding;
        let least = ttl.saturating_sub(handed.at - before_saves);
        let left = Duration::from_millis(left);
        assert!(
            (least..=most).contains(&left),
            "{left:?}: {least:?} to {most:?}"
        );
    };
    for label in ["a", "b"] {
        let of_label: Vec<&Handed> = handed
            .iter()
            .filter(|handed| handed.value(0) == "save_endp" && handed.value(2) == label)
            .collect();
        let expected: Vec<_> = endpoints
            .iter()
            .zip(&connections)
            .filter(|((expected, _), _)| *expected == label)
            .collect();
        assert_eq!(of_label.len(), expected.len(), "connections of {label}");
        for (handed, ((_, ttl), connection)) in of_label.into_iter().zip(expected) {
            let expected = [&["request", "ttl", "label", "property"][..], more, history].concat();
            assert_eq!(handed.names(), expected);
            assert_eq!(handed.value(3), label, "the property");
            left_of(handed, u64::from(*ttl));
            let descriptor = handed.descriptor.as_ref().expect("it came");
            assert!(connection.check(descriptor), "another connection");
        }
    }
    for (destination, expected) in [
        ("x", &[("1", "b", 40), ("3", "a", 30)][..]),
        ("y", &[("2", "a", 50)]),
    ] {
        let of_label: Vec<&Handed> = handed
            .iter()
            .filter(|handed| handed.value(0) == "save_dest" && handed.value(2) == destination)
            .collect();
        assert_eq!(of_label.len(), expected.len(), "bindings of {destination}");
        for (handed, (property, endpoint, ttl)) in of_label.into_iter().zip(expected) {
            let expected = [&["request", "ttl", "label", "property", "label"][..], more].concat();
            assert_eq!(handed.names(), expected);
            assert_eq!((handed.value(3), handed.value(4)), (*property, *endpoint));
            left_of(handed, *ttl);
        }
    }
    assert_eq!(handed.len(), 8, "{handed:#?}");
    master.wait_for_all();
    drop(handed);
    for connection in &connections {
        assert_eq!(
            last_words(connection),
            "",
            "a goodbye to one that was handed over"
        );
    }
}

#[test]
fn the_statistics_are_logged_before_the_process_ends_and_by_nobody_else() {
    let mut master = ours_with(&[]);
    let client = client_of(&master);
    let connection = saved(&client, 60, Connection::tcp(), "endp");
    is_served(&client);
    dismissed(&mut master);
    let at_its_end = logged(&master);
    assert_eq!(at_its_end.len(), 3, "{at_its_end:#?}");
    let handed = take_over(&accepted(&master), Duration::ZERO);
    assert_eq!(handed.len(), 1);
    master.wait_for_all();
    let tag = format!("[{}]: ", master.pid());
    // What the fake master recorded since, too.
    assert_eq!(logged(&master), at_its_end);
    assert!(
        master
            .all_log_lines()
            .iter()
            .all(|line| line.contains(&tag))
    );
    drop(connection);
}

/// A successor that goes wrong: how far it goes with its predecessor, and what the first connection hears then.
struct Failure {
    what: &'static str,
    go: fn(&FakeMaster) -> Vec<Client>,
    first_hears: &'static str,
}

const FAILURES: &[Failure] = &[
    Failure {
        what: "it accepts and says nothing",
        go: |master| vec![master.accept()],
        first_hears: QUIT,
    },
    Failure {
        what: "it announces and answers nothing",
        go: |master| {
            let predecessor = master.accept();
            predecessor.send(&announcement()).expect("it listens");
            vec![predecessor]
        },
        first_hears: QUIT,
    },
    Failure {
        what: "it says how it wants to be spoken to and answers nothing",
        go: |master| vec![accepted(master)],
        first_hears: QUIT,
    },
    Failure {
        what: "it takes everything in and answers nothing, and the descriptor came with the request",
        go: |master| vec![accepted_as(master, Manner::Inline)],
        first_hears: "",
    },
    Failure {
        what: "it says half an announcement",
        go: |master| {
            let predecessor = master.accept();
            predecessor.send(b"protocol\0conn").expect("it listens");
            vec![predecessor]
        },
        first_hears: QUIT,
    },
    Failure {
        what: "it is another service",
        go: |master| {
            let predecessor = master.accept();
            predecessor
                .send(b"220 example.com ESMTP\r\n")
                .expect("it listens");
            vec![predecessor]
        },
        first_hears: QUIT,
    },
    Failure {
        what: "it dies at once",
        go: |master| {
            drop(master.accept());
            Vec::new()
        },
        first_hears: QUIT,
    },
    Failure {
        what: "it hears a request and dies",
        go: |master| {
            let predecessor = accepted(master);
            assert!(hear_request(&predecessor).is_some());
            Vec::new()
        },
        first_hears: QUIT,
    },
    Failure {
        what: "it wants a descriptor and hangs, and the descriptor is in its socket",
        go: |master| {
            let predecessor = accepted(master);
            assert!(hear_request(&predecessor).is_some());
            predecessor.send(&dummy()).expect("it listens");
            vec![predecessor]
        },
        // It may still take it: nothing may be said to what somebody else may have.
        first_hears: "",
    },
    Failure {
        what: "it takes a descriptor and dies without a status",
        go: |master| {
            let predecessor = accepted(master);
            assert!(hear_request(&predecessor).is_some());
            drop(hear_descriptor(&predecessor));
            Vec::new()
        },
        first_hears: "",
    },
    Failure {
        what: "it takes a descriptor and hangs without a status",
        go: |master| {
            let predecessor = accepted(master);
            assert!(hear_request(&predecessor).is_some());
            drop(hear_descriptor(&predecessor));
            vec![predecessor]
        },
        first_hears: "",
    },
    Failure {
        what: "it takes one and dies",
        go: |master| {
            let predecessor = accepted(master);
            assert!(hear_request(&predecessor).is_some());
            drop(hear_descriptor(&predecessor));
            predecessor.send(&status(0)).expect("it listens");
            assert!(hear_request(&predecessor).is_some());
            Vec::new()
        },
        first_hears: "",
    },
];

#[test]
fn a_successor_that_fails_is_not_waited_for_and_the_rest_hear_a_goodbye() {
    std::thread::scope(|scope| {
        for failure in FAILURES {
            scope.spawn(move || {
                let mut master = ours_with(&[]);
                let client = client_of(&master);
                let connections: Vec<Connection> = (0..4)
                    .map(|_| saved(&client, 60, Connection::tcp(), "endp"))
                    .collect();
                drop(client);
                dismissed(&mut master);
                let kept = (failure.go)(&master);
                // Its child ends although nobody goes on.
                master.wait_for_all();
                drop(kept);
                // A second attempt may be waiting at the listening socket; what is in it goes with it.
                let first = last_words(&connections[0]);
                assert_eq!(first, failure.first_hears, "{}", failure.what);
                for connection in &connections[1..] {
                    assert_eq!(last_words(connection), QUIT, "{}", failure.what);
                }
            });
        }
    });
}

#[test]
fn what_the_successor_refuses_hears_a_goodbye_and_the_rest_is_handed_over() {
    let mut master = ours_with(&[]);
    let client = client_of(&master);
    let connections =
        ["a", "b", "c", "d"].map(|label| (label, saved(&client, 60, Connection::tcp(), label)));
    bind(&client, "dest", "d", "a");
    dismissed(&mut master);
    let predecessor = accepted(&master);
    let mut kept = Vec::new();
    while let Some(handed) = hear_request(&predecessor) {
        match (handed.value(0), handed.value(2)) {
            ("save_endp", "b") => predecessor.send(&status(1)).expect("it listens"),
            ("save_endp", label) => {
                let descriptor = hear_descriptor(&predecessor);
                let code = if label == "c" { 2 } else { 0 };
                predecessor.send(&status(code)).expect("it listens");
                if code == 0 {
                    kept.push(descriptor);
                }
            }
            ("save_dest", _) => predecessor.send(&status(2)).expect("it listens"),
            other => panic!("{other:?}"),
        }
    }
    master.wait_for_all();
    assert_eq!(kept.len(), 2);
    drop(kept);
    for (label, connection) in &connections {
        let words = last_words(connection);
        match *label {
            // It was never sent.
            "b" => assert_eq!(words, QUIT, "{label}"),
            // It was sent and given back: both are sound.
            "c" => assert!(words.is_empty() || words == QUIT, "{label}: {words}"),
            _ => assert_eq!(words, "", "{label}"),
        }
    }
}

#[test]
fn a_successor_that_is_slow_but_goes_on_is_waited_for() {
    const ENTRIES: usize = 15;
    let mut master = ours_with(&[]);
    let client = client_of(&master);
    let connections: Vec<Connection> = (0..ENTRIES)
        .map(|_| saved(&client, 60, Connection::tcp(), "endp"))
        .collect();
    dismissed(&mut master);
    // More than a second in all, much less for each.
    let handed = take_over(&accepted(&master), Duration::from_millis(100));
    assert_eq!(handed.len(), ENTRIES);
    for (handed, connection) in handed.iter().zip(&connections) {
        let descriptor = handed.descriptor.as_ref().expect("it came");
        assert!(connection.check(descriptor));
    }
}

#[test]
fn a_successor_that_does_not_announce_itself_is_served_where_that_is_so() {
    let mut master = ours_with(&[("connection_cache_announce", "no")]);
    let client = master.connect();
    let connection = saved(&client, 60, Connection::tcp(), "endp");
    dismissed(&mut master);
    let predecessor = master.accept();
    answer_question(&predecessor, Manner::Stock);
    let handed = take_over(&predecessor, Duration::ZERO);
    let [handed] = &handed[..] else {
        panic!("not one but {handed:#?}")
    };
    let descriptor = handed.descriptor.as_ref().expect("it came");
    assert!(connection.check(descriptor));
}

#[test]
fn an_empty_cache_asks_for_no_successor() {
    let mut master = ours_with(&[]);
    is_served(&client_of(&master));
    dismissed(&mut master);
    assert!(!master.somebody_connects(QUIET));
    master.wait_for_all();
}

#[test]
fn with_hand_over_switched_off_nobody_is_asked() {
    let mut master = ours_with(&[("connection_cache_handover", "no")]);
    let client = client_of(&master);
    let connection = saved(&client, 60, Connection::tcp(), "endp");
    dismissed(&mut master);
    assert!(!master.somebody_connects(QUIET));
    assert_eq!(last_words(&connection), QUIT);
    master.wait_for_all();
}

#[test]
fn what_a_client_had_not_been_sent_is_handed_over() {
    let mut master = Setup::new(&ours()).start();
    let client = client_of(&master);
    let connection = saved(&client, 60, Connection::tcp(), "endp");
    ask(&client, &find_endp("endp"), &found_endp("endp"));
    // The client dies before its dummy; master is gone at the same time.
    master.close_status_channel();
    drop(client);
    assert_eq!(master.wait_for_exit().code(), Some(0));
    let handed = take_over(&accepted(&master), Duration::ZERO);
    let descriptor = handed.first().and_then(|handed| handed.descriptor.as_ref());
    let descriptor = descriptor.expect("the connection is handed over");
    assert!(connection.check(descriptor));
    assert_eq!(handed.len(), 1);
    let names = handed[0].names().join(" ");
    assert_eq!(shown(names.as_bytes()), "request ttl label property");
}

#[test]
fn connections_that_die_meanwhile_are_not_handed_over() {
    let mut master = ours_with(&[]);
    let client = client_of(&master);
    let dead = saved(&client, 60, Connection::tcp(), "endp");
    let alive = saved(&client, 60, Connection::tcp(), "endp");
    dead.far_closes();
    assert!(master.process().lets_go_of(dead.identity()));
    dismissed(&mut master);
    let handed = take_over(&accepted(&master), Duration::ZERO);
    let [handed] = &handed[..] else {
        panic!("not one but {handed:#?}")
    };
    assert!(alive.check(handed.descriptor.as_ref().expect("it came")));
}
