//! A stand-in for master(8): starts one scache, the stock one or ours, as Postfix would, and watches what it does.
//!
//! It gives the process the descriptors, the environment and a main.cf of the test's own, records status notices and
//! log lines, and lets nothing stay behind. It never restarts what it started.

use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tempfile::TempDir;

use crate::stock::Stock;
use crate::wire::{Client, DEADLINE};

/// An scache that can be started.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
}

impl Program {
    /// The executable file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Ours: the program that `SCACHE_PROGRAM` names, or else the one built beside the tests.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn ours() -> Program {
    let path = std::env::var_os("SCACHE_PROGRAM").map_or_else(|| built("scache"), PathBuf::from);
    Program { path }
}

/// A program of this workspace, from where this one was built.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn built(name: &str) -> PathBuf {
    let this = std::env::current_exe().expect("the path of this program");
    // Tests are in target/PROFILE/deps, programs in target/PROFILE.
    let path = this
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    path.unwrap_or_else(|| {
        panic!("{name} is not built: run `cargo build --workspace` first, in the same profile")
    })
}

/// The real scache(8) of Debian's package.
///
/// # Panics
/// When there is none, with what to do about it.
#[must_use]
pub fn stock() -> Program {
    Program {
        path: Stock::locate().daemon("scache"),
    }
}

/// The kinds of service that master.cf knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A UNIX stream socket.
    Unix,
    /// A TCP socket.
    Inet,
    /// A UNIX stream socket over which another program hands its clients on.
    Pass,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Inet => "inet",
            Self::Pass => "pass",
        }
    }
}

/// What is started, and how.
#[derive(Debug)]
pub struct Setup {
    program: Program,
    transport: Transport,
    sockets: usize,
    arguments: Option<Vec<String>>,
    more_arguments: Vec<String>,
    settings: Vec<(String, String)>,
    main_cf: bool,
    one_shot: bool,
    generation: String,
}

impl Setup {
    /// As master(8) starts it from the master.cf that comes with Postfix.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        Self {
            program: program.clone(),
            transport: Transport::Unix,
            sockets: 1,
            arguments: None,
            more_arguments: Vec::new(),
            settings: Vec::new(),
            main_cf: true,
            one_shot: false,
            generation: "0".to_owned(),
        }
    }

    /// Another transport, its listening sockets and its `-t`.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Several listening sockets; `-s` is given when there is more than one.
    #[must_use]
    pub fn sockets(mut self, count: usize) -> Self {
        self.sockets = count;
        self
    }

    /// These arguments instead of the usual ones.
    #[must_use]
    pub fn only_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = Some(
            arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
        );
        self
    }

    /// These arguments after the usual ones.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.more_arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// A line for main.cf. Without one, `connection_cache_ttl_limit` is a minute.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// No main.cf at all.
    #[must_use]
    pub fn without_main_cf(mut self) -> Self {
        self.main_cf = false;
        self
    }

    /// `GENERATION`, in octal.
    #[must_use]
    pub fn generation(mut self, octal: &str) -> Self {
        octal.clone_into(&mut self.generation);
        self
    }

    /// One client on standard input and output, which [`FakeMaster::one_shot_client`] then is.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.one_shot = true;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that is impossible.
    #[must_use]
    pub fn start(self) -> FakeMaster {
        FakeMaster::start(self)
    }

    fn command_line(&self) -> Vec<String> {
        let mut arguments = self.arguments.clone().unwrap_or_else(|| {
            let usual = ["-n", "scache", "-t", self.transport.name(), "-l"];
            let mut arguments: Vec<String> =
                usual.iter().map(|&argument| argument.to_owned()).collect();
            if self.sockets > 1 {
                arguments.extend(["-s".to_owned(), self.sockets.to_string()]);
            }
            if self.one_shot {
                arguments.push("-S".to_owned());
            }
            arguments
        });
        arguments.extend(self.more_arguments.iter().cloned());
        arguments
    }

    fn main_cf_text(&self, queue_directory: &Path) -> String {
        let here = queue_directory.display();
        let mut text = format!(
            "compatibility_level = 3.6\n\
             queue_directory = {here}\n\
             data_directory = {here}/data\n\
             mail_owner = daemon\n\
             setgid_group = mail\n\
             myhostname = fake.example.com\n\
             inet_protocols = ipv4\n\
             inet_interfaces = loopback-only\n\
             mynetworks = 127.0.0.0/8\n\
             alias_maps =\n\
             alias_database =\n\
             maillog_file = {here}/maillog\n\
             maillog_file_prefixes = {here}\n"
        );
        // Stock warns of a name that comes twice.
        if !self
            .settings
            .iter()
            .any(|(name, _)| name == "connection_cache_ttl_limit")
        {
            text.push_str("connection_cache_ttl_limit = 60s\n");
        }
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} = {value}\n"));
        }
        text
    }
}

/// A status notice as master reads it: three native words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The process that speaks.
    pub pid: u32,
    /// Its generation.
    pub generation: u32,
    /// 0 while it serves a client, 1 when it is free again.
    pub available: u32,
}

/// A running scache and master's side of it.
#[derive(Debug)]
pub struct FakeMaster {
    child: Child,
    status_channel: Option<UnixStream>,
    notices: Arc<Mutex<Vec<u8>>>,
    log: Arc<Mutex<Vec<String>>>,
    log_socket: Arc<UnixDatagram>,
    recorders: Vec<JoinHandle<()>>,
    listeners: Listeners,
    one_shot_client: Option<Client>,
    directory: TempDir,
    /// Held open as master does: clients can connect while no scache runs.
    _listening: Vec<OwnedFd>,
    _flow: OwnedFd,
}

#[derive(Debug)]
enum Listeners {
    Unix(Vec<PathBuf>),
    Inet(Vec<SocketAddr>),
}

impl FakeMaster {
    fn start(setup: Setup) -> Self {
        let directory = TempDir::with_prefix("scache-compat-").expect("a temporary directory");
        let root = directory.path();
        for name in ["etc", "public", "private", "data"] {
            fs::create_dir(root.join(name)).expect("a directory for the instance");
        }
        if setup.main_cf {
            fs::write(root.join("etc/main.cf"), setup.main_cf_text(root)).expect("write main.cf");
        }
        let log_path = root.join("public/postlog");
        let log_socket = Arc::new(UnixDatagram::bind(&log_path).expect("bind the log socket"));
        let log = Arc::new(Mutex::new(Vec::new()));

        // Master keeps both ends of the flow pipe; a socket pair is read and written the same way.
        let (flow_read, flow_write) = UnixStream::pair().expect("the flow-control pipe");
        let flow = OwnedFd::from(flow_read.try_clone().expect("a copy of the flow pipe"));
        let (status_master, status_child) = UnixStream::pair().expect("the status channel");
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (listening, listeners) = listen(&setup, root);

        let held = listening
            .iter()
            .map(|socket| socket.try_clone().expect("a copy of a listening socket"))
            .collect();
        let mut mappings = vec![
            mapping(flow_read, 3),
            mapping(flow_write, 4),
            mapping(status_child, 5),
        ];
        for (number, socket) in (6..).zip(listening) {
            mappings.push(mapping(socket, number));
        }
        let mut command = Command::new(&setup.program.path);
        command
            .args(setup.command_line())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("TZ", "UTC")
            .env("MAIL_CONFIG", root.join("etc"))
            .env("GENERATION", &setup.generation)
            .env("POSTLOG_SERVICE", &log_path)
            .env("POSTLOG_HOSTNAME", "fake")
            .stdout(Stdio::null())
            .stderr(File::create(root.join("stderr")).expect("a file for standard error"))
            .stdin(Stdio::null());
        // Ours needs none of Postfix's libraries; the stock program does, also when SCACHE_PROGRAM names it.
        command.env("LD_LIBRARY_PATH", Stock::locate().library_path());
        let one_shot_client = setup.one_shot.then(|| {
            let (client, server) = socketpair(
                AddressFamily::UNIX,
                SocketType::STREAM,
                SocketFlags::CLOEXEC,
                None,
            )
            .expect("a pair of sockets");
            command.stdout(server.try_clone().expect("a copy of the socket"));
            command.stdin(server);
            Client::from(client)
        });
        command
            .fd_mappings(mappings)
            .expect("descriptors 3 and up are free for the child");
        let child = command.spawn().unwrap_or_else(|error| {
            panic!("cannot start {}: {error}", setup.program.path.display())
        });
        // The command owns copies of the child's ends; the status channel would never end while they are open.
        drop(command);

        let recorders = vec![
            record_notices(
                status_master
                    .try_clone()
                    .expect("a copy of the status channel"),
                Arc::clone(&notices),
            ),
            record_log(Arc::clone(&log_socket), Arc::clone(&log)),
        ];
        Self {
            child,
            status_channel: Some(status_master),
            notices,
            log,
            log_socket,
            recorders,
            listeners,
            one_shot_client,
            directory,
            _listening: held,
            _flow: flow,
        }
    }

    /// The process id of what was started.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The queue directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The path of the service's socket.
    ///
    /// # Panics
    /// When the service is reached over TCP.
    #[must_use]
    pub fn socket_path(&self) -> &Path {
        match &self.listeners {
            Listeners::Unix(paths) => &paths[0],
            Listeners::Inet(_) => panic!("this service has no UNIX socket"),
        }
    }

    /// Connects to the service.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn connect(&self) -> Client {
        self.connect_to(0)
    }

    /// Connects to one of several listening sockets.
    ///
    /// # Panics
    /// When that fails.
    #[must_use]
    pub fn connect_to(&self, index: usize) -> Client {
        match &self.listeners {
            Listeners::Unix(paths) => {
                Client::connect(&paths[index]).expect("connect to the service")
            }
            Listeners::Inet(addresses) => {
                let stream = TcpStream::connect(addresses[index]).expect("connect to the service");
                Client::from(OwnedFd::from(stream))
            }
        }
    }

    /// The client of a process that was started one-shot.
    ///
    /// # Panics
    /// When it was not, or this was asked for before.
    #[must_use]
    pub fn one_shot_client(&mut self) -> Client {
        self.one_shot_client
            .take()
            .expect("a one-shot process has one client")
    }

    /// The status notices so far; waits until there are at least `count`, or the deadline is over.
    #[must_use]
    pub fn notices(&self, count: usize) -> Vec<Notice> {
        let word = |bytes: &[u8]| u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let enough = |bytes: &Vec<u8>| bytes.len() >= 12 * count;
        wait_for(&self.notices, enough)
            .chunks_exact(12)
            .map(|record| Notice {
                pid: word(&record[0..4]),
                generation: word(&record[4..8]),
                available: word(&record[8..12]),
            })
            .collect()
    }

    /// The log lines so far, as they were sent; waits until there are at least `count`, or the deadline is over.
    #[must_use]
    pub fn log_lines(&self, count: usize) -> Vec<String> {
        wait_for(&self.log, |lines| lines.len() >= count)
    }

    /// All log lines of a process that has ended.
    ///
    /// # Panics
    /// When the log socket is gone.
    #[must_use]
    pub fn all_log_lines(&self) -> Vec<String> {
        // Datagrams keep their order: what the process sent was recorded before this one.
        const LAST: &str = "the fake master's last line";
        let path = self.directory.path().join("public/postlog");
        let sender = UnixDatagram::unbound().expect("a datagram socket");
        sender
            .send_to(LAST.as_bytes(), path)
            .expect("write to the log socket");
        let mut lines = wait_for(&self.log, |lines| lines.iter().any(|line| line == LAST));
        lines.retain(|line| line != LAST);
        lines
    }

    /// Closes the status channel, as master does when it goes or Postfix is reloaded.
    pub fn close_status_channel(&mut self) {
        if let Some(channel) = self.status_channel.take() {
            // The recorder holds a copy, which a mere close would leave open.
            let _ = channel.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("wait for the child") {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "scache still runs, its log: {:#?}",
                self.log_lines(0)
            );
            thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// What the process wrote to standard error.
    #[must_use]
    pub fn standard_error(&self) -> String {
        fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default()
    }
}

impl Drop for FakeMaster {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.close_status_channel();
        let _ = self.log_socket.shutdown(std::net::Shutdown::Both);
        for recorder in self.recorders.drain(..) {
            let _ = recorder.join();
        }
    }
}

fn mapping(parent: impl Into<OwnedFd>, child_fd: i32) -> FdMapping {
    FdMapping {
        parent_fd: parent.into(),
        child_fd,
    }
}

fn listen(setup: &Setup, root: &Path) -> (Vec<OwnedFd>, Listeners) {
    let mut sockets = Vec::new();
    let mut paths = Vec::new();
    let mut addresses = Vec::new();
    for index in 0..setup.sockets {
        if setup.transport == Transport::Inet {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a TCP socket");
            listener
                .set_nonblocking(true)
                .expect("a non-blocking socket, as master's are");
            addresses.push(listener.local_addr().expect("the address of the socket"));
            sockets.push(listener.into());
        } else {
            let name = if index == 0 {
                "scache".to_owned()
            } else {
                format!("scache{index}")
            };
            let path = root.join("private").join(name);
            let listener = UnixListener::bind(&path).expect("bind a UNIX socket");
            listener
                .set_nonblocking(true)
                .expect("a non-blocking socket, as master's are");
            paths.push(path);
            sockets.push(listener.into());
        }
    }
    let listeners = match setup.transport {
        Transport::Inet => Listeners::Inet(addresses),
        Transport::Unix | Transport::Pass => Listeners::Unix(paths),
    };
    (sockets, listeners)
}

fn record_notices(mut channel: UnixStream, notices: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 1200];
        while let Ok(count @ 1..) = channel.read(&mut buffer) {
            let mut notices = notices.lock().unwrap_or_else(PoisonError::into_inner);
            notices.extend_from_slice(&buffer[..count]);
        }
    })
}

fn record_log(socket: Arc<UnixDatagram>, log: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        // A shut-down datagram socket reads as an empty datagram.
        while let Ok(count @ 1..) = socket.recv(&mut buffer) {
            let line = String::from_utf8_lossy(&buffer[..count]).into_owned();
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}

fn wait_for<T: Clone>(shared: &Mutex<T>, enough: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if enough(&now) || Instant::now() >= deadline {
            return now;
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
}
