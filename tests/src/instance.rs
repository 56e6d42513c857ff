//! A whole Postfix in a directory of its own: master(8) and everything below it, mail going in by smtpd(8) and
//! out to a receiver on the loopback interface. Nothing is installed and nothing stays behind, even if the test is
//! killed.

mod guardian;
mod layout;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use self::guardian::Guardian;
use crate::fake_master::Program;
use crate::maillog::Maillog;
use crate::port::Port;
use crate::private_dev;
use crate::stock::Stock;

/// Generous by orders of magnitude: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(180);

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// How an instance is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    scache: Program,
    transport: &'static str,
    scache_chrooted: bool,
    syslog: bool,
    next_hop: Option<SocketAddr>,
    routes: Vec<(String, SocketAddr)>,
    parameters: Vec<(String, String)>,
}

impl Setup {
    /// An instance with this scache(8), everything else as in Debian's package.
    #[must_use]
    pub fn new(scache: Program) -> Self {
        Self {
            scache,
            transport: "smtp",
            scache_chrooted: false,
            syslog: false,
            next_hop: None,
            routes: Vec::new(),
            parameters: Vec::new(),
        }
    }

    /// Delivers with this service of master.cf, `smtp` or `lmtp`.
    #[must_use]
    pub fn transport(mut self, transport: &'static str) -> Self {
        self.transport = transport;
        self
    }

    /// Lets master(8) start scache(8) with `-c`.
    #[must_use]
    pub fn scache_chrooted(mut self) -> Self {
        self.scache_chrooted = true;
        self
    }

    /// Logs to syslog, by a /dev/log that only this instance sees, instead of through postlogd(8).
    #[must_use]
    pub fn syslog(mut self) -> Self {
        self.syslog = true;
        self
    }

    /// Delivers there instead of to the receiver of its own.
    #[must_use]
    pub fn next_hop(mut self, address: SocketAddr) -> Self {
        self.next_hop = Some(address);
        self
    }

    /// Delivers mail for this domain there.
    #[must_use]
    pub fn route(mut self, domain: &str, address: SocketAddr) -> Self {
        self.routes.push((domain.to_owned(), address));
        self
    }

    /// Adds a line to main.cf.
    #[must_use]
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// A running Postfix and the receiver of its mail.
#[derive(Debug)]
pub struct Instance {
    guardian: Guardian,
    directory: TempDir,
    submission: Port,
    delivery: Port,
    private_dev: bool,
    master: Child,
    receiver: Child,
}

/// A process that belongs to an instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub number: u32,
    /// Its parent's.
    pub parent: u32,
    /// The name it was started by.
    pub name: String,
}

impl Instance {
    /// Starts the receiver and Postfix.
    ///
    /// # Panics
    /// When something cannot be made or started; this needs root.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        crate::needs_root();
        let stock = Stock::locate();
        let directory = tempfile::tempdir().expect("a directory for a Postfix");
        let root = directory.path();
        let guardian = Guardian::start(root);
        let (submission, delivery) = (Port::claim(), Port::claim());
        layout::lay_out(root, stock, setup, submission.address(), delivery.address());
        let mut receiver = guardian.command(&stock.command("smtp-sink"), &root.join("receiver"));
        if setup.transport == "lmtp" {
            receiver.arg("-L");
        }
        let receiver = receiver
            .args(["-c", "-u", "nobody"])
            .arg(delivery.address().to_string())
            .arg("200")
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", root.join("etc"))
            .stderr(Stdio::null())
            .spawn()
            .expect("smtp-sink");
        let (program, output) = (root.join("daemon/master"), Path::new("/dev/null"));
        let mut master = if setup.syslog {
            record_syslog(root);
            let mut private = guardian.command(Path::new("unshare"), output);
            private
                .args(["-m", "sh", "-c", private_dev::SCRIPT, "sh"])
                .args([root, &program]);
            private
        } else {
            guardian.command(&program, output)
        };
        let master = master
            .env_clear()
            .env("PATH", PATH)
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", root.join("etc"))
            .stderr(fs::File::create(root.join("stderr")).expect("a file for standard error"))
            .spawn()
            .expect("master");
        let instance = Self {
            guardian,
            directory,
            submission,
            delivery,
            private_dev: setup.syslog,
            master,
            receiver,
        };
        for address in [instance.delivery.address(), instance.submission()] {
            instance.wait("nobody listens", |_| greets(address));
        }
        instance
    }

    /// Where it takes mail.
    #[must_use]
    pub fn submission(&self) -> SocketAddr {
        self.submission.address()
    }

    /// Sends messages, five at once, and waits until they are delivered.
    ///
    /// # Panics
    /// When they are not delivered in the end.
    pub fn deliver(&self, messages: usize) {
        self.deliver_to("recipient@example.com", messages);
    }

    /// The same to another recipient.
    ///
    /// # Panics
    /// When they are not delivered in the end.
    pub fn deliver_to(&self, recipient: &str, messages: usize) {
        let stock = Stock::locate();
        let before = self.log().deliveries();
        let mut source = Command::new(stock.command("smtp-source"))
            .args(["-s", "5", "-m", &messages.to_string()])
            .args(["-f", "sender@example.org", "-t", recipient])
            .arg(self.submission().to_string())
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", self.configuration())
            .spawn()
            .expect("smtp-source");
        self.wait("mail is not delivered", |log| {
            if let Some(status) = source.try_wait().expect("smtp-source is there") {
                assert!(status.success(), "smtp-source: {status}");
            }
            log.deliveries() >= before + messages
        });
        let status = source.wait().expect("smtp-source ends");
        assert!(status.success(), "smtp-source: {status}");
    }

    /// Does `again` every so often for as long as `this` takes.
    pub fn meanwhile<T>(
        &self,
        every: Duration,
        mut again: impl FnMut(&Self) + Send,
        this: impl FnOnce(&Self) -> T,
    ) -> T {
        std::thread::scope(|scope| {
            // Closed at the end of `this`, also when it panics.
            let (_doing, done) = channel::<()>();
            scope.spawn(move || {
                while done.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    again(self);
                }
            });
            this(self)
        })
    }

    /// `postfix reload`.
    ///
    /// # Panics
    /// When it fails.
    pub fn reload(&self) {
        self.postfix("reload");
    }

    /// `postfix stop`. The receiver goes on, and so does what Postfix leaves behind.
    ///
    /// # Panics
    /// When it fails.
    pub fn stop(&self) {
        self.postfix("stop");
    }

    /// The process number of scache(8), if it runs: the one that master(8) knows of.
    #[must_use]
    pub fn scache(&self) -> Option<u32> {
        self.service_process("scache")
    }

    /// The same of a service with another program.
    #[must_use]
    pub fn service_process(&self, program: &str) -> Option<u32> {
        let processes = self.processes();
        let process = processes
            .iter()
            .find(|process| process.name == program && process.parent == self.master.id())?;
        Some(process.number)
    }

    /// Kills scache(8) with SIGKILL, if it runs.
    pub fn kill_scache(&self) -> bool {
        let number = self.scache().and_then(|number| number.try_into().ok());
        let process = number.and_then(Pid::from_raw);
        process.is_some_and(|process| kill_process(process, Signal::KILL).is_ok())
    }

    /// All running processes that have this configuration, whoever their parent is, but for the receiver.
    #[must_use]
    pub fn processes(&self) -> Vec<Process> {
        let configuration = self.configuration();
        let receiver = self.receiver.id();
        let mut processes = processes_below(&configuration);
        processes.retain(|process| process.number != receiver);
        processes
    }

    /// The log, with everything that was logged before now.
    ///
    /// # Panics
    /// When the log does not take a line.
    #[must_use]
    pub fn complete_log(&self) -> Maillog {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        // The log is a queue of datagrams: what was sent earlier is written earlier.
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let mark = format!("log complete up to mark {number}.");
        let logged = self.run("postlog", ["-t", "test/mark", mark.as_str()]);
        assert!(logged.status.success(), "postlog: {logged:?}");
        self.wait("a line does not reach the log", |log| log.mentions(&mark));
        self.log()
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> Maillog {
        let path = self.directory.path().join("maillog");
        Maillog::new(fs::read(path).unwrap_or_default())
    }

    /// How many connections Postfix has opened at the receiver, once all of them have been closed.
    ///
    /// # Panics
    /// When they are not closed, or the receiver's counters cannot be read.
    #[must_use]
    pub fn connections(&self) -> usize {
        // smtp-sink(1) counts a connection when it sees its end, before it closes its own.
        self.wait_for("connections stay open", |this| {
            open_at(this.delivery.address()) == 0
        });
        // It writes `sess=N quit=N mesg=N` and a carriage return whenever one of them changes.
        let counters = fs::read_to_string(self.directory.path().join("receiver"));
        let counters = counters.expect("the receiver's counters");
        let sessions = counters.rsplit("sess=").next().unwrap_or_default();
        let sessions = sessions.split_whitespace().next().unwrap_or_default();
        let sessions: usize = sessions.parse().expect("a number of sessions");
        // One of them asked whether it listens, before Postfix sent anything.
        sessions - 1
    }

    /// Lets scache(8) end and log its statistics, and gives the log. What is cached may go to a successor, whose
    /// statistics are not waited for.
    ///
    /// # Panics
    /// When scache(8) does not end.
    #[must_use]
    pub fn finish(&self) -> Maillog {
        // After `postfix stop` nobody would write the log.
        if let Some(number) = self.scache() {
            self.reload();
            self.wait_for("scache does not end", |this| this.scache() != Some(number));
        }
        self.complete_log()
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// With `otherwise` when it does not become so.
    pub fn wait_for(&self, otherwise: &str, until: impl Fn(&Self) -> bool) {
        self.wait(otherwise, |_| until(self));
    }

    /// The administrator's command, as the package has it.
    fn postfix(&self, command: &str) {
        let output = self.run("postfix", [command]);
        assert!(
            output.status.success(),
            "postfix {command}: {output:?}\n{}",
            self.log().tail()
        );
    }

    /// Runs a command of the package on this instance, until it and what it left in the background have ended.
    fn run<'a>(&self, command: &str, arguments: impl IntoIterator<Item = &'a str>) -> Output {
        let stock = Stock::locate();
        let program = stock.command(command);
        // One that waits for ever fails the test, and does not hold it up.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=1", &DEADLINE.as_secs().to_string()]);
        if self.private_dev {
            let master = self.master.id().to_string();
            command.args(["nsenter", "--mount", "--target", &master]);
        }
        command
            .arg(program)
            .args([OsStr::new("-c"), self.configuration().as_os_str()])
            .args(arguments)
            .env_clear()
            .env("PATH", PATH)
            .env("LD_LIBRARY_PATH", stock.library_path())
            .stdin(Stdio::null())
            .output()
            .expect("a command of Postfix")
    }

    fn wait(&self, otherwise: &str, mut until: impl FnMut(&Maillog) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !until(&self.log()) {
            assert!(
                Instant::now() < end,
                "{otherwise}:\n{}\n{}",
                fs::read_to_string(self.directory.path().join("stderr")).unwrap_or_default(),
                self.log().tail()
            );
            sleep(Duration::from_millis(100));
        }
    }

    /// A command that ends with the instance, together with the process group that it leads.
    #[must_use]
    pub fn guarded(&self, program: &Path) -> Command {
        self.guardian.command(program, Path::new("/dev/null"))
    }

    /// Where its main.cf and master.cf are.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    /// Where its daemons are: links to those of the package.
    #[must_use]
    pub fn daemons(&self) -> PathBuf {
        self.directory.path().join("daemon")
    }

    /// The socket of its cache.
    #[must_use]
    pub fn scache_socket(&self) -> PathBuf {
        self.directory.path().join("queue/private/scache")
    }

    /// A command in whose PATH the package's commands are. It has to be told which instance this is.
    #[must_use]
    pub fn administration(&self, program: &Path) -> Command {
        let stock = Stock::locate();
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", format!("{}:{PATH}", stock.command("").display()))
            .env("LD_LIBRARY_PATH", stock.library_path())
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.guardian.end();
        let _ = self.master.wait();
        let _ = self.receiver.wait();
    }
}

/// The running processes of Postfix whose main.cf is in this directory, or somewhere below it.
#[must_use]
pub fn processes_below(directory: &Path) -> Vec<Process> {
    let mut variable = b"MAIL_CONFIG=".to_vec();
    variable.extend(directory.as_os_str().as_encoded_bytes());
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let process = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        let environment = fs::read(entry.path().join("environ")).ok()?;
        let belongs = environment
            .split(|&byte| byte == 0)
            .filter_map(|setting| setting.strip_prefix(variable.as_slice()))
            .any(|rest| rest.is_empty() || rest.starts_with(b"/"));
        if !belongs {
            return None;
        }
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        let program = line.split('\0').next()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?;
        Some(Process {
            number,
            parent: parent.parse().ok()?,
            name: program.rsplit('/').next()?.to_owned(),
        })
    };
    entries.filter_map(process).collect()
}

/// Whether somebody takes connections there. Leaves with good manners, so that a log does not speak of a lost
/// connection.
fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return false;
    };
    let mut greeting = [0; 512];
    let _ = stream.read(&mut greeting);
    let _ = stream.write_all(b"QUIT\r\n");
    let _ = stream.read_to_end(&mut Vec::new());
    true
}

/// How many connections to this address the server has not closed.
fn open_at(server: SocketAddr) -> usize {
    const ESTABLISHED: &str = "01";
    const CLOSE_WAIT: &str = "08";
    let table = fs::read_to_string("/proc/net/tcp").expect("the kernel's table of connections");
    let port = format!(":{:04X}", server.port());
    let open = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        local.is_some_and(|local| local.ends_with(&port))
            && [ESTABLISHED, CLOSE_WAIT].map(Some).contains(&state)
    });
    open.count()
}

/// Takes datagrams at the place that [`private_dev::SCRIPT`] makes /dev/log of, into the log file, until the directory is
/// gone.
fn record_syslog(root: &Path) {
    let path = root.join("syslog");
    let socket = UnixDatagram::bind(&path).expect("a socket for the log");
    layout::set_mode(&path, 0o666);
    socket
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("a timeout");
    let mut log = fs::File::create(root.join("maillog")).expect("a log file");
    std::thread::spawn(move || {
        let mut line = vec![0; 8192];
        while path.exists() {
            if let Ok(length) = socket.recv(&mut line) {
                line[length] = b'\n';
                log.write_all(&line[..=length])
                    .expect("a log file takes it");
            }
        }
    });
}
