//! Caches to look into, `scachectl` to do it with, and what it says.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use scache_client::{Client, Save};
use scache_tests::fake_master::{FakeMaster, Program, Setup, built, ours, stock};
use scache_tests::wire::{Connection, DEADLINE};
use tempfile::TempDir;

/// Long enough to outlive any test.
pub const TTL: Duration = Duration::from_secs(60);

/// daemon, on every Debian.
const ANOTHER_USER: u32 = 1;

/// A cache of one kind.
#[derive(Debug)]
pub enum Cache {
    Master(Box<FakeMaster>),
    Scached(Scached),
}

/// `scached`, in a directory that every user may look into.
#[derive(Debug)]
pub struct Scached {
    child: Child,
    directory: TempDir,
    /// Kept, so that it has somewhere to write to.
    screen: BufReader<ChildStderr>,
}

impl Cache {
    /// Ours under master(8).
    pub fn ours() -> Self {
        Self::under_master(&ours())
    }

    /// Postfix's own.
    pub fn stock() -> Self {
        Self::under_master(&stock())
    }

    /// On its own.
    pub fn scached() -> Self {
        Self::scached_with(&[])
    }

    /// On its own, with these options.
    pub fn scached_with(arguments: &[&str]) -> Self {
        let directory = TempDir::with_prefix("scachectl-").expect("a directory");
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).expect("set the mode");
        let (child, screen) = scached(&directory.path().join("socket"), arguments);
        Self::Scached(Scached {
            child,
            directory,
            screen,
        })
    }

    /// Both of ours.
    pub fn each() -> [Self; 2] {
        [Self::ours(), Self::scached()]
    }

    fn under_master(program: &Program) -> Self {
        let master = Setup::new(program).start();
        let served = Client::new(master.socket_path()).find_endpoint(b"nothing");
        assert!(served.expect("it serves").is_none());
        Self::Master(Box::new(master))
    }

    pub fn path(&self) -> PathBuf {
        match self {
            Self::Master(master) => master.socket_path().to_owned(),
            Self::Scached(scached) => scached.directory.path().join("socket"),
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.path())
    }

    /// Ends it, and waits for its end.
    pub fn end(&mut self) {
        match self {
            Self::Master(master) => master.kill(),
            Self::Scached(scached) => {
                scached.child.kill().expect("it runs");
                scached.child.wait().expect("it ends");
            }
        }
    }

    /// Starts `scached` again where it was.
    pub fn start_again(&mut self) {
        let path = self.path();
        let Self::Scached(daemon) = self else {
            panic!("only scached is started again");
        };
        (daemon.child, daemon.screen) = scached(&path, &[]);
    }

    /// Saves so many connections for a destination and lets each be found once more often than it is missed.
    pub fn save(&self, destination: &str, endpoint: &str, count: usize) -> Vec<Connection> {
        let mut client = self.client();
        let save = Save::new(TTL, destination.as_bytes(), endpoint.as_bytes());
        let connections = (0..count).map(|_| {
            let mut connection = Connection::tcp();
            client.save(&save, &connection.near()).expect("saved");
            connection.let_go();
            connection
        });
        connections.collect()
    }

    /// `scachectl` with these arguments, at this cache.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = scachectl(&self.path());
        command.args(arguments);
        command
    }

    /// What it says.
    pub fn ask(&self, arguments: &[&str]) -> Said {
        Said::of(&self.command(arguments).output().expect("scachectl"))
    }

    /// The lines that it writes, when all goes well.
    pub fn lines(&self, arguments: &[&str]) -> Vec<String> {
        let said = self.ask(arguments);
        assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{said:?}");
        said.out.lines().map(str::to_owned).collect()
    }

    /// What it says to another user.
    pub fn ask_as_another_user(&self, arguments: &[&str]) -> Said {
        // The build's directory may be closed to that user.
        let directory = tempfile::tempdir().expect("a directory");
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).expect("set the mode");
        let copy = directory.path().join("scachectl");
        std::fs::copy(built("scachectl"), &copy).expect("copy the program");
        let output = Command::new(copy)
            .arg("--socket")
            .arg(self.path())
            .args(arguments)
            .current_dir("/")
            .uid(ANOTHER_USER)
            .gid(ANOTHER_USER)
            .output();
        Said::of(&output.expect("these tests need root, to be another user"))
    }
}

impl Drop for Scached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scached(path: &Path, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(built("scached"))
        .arg("--socket")
        .arg(path)
        .args(["--ttl-limit", "60s"])
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("scached");
    let mut screen = BufReader::new(child.stderr.take().expect("its standard error"));
    let mut line = String::new();
    screen.read_line(&mut line).expect("a line");
    assert!(line.contains("listening"), "{line}");
    (child, screen)
}

/// `scachectl` at a socket.
pub fn scachectl(path: &Path) -> Command {
    let mut command = Command::new(built("scachectl"));
    command.arg("--socket").arg(path);
    command
}

/// How it ended, and what it said until then.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        Self {
            status: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// That it failed with this status and one line that has these parts.
    pub fn assert_failed(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("scachectl: "), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part}: {self:?}");
        }
        assert_eq!(self.out, "", "{self:?}");
    }
}

/// Does something until it comes to something.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
