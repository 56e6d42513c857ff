//! The examples of `scachectl connect`, as their readers would run them, at a real SMTP server.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use scache_tests::fake_master::built;
use scache_tests::smtp_sink::{Seen, SmtpSink};

use crate::caches::{Cache, KINDS, Kind, Said, run, scachectl};

const SENDER: &str = "sender@example.com";
const RECIPIENT: &str = "recipient@example.com";

fn example(name: &str) -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    crates.join("scachectl/examples").join(name)
}

fn ten_mails(cache: &Path, sink: &SmtpSink) -> Said {
    let mut command = Command::new(example("ten-mails.sh"));
    command
        .env("SCACHECTL", built("scachectl"))
        .env("SCACHE_SOCKET", cache)
        .arg(sink.address().to_string())
        .args([SENDER, RECIPIENT]);
    let said = run(&mut command);
    said.assert_well();
    println!("{}", said.out);
    said
}

/// How often each mail's session was used before, as the script says it; each by a process of its own.
fn uses(said: &Said) -> Vec<u32> {
    let mut processes: Vec<&str> = Vec::new();
    let uses = said.out.lines().map(|line| {
        let rest = line.split_once("process ").expect("a process").1;
        let (process, uses) = rest.split_once(", session used ").expect("a number");
        processes.push(process);
        let uses = uses.strip_suffix(" times before").expect("a number");
        uses.parse().expect("a number")
    });
    let uses = uses.collect();
    let count = processes.len();
    processes.sort_unstable();
    processes.dedup();
    assert_eq!(processes.len(), count, "{said:?}");
    uses
}

#[cfg(feature = "system")]
#[test]
fn ten_mails_in_ten_processes_use_one_smtp_session() {
    for kind in KINDS {
        let sink = SmtpSink::start();
        let server = Cache::start(kind);
        let said = ten_mails(&server.path(), &sink);
        assert_eq!(uses(&said), (0..10).collect::<Vec<_>>(), "{kind:?}");
        // The session ends with the server, who is killed and says no QUIT.
        drop(server);
        let expected = Seen {
            sessions: 1,
            messages: 10,
        };
        assert_eq!(sink.finish(), expected, "{kind:?}");
    }
}

#[cfg(feature = "system")]
#[test]
fn without_a_cache_they_use_ten() {
    let sink = SmtpSink::start();
    let said = ten_mails(Path::new("/nonexistent/socket"), &sink);
    assert_eq!(uses(&said), [0; 10]);
    let expected = Seen {
        sessions: 10,
        messages: 10,
    };
    assert_eq!(sink.finish(), expected);
}

#[cfg(feature = "system")]
#[test]
fn another_language_goes_on_in_the_same_session() {
    let sink = SmtpSink::start();
    let server = Cache::start(Kind::Scached);
    ten_mails(&server.path(), &sink);
    for _ in 0..2 {
        let words: [OsString; 5] = [
            "connect".into(),
            sink.address().to_string().into(),
            example("one-mail.pl").into(),
            SENDER.into(),
            RECIPIENT.into(),
        ];
        run(scachectl(&server.path()).args(words)).assert_well();
    }
    drop(server);
    let expected = Seen {
        sessions: 1,
        messages: 12,
    };
    assert_eq!(sink.finish(), expected);
}
