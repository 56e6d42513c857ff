//! The program, and the three servers that it may meet.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use scache_client::Client;
use scache_tests::fake_master::{FakeMaster, Program, Setup, built, ours, stock};
use scache_tests::process::Process;
use tempfile::TempDir;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stock,
    Ours,
    Scached,
}

pub const KINDS: [Kind; 3] = [Kind::Stock, Kind::Ours, Kind::Scached];

/// A server that ends with this value, killed.
pub enum Server {
    Master(Box<FakeMaster>),
    Scached(Scached),
}

pub struct Scached {
    child: Child,
    directory: TempDir,
    /// Kept, so that it has somewhere to write to.
    _screen: BufReader<ChildStderr>,
}

impl Server {
    pub fn start(kind: Kind) -> Self {
        match kind {
            Kind::Stock => Self::under_master(&stock()),
            Kind::Ours => Self::under_master(&ours()),
            Kind::Scached => Self::scached(&[]),
        }
    }

    pub fn scached(arguments: &[&str]) -> Self {
        let directory = TempDir::with_prefix("scachectl-").expect("a directory");
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).expect("set the mode");
        let mut child = Command::new(built("scached"))
            .arg("--socket")
            .arg(directory.path().join("socket"))
            .args(["--ttl-limit", "60s"])
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("scached");
        let mut screen = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut line = String::new();
        screen.read_line(&mut line).expect("a line");
        assert!(line.contains("listening"), "{line}");
        Self::Scached(Scached {
            child,
            directory,
            _screen: screen,
        })
    }

    fn under_master(program: &Program) -> Self {
        let master = Setup::new(program).start();
        let mut client = Client::new(master.socket_path());
        let served = client.find_endpoint(b"nothing");
        assert!(served.expect("it serves").is_none());
        // Tests count its descriptors: this client is not to be among them.
        let with_client = master.process().descriptors().len();
        drop(client);
        assert_eq!(
            master.process().settles_at(with_client - 1),
            with_client - 1
        );
        Self::Master(Box::new(master))
    }

    pub fn path(&self) -> PathBuf {
        match self {
            Self::Master(master) => master.socket_path().to_owned(),
            Self::Scached(scached) => scached.directory.path().join("socket"),
        }
    }

    pub fn process(&self) -> Process {
        match self {
            Self::Master(master) => master.process(),
            Self::Scached(scached) => Process::new(scached.child.id()),
        }
    }
}

impl Drop for Scached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `scachectl --socket SOCKET ARGUMENTS…`
pub fn scachectl<I: AsRef<std::ffi::OsStr>>(
    socket: &Path,
    arguments: impl IntoIterator<Item = I>,
) -> Command {
    let mut command = Command::new(built("scachectl"));
    command.arg("--socket").arg(socket).args(arguments);
    command
}

/// What a program has said, and its exit status.
#[derive(Debug)]
pub struct Said {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output();
    output.expect("it can be started").into()
}

impl Said {
    /// It ended with this status and one line, with this in it.
    #[track_caller]
    pub fn assert_failed(&self, status: i32, part: &str) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("scachectl: "), "{self:?}");
        assert!(self.err.contains(part), "\"{part}\": {self:?}");
    }

    /// It went well, without a word on standard error.
    #[track_caller]
    pub fn assert_well(&self) {
        assert_eq!(self.status, Some(0), "{self:?}");
        assert_eq!(self.err, "", "{self:?}");
    }
}
