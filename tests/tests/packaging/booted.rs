//! The units under the real systemd, which is process 1 of namespaces of its own: socket activation, the sandbox of the
//! unit, and the descriptor store over a restart.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scache_client::Client;
use scache_tests::tools::systemd_root;
use tempfile::TempDir;

use crate::installation::make;
use crate::repository::{self, quiet};

/// A machine takes a while to start, even one of which so little starts.
const PATIENCE: Duration = Duration::from_secs(120);

/// systemd in namespaces of its own. It ends with this value, and all that it started.
struct Booted {
    unshare: Child,
    /// What process 1 in there is called out here.
    pid: u32,
    _directory: TempDir,
}

impl Booted {
    fn boot() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let staged = directory.path().join("staged");
        let mounted = directory.path().join("mounted");
        fs::create_dir(&mounted).expect("made");
        make(
            "install",
            &[
                format!("DESTDIR={}", staged.display()),
                "PREFIX=/usr".to_owned(),
            ],
        );
        let unshare = Command::new("unshare")
            .args([
                "--mount",
                "--pid",
                "--fork",
                "--cgroup",
                "--net",
                "--kill-child",
                "sh",
            ])
            .arg(repository::path("tests/tests/packaging/booted.sh"))
            .args([&mounted, &staged, systemd_root()])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare(1), as root");
        let mut booted = Self {
            unshare,
            pid: 0,
            _directory: directory,
        };
        booted.wait();
        booted
    }

    /// Waits until process 1 is systemd and holds the socket.
    fn wait(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let pid = self.unshare.id();
        let children = format!("/proc/{pid}/task/{pid}/children");
        loop {
            let ended = self.unshare.try_wait().expect("it is waited for");
            assert!(
                ended.is_none(),
                "systemd did not start in namespaces of its own: the tests need root, and the right to mount overlayfs \
                 and cgroup2"
            );
            let child = fs::read_to_string(&children).unwrap_or_default();
            if let Ok(child) = child.trim().parse() {
                self.pid = child;
                let program = fs::read_link(format!("/proc/{child}/exe")).unwrap_or_default();
                if program.ends_with("systemd") && self.socket().exists() {
                    return;
                }
            }
            assert!(Instant::now() < deadline, "there is no socket yet");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The socket of the service, seen from out here.
    fn socket(&self) -> PathBuf {
        Path::new(&format!("/proc/{}/root/run/scache/scache.sock", self.pid)).to_owned()
    }

    /// What systemctl says in there.
    fn systemctl(&self, arguments: &[&str]) -> String {
        let pid = self.pid.to_string();
        quiet(
            Command::new("nsenter")
                .args(["--target", &pid, "--mount", "--pid", "systemctl"])
                .args(arguments),
        )
    }

    /// What the kernel says of the daemon's process.
    fn daemon(&self) -> (String, String) {
        let shown = self.systemctl(&[
            "show",
            "--property",
            "MainPID",
            "--value",
            "scached.service",
        ]);
        let number = shown.trim().to_owned();
        let path = format!("/proc/{}/root/proc/{number}/status", self.pid);
        let status = fs::read_to_string(path).expect("the daemon runs");
        (number, status)
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        // What it started ends with it, since it is the first of its namespace.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
    }
}

#[test]
fn a_restart_under_systemd_keeps_a_connection_though_the_daemon_has_no_network() {
    let booted = Booted::boot();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    let near = TcpStream::connect(address).expect("connected");
    let (mut far, _) = listener.accept().expect("accepted");

    // The first client starts the service.
    let mut client = Client::new(booted.socket());
    let ttl = Duration::from_secs(600);
    client.save_endpoint(ttl, b"e", b"p", &near).expect("saved");
    drop(near);
    let (before, status) = booted.daemon();
    for line in ["Seccomp:\t2", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    assert!(!status.contains("Uid:\t0"), "{status}");

    booted.systemctl(&["restart", "scached.service"]);
    let found = client
        .find_endpoint(b"e")
        .expect("asked")
        .expect("it is still there");
    assert_eq!(&*found.property, b"p");
    assert_ne!(booted.daemon().0, before);
    let mut near = TcpStream::from(found.connection);
    std::io::Write::write_all(&mut near, b"x").expect("written");
    let mut byte = [0];
    std::io::Read::read_exact(&mut far, &mut byte).expect("read");
    assert_eq!(&byte, b"x");
}
