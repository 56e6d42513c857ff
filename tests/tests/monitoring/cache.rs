//! A cache, its exporter, and work for the cache.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use scache_client::{Client, Save};
use scache_tests::fake_master::built;
use scache_tests::http::{self, Answer};
use scache_tests::wire::Connection;
use tempfile::TempDir;

/// Long enough to outlive any test.
const TTL: Duration = Duration::from_secs(600);

/// A program that says on standard error that it listens, and ends with this value.
struct Running {
    child: Child,
    screen: BufReader<ChildStderr>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let screen = BufReader::new(child.stderr.take().expect("its screen"));
        Self { child, screen }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.screen.read_line(&mut line).expect("a line");
        line
    }

    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
        let mut rest = String::new();
        self.screen.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends").code(), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A scached.
pub struct Cache {
    running: Option<Running>,
    directory: TempDir,
    /// The far ends of what is cached.
    kept: Vec<Connection>,
}

impl Cache {
    pub fn start() -> Self {
        let mut cache = Self::away();
        cache.come();
        cache
    }

    /// One that does not run yet.
    pub fn away() -> Self {
        Self {
            running: None,
            directory: TempDir::with_prefix("scache-monitoring-").expect("a directory"),
            kept: Vec::new(),
        }
    }

    pub fn come(&mut self) {
        let mut command = Command::new(built("scached"));
        command.arg("--socket").arg(self.socket()).args([
            "--ttl-limit",
            "1h",
            "--connection-limit",
            "100",
        ]);
        let mut running = Running::start(command);
        let line = running.line();
        assert!(line.contains("listening on"), "{line}");
        self.running = Some(running);
    }

    /// Ends it with all that it has.
    pub fn go(&mut self) {
        self.running = None;
        self.kept.clear();
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn client(&self) -> Client {
        Client::new(self.socket())
    }

    /// Leaves a connection for a destination.
    pub fn save(&mut self, client: &mut Client, destination: &[u8]) {
        let mut connection = Connection::new();
        let save = Save::new(TTL, destination, b"endpoint");
        client.save(&save, &connection.near()).expect("saved");
        connection.let_go();
        self.kept.push(connection);
    }

    /// Takes one.
    pub fn hit(&self, client: &mut Client, destination: &[u8]) {
        let found = client.find_destination(destination).expect("asked");
        assert!(found.is_some(), "nothing is cached");
    }

    pub fn miss(&self, client: &mut Client, destination: &[u8]) {
        let found = client.find_destination(destination).expect("asked");
        assert!(found.is_none(), "something is cached");
    }
}

/// A `scachectl exporter`.
pub struct Exporter {
    running: Running,
    pub address: SocketAddr,
}

impl Exporter {
    pub fn start(socket: &Path, arguments: &[&str]) -> Self {
        Self::listening("127.0.0.1:0", socket, arguments)
    }

    pub fn listening(listen: &str, socket: &Path, arguments: &[&str]) -> Self {
        let mut running = Running::start(command(listen, socket, arguments));
        let line = running.line();
        let address = line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        let Some(address) = address else {
            panic!("it does not say where it listens: {line}");
        };
        Self { running, address }
    }

    pub fn get(&self, path: &str) -> Answer {
        http::get(self.address, path)
    }

    /// The value of a series, by its name with labels as written.
    pub fn value(&self, series: &str) -> Option<f64> {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        let line = answer
            .body
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().expect("a number"))
    }

    /// Its exit status and what it said last.
    pub fn end(self, signal: Signal) -> (Option<i32>, String) {
        self.running.end(signal)
    }
}

pub fn command(listen: &str, socket: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(built("scachectl"));
    command
        .arg("--socket")
        .arg(socket)
        .args(["exporter", "--listen", listen])
        .args(arguments);
    command
}
