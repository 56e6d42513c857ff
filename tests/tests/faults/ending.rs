//! Ends of the process without a successor (rows 24, 25): goodbyes, status 0, nothing left behind.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use scache_tests::exchange::{ask, find_endp, found_endp, saved};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};
use scache_tests::wire::{Connection, Heard, dummy};

use crate::common::{QUIT, Side, client_of, hears_the_end, last_words, logged, with_both};

/// A way to end.
struct End {
    what: &'static str,
    settings: &'static [(&'static str, &'static str)],
    comes: fn(&mut FakeMaster),
}

const ENDS: &[End] = &[
    End {
        what: "SIGTERM, as at `postfix stop`",
        settings: &[],
        comes: |master| master.signal(Signal::TERM),
    },
    End {
        what: "SIGHUP",
        settings: &[],
        comes: |master| master.signal(Signal::HUP),
    },
    End {
        what: "SIGQUIT",
        settings: &[],
        comes: |master| master.signal(Signal::QUIT),
    },
    End {
        what: "a reload without hand-over",
        settings: &[("connection_cache_handover", "no")],
        comes: FakeMaster::close_status_channel,
    },
    End {
        what: "a master that is gone, with nobody to come after",
        settings: &[],
        comes: FakeMaster::close_status_channel,
    },
];

fn started(end: &End) -> FakeMaster {
    crate::common::with_settings(Setup::new(&ours()), end.settings).start()
}

#[test]
fn the_cached_connections_hear_a_goodbye() {
    for end in ENDS {
        let mut master = started(end);
        let client = client_of(&master);
        let connections: Vec<Connection> = (0..50)
            .map(|index| {
                let connection = if index % 2 == 0 {
                    Connection::new()
                } else {
                    Connection::tcp()
                };
                saved(&client, 60, connection, &format!("endp {index}"))
            })
            .collect();
        drop(client);
        (end.comes)(&mut master);
        assert_eq!(master.wait_for_exit().code(), Some(0), "{}", end.what);
        // Nobody accepts at the listening socket: no hand-over, after a second at most.
        master.wait_for_all();
        for connection in &connections {
            assert_eq!(last_words(connection), QUIT, "{}", end.what);
        }
    }
}

#[cfg(feature = "system")]
#[test]
fn in_stock_they_hear_nothing() {
    let ends: [fn(&mut FakeMaster); 2] = [
        |master| master.signal(Signal::TERM),
        FakeMaster::close_status_channel,
    ];
    for end in ends {
        let mut master = Setup::new(&stock()).start();
        let client = client_of(&master);
        let connection = saved(&client, 60, Connection::tcp(), "endp");
        end(&mut master);
        master.wait_for_exit();
        assert_eq!(last_words(&connection), "");
    }
}

#[test]
fn a_goodbye_that_is_not_answered_delays_the_end_by_no_more_than_its_time() {
    // The default is a second; the test only shows that there is an end.
    for end in ENDS {
        ends_with_an_unanswered_goodbye(started(end), end);
    }
}

#[test]
fn even_a_goodbye_that_may_take_an_hour_does_not_delay_the_end() {
    for end in ENDS {
        let settings = [("connection_cache_goodbye_timeout", "1h")];
        let setup = crate::common::with_settings(Setup::new(&ours()), end.settings);
        let master = crate::common::with_settings(setup, &settings).start();
        ends_with_an_unanswered_goodbye(master, end);
    }
}

fn ends_with_an_unanswered_goodbye(mut master: FakeMaster, end: &End) {
    let client = client_of(&master);
    let connection = saved(&client, 60, Connection::tcp(), "endp");
    (end.comes)(&mut master);
    assert_eq!(master.wait_for_exit().code(), Some(0), "{}", end.what);
    master.wait_for_all();
    assert_eq!(last_words(&connection), QUIT, "{}", end.what);
}

#[test]
fn one_that_a_client_has_hears_nothing() {
    for end in ENDS {
        let mut master = started(end);
        let client = client_of(&master);
        let connection = saved(&client, 60, Connection::tcp(), "endp");
        ask(&client, &find_endp("endp"), &found_endp("endp"));
        client.send(&dummy()).expect("send a dummy");
        let deadline = Instant::now() + scache_tests::wire::DEADLINE;
        let Heard::Byte(0, Some(taken)) = client.hear(deadline) else {
            panic!("no descriptor")
        };
        assert!(connection.check(&taken));
        // The last dummy does not come.
        (end.comes)(&mut master);
        assert_eq!(master.wait_for_exit().code(), Some(0), "{}", end.what);
        master.wait_for_all();
        assert_eq!(connection.far_has_heard(), b"", "{}", end.what);
        drop(taken);
        assert_eq!(last_words(&connection), "", "{}", end.what);
    }
}

#[test]
fn the_statistics_are_logged_once_whatever_ends_it() {
    for end in ENDS {
        let mut master = started(end);
        let client = client_of(&master);
        let connection = saved(&client, 60, Connection::tcp(), "endp");
        crate::common::is_served(&client);
        (end.comes)(&mut master);
        assert_eq!(master.wait_for_exit().code(), Some(0));
        master.wait_for_all();
        let mut lines = logged(&master);
        lines.retain(|line| !line.starts_with("statistics: start interval"));
        assert_eq!(
            lines,
            [
                "statistics: address lookup hits=0 miss=1 success=0%",
                "statistics: max simultaneous domains=0 addresses=1 connection=1",
            ],
            "{}",
            end.what
        );
        drop(connection);
    }
}

#[test]
fn clients_hear_the_end() {
    for end in ENDS {
        let mut master = started(end);
        let idle = client_of(&master);
        let stopped = client_of(&master);
        stopped.send(b"request\0").expect("send");
        (end.comes)(&mut master);
        hears_the_end(&idle);
        hears_the_end(&stopped);
        assert_eq!(master.wait_for_exit().code(), Some(0));
        master.wait_for_all();
    }
}

#[test]
fn after_max_idle_there_is_nobody_to_hand_over_to() {
    with_both(|side, program| {
        let mut master = Setup::new(program).setting("max_idle", "1s").start();
        let client = client_of(&master);
        let connection = saved(&client, 60, Connection::tcp(), "endp");
        drop(client);
        assert_eq!(master.wait_for_exit().code(), Some(0));
        let expected = if side == Side::Stock { "" } else { QUIT };
        assert_eq!(last_words(&connection), expected, "{side:?}");
        // Nobody was asked to come.
        assert!(!master.somebody_connects(Duration::from_millis(300)));
    });
}
