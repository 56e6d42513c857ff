//! What the tests of faults have in common.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use scache_tests::exchange::{ask, find_endp, greeted, no_endp};
use scache_tests::fake_master::{FakeMaster, Program, Setup, built, ours, stock};
use scache_tests::scached::Scached;
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET};

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Stock,
    Ours,
}

/// Does the same with both programs, side by side.
pub fn with_both(check: impl Fn(Side, &Program) + Sync) {
    thread::scope(|scope| {
        let other = cfg!(feature = "system").then(|| scope.spawn(|| check(Side::Stock, &stock())));
        check(Side::Ours, &ours());
        if let Some(other) = other {
            other.join().expect("stock did what it was to do");
        }
    });
}

/// Ours, with these lines in its main.cf.
pub fn ours_with(settings: &[(&str, &str)]) -> FakeMaster {
    with_settings(Setup::new(&ours()), settings).start()
}

/// A setup with these lines in main.cf.
pub fn with_settings(setup: Setup, settings: &[(&str, &str)]) -> Setup {
    settings
        .iter()
        .fold(setup, |setup, (name, value)| setup.setting(name, value))
}

/// A client that was announced to.
pub fn client_of(master: &FakeMaster) -> Client {
    greeted(master.connect())
}

/// A question that everybody is answered who is served.
pub fn is_served(witness: &Client) {
    ask(witness, &find_endp("nothing is here"), &no_endp(2));
}

/// Asks until there is no answer for a while: the server may have turned to others first.
#[must_use]
pub fn is_kept_waiting(witness: &Client) -> bool {
    let deadline = Instant::now() + DEADLINE;
    while Instant::now() < deadline {
        let asked = witness.send(&find_endp("nothing is here"));
        asked.expect("send a request");
        let heard = witness.hear_list_until(Instant::now() + QUIET);
        if heard.is_empty() {
            return true;
        }
        assert_eq!(heard, no_endp(2));
    }
    false
}

/// What [`is_kept_waiting`] asked is answered after all.
pub fn is_served_at_last(witness: &Client) {
    assert_eq!(witness.hear_list(), no_endp(2));
}

pub fn hears_nothing(client: &Client) {
    let heard = client.hear(Instant::now() + QUIET);
    assert!(matches!(heard, Heard::Nothing), "{heard:?}");
}

/// The server closes the client's connection.
pub fn hears_the_end(client: &Client) {
    let heard = client.hear(Instant::now() + DEADLINE);
    assert!(matches!(heard, Heard::End), "not the end but {heard:?}");
}

/// What a cached connection's peer hears before the end, for people to read.
pub fn last_words(connection: &Connection) -> String {
    connection
        .far_hears_to_the_end()
        .map_or("no end".to_owned(), |heard| {
            heard.escape_ascii().to_string()
        })
}

/// The goodbye of Postfix's connections, as [`last_words`] gives it.
pub const QUIT: &str = "QUIT\\r\\n";

/// Waits for something that must become true.
pub fn becomes_true(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_true() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The texts of all log lines so far, without time, host and tag.
pub fn logged(master: &FakeMaster) -> Vec<String> {
    master
        .all_log_lines()
        .iter()
        .map(|line| {
            let (_, text) = line
                .split_once("]: ")
                .unwrap_or_else(|| panic!("no tag in {line:?}"));
            text.to_owned()
        })
        .collect()
}

/// The warnings among them.
pub fn warnings(master: &FakeMaster) -> Vec<String> {
    let mut lines = logged(master);
    lines.retain(|line| line.starts_with("warning: "));
    lines
}

/// The program that does things as another user, where that user can start it.
pub struct OtherUser {
    number: u32,
    directory: tempfile::TempDir,
}

impl OtherUser {
    pub fn new(number: u32) -> Self {
        // The build's directory may be closed to that user.
        let directory = tempfile::tempdir().expect("a directory");
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).expect("set the mode");
        std::fs::copy(built("faults"), directory.path().join("faults")).expect("copy the program");
        Self { number, directory }
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(self.directory.path().join("faults"));
        command.current_dir("/").uid(self.number).gid(self.number);
        command
    }
}

/// `scached`, in a directory that every user may look into.
pub struct Daemon(Scached);

impl Daemon {
    /// Started, and listening at [`Daemon::path`].
    pub fn start(arguments: &[&str]) -> Self {
        Self(Scached::for_all_users(arguments))
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Closes the other end of its standard error.
    pub fn close_screen(&mut self) {
        self.0.close_screen();
    }

    /// Ends it as an administrator does.
    pub fn ends(&mut self) {
        let child = self.0.child();
        kill_process(Pid::from_child(child), Signal::TERM).expect("it runs");
        becomes_true("it ends", || {
            let status = child.try_wait().expect("wait");
            status
                .inspect(|status| assert_eq!(status.code(), Some(0)))
                .is_some()
        });
    }
}
