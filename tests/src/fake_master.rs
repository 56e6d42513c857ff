//! A stand-in for master(8): starts one scache, the stock one or ours, as Postfix would, and watches what it does.
//!
//! It gives the process the descriptors, the environment and a main.cf of the test's own, records status notices and
//! log lines, and lets nothing stay behind. It starts a successor only when it is told to.

mod setup;

use std::fs::{self, File};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use command_fds::{CommandFdExt, FdMapping};
use rustix::event::PollFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::process::Process;
use crate::stock::Stock;
use crate::wire::{Client, DEADLINE, ready};

pub use setup::{LogSocket, LogTarget, Setup, Transport};

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

impl From<PathBuf> for Program {
    fn from(path: PathBuf) -> Self {
        Self { path }
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

/// The stock program and ours, by their names; without the feature `system` only ours.
#[must_use]
pub fn programs() -> Vec<(&'static str, Program)> {
    let stock = cfg!(feature = "system").then(|| ("stock", stock()));
    stock.into_iter().chain([("ours", ours())]).collect()
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
    setup: Setup,
    child: Child,
    started: Instant,
    status_channel: Option<UnixStream>,
    notices: Arc<Mutex<Vec<u8>>>,
    log: Arc<Mutex<Vec<String>>>,
    log_socket: Option<Arc<UnixDatagram>>,
    recorders: Vec<JoinHandle<()>>,
    listeners: Listeners,
    one_shot_client: Option<Client>,
    directory: TempDir,
    /// Held open as master does: clients can connect while no scache runs.
    listening: Vec<OwnedFd>,
    flow: [OwnedFd; 2],
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
            write_main_cf(&root.join("etc/main.cf"), &setup.main_cf_text(root));
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let mut recorders = Vec::new();
        let log_socket = (setup.log_socket != LogSocket::Missing).then(|| {
            let path = log_path(&setup, root);
            let socket = Arc::new(UnixDatagram::bind(&path).expect("bind the log socket"));
            if setup.log_socket == LogSocket::Full {
                fill(&path);
            } else {
                recorders.push(record_log(Arc::clone(&socket), Arc::clone(&log)));
            }
            socket
        });
        // Master keeps both ends of the flow pipe; a socket pair is read and written the same way.
        let (flow_read, flow_write) = UnixStream::pair().expect("the flow-control pipe");
        let (listening, listeners) = listen(&setup, root);
        let flow = [flow_read.into(), flow_write.into()];
        let started = spawn(&setup, &setup.program, root, &flow, &listening);
        let mut master = Self {
            setup,
            child: started.child,
            started: started.at,
            status_channel: None,
            notices: Arc::new(Mutex::new(Vec::new())),
            log,
            log_socket,
            recorders,
            listeners,
            one_shot_client: started.one_shot_client,
            directory,
            listening,
            flow,
        };
        master.hold_status_channel(started.status_channel);
        master
    }

    fn hold_status_channel(&mut self, channel: UnixStream) {
        if self.setup.status_channel_read {
            let copy = channel.try_clone().expect("a copy of the status channel");
            let recorder = record_notices(copy, Arc::clone(&self.notices));
            self.recorders.push(recorder);
        }
        self.status_channel = Some(channel);
    }

    /// Reloads Postfix: the process is told that master is gone and has to end, with status 0; its successor is
    /// started when somebody connects, be it a client or the predecessor.
    ///
    /// # Panics
    /// When the process does not end, or nobody connects.
    pub fn reload(&mut self, program: &Program) {
        let status = self.dismiss();
        assert_eq!(status.code(), Some(0), "its end: {status}");
        assert!(
            self.somebody_connects(DEADLINE),
            "nobody asks for a successor"
        );
        self.start_successor(program);
    }

    /// Tells the process that master is gone, and waits for its end.
    ///
    /// # Panics
    /// When it does not end.
    pub fn dismiss(&mut self) -> ExitStatus {
        self.close_status_channel();
        self.wait_for_exit()
    }

    /// Whether somebody waits at a listening socket before the time is over.
    ///
    /// # Panics
    /// When the sockets cannot be watched.
    #[must_use]
    pub fn somebody_connects(&self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        ready(self.listening(), PollFlags::IN, deadline).expect("poll the listening socket")
    }

    /// Starts a program in place of one that has ended.
    ///
    /// # Panics
    /// When that is impossible.
    pub fn start_successor(&mut self, program: &Program) {
        let root = self.directory.path();
        let started = spawn(&self.setup, program, root, &self.flow, &self.listening);
        self.child = started.child;
        self.started = started.at;
        self.hold_status_channel(started.status_channel);
    }

    /// The first listening socket, for a test that plays the successor.
    #[must_use]
    pub fn listening(&self) -> BorrowedFd<'_> {
        self.listening[0].as_fd()
    }

    /// Accepts a client in the place of a process that is gone.
    ///
    /// # Panics
    /// When nobody comes.
    #[must_use]
    pub fn accept(&self) -> Client {
        assert!(self.somebody_connects(DEADLINE), "nobody connects");
        let socket = rustix::net::accept(self.listening()).expect("accept");
        Client::from(socket)
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("signal a process that runs");
    }

    /// Kills the process, as a crash or the kernel would.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("wait for the child");
        self.close_status_channel();
    }

    /// Whether the process has not ended.
    ///
    /// # Panics
    /// When it cannot be waited for.
    #[must_use]
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("wait for the child").is_none()
    }

    /// The process as it is seen from outside.
    #[must_use]
    pub fn process(&self) -> Process {
        Process::new(self.pid())
    }

    /// Every process that was started here or by one of these, and still runs.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let configuration = self.directory.path().join("etc");
        Process::all_with_environment("MAIL_CONFIG", configuration.as_os_str())
    }

    /// Those among them that serve, are to be served or hand over.
    #[must_use]
    pub fn servers(&self) -> Vec<Process> {
        let mut processes = self.processes();
        processes.retain(|process| !process.is_closer());
        processes
    }

    /// Waits until nothing runs that was started here.
    ///
    /// # Panics
    /// When something does not end.
    pub fn wait_for_all(&self) {
        let deadline = Instant::now() + DEADLINE;
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < deadline,
                "these still run: {:?}",
                self.processes()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// When the process was about to be started.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
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

    /// Does something as another user, whom the modes of socket and directories let connect from then on.
    ///
    /// # Panics
    /// When `act` does, or when this process is not root.
    pub fn as_user<T: Send>(&self, number: u32, act: impl FnOnce() -> T + Send) -> T {
        let (mut path, mut mode) = (self.socket_path(), 0o666);
        loop {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("set the mode");
            if path == self.directory() {
                break;
            }
            (path, mode) = (path.parent().expect("it is in the directory"), 0o755);
        }
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let user = rustix::process::Uid::from_raw(number);
                // Of this thread alone.
                rustix::thread::set_thread_res_uid(user, user, user).expect("only root may");
                act()
            });
            other.join().expect("it was done")
        })
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
                let stream = UnixStream::connect(&paths[index]);
                Client::of_postfix(stream.expect("connect to the service").into())
            }
            Listeners::Inet(addresses) => {
                let stream = TcpStream::connect(addresses[index]).expect("connect to the service");
                Client::of_postfix(stream.into())
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
        let path = log_path(&self.setup, self.directory.path());
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
            thread::sleep(Duration::from_millis(20));
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
        // Children of what was started, which nobody else would end.
        for process in self.processes() {
            process.kill();
        }
        self.close_status_channel();
        if let Some(socket) = &self.log_socket {
            let _ = socket.shutdown(std::net::Shutdown::Both);
        }
        for recorder in self.recorders.drain(..) {
            let _ = recorder.join();
        }
    }
}

struct Started {
    child: Child,
    at: Instant,
    status_channel: UnixStream,
    one_shot_client: Option<Client>,
}

fn spawn(
    setup: &Setup,
    program: &Program,
    root: &Path,
    flow: &[OwnedFd; 2],
    listening: &[OwnedFd],
) -> Started {
    let copy = |socket: &OwnedFd| socket.try_clone().expect("a copy of a descriptor");
    let (status_channel, status_child) = UnixStream::pair().expect("the status channel");
    let mut mappings = vec![
        mapping(copy(&flow[0]), 3),
        mapping(copy(&flow[1]), 4),
        mapping(status_child, 5),
    ];
    for (number, socket) in (6..).zip(listening) {
        mappings.push(mapping(copy(socket), number));
    }
    let words = setup.command_line(program, root);
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TZ", "UTC")
        .env("MAIL_CONFIG", root.join("etc"))
        .env("GENERATION", &setup.generation)
        .stdout(Stdio::null())
        .stderr(File::create(root.join("stderr")).expect("a file for standard error"))
        .stdin(Stdio::null());
    command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
    // Ours needs none of Postfix's libraries; the stock program does, also when SCACHE_PROGRAM names it.
    if program.path() != built("scache") {
        command.env("LD_LIBRARY_PATH", Stock::locate().library_path());
    }
    if setup.log_target == LogTarget::Postlog {
        command
            .env("POSTLOG_SERVICE", log_path(setup, root))
            .env("POSTLOG_HOSTNAME", "fake");
    }
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
    let at = Instant::now();
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {}: {error}", words[0].display()));
    // The command owns copies of the child's ends; the status channel would never end while they are open.
    drop(command);
    Started {
        child,
        at,
        status_channel,
        one_shot_client,
    }
}

/// An old one: stock reads a file that was just written over and over for two seconds, until it is sure that
/// nobody writes it any more.
fn write_main_cf(path: &Path, text: &str) {
    fs::write(path, text).expect("write main.cf");
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::options()
        .write(true)
        .open(path)
        .and_then(|file| file.set_modified(an_hour_ago))
        .expect("make main.cf old");
}

fn log_path(setup: &Setup, root: &Path) -> PathBuf {
    root.join(match setup.log_target {
        LogTarget::Postlog => "public/postlog",
        LogTarget::Syslog => "syslog",
    })
}

/// Sends datagrams to a socket that nobody reads until it takes no more.
fn fill(path: &Path) {
    let sender = UnixDatagram::unbound().expect("a datagram socket");
    sender
        .set_nonblocking(true)
        .expect("a non-blocking datagram socket");
    while sender.send_to(b"full", path).is_ok() {}
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
            let line = shown(&buffer[..count]);
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line);
        }
    })
}

/// A line with those bytes that are not UTF-8 as `\xe9`.
fn shown(line: &[u8]) -> String {
    let chunks = line.utf8_chunks().map(|chunk| {
        let invalid = chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
        chunk.valid().to_owned() + &invalid.collect::<String>()
    });
    chunks.collect()
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
        thread::sleep(Duration::from_millis(20));
    }
}
