//! A stand-in for systemd: it passes sockets, hears what it is told, and keeps descriptors over a restart.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use command_fds::{CommandFdExt, FdMapping};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use scache_tests::fake_master::built;
use scache_tests::wire::DEADLINE;
use tempfile::TempDir;

use crate::daemon::{Daemon, text};

/// The service manager.
pub struct Manager {
    directory: TempDir,
    shared: Arc<Shared>,
    /// What it passes besides the store.
    sockets: Vec<(String, OwnedFd)>,
    /// What it says in the environment besides the usual.
    environment: Vec<(&'static str, String)>,
    /// Held to let nothing be read.
    pub socket: Arc<UnixDatagram>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    said: Vec<String>,
    store: Vec<(String, OwnedFd)>,
    forgetful: bool,
}

impl Manager {
    /// One that keeps so many descriptors.
    pub fn new(store: usize) -> Self {
        let mut manager = Self::deaf();
        if store > 0 {
            manager.environment.push(("FDSTORE", store.to_string()));
        }
        let (socket, shared) = (Arc::clone(&manager.socket), Arc::clone(&manager.shared));
        // It ends with the test's process.
        std::thread::spawn(move || {
            while let Some((message, descriptors)) = receive(&socket) {
                shared.take_in(message, descriptors);
            }
        });
        manager
    }

    /// One that never reads what it is told.
    pub fn deaf() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("bound");
        Self {
            directory,
            shared: Arc::default(),
            sockets: Vec::new(),
            environment: Vec::new(),
            socket: Arc::new(socket),
        }
    }

    /// Passes a socket at each start.
    pub fn passing(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.sockets.push((name.to_owned(), socket.into()));
        self
    }

    /// Says this in the environment.
    pub fn saying(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// Confirms nothing from now on, and goes on to keep what it should forget.
    pub fn do_not_forget(&self) {
        self.shared.state().forgetful = true;
    }

    /// Starts the daemon, as systemd would.
    pub fn start(&self, arguments: &[&str]) -> Daemon {
        let (names, descriptors): (Vec<_>, Vec<_>) = {
            let state = self.shared.state();
            // In another order than they came: nobody promises one.
            let stored = state.store.iter().rev();
            self.sockets
                .iter()
                .chain(stored)
                .map(|(name, descriptor)| {
                    let copy = descriptor.as_fd().try_clone_to_owned();
                    (name.clone(), copy.expect("a copy"))
                })
                .unzip()
        };
        let count = descriptors.len().to_string();
        let mappings = (3..)
            .zip(descriptors)
            .map(|(child_fd, parent_fd)| FdMapping {
                parent_fd,
                child_fd,
            })
            .collect();
        let mut command = Command::new("sh");
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
            .arg(built("scached"))
            .args(arguments)
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"))
            .envs(self.environment.iter().cloned());
        if !names.is_empty() {
            command
                .env("LISTEN_FDS", count)
                .env("LISTEN_FDNAMES", names.join(":"))
                .fd_mappings(mappings)
                .expect("numbers from 3 on");
        }
        Daemon::spawn(command)
    }

    /// Starts it and waits until it says that it is ready.
    pub fn start_ready(&self, arguments: &[&str]) -> Daemon {
        let before = self.heard("READY=1");
        let daemon = self.start(arguments);
        self.wait_for("READY=1", before + 1);
        daemon
    }

    /// How often it was told this.
    pub fn heard(&self, line: &str) -> usize {
        self.shared.state().heard(line)
    }

    /// Waits until it was told this so often.
    pub fn wait_for(&self, line: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.shared.state();
        while state.heard(line) < times {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not told {line}: {:?}", state.said);
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("no panic elsewhere")
                .0;
        }
    }

    /// The names of what it keeps.
    pub fn stored(&self) -> Vec<String> {
        let state = self.shared.state();
        state.store.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Keeps something.
    pub fn keep(&self, name: &str, descriptor: impl Into<OwnedFd>) {
        let mut state = self.shared.state();
        state.store.push((name.to_owned(), descriptor.into()));
    }

    /// Forgets something, as systemd does with a connection that hung up.
    pub fn lose(&self, name: &str) {
        self.shared
            .state()
            .store
            .retain(|(stored, _)| stored != name);
    }

    /// The attributes of the table it keeps: names and values.
    pub fn table(&self) -> Vec<(String, String)> {
        let state = self.shared.state();
        let mut tables = state.store.iter().filter(|(name, _)| is_table(name));
        let (_, table) = tables.next().expect("a table");
        assert!(tables.next().is_none(), "several tables");
        let mut bytes = vec![0; 1 << 20];
        let length = rustix::io::pread(table, &mut bytes, 0).expect("it can be read");
        let strings: Vec<_> = bytes[..length]
            .split(|byte| *byte == 0)
            .filter(|string| !string.is_empty())
            .map(|string| String::from_utf8_lossy(string).into_owned())
            .collect();
        strings
            .windows(2)
            .map(|pair| (pair[0].clone(), pair[1].clone()))
            .collect()
    }

    /// A path in a directory of its own.
    pub fn path(&self, name: &str) -> String {
        text(&self.directory.path().join(name)).to_owned()
    }
}

pub fn is_table(name: &str) -> bool {
    name.ends_with("-table")
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic elsewhere")
    }

    fn take_in(&self, message: String, descriptors: Vec<OwnedFd>) {
        let mut state = self.state();
        let name = message
            .lines()
            .find_map(|line| line.strip_prefix("FDNAME="))
            .unwrap_or("stored")
            .to_owned();
        let has = |wanted| message.lines().any(|line| line == wanted);
        if has("FDSTORE=1") {
            assert!(name.len() <= 255 && !name.contains(':'), "{name}");
            assert!(!descriptors.is_empty(), "FDSTORE=1 without a descriptor");
            for descriptor in descriptors {
                state.store.push((name.clone(), descriptor));
            }
        } else if has("FDSTOREREMOVE=1") && !state.forgetful {
            state.store.retain(|(stored, _)| *stored != name);
        } else if has("BARRIER=1") && state.forgetful {
            state.store.extend(
                descriptors
                    .into_iter()
                    .map(|descriptor| ("unconfirmed".to_owned(), descriptor)),
            );
        }
        state.said.extend(message.lines().map(str::to_owned));
        self.changed.notify_all();
    }
}

impl State {
    fn heard(&self, line: &str) -> usize {
        self.said.iter().filter(|said| *said == line).count()
    }
}

fn receive(socket: &UnixDatagram) -> Option<(String, Vec<OwnedFd>)> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .ok()?;
    let descriptors = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let text = String::from_utf8_lossy(&bytes[..message.bytes]).into_owned();
    Some((text, descriptors))
}
