//! The three servers, at a path that can be led to another one, as a restart does.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use scache_client::Client;
use scache_tests::fake_master::{FakeMaster, Program, Setup, ours, stock};
use scache_tests::scached::Scached;
use tempfile::TempDir;

/// Long enough to outlive any test.
pub const TTL: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stock,
    Ours,
    Scached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// What the server can do.
    Best,
    Stock,
}

#[cfg(feature = "system")]
pub const KINDS: [Kind; 3] = [Kind::Stock, Kind::Ours, Kind::Scached];
#[cfg(not(feature = "system"))]
pub const KINDS: [Kind; 2] = [Kind::Ours, Kind::Scached];
pub const PROTOCOLS: [Protocol; 2] = [Protocol::Best, Protocol::Stock];

/// A path, and who serves it.
pub struct Server {
    directory: TempDir,
    running: Running,
    started: u32,
}

enum Running {
    Master(Box<FakeMaster>),
    Scached(Scached),
}

impl Server {
    pub fn start(kind: Kind) -> Self {
        let directory = TempDir::with_prefix("scache-client-").expect("a directory");
        let running = Running::start(kind, &directory.path().join("socket-0"));
        let server = Self {
            directory,
            running,
            started: 1,
        };
        server.lead_to(server.running.path());
        server
    }

    /// Where clients are to connect.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    pub fn client(&self, protocol: Protocol) -> Client {
        let client = Client::new(self.path());
        match protocol {
            Protocol::Best => client,
            Protocol::Stock => client.without_inline(),
        }
    }

    /// Another process serves the path from now on, and the one before is killed with all that it has.
    pub fn replace(&mut self, kind: Kind) {
        let path = self
            .directory
            .path()
            .join(format!("socket-{}", self.started));
        let next = Running::start(kind, &path);
        self.started += 1;
        self.lead_to(next.path());
        self.running = next;
    }

    /// Leads the path to somebody else; the server runs on at its own.
    pub fn lead_to(&self, target: &Path) {
        lead(&self.path(), target);
    }

    /// Where the server itself listens.
    pub fn own_path(&self) -> PathBuf {
        self.running.path().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        let number = match &self.running {
            Running::Master(master) => master.pid(),
            Running::Scached(scached) => scached.pid(),
        };
        let pid = i32::try_from(number).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process"), signal).expect("it runs");
    }
}

/// Makes `path` a link to `target`, in one step.
pub fn lead(path: &Path, target: &Path) {
    let fresh = path.with_extension("fresh");
    symlink(target, &fresh).expect("a link");
    std::fs::rename(fresh, path).expect("a link in its place");
}

impl Running {
    fn start(kind: Kind, path: &Path) -> Self {
        match kind {
            Kind::Stock => Self::under_master(&stock()),
            Kind::Ours => Self::under_master(&ours()),
            Kind::Scached => Self::Scached(Scached::start(path, &["--ttl-limit", "60s"])),
        }
    }

    fn under_master(program: &Program) -> Self {
        let master = Setup::new(program).start();
        let served = Client::new(master.socket_path()).find_endpoint(b"nothing");
        assert!(served.expect("it serves").is_none());
        Self::Master(Box::new(master))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Master(master) => master.socket_path(),
            Self::Scached(scached) => scached.path(),
        }
    }
}

/// Each server, with a client that speaks each protocol.
pub fn with_each(test: impl Fn(&mut Server, Client)) {
    for kind in KINDS {
        for protocol in PROTOCOLS {
            println!("{kind:?}, {protocol:?} protocol");
            let mut server = Server::start(kind);
            let client = server.client(protocol);
            test(&mut server, client);
        }
    }
}
