//! What master(8) and the log see: status notices, statistics, ends, options and transports.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use scache_tests::exchange::{
    ask, find_dest, find_endp, found_dest, found_endp, greeted, no_dest, no_endp, receive, save,
    save_dest, save_endp, status,
};
use scache_tests::fake_master::{FakeMaster, Notice, Program, Setup, Transport, programs};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET, dummy, list};

/// Does the same with the stock program and with ours.
fn with_both(check: impl Fn(&Program) + Sync) {
    for (_, program) in programs() {
        check(&program);
    }
}

/// The text of a log line, without time, host and tag, which must have their form.
fn text_of(line: &str, master: &FakeMaster) -> String {
    let tag = format!(" fake postfix/scache[{}]: ", master.pid());
    let (time, text) = line
        .split_once(&tag)
        .unwrap_or_else(|| panic!("no {tag:?} in {line:?}"));
    assert!(is_log_time(time), "{time:?} is no time in {line:?}");
    text.to_owned()
}

/// `Nov 23 15:57:00`, `Nov  3 15:57:00`.
fn is_log_time(time: &str) -> bool {
    let bytes = time.as_bytes();
    bytes.len() == 15
        && bytes.iter().zip(b"Aaa 99 99:99:99").enumerate().all(
            |(index, (byte, form))| match form {
                b'A' => byte.is_ascii_uppercase(),
                b'a' => byte.is_ascii_lowercase(),
                b'9' => byte.is_ascii_digit() || (index == 4 && *byte == b' '),
                other => byte == other,
            },
        )
}

/// The texts of all log lines of an ended process, with the times in them replaced.
fn log_texts(master: &FakeMaster) -> Vec<String> {
    master
        .all_log_lines()
        .iter()
        .map(|line| {
            let text = text_of(line, master);
            match text.strip_prefix("statistics: start interval ") {
                Some(time) => {
                    assert!(is_log_time(time), "{time:?} is no time in {line:?}");
                    "statistics: start interval TIME".to_owned()
                }
                None => text,
            }
        })
        .collect()
}

#[test]
fn master_is_told_taken_then_available() {
    with_both(|program| {
        let master = Setup::new(program).generation("17").start();
        let client = greeted(master.connect());
        assert_eq!(
            master.notices(0),
            [],
            "a client that says nothing takes nobody's time"
        );
        ask(&client, &find_endp("x"), &no_endp(2));
        let notice = |available| Notice {
            pid: master.pid(),
            generation: 0o17,
            available,
        };
        assert_eq!(master.notices(2)[..2], [notice(0), notice(1)]);
    });
}

#[test]
fn statistics_are_logged_word_for_word() {
    with_both(|program| {
        let mut master = Setup::new(program).start();
        let client = greeted(master.connect());
        let connections = [
            Connection::new(),
            Connection::new(),
            Connection::new(),
            Connection::new(),
        ];
        ask(&client, &save_dest("60", "dest1", "d", "endp1"), &status(0));
        ask(&client, &save_dest("60", "dest2", "d", "endp2"), &status(0));
        ask(&client, &save_dest("60", "dest2", "e", "endp2"), &status(0));
        save(&client, &connections[0], "endp1", "p");
        save(&client, &connections[1], "endp1", "q");
        save(&client, &connections[2], "endp2", "p");
        ask(&client, &find_dest("dest1"), &found_dest("d", "p"));
        receive(&client, &connections[0]);
        ask(&client, &find_dest("dest3"), &no_dest(2));
        ask(&client, &find_endp("endp1"), &found_endp("q"));
        receive(&client, &connections[1]);
        ask(&client, &find_endp("endp2"), &found_endp("p"));
        receive(&client, &connections[2]);
        ask(&client, &find_endp("endp2"), &no_endp(2));
        save(&client, &connections[3], "endp3", "p");
        // Malformed requests count as nothing.
        ask(&client, &list(&[("request", "find_endp")]), &no_endp(1));
        master.close_status_channel();
        assert!(master.wait_for_exit().success());
        let texts = log_texts(&master);
        let information: Vec<&str> = texts
            .iter()
            .map(String::as_str)
            .filter(|text| !text.starts_with("warning: "))
            .collect();
        assert_eq!(
            information,
            [
                "statistics: start interval TIME",
                "statistics: domain lookup hits=1 miss=1 success=50%",
                "statistics: address lookup hits=2 miss=1 success=66%",
                "statistics: max simultaneous domains=2 addresses=2 connection=3",
            ]
        );
    });
}

#[test]
fn statistics_without_anything_to_count_are_not_logged() {
    with_both(|program| {
        let mut master = Setup::new(program).start();
        drop(greeted(master.connect()));
        master.close_status_channel();
        assert!(master.wait_for_exit().success());
        assert_eq!(log_texts(&master), Vec::<String>::new());
    });
}

#[test]
fn statistics_are_logged_and_reset_periodically() {
    with_both(|program| {
        let mut master = Setup::new(program)
            .setting("connection_cache_status_update_time", "2s")
            .start();
        let client = greeted(master.connect());
        ask(&client, &find_endp("x"), &no_endp(2));
        assert_eq!(master.log_lines(2).len(), 2);
        ask(&client, &find_dest("x"), &no_dest(2));
        master.close_status_channel();
        assert!(master.wait_for_exit().success());
        assert_eq!(
            log_texts(&master),
            [
                "statistics: start interval TIME",
                "statistics: address lookup hits=0 miss=1 success=0%",
                "statistics: start interval TIME",
                "statistics: domain lookup hits=0 miss=1 success=0%",
            ]
        );
    });
}

#[test]
fn it_ends_well_when_master_is_gone() {
    with_both(|program| {
        let mut master = Setup::new(program).start();
        let client = greeted(master.connect());
        master.close_status_channel();
        assert_eq!(master.wait_for_exit().code(), Some(0));
        assert!(matches!(client.hear(Instant::now() + DEADLINE), Heard::End));
        assert_eq!(log_texts(&master), Vec::<String>::new());
    });
}

#[test]
fn it_ends_well_after_max_idle() {
    with_both(|program| {
        let mut never_used = Setup::new(program).setting("max_idle", "1s").start();
        assert_eq!(never_used.wait_for_exit().code(), Some(0));
        assert_eq!(log_texts(&never_used), Vec::<String>::new());
        let mut by_option = Setup::new(program).arguments(&["-i", "1"]).start();
        assert_eq!(by_option.wait_for_exit().code(), Some(0));
    });
}

#[test]
fn it_stays_while_a_client_is_connected() {
    with_both(|program| {
        let mut master = Setup::new(program).setting("max_idle", "3s").start();
        let client = greeted(master.connect());
        thread::sleep(Duration::from_secs(5));
        ask(&client, &find_endp("x"), &no_endp(2));
        drop(client);
        assert_eq!(master.wait_for_exit().code(), Some(0));
        assert_eq!(
            log_texts(&master),
            [
                "statistics: start interval TIME",
                "statistics: address lookup hits=0 miss=1 success=0%"
            ]
        );
    });
}

#[test]
fn the_number_of_requests_is_not_limited_by_max_use() {
    with_both(|program| {
        let master = Setup::new(program).arguments(&["-m", "1"]).start();
        for _ in 0..5 {
            ask(&greeted(master.connect()), &find_endp("x"), &no_endp(2));
        }
    });
}

#[test]
fn an_option_overrides_main_cf() {
    with_both(|program| {
        let master = Setup::new(program)
            .arguments(&["-o", "connection_cache_ttl_limit=1s"])
            .start();
        let client = greeted(master.connect());
        let connection = Connection::new();
        save(&client, &connection, "endp", "p");
        thread::sleep(Duration::from_millis(2600));
        ask(&client, &find_endp("endp"), &no_endp(2));
    });
}

#[test]
fn two_listening_sockets_serve_one_cache() {
    with_both(|program| {
        let master = Setup::new(program).sockets(2).start();
        let first = greeted(master.connect_to(0));
        let second = greeted(master.connect_to(1));
        let connection = Connection::new();
        save(&first, &connection, "endp", "p");
        ask(&second, &find_endp("endp"), &found_endp("p"));
        receive(&second, &connection);
    });
}

#[test]
fn clients_come_over_tcp() {
    with_both(|program| {
        let master = Setup::new(program).transport(Transport::Inet).start();
        let client = greeted(master.connect());
        ask(&client, &save_dest("60", "dest", "d", "endp"), &status(0));
        ask(&client, &find_dest("dest"), &no_dest(2));
        ask(&client, &find_endp("endp"), &no_endp(2));
        ask(&client, &list(&[("request", "find_endp")]), &no_endp(1));
        ask(&client, &save_endp("60", "endp", "p"), &dummy());
        // TCP carries no descriptors.
        ask(&client, &[0], &status(2));
    });
}

#[test]
fn clients_are_handed_on_by_another_program() {
    with_both(|program| {
        let master = Setup::new(program).transport(Transport::Pass).start();
        for attributes in [
            list::<&str, &str>(&[]),
            list(&[("client_address", "192.0.2.1"), ("x", "")]),
        ] {
            let (client, handed_on) = UnixStream::pair().expect("a pair of sockets");
            let hands = master.connect();
            hands
                .send_descriptors(&[handed_on.as_fd()])
                .expect("hand the client on");
            hands.send(&attributes).expect("send the attributes");
            drop((hands, handed_on));
            let client = greeted(Client::of_postfix(client.into()));
            let connection = Connection::new();
            save(&client, &connection, "endp", "p");
            ask(&client, &find_endp("endp"), &found_endp("p"));
            receive(&client, &connection);
        }
    });
}

#[test]
fn one_client_on_standard_input_and_output() {
    with_both(|program| {
        let mut master = Setup::new(program).one_shot().start();
        let client = master.one_shot_client();
        client.send(&find_endp("x")).expect("send a request");
        assert_eq!(
            client.hear_list(),
            no_endp(2),
            "no announcement, and the reply"
        );
        assert!(matches!(client.hear(Instant::now() + DEADLINE), Heard::End));
        assert_eq!(master.wait_for_exit().code(), Some(0));
        assert_eq!(
            log_texts(&master),
            [
                "statistics: start interval TIME",
                "statistics: address lookup hits=0 miss=1 success=0%"
            ]
        );
    });
}

/// A way to start it that must fail.
struct Fatal {
    what: &'static str,
    setup: fn(Setup) -> Setup,
    /// What the line in the log must name.
    named: &'static str,
}

const FATALS: &[Fatal] = &[
    Fatal {
        what: "an unknown option",
        setup: |setup| setup.arguments(&["-x"]),
        named: "x",
    },
    Fatal {
        what: "an option without its value",
        setup: |setup| setup.arguments(&["-o"]),
        named: "o",
    },
    Fatal {
        what: "a socket count of zero",
        setup: |setup| setup.arguments(&["-s", "0"]),
        named: "socket",
    },
    Fatal {
        what: "a socket count that is no number",
        setup: |setup| setup.arguments(&["-s", "many"]),
        named: "many",
    },
    Fatal {
        what: "no transport",
        setup: |setup| setup.only_arguments(&["-n", "scache", "-l"]),
        named: "transport",
    },
    Fatal {
        what: "a transport that nobody knows",
        setup: |setup| setup.only_arguments(&["-n", "scache", "-l", "-t", "fifo"]),
        named: "fifo",
    },
    Fatal {
        what: "no process limit",
        setup: |setup| setup.only_arguments(&["-n", "myname", "-t", "unix"]),
        named: "myname",
    },
    Fatal {
        what: "an assignment without a value",
        setup: |setup| setup.arguments(&["-o", "max_idle"]),
        named: "max_idle",
    },
    Fatal {
        what: "a malformed time in main.cf",
        setup: |setup| setup.setting("connection_cache_ttl_limit", "2 moons"),
        named: "connection_cache_ttl_limit",
    },
    Fatal {
        what: "a malformed time in an option",
        setup: |setup| setup.arguments(&["-o", "connection_cache_status_update_time=5x"]),
        named: "connection_cache_status_update_time",
    },
    Fatal {
        what: "a time below its minimum",
        setup: |setup| setup.setting("connection_cache_ttl_limit", "0"),
        named: "connection_cache_ttl_limit",
    },
    Fatal {
        what: "a malformed idle time",
        setup: |setup| setup.arguments(&["-i", "soon"]),
        named: "max_idle",
    },
    Fatal {
        what: "a malformed generation",
        setup: |setup| setup.generation("new"),
        named: "new",
    },
    Fatal {
        what: "no main.cf",
        setup: Setup::without_main_cf,
        named: "main.cf",
    },
    Fatal {
        what: "a queue directory that is not there",
        // Its log socket is not there either: `-V` shows the line on standard error.
        setup: |setup| {
            setup.arguments(&[
                "-V",
                "-o",
                "queue_directory=/nonexistent",
                "-o",
                "maillog_file=",
            ])
        },
        named: "/nonexistent",
    },
];

/// Only the severity, the name of the thing and the exit status are compared; the words may differ.
#[test]
fn what_is_fatal_in_stock_is_fatal_in_ours() {
    let programs = programs();
    thread::scope(|scope| {
        for fatal in FATALS {
            for (side, program) in &programs {
                scope.spawn(move || check_fatal(fatal, side, program));
            }
        }
    });
}

fn check_fatal(fatal: &Fatal, side: &str, program: &Program) {
    let mut master = (fatal.setup)(Setup::new(program)).start();
    assert_eq!(
        master.wait_for_exit().code(),
        Some(1),
        "{side}, {}",
        fatal.what
    );
    let mut texts: Vec<String> = master
        .all_log_lines()
        .iter()
        .map(|line| text_of(line, &master))
        .collect();
    for line in master.standard_error().lines() {
        let text = line.find("fatal: ").map_or(line, |start| &line[start..]);
        texts.push(text.to_owned());
    }
    let [text] = &texts[..] else {
        panic!("{side}, {}: not one line but {texts:#?}", fatal.what)
    };
    assert!(
        text.starts_with("fatal: ") && text.contains(fatal.named),
        "{side}, {}: {text:?} does not name {:?}",
        fatal.what,
        fatal.named
    );
}

/// Stock says so only when the first client asks for something.
#[test]
fn a_surplus_argument_is_fatal_at_the_latest_when_a_client_comes() {
    with_both(|program| {
        let mut master = Setup::new(program).arguments(&["surplus"]).start();
        let client = Client::connect(master.socket_path());
        if let Ok(client) = client {
            let _ = client.send(&find_endp("x"));
            assert_eq!(master.wait_for_exit().code(), Some(1));
        } else {
            assert_eq!(master.wait_for_exit().code(), Some(1));
        }
        let texts: Vec<String> = master
            .all_log_lines()
            .iter()
            .map(|line| text_of(line, &master))
            .collect();
        assert_eq!(texts.len(), 1, "{texts:#?}");
        assert!(
            texts[0].starts_with("fatal: ") && texts[0].contains("surplus"),
            "{texts:#?}"
        );
    });
}

#[test]
fn a_client_may_be_silent_for_long() {
    with_both(|program| {
        let master = Setup::new(program).start();
        let client = greeted(master.connect());
        thread::sleep(3 * QUIET);
        ask(&client, &find_endp("x"), &no_endp(2));
        thread::sleep(3 * QUIET);
        ask(&client, &find_endp("x"), &no_endp(2));
    });
}
