//! Sockets that are none, or of somebody else, or not for this user: one line and a status of sysexits(3).

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;

use scache_tests::fake_master::built;

use crate::caches::{Cache, Said, scachectl};

/// What looks, and what changes.
const COMMANDS: &[&[&str]] = &[
    &["stats"],
    &["stats", "--json"],
    &["list"],
    &["watch"],
    &["purge", "--all"],
    &["drain"],
];

fn ask(path: &Path, arguments: &[&str]) -> Said {
    Said::of(&scachectl(path).args(arguments).output().expect("scachectl"))
}

#[cfg(feature = "system")]
#[test]
fn stock_is_called_by_its_name() {
    let cache = Cache::stock();
    for arguments in COMMANDS {
        let said = cache.ask(arguments);
        said.assert_failed(76, &["answers as Postfix's own scache"]);
    }
}

#[test]
fn a_socket_that_is_none_is_said_to_be_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    let left = directory.path().join("left");
    drop(UnixListener::bind(&left).expect("a socket"));
    let long = directory.path().join("x".repeat(200));
    for arguments in COMMANDS {
        ask(&missing, arguments).assert_failed(66, &["there is no ", "missing", "--socket"]);
        ask(&file, arguments).assert_failed(66, &["file is not a socket"]);
        ask(&left, arguments).assert_failed(69, &["nobody listens at ", "left"]);
        let said = ask(&long, arguments);
        assert!(matches!(said.status, Some(64 | 66)), "{said:?}");
    }
}

#[test]
fn somebody_elses_server_is_not_taken_for_a_cache() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a socket");
    // Speaks, and what it says is no list; and one that closes.
    let server = std::thread::spawn(move || {
        for (number, client) in listener.incoming().enumerate() {
            let mut client = client.expect("a client");
            if number == 0 {
                let _ = client
                    .write_all(&[b"220 mail.example.com ESMTP\r\n".as_slice(), &[0; 8]].concat());
                let mut rest = Vec::new();
                let _ = std::io::Read::read_to_end(&mut client, &mut rest);
            } else if number == 9 {
                return;
            }
        }
    });
    ask(&path, &["stats"]).assert_failed(76, &["is somebody else's"]);
    ask(&path, &["stats"]).assert_failed(69, &["closes the connection"]);
    // Whatever it did not see yet.
    while !server.is_finished() {
        drop(std::os::unix::net::UnixStream::connect(&path));
    }
    server.join().expect("it ends");
}

#[cfg(feature = "system")]
#[test]
fn who_may_not_is_told_so() {
    scache_tests::needs_root();
    let cache = Cache::scached_with(&["--mode", "0666"]);
    for arguments in [&["purge", "--all"][..], &["drain"]] {
        let said = cache.ask_as_another_user(arguments);
        said.assert_failed(77, &["root"]);
    }
    let said = cache.ask_as_another_user(&["stats"]);
    assert_eq!(said.status, Some(0), "{said:?}");
    let nobody = ["--mode", "0666", "--allow-user", "65534"];
    let said = Cache::scached_with(&nobody).ask_as_another_user(&["stats"]);
    said.assert_failed(69, &["closes the connection", "--allow-user"]);
    let closed = Cache::scached();
    for arguments in COMMANDS {
        closed
            .ask_as_another_user(arguments)
            .assert_failed(77, &["may not use"]);
    }
}

#[test]
fn a_command_line_that_makes_no_sense_is_refused() {
    for arguments in [
        &[][..],
        &["list", "everything"],
        &["list", "--limit", "0"],
        &["purge"],
        &["purge", "--all", "--label", "a"],
        &["purge", "--label", "\\q"],
        &["stats", "--colour"],
        &["drain", "--off", "--wait"],
        &["watch", "--for", "soon"],
        &["top", "--interval", "1ms"],
    ] {
        let output = std::process::Command::new(built("scachectl"))
            .args(arguments)
            .output()
            .expect("scachectl");
        let said = Said::of(&output);
        assert_eq!(said.status, Some(64), "{arguments:?}: {said:?}");
        assert!(!said.err.is_empty() && said.out.is_empty(), "{said:?}");
    }
}
