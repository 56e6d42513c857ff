//! A socket of another user where `scachectl` looks for that of the cache.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use scache_tests::fake_master::built;
use scache_tests::planted::{OTHER_USER, Planted};
use scache_tests::scached::Scached;

use crate::caches::{Said, run, scachectl, until};

/// What gives connections away, and what asks.
const COMMANDS: &[&[&str]] = &[
    &["stats"],
    &["list"],
    &["purge", "--all"],
    &["bench", "--clients", "1", "--operations", "2"],
];

/// `scachectl` that has to look for its cache, and finds none but in this directory.
fn searching(temporary: &Path) -> Command {
    let mut command = Command::new(built("scachectl"));
    command
        .env_remove("SCACHE_SOCKET")
        .env_remove("XDG_RUNTIME_DIR")
        .env("TMPDIR", temporary)
        // No postconf(1), so no Postfix.
        .env("PATH", "/nonexistent");
    command
}

fn connect(temporary: &Path, verbose: bool) -> Said {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    let mut command = searching(temporary);
    command.arg("connect");
    if verbose {
        command.arg("--verbose");
    }
    run(command.args([&target, "--", "/bin/true"]))
}

#[test]
fn without_a_cache_each_path_is_named_with_what_is_wrong_with_it() {
    let temporary = tempfile::tempdir().expect("a directory");
    let runtime = temporary.path().join("runtime");
    std::fs::create_dir(&runtime).expect("made");
    let deserted = runtime.join("scache.sock");
    drop(UnixListener::bind(&deserted).expect("a socket"));
    let user = rustix::process::geteuid().as_raw();
    let own = temporary.path().join(format!("scache-{user}/scache.sock"));
    let searching = |temporary: &Path| {
        let mut command = searching(temporary);
        command.env("XDG_RUNTIME_DIR", &runtime).arg("stats");
        command
    };
    let said = run(&mut searching(temporary.path()));
    let parts = [
        &format!("{}: nobody listens", deserted.display()),
        "/run/scache/scache.sock",
        &*own.display().to_string(),
        "Postfix",
        "SCACHE_SOCKET",
    ];
    let last = said.err.lines().last().expect("a message");
    for part in parts {
        // One that runs on this machine would be found.
        let is_there = Path::new("/run/scache/scache.sock").exists();
        assert!(is_there || last.contains(part), "{part}: {said:?}");
    }
    // One that is left over does not hide one that serves.
    std::fs::create_dir(own.parent().expect("a directory")).expect("made");
    let _scached = Scached::start(&own, &[]);
    let said = run(&mut searching(temporary.path()));
    assert_eq!(said.status, Some(0), "{said:?}");
    assert!(said.err.contains("nobody listens at"), "{said:?}");
}

#[test]
fn the_environment_names_the_socket_unless_the_option_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let _scached = Scached::start(&path, &[]);
    for (variable, option, status) in [
        (&*path, None, 0),
        (Path::new("/proc/none/socket"), None, 66),
        (Path::new("/proc/none/socket"), Some(&*path), 0),
        (&*path, Some(Path::new("/proc/none/socket")), 66),
    ] {
        let mut command = searching(directory.path());
        command.env("SCACHE_SOCKET", variable).arg("stats");
        if let Some(option) = option {
            command.arg("--socket").arg(option);
        }
        let said = run(&mut command);
        assert_eq!(
            said.status,
            Some(status),
            "{variable:?} {option:?}: {said:?}"
        );
    }
}

#[test]
fn a_directory_that_another_user_can_change_is_passed_over() {
    for (owner, mode, reason) in [
        (
            OTHER_USER,
            0o755,
            "scache-0 belongs to another user (65534)",
        ),
        (0, 0o777, "others may replace"),
    ] {
        let planted = Planted::new(owner, mode);
        for arguments in COMMANDS {
            let said = run(searching(planted.temporary()).args(*arguments));
            assert_eq!(said.status, Some(69), "{said:?}");
            for line in said.err.lines() {
                assert!(line.contains(reason) && line.contains("--socket"), "{line}");
            }
        }
        assert_eq!(connect(planted.temporary(), false).err, "");
        let said = connect(planted.temporary(), true);
        assert!(said.err.contains(reason), "{said:?}");
        assert_eq!(planted.caught(), (0, 0));
    }
}

#[test]
fn a_listener_of_another_user_is_told_nothing() {
    let planted = Planted::new(0, 0o755);
    for arguments in COMMANDS {
        let said = run(searching(planted.temporary()).args(*arguments));
        said.assert_failed(77, &["user 65534 listens there", "--socket"]);
    }
    assert_eq!(connect(planted.temporary(), false).err, "");
    let said = connect(planted.temporary(), true);
    assert!(said.err.contains("user 65534 listens there"), "{said:?}");
    assert!(said.err.contains("the cache does not have it"), "{said:?}");
    let (connected, bytes) = planted.caught();
    assert!(connected > 0);
    assert_eq!(bytes, 0);
}

#[test]
fn a_socket_that_is_named_is_trusted_whoever_listens() {
    let planted = Planted::new(OTHER_USER, 0o755);
    let child = scachectl(planted.socket())
        .arg("stats")
        .stderr(std::process::Stdio::null())
        .spawn();
    let mut child = child.expect("scachectl");
    // It waits for an answer by now or soon; nobody gives it one.
    until("it asks", || planted.first_byte().then_some(()));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
}

#[test]
fn a_cache_of_this_user_is_found_and_trusted() {
    let temporary = tempfile::tempdir().expect("a directory");
    let directory = temporary.path().join("scache-0");
    std::fs::create_dir(&directory).expect("a directory");
    let _scached = Scached::start(&directory.join("scache.sock"), &[]);
    let said = run(searching(temporary.path()).arg("stats"));
    said.assert_well();
}
