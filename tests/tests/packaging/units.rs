//! systemd's files, as systemd's own programs read them.

use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::{fs, path::Path};

use scache_client::Client;
use scache_tests::fake_master::built;
use scache_tests::tools::{systemd, systemd_units};

use crate::installation::make;
use crate::repository::{self, quiet};

#[test]
fn systemd_finds_nothing_wrong_with_the_installed_units() {
    let directory = tempfile::tempdir().expect("a directory");
    // A prefix of the test's own, so that the program of the unit is there.
    let prefix = directory.path();
    make(
        "install",
        &[
            format!("PREFIX={}", prefix.display()),
            format!("SYSCONFDIR={}/etc", prefix.display()),
        ],
    );
    let units = prefix.join("lib/systemd/system");
    let said = quiet(
        systemd("systemd-analyze")
            .args(["verify", "--man=no"])
            .args(["scached.service", "scached.socket"].map(|name| units.join(name)))
            .env(
                "SYSTEMD_UNIT_PATH",
                format!("{}:{}", units.display(), systemd_units().display()),
            ),
    );
    assert_eq!(said, "");
}

#[test]
fn the_service_is_kept_in_as_well_as_it_was() {
    let makefile = repository::read(&repository::path("pkg/install.mk"));
    let threshold = makefile
        .lines()
        .find_map(|line| line.strip_prefix("EXPOSURE = "))
        .expect("what `make security` lets pass");
    let output = systemd("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager"])
        .arg(format!("--threshold={threshold}"))
        .arg(repository::path("pkg/systemd/scached.service"))
        .output()
        .expect("systemd-analyze");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "more than {threshold}: {said}");
    assert!(said.contains("Overall exposure level"), "{said}");
}

/// The system calls that the unit's filter lets through, with systemd's groups in the place of their names.
fn allowed_calls() -> Vec<String> {
    let unit = repository::read(&repository::path("pkg/systemd/scached.service"));
    let mut allowed: Vec<String> = Vec::new();
    let lists = unit
        .lines()
        .filter_map(|line| line.strip_prefix("SystemCallFilter="));
    for list in lists {
        let (names, forbids) = match list.strip_prefix('~') {
            Some(names) => (names, true),
            None => (list, false),
        };
        for name in names.split(' ').flat_map(calls) {
            if forbids {
                allowed.retain(|other| *other != name);
            } else {
                allowed.push(name);
            }
        }
    }
    allowed
}

/// What a name in a filter stands for.
fn calls(name: &str) -> Vec<String> {
    if !name.starts_with('@') {
        return vec![name.to_owned()];
    }
    let group = quiet(systemd("systemd-analyze").args(["--no-pager", "syscall-filter", name]));
    group
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#') && *line != name)
        .flat_map(calls)
        .collect()
}

#[test]
fn the_filter_lets_through_what_the_daemon_calls() {
    let allowed = allowed_calls();
    for forbidden in ["ptrace", "mount", "setuid", "chown", "shmget"] {
        assert!(!allowed.iter().any(|call| call == forbidden), "{forbidden}");
    }
    // Those of its life: what strace(1) saw in the tests of the daemon under a service manager.
    for needed in [
        "accept4",
        "access",
        "arch_prctl",
        "bind",
        "brk",
        "chmod",
        "close",
        "connect",
        "epoll_create1",
        "epoll_ctl",
        "epoll_wait",
        "execve",
        "exit_group",
        "fcntl",
        "fstat",
        "getegid",
        "geteuid",
        "getgid",
        "getpeername",
        "getpid",
        "getppid",
        "getrandom",
        "getsockname",
        "getsockopt",
        "gettid",
        "getuid",
        "ioctl",
        "listen",
        "lseek",
        "memfd_create",
        "mmap",
        "mprotect",
        "munmap",
        "newfstatat",
        "openat",
        "pipe2",
        "poll",
        "ppoll",
        "prctl",
        "pread64",
        "prlimit64",
        "read",
        "recvfrom",
        "recvmsg",
        "renameat2",
        "rseq",
        "rt_sigaction",
        "rt_sigreturn",
        "sched_getaffinity",
        "sendmsg",
        "sendto",
        "set_robust_list",
        "set_tid_address",
        "setsockopt",
        "shutdown",
        "sigaltstack",
        "socket",
        "socketpair",
        "statx",
        "umask",
        "unlink",
        "write",
    ] {
        assert!(
            allowed.iter().any(|call| call == needed),
            "SystemCallFilter= of the unit forbids {needed}"
        );
    }
}

#[test]
fn a_daemon_without_a_network_passes_connections_of_this_one() {
    scache_tests::needs_root();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let mut command = Command::new("unshare");
    command
        .arg("--net")
        .arg(built("scached"))
        .arg("--socket")
        .arg(&path)
        .args(["--ttl-limit", "10m"])
        .stderr(std::process::Stdio::null());
    let mut daemon = Started(command.spawn().expect("unshare(1), as root"));
    daemon.wait_for(&path);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its number");
    let connect = || {
        let near = std::net::TcpStream::connect(address).expect("connected");
        (near, listener.accept().expect("accepted").0)
    };
    let mut client = Client::new(&path);
    let ttl = std::time::Duration::from_secs(600);
    let (near, far) = connect();
    client
        .save_endpoint(ttl, b"e", b"dead", &near)
        .expect("saved");
    drop((near, far));
    let (near, mut far) = connect();
    client
        .save_endpoint(ttl, b"e", b"alive", &near)
        .expect("saved");
    drop(near);
    // It sees which one is dead, and the other goes on.
    let found = client.find_endpoint(b"e").expect("asked").expect("cached");
    assert_eq!(&*found.property, b"alive");
    let mut near = std::net::TcpStream::from(found.connection);
    std::io::Write::write_all(&mut near, b"x").expect("written");
    let mut byte = [0];
    std::io::Read::read_exact(&mut far, &mut byte).expect("read");
    assert_eq!(&byte, b"x");
}

struct Started(std::process::Child);

impl Started {
    fn wait_for(&mut self, path: &Path) {
        let deadline = std::time::Instant::now() + scache_tests::wire::DEADLINE;
        while std::os::unix::net::UnixStream::connect(path).is_err() {
            let ended = self.0.try_wait().expect("it is waited for");
            assert!(ended.is_none(), "it ended: {ended:?}");
            assert!(std::time::Instant::now() < deadline, "it does not listen");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_user_and_the_directory_are_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    fs::create_dir(root.join("etc")).expect("made");
    let at_root = format!("--root={}", root.display());
    let file = |kind: &str| repository::path(&format!("pkg/{kind}/scache.conf"));
    let run = |command: &mut Command| {
        let output = command.output().expect("it can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
    };
    run(systemd("systemd-sysusers")
        .arg(&at_root)
        .arg(file("sysusers.d")));
    let passwd = repository::read(&root.join("etc/passwd"));
    let line = passwd.lines().find(|line| line.starts_with("scache:"));
    let fields: Vec<&str> = line.expect("the user").split(':').collect();
    assert_eq!(
        &fields[4..],
        [
            "Shared connection cache",
            "/nonexistent",
            "/usr/sbin/nologin"
        ]
    );
    let groups = repository::read(&root.join("etc/group"));
    assert!(groups.lines().any(|line| line.starts_with("scache:")));

    run(systemd("systemd-tmpfiles")
        .arg(&at_root)
        .arg("--create")
        .arg(file("tmpfiles.d")));
    let metadata = fs::metadata(root.join("run/scache")).expect("the directory");
    assert_eq!(metadata.uid().to_string(), fields[2]);
    assert_eq!(metadata.mode() & 0o7777, 0o755);
}
