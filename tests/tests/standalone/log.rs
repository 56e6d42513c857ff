//! Standard error as the log: nobody need read it.

use std::io::{Read, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use scache_client::Client;
use scache_tests::fake_master::built;

use crate::daemon::{Daemon, LONG, find, miss, place, save, text};

/// More requests than standard error has room for, each of which is a line.
const REQUESTS: usize = 2000;

/// Starts a daemon that has much to say, with this standard error.
fn start(path: &std::path::Path, stderr: OwnedFd) -> Daemon {
    spawn(Command::new(built("scached")), path, stderr)
}

fn spawn(mut command: Command, path: &std::path::Path, stderr: OwnedFd) -> Daemon {
    let child = command
        .args(["--socket", text(path), "--verbose", "--ttl-limit", "1h"])
        .stderr(Stdio::from(stderr))
        .spawn()
        .expect("scached");
    while std::os::unix::net::UnixStream::connect(path).is_err() {
        std::thread::yield_now();
    }
    Daemon::without_screen(child)
}

/// That it serves, however much it has to say.
fn keep_busy(path: &std::path::Path) {
    let mut client = Client::new(path);
    let connection = save(&mut client, LONG, "e", "p");
    let endpoint = "x".repeat(100);
    for _ in 0..REQUESTS {
        miss(&mut client, &endpoint);
    }
    find(&mut client, "e", "p", &connection);
}

/// Lets it end while somebody reads again.
fn last_words(daemon: Daemon, mut reader: impl Read) -> String {
    let mut heard = vec![0; 1 << 16];
    let bytes = reader.read(&mut heard).expect("what was taken");
    assert!(bytes > 0);
    assert_eq!(daemon.terminate().0, Some(0));
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).expect("the rest");
    String::from_utf8_lossy(&rest).into_owned()
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up_and_lost_lines_are_counted() {
    let (_directory, path) = place();
    let (reader, writer) = pipe().expect("a pipe");
    let daemon = start(&path, writer.into());
    keep_busy(&path);
    let rest = last_words(daemon, reader);
    assert!(rest.contains("log lines were lost"), "{rest}");
}

#[test]
fn a_socket_that_nobody_reads_holds_nobody_up_and_lost_lines_are_counted() {
    let (_directory, path) = place();
    let (reader, writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let daemon = start(&path, writer.into());
    keep_busy(&path);
    let rest = last_words(daemon, reader);
    assert!(rest.contains("log lines were lost"), "{rest}");
}

#[cfg(feature = "system")]
#[test]
fn a_pipe_of_another_user_is_not_waited_for_either() {
    scache_tests::needs_root();
    const USER: u32 = 60_001;
    let (directory, path) = place();
    // Where that user may read it.
    let program = directory.path().join("scached");
    std::fs::copy(built("scached"), &program).expect("copied");
    chown(directory.path(), Some(USER), None).expect("the tests run as root");
    let (reader, writer) = pipe().expect("a pipe");
    let mut command = Command::new(program);
    command.uid(USER).gid(USER);
    let daemon = spawn(command, &path, writer.into());
    keep_busy(&path);
    let rest = last_words(daemon, reader);
    assert!(rest.contains("log lines were lost"), "{rest}");
}

#[test]
fn a_terminal_that_somebody_stopped_holds_nobody_up() {
    let (_directory, path) = place();
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&terminal).expect("granted");
    unlockpt(&terminal).expect("unlocked");
    let name = ptsname(&terminal, Vec::new()).expect("a name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let theirs = rustix::fs::open(&name, flags, Mode::empty()).expect("opened");
    let daemon = start(&path, theirs);
    // Ctrl-S.
    rustix::io::write(&terminal, &[0x13]).expect("typed");
    keep_busy(&path);
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn a_standard_error_that_was_full_before_it_started_does_not_stop_it() {
    let (_directory, path) = place();
    let (_reader, writer) = pipe().expect("a pipe");
    fill(writer.as_fd());
    let daemon = start(&path, writer.into());
    keep_busy(&path);
    assert_eq!(daemon.terminate().0, Some(0));
}

/// Writes until there is no room; whoever writes next would wait.
fn fill(pipe: impl AsFd) {
    let before = fcntl_getfl(&pipe).expect("its flags");
    fcntl_setfl(&pipe, before | OFlags::NONBLOCK).expect("set");
    while rustix::io::write(&pipe, &[b'x'; 4096]).is_ok() {}
    while rustix::io::write(&pipe, b"x").is_ok() {}
    fcntl_setfl(&pipe, before).expect("set back");
}
