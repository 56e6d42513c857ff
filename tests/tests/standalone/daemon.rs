//! A running `scached`, and what is asked of it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use scache_client::Client;
use scache_tests::fake_master::built;
use scache_tests::wire::Connection;
use tempfile::TempDir;

/// A time to live that no test outlives.
pub const LONG: Duration = Duration::from_secs(600);

pub struct Daemon {
    pub child: Child,
    screen: Option<BufReader<ChildStderr>>,
}

impl Daemon {
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(built("scached"));
        command.args(arguments);
        Self::spawn(command)
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("scached");
        let screen = child.stderr.take().map(BufReader::new);
        Self { child, screen }
    }

    /// One that was started with a standard error of the test's own.
    pub fn without_screen(child: Child) -> Self {
        Self {
            child,
            screen: None,
        }
    }

    /// One that listens at `path` already.
    pub fn listening(path: &Path, arguments: &[&str]) -> Self {
        let mut daemon = Self::start(&[&["--socket", text(path)], arguments].concat());
        let line = daemon.wait_for("listening on");
        assert!(line.contains(text(path)), "{line}");
        daemon
    }

    /// The next line it says; empty when it ended.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        let screen = self.screen.as_mut().expect("its standard error");
        screen.read_line(&mut line).expect("a line");
        line
    }

    /// Reads what it says until a line has this in it.
    pub fn wait_for(&mut self, part: &str) -> String {
        let mut before = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "it ended without \"{part}\": {before}");
            if line.contains(part) {
                return line;
            }
            before.push_str(&line);
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// The exit status and the rest of what it said.
    pub fn end(mut self) -> (Option<i32>, String) {
        let mut rest = String::new();
        if let Some(screen) = &mut self.screen {
            screen.read_to_string(&mut rest).expect("text");
        }
        let status = self.child.wait().expect("it ends");
        (status.code(), rest)
    }

    pub fn terminate(self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.end()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says when it does not start.
pub fn refused(arguments: &[&str]) -> String {
    let output = Command::new(built("scached"))
        .args(arguments)
        .output()
        .expect("scached");
    assert!(!output.status.success(), "{arguments:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// A directory, and the path of a socket in it.
pub fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    (directory, path)
}

/// Saves a fresh connection, of which the test keeps the far end only.
pub fn save(client: &mut Client, ttl: Duration, endpoint: &str, property: &str) -> Connection {
    let mut connection = Connection::new();
    client
        .save_endpoint(
            ttl,
            endpoint.as_bytes(),
            property.as_bytes(),
            &connection.near(),
        )
        .expect("saved");
    connection.let_go();
    connection
}

/// Takes a connection, which has to be this one.
pub fn find(client: &mut Client, endpoint: &str, property: &str, wanted: &Connection) {
    let found = client
        .find_endpoint(endpoint.as_bytes())
        .expect("asked")
        .unwrap_or_else(|| panic!("{endpoint} {property} is not there"));
    assert_eq!(
        String::from_utf8_lossy(&found.property),
        property,
        "{endpoint}"
    );
    assert!(
        wanted.check(&found.connection),
        "another connection was found for {endpoint} {property}"
    );
}

/// That nothing is cached for an endpoint.
pub fn miss(client: &mut Client, endpoint: &str) {
    let found = client.find_endpoint(endpoint.as_bytes()).expect("asked");
    assert!(found.is_none(), "{endpoint} is there");
}
