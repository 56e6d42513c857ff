//! Closes that wait although the descriptor itself does not linger (row 30): what lies in a socket's queue, and files of
//! a slow file system.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::process::{Signal, Uid};
use rustix::thread::set_thread_res_uid;
use scache_tests::exchange::{ask, find_endp, greeted, no_endp, save_endp, status, try_find};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};
use scache_tests::process::Process;
use scache_tests::scached::Scached;
use scache_tests::waiting_close::{SlowFile, nested};
use scache_tests::wire::{Client, Heard, Identity, dummy, list};

use crate::common::{becomes_true, client_of, hears_the_end, is_kept_waiting, is_served};

/// Beyond any deadline here.
const LINGER: Duration = Duration::from_secs(40);

/// A way in which the server comes to close what it was sent.
struct Way {
    what: &'static str,
    /// Sends the descriptor, and returns a client that has to stay.
    send: fn(&FakeMaster, BorrowedFd<'_>) -> Client,
}

const WAYS: &[Way] = &[
    Way {
        what: "it is saved and expires",
        send: |master, descriptor| {
            let client = client_of(master);
            ask(&client, &save_endp("1", "endp", "p"), &dummy());
            client.send_descriptors(&[descriptor]).expect("send it");
            assert_eq!(client.hear_list(), status(0));
            client
        },
    },
    Way {
        what: "it belongs nowhere",
        send: |master, descriptor| {
            let client = client_of(master);
            client.send_descriptors(&[descriptor]).expect("send it");
            client
        },
    },
    Way {
        what: "it was never read when its client was dropped",
        send: |master, descriptor| {
            let client = client_of(master);
            // Refused when a part of it was read: what comes behind it stays in the socket.
            let too_long = list(&[("x", "y".repeat(100_000))]);
            master.signal(Signal::STOP);
            client.send(&too_long).expect("send");
            client.send_descriptors(&[descriptor]).expect("send it");
            master.signal(Signal::CONT);
            let _ = client.hear_list();
            hears_the_end(&client);
            client
        },
    },
];

/// Whether a witness has all its answers, for as long as any of these takes to come to its close.
fn assert_served(witness: &Client, what: &str) {
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        assert!(try_find(witness, "x").is_ok(), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn no_close_waits_for_what_lies_in_a_socket() {
    std::thread::scope(|scope| {
        for way in WAYS {
            for levels in [1, 3] {
                scope.spawn(move || {
                    let master = Setup::new(&ours()).start();
                    let witness = client_of(&master);
                    let (near, _kept) = nested(levels, LINGER);
                    let identity = Identity::of(&near);
                    let _client = (way.send)(&master, near.as_fd());
                    drop(near);
                    assert_served(&witness, way.what);
                    assert!(master.process().lets_go_of(identity), "{}", way.what);
                });
            }
        }
    });
}

#[cfg(feature = "system")]
#[test]
fn in_stock_a_close_waits_for_what_lies_in_a_socket() {
    let master = Setup::new(&stock()).start();
    let witness = client_of(&master);
    let (near, _kept) = nested(1, LINGER);
    let _client = (WAYS[0].send)(&master, near.as_fd());
    drop(near);
    assert!(is_kept_waiting(&witness));
}

#[cfg(feature = "system")]
#[test]
fn no_close_waits_for_a_slow_file_system() {
    scache_tests::needs_root();
    for way in &WAYS[..2] {
        let master = Setup::new(&ours()).start();
        let witness = client_of(&master);
        let slow = SlowFile::new();
        let identity = Identity::of(slow.file());
        let clients: Vec<Client> = (0..3).map(|_| (way.send)(&master, slow.file())).collect();
        assert_served(&witness, way.what);
        assert!(slow.flushes() > 0, "nothing was closed: {}", way.what);
        assert!(master.process().lets_go_of(identity), "{}", way.what);
        drop(clients);
        drop(slow);
        is_served(&witness);
    }
}

#[cfg(feature = "system")]
#[test]
fn a_user_who_is_refused_cannot_make_the_daemon_wait() {
    scache_tests::needs_root();
    const ALLOWED: &str = "60001";
    let daemon = Scached::for_all_users(&["--mode", "0666", "--allow-user", ALLOWED]);
    let witness = greeted(Client::connect(daemon.path()).expect("connect"));
    let process = Process::new(daemon.pid());
    let (near, _kept) = nested(0, LINGER);
    let identity = Identity::of(&near);
    process.signal(Signal::STOP);
    let refused = std::thread::scope(|scope| {
        let connect = || {
            // The user of this thread only.
            let user = Some(Uid::from_raw(60_002));
            set_thread_res_uid(user, user, user).expect("root may be anybody");
            let client = Client::connect(daemon.path()).expect("the mode lets everybody in");
            client.send_descriptors(&[near.as_fd()]).expect("send it");
            client
        };
        scope.spawn(connect).join().expect("it connects")
    });
    drop(near);
    process.signal(Signal::CONT);
    let heard = refused.hear(Instant::now() + Duration::from_secs(20));
    assert!(matches!(heard, Heard::End), "{heard:?}");
    assert_served(&witness, "refused");
    assert!(process.lets_go_of(identity));
}

#[test]
fn a_helper_that_is_killed_is_replaced() {
    let master = Setup::new(&ours()).start();
    let witness = client_of(&master);
    for _ in 0..3 {
        for helper in master.process().children() {
            helper.kill();
        }
        let (near, _kept) = nested(1, LINGER);
        let identity = Identity::of(&near);
        let _client = (WAYS[1].send)(&master, near.as_fd());
        drop(near);
        assert_served(&witness, "without its helper");
        assert!(master.process().lets_go_of(identity));
    }
    becomes_true("one helper is left", || {
        master.process().children().len() == 1
    });
}

#[test]
fn many_of_them_are_closed_and_the_helper_keeps_nothing() {
    let master = Setup::new(&ours()).start();
    let witness = client_of(&master);
    let (near, _kept) = nested(1, LINGER);
    let identity = Identity::of(&near);
    let copies = [near.as_fd(); 200];
    for _ in 0..20 {
        let client = client_of(&master);
        client.send_descriptors(&copies).expect("send them");
        hears_the_end(&client);
        ask(&witness, &find_endp("x"), &no_endp(2));
    }
    drop(near);
    assert!(master.process().lets_go_of(identity));
    for helper in master.process().children() {
        assert!(helper.lets_go_of(identity), "the helper holds it");
    }
    is_served(&witness);
}
