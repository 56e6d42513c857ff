//! Signals end the daemon as they should, or not at all.

use std::process::Command;

use rustix::process::Signal;
use scache_client::Client;
use scache_tests::fake_master::built;

use crate::daemon::{Daemon, LONG, find, place, save, text};

const OPTIONS: [&str; 4] = ["--ttl-limit", "1h", "--goodbye", "QUIT"];

#[test]
fn whatever_asks_for_the_end_gets_goodbyes_and_no_file_left() {
    let signals = [
        Signal::TERM,
        Signal::INT,
        Signal::HUP,
        Signal::QUIT,
        Signal::XCPU,
    ];
    for signal in signals {
        let (_directory, path) = place();
        let options = [&OPTIONS[..], &["--goodbye-timeout", "0"]].concat();
        let daemon = Daemon::listening(&path, &options);
        let connection = save(&mut Client::new(&path), LONG, "e", "p");
        daemon.signal(signal);
        let (code, said) = daemon.end();
        assert_eq!(code, Some(0), "{signal:?}: {said}");
        let heard = connection.far_hears_to_the_end();
        assert_eq!(heard.as_deref(), Some(&b"QUIT\r\n"[..]), "{signal:?}");
        assert!(!path.exists(), "{signal:?}");
    }
}

#[test]
fn what_means_nothing_to_it_does_nothing() {
    let (_directory, path) = place();
    let daemon = Daemon::listening(&path, &OPTIONS);
    let mut client = Client::new(&path);
    for signal in [
        Signal::PIPE,
        Signal::USR1,
        Signal::USR2,
        Signal::VTALARM,
        Signal::PROF,
        Signal::IO,
        Signal::XFSZ,
        Signal::TTOU,
        Signal::WINCH,
        Signal::CHILD,
        Signal::URG,
    ] {
        let connection = save(&mut client, LONG, "e", "p");
        daemon.signal(signal);
        find(&mut client, "e", "p", &connection);
    }
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn a_daemon_that_was_started_to_outlive_its_terminal_does() {
    let (_directory, path) = place();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' HUP INT; exec \"$@\"", "sh"])
        .arg(built("scached"))
        .args(OPTIONS)
        .args(["--socket", text(&path)]);
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for("listening on");
    let mut client = Client::new(&path);
    let connection = save(&mut client, LONG, "e", "p");
    daemon.signal(Signal::HUP);
    daemon.signal(Signal::INT);
    find(&mut client, "e", "p", &connection);
    assert_eq!(daemon.terminate().0, Some(0));
}
