//! A whole Postfix in a directory of its own: master(8) and everything below it, mail going in by smtpd(8) and
//! out to a receiver on the loopback interface. Nothing is installed and nothing stays behind.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tempfile::TempDir;

use crate::fake_master::Program;
use crate::maillog::Maillog;
use crate::stock::Stock;

/// Generous by orders of magnitude: only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(180);

/// Existing users of every Debian, which nobody else needs here. Postfix wants a user and a group that do not
/// go together.
const MAIL_OWNER: &str = "uucp";
const SETGID_GROUP: &str = "games";

/// Starts `$2 …` with a /dev of its own, in which log is the socket `$1/syslog`.
const PRIVATE_DEV: &str = "\
    set -e; mkdir \"$1/dev\"; cp -a /dev/null /dev/zero /dev/random /dev/urandom \"$1/dev\"; \
    ln -s \"$1/syslog\" \"$1/dev/log\"; mount --bind \"$1/dev\" /dev; shift; exec \"$@\"";

/// How an instance is to be.
#[derive(Clone, Debug)]
pub struct Setup {
    scache: Program,
    transport: &'static str,
    scache_chrooted: bool,
    syslog: bool,
    next_hop: Option<SocketAddr>,
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
    directory: TempDir,
    submission: SocketAddr,
    master: Child,
    receiver: Child,
}

impl Instance {
    /// Starts the receiver and Postfix.
    ///
    /// # Panics
    /// When something cannot be made or started; this needs root.
    #[must_use]
    pub fn start(setup: &Setup) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "a whole Postfix needs root: run these tests as root"
        );
        let stock = Stock::locate();
        let directory = tempfile::tempdir().expect("a directory for a Postfix");
        let root = directory.path();
        set_mode(root, 0o755);
        let (submission, delivery) = (free_port(), free_port());
        lay_out_queue(&root.join("queue"));
        fs::create_dir(root.join("data")).expect("data_directory");
        chown(&root.join("data"), MAIL_OWNER);
        lay_out_programs(&root.join("daemon"), stock, &setup.scache);
        fs::create_dir(root.join("etc")).expect("config_directory");
        let main_cf = main_cf(root, stock, setup, delivery);
        fs::write(root.join("etc/main.cf"), main_cf).expect("main.cf");
        let master_cf = master_cf(submission, setup.scache_chrooted);
        fs::write(root.join("etc/master.cf"), master_cf).expect("master.cf");
        let mut receiver = Command::new(stock.command("smtp-sink"));
        if setup.transport == "lmtp" {
            receiver.arg("-L");
        }
        let receiver = receiver
            .args(["-c", "-u", "nobody"])
            .arg(delivery.to_string())
            .arg("200")
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", root.join("etc"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(root.join("receiver")).expect("a file for counters"))
            .stderr(Stdio::null())
            .spawn()
            .expect("smtp-sink");
        let mut master = if setup.syslog {
            record_syslog(root);
            let mut private = Command::new("unshare");
            private
                .args(["-m", "sh", "-c", PRIVATE_DEV, "sh"])
                .arg(root);
            private
        } else {
            Command::new("env")
        };
        let master = master
            .arg(root.join("daemon/master"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", root.join("etc"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(root.join("stderr")).expect("a file for standard error"))
            .spawn()
            .expect("master");
        let instance = Self {
            directory,
            submission,
            master,
            receiver,
        };
        for address in [delivery, submission] {
            instance.wait("nobody listens", |_| TcpStream::connect(address).is_ok());
        }
        instance
    }

    /// Where it takes mail.
    #[must_use]
    pub fn submission(&self) -> SocketAddr {
        self.submission
    }

    /// Sends messages, five at once, until this many are delivered since the start, and does `meanwhile` every
    /// second while they are.
    ///
    /// # Panics
    /// When they are not delivered in the end.
    pub fn deliver(&self, messages: usize, mut meanwhile: impl FnMut(&Self)) {
        let stock = Stock::locate();
        let mut source = Command::new(stock.command("smtp-source"))
            .args(["-s", "5", "-m"])
            .arg((messages - self.log().deliveries()).to_string())
            .args(["-f", "sender@example.org", "-t", "recipient@example.com"])
            .arg(self.submission.to_string())
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", self.directory.path().join("etc"))
            .spawn()
            .expect("smtp-source");
        let mut done_at = Instant::now();
        self.wait("mail is not delivered", |log| {
            if done_at.elapsed() >= Duration::from_secs(1) {
                meanwhile(self);
                done_at = Instant::now();
            }
            log.deliveries() >= messages
        });
        let status = source.wait().expect("smtp-source ends");
        assert!(status.success(), "smtp-source: {status}");
    }

    /// Tells master(8) to read its configuration again, which is the heart of `postfix reload`.
    pub fn reload(&self) {
        kill_process(self.pid(), Signal::HUP).expect("master is there");
    }

    /// The process number of scache(8), if it runs.
    #[must_use]
    pub fn scache(&self) -> Option<u32> {
        let program = self.directory.path().join("daemon/scache");
        fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let line = fs::read(entry.path().join("cmdline")).ok()?;
            let parent = fs::read_to_string(entry.path().join("stat")).ok()?;
            let parent = parent.rsplit(')').next()?.split_whitespace().nth(1)?;
            (line.starts_with(b"scache\0") && parent == self.master.id().to_string()
                || line.starts_with(program.as_os_str().as_encoded_bytes()))
            .then_some(number)
        })
    }

    /// The log so far.
    #[must_use]
    pub fn log(&self) -> Maillog {
        let path = self.directory.path().join("maillog");
        Maillog::new(fs::read(path).unwrap_or_default())
    }

    /// How many connections of Postfix the receiver has seen come and go.
    ///
    /// # Panics
    /// When the receiver's counters cannot be read.
    #[must_use]
    pub fn connections(&self) -> usize {
        // smtp-sink(1) writes `sess=N quit=N mesg=N` and a carriage return whenever one of them changes.
        let counters = fs::read_to_string(self.directory.path().join("receiver"));
        let counters = counters.expect("the receiver's counters");
        let sessions = counters.rsplit("sess=").next().unwrap_or_default();
        let sessions = sessions.split_whitespace().next().unwrap_or_default();
        let sessions: usize = sessions.parse().expect("a number of sessions");
        // One of them asked whether it listens, before Postfix sent anything.
        sessions - 1
    }

    /// Ends Postfix once it has fallen silent, and gives the log.
    ///
    /// # Panics
    /// When it does not end.
    #[must_use]
    pub fn stop(mut self) -> Maillog {
        self.fall_silent();
        let log = self.log();
        self.end();
        log
    }

    /// Lets scache(8) end and log its statistics, and with it all idle connections.
    ///
    /// # Panics
    /// When it does not end.
    pub fn fall_silent(&self) {
        // The lines that are logged at the end go through postlogd(8), which has to be told last: a reload
        // makes scache(8) end while it still runs.
        self.reload();
        self.wait_for("scache does not end", |this| this.scache().is_none());
        sleep(Duration::from_millis(500));
    }

    /// Waits until something is so.
    ///
    /// # Panics
    /// With `otherwise` when it does not become so.
    pub fn wait_for(&self, otherwise: &str, until: impl Fn(&Self) -> bool) {
        self.wait(otherwise, |_| until(self));
    }

    fn end(&mut self) {
        let _ = kill_process(self.pid(), Signal::TERM);
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end && matches!(self.master.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(20));
        }
        // What master started is in its process group.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.master.wait();
        let _ = self.receiver.kill();
        let _ = self.receiver.wait();
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

    fn pid(&self) -> Pid {
        Pid::from_child(&self.master)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.end();
    }
}

fn main_cf(root: &Path, stock: &Stock, setup: &Setup, delivery: SocketAddr) -> String {
    let root = root.display();
    let package = stock.root().display();
    let libraries = stock.library_path();
    let port = setup.next_hop.unwrap_or(delivery).port();
    let transport = setup.transport;
    let mut text = format!(
        "compatibility_level = 3.6
queue_directory = {root}/queue
data_directory = {root}/data
daemon_directory = {root}/daemon
command_directory = {package}/usr/sbin
shlib_directory = {package}/usr/lib/postfix
meta_directory = {package}/etc/postfix
import_environment = MAIL_CONFIG TZ LANG LD_LIBRARY_PATH={libraries}
mail_owner = {MAIL_OWNER}
setgid_group = {SETGID_GROUP}
maillog_file_prefixes = /
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.org
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
smtputf8_enable = no
relay_transport = $default_transport
smtp_connection_cache_destinations = static:all
lmtp_connection_cache_destinations = static:all
lmtp_connection_cache_on_demand = yes
"
    );
    if !setup.syslog {
        writeln!(text, "maillog_file = {root}/maillog").expect("a string takes it");
    }
    // A value that is defined twice would be warned of.
    if setup
        .parameters
        .iter()
        .all(|(name, _)| name != "default_transport")
    {
        writeln!(text, "default_transport = {transport}:[127.0.0.1]:{port}")
            .expect("a string takes it");
    }
    for (name, value) in &setup.parameters {
        writeln!(text, "{name} = {value}").expect("a string takes it");
    }
    text
}

fn master_cf(submission: SocketAddr, scache_chrooted: bool) -> String {
    let chrooted = if scache_chrooted { "y" } else { "n" };
    format!(
        "{submission} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - 5 smtp
lmtp unix - - n - 5 lmtp
error unix - - n - - error
discard unix - - n - - discard
tlsproxy unix - - n - 0 tlsproxy
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - {chrooted} - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

/// Takes datagrams at the place that [`PRIVATE_DEV`] makes /dev/log of, into the log file, until the directory is
/// gone.
fn record_syslog(root: &Path) {
    let path = root.join("syslog");
    let socket = UnixDatagram::bind(&path).expect("a socket for the log");
    set_mode(&path, 0o666);
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

fn lay_out_queue(queue: &Path) {
    fs::create_dir(queue).expect("queue_directory");
    let own = [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace", "maildrop", "public",
    ];
    for name in own {
        fs::create_dir(queue.join(name)).expect("a queue");
        chown(&queue.join(name), MAIL_OWNER);
    }
    fs::create_dir(queue.join("pid")).expect("pid");
}

/// Stock's programs, but for scache.
fn lay_out_programs(daemon: &Path, stock: &Stock, scache: &Program) {
    fs::create_dir(daemon).expect("daemon_directory");
    let programs = stock.daemon("");
    for entry in fs::read_dir(programs).expect("stock's programs").flatten() {
        let name = entry.file_name();
        let program = if name == "scache" {
            scache.path().to_owned()
        } else {
            entry.path()
        };
        symlink(program, daemon.join(name)).expect("a link to a program");
    }
}

fn chown(path: &Path, user: &str) {
    let status = Command::new("chown").arg(user).arg(path).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "chown {user} {}: Debian's users are needed",
        path.display()
    );
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode of a directory");
}

/// An address nobody listens on now. Whoever is faster makes the start fail, clearly.
fn free_port() -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("its address")
}
