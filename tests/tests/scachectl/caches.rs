//! Caches to look into, `scachectl` to do it with, and what it says.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use scache_client::{Client, Save};
use scache_tests::fake_master::{FakeMaster, Program, Setup, built, ours, stock};
use scache_tests::process::Process;
use scache_tests::scached::Scached;
use scache_tests::wire::{Connection, DEADLINE};

/// Long enough to outlive any test.
pub const TTL: Duration = Duration::from_secs(60);

/// daemon, on every Debian.
const ANOTHER_USER: u32 = 1;

/// Which cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Stock,
    Ours,
    Scached,
}

#[cfg(feature = "system")]
pub const KINDS: [Kind; 3] = [Kind::Stock, Kind::Ours, Kind::Scached];
#[cfg(not(feature = "system"))]
pub const KINDS: [Kind; 2] = [Kind::Ours, Kind::Scached];

/// A cache of one kind. It ends with this value, killed.
#[derive(Debug)]
pub enum Cache {
    Master(Box<FakeMaster>),
    /// In a directory that every user may look into.
    Scached(Scached),
}

impl Cache {
    pub fn start(kind: Kind) -> Self {
        match kind {
            Kind::Stock => Self::stock(),
            Kind::Ours => Self::ours(),
            Kind::Scached => Self::scached(),
        }
    }

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
        let arguments = [&["--ttl-limit", "60s"], arguments].concat();
        Self::Scached(Scached::for_all_users(&arguments))
    }

    /// Both of ours.
    pub fn each() -> [Self; 2] {
        [Self::ours(), Self::scached()]
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
            Self::Scached(scached) => scached.path().to_owned(),
        }
    }

    pub fn process(&self) -> Process {
        match self {
            Self::Master(master) => master.process(),
            Self::Scached(scached) => Process::new(scached.pid()),
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
                scached.child().kill().expect("it runs");
                scached.child().wait().expect("it ends");
            }
        }
    }

    /// Starts `scached` again where it was.
    pub fn start_again(&mut self) {
        let Self::Scached(scached) = self else {
            panic!("only scached is started again");
        };
        scached.start_again(&["--ttl-limit", "60s"]);
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

    /// That it failed with this status and one line that has these parts, and told nothing before.
    #[track_caller]
    pub fn assert_failed(&self, status: i32, parts: &[&str]) {
        self.assert_failed_at_last(status, parts);
        assert_eq!(self.out, "", "{self:?}");
    }

    /// The same, whatever it told before.
    #[track_caller]
    pub fn assert_failed_at_last(&self, status: i32, parts: &[&str]) {
        assert_eq!(self.status, Some(status), "{self:?}");
        assert_eq!(self.err.lines().count(), 1, "{self:?}");
        assert!(self.err.starts_with("scachectl: "), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part}: {self:?}");
        }
    }

    /// It went well, without a word on standard error.
    #[track_caller]
    pub fn assert_well(&self) {
        assert_eq!(self.status, Some(0), "{self:?}");
        assert_eq!(self.err, "", "{self:?}");
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Said {
    let output = command.stdin(Stdio::null()).output();
    Said::of(&output.expect("it can be started"))
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
