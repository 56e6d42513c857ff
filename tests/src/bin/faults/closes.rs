//! Descriptors whose close waits: how long others wait for their answers meanwhile.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use scache_tests::exchange::{ask, find_endp, greeted, no_endp, save_endp, status};
use scache_tests::fake_master::{FakeMaster, Program, Setup, ours, stock};
use scache_tests::waiting_close::{SlowFile, nested};
use scache_tests::wire::{Client, dummy};

use crate::Counts;
use crate::report::Report;

/// How long the sockets linger, and how long the file system's server waits.
const LINGER: Duration = Duration::from_secs(6);

/// Time within which the closes happen, and a bit more.
const WATCHED: Duration = Duration::from_secs(9);

/// No loaded machine makes a client wait for as long as that.
const PROMISED: Duration = Duration::from_secs(2);

type Send = fn(&FakeMaster, BorrowedFd<'_>) -> Client;

const WAYS: [(&str, Send); 2] = [
    ("saved, expires", |master, descriptor| {
        let client = greeted(master.connect());
        ask(&client, &save_endp("1", "endp", "p"), &dummy());
        client.send_descriptors(&[descriptor]).expect("send it");
        assert_eq!(client.hear_list(), status(0));
        client
    }),
    ("where none belongs", |master, descriptor| {
        let client = greeted(master.connect());
        client.send_descriptors(&[descriptor]).expect("send it");
        client
    }),
];

pub fn measure(_counts: &Counts, report: &mut Report) {
    report.part("The longest wait of another client while a close waits for 6 s");
    let mut longest_of_ours = Duration::ZERO;
    for (what, send) in WAYS {
        for slow_file in [false, true] {
            let of_what = if slow_file {
                "FUSE file"
            } else {
                "socket in a queue"
            };
            for (name, program) in [("stock", stock()), ("ours", ours())] {
                let wait = longest_wait(&program, send, slow_file);
                report.row(name, &format!("{of_what}, {what}: {wait:.3?}"));
                if name == "ours" {
                    longest_of_ours = longest_of_ours.max(wait);
                }
            }
        }
    }
    report.promise(
        "no close waits in the event loop",
        longest_of_ours < PROMISED,
    );
}

fn longest_wait(program: &Program, send: Send, slow_file: bool) -> Duration {
    let master = Setup::new(program).start();
    let witness = greeted(master.connect());
    let began = Instant::now();
    let mut slow = slow_file.then(SlowFile::new);
    let mut near: Option<(OwnedFd, Vec<OwnedFd>)> = (!slow_file).then(|| nested(1, LINGER));
    let _client = match (&slow, &near) {
        (Some(slow), _) => send(&master, slow.file()),
        (None, Some((near, _))) => send(&master, near.as_fd()),
        (None, None) => return Duration::ZERO,
    };
    // The last copy is to be the server's.
    let _kept = near.take().map(|(near, kept)| {
        drop(near);
        kept
    });
    let mut longest = Duration::ZERO;
    while began.elapsed() < WATCHED {
        let asked = Instant::now();
        std::thread::scope(|scope| {
            let question =
                scope.spawn(|| ask(&witness, &find_endp("nothing is here"), &no_endp(2)));
            while !question.is_finished() {
                if began.elapsed() > LINGER {
                    slow = None;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        longest = longest.max(asked.elapsed());
    }
    longest
}
