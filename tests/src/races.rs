//! Daemons that start, take over and are killed at one path at the same time.
//!
//! Each race begins with a directory of its own and ends with what is left there. What is left is for the caller to
//! judge.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::net::RecvFlags;
use tempfile::TempDir;

use crate::exchange::{bind, greeted, saved, try_find};
use crate::fake_master::built;
use crate::wire::{Client, Connection};

/// What is left of a race.
#[derive(Debug)]
pub struct Left {
    /// Daemons that run.
    pub daemons: usize,
    /// Whether one of them answers at the path.
    pub answers: bool,
    /// Connections that are found there.
    pub found: usize,
    /// Connections that nobody has any more.
    pub closed: usize,
    /// Connections that had been saved.
    pub saved: usize,
    /// Files beside the socket.
    pub stray: Vec<OsString>,
}

impl Left {
    /// Whether there is one daemon at the path that has everything, and nothing else.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.closed == 0 && self.stray.is_empty() && self.is_whole_but_for_killed()
    }

    /// The same, but for what a daemon had that was killed: connections, and a lock, which goes with the next start or
    /// end there.
    #[must_use]
    pub fn is_whole_but_for_killed(&self) -> bool {
        let is_lock = |name: &OsString| name == ".socket.lock";
        let is_clean = self.stray.iter().all(is_lock);
        self.daemons == 1 && self.answers && is_clean && self.found + self.closed == self.saved
    }
}

/// When to kill a daemon that takes over.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// So long after it began to write files into the directory of the socket.
    AfterTouching(Duration),
    /// When it has said that it listens.
    Listening,
}

/// How long a race may go on. It is over when one daemon is left, which on the slowest machine takes a second or two.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait until the lock on the path is gone.
const NOTICE: Duration = Duration::from_secs(30);

/// How long to wait until somebody answers.
const ANSWER: Duration = Duration::from_secs(5);

/// How many daemons start at the same time. Two hardly ever meet.
const STARTS: usize = 8;

const OPTIONS: [&str; 2] = ["--ttl-limit", "1h"];
const TTL: u32 = 600;

/// A place for a race, and the daemons in it. They end with it.
#[derive(Debug)]
struct Course {
    directory: TempDir,
    daemons: Vec<Child>,
    connections: Vec<Connection>,
}

/// Two daemons take over from a third at the same time.
///
/// # Panics
/// When they cannot be started.
#[must_use]
pub fn two_takeovers(connections: usize) -> Left {
    let mut course = Course::with_daemon(connections);
    let path = course.path();
    for _ in 0..2 {
        course.start(&path, &["--takeover"]);
    }
    course.conclude(false)
}

/// Several daemons start at the same time where one that is gone left its socket.
///
/// # Panics
/// Likewise.
#[must_use]
pub fn several_starts() -> Left {
    let mut course = Course::new();
    let path = course.path();
    drop(UnixListener::bind(&path).expect("bind a socket"));
    for _ in 0..STARTS {
        course.start(&path, &[]);
    }
    course.conclude(false)
}

/// A daemon takes over at a path that is a symbolic link to the one of the other.
///
/// # Panics
/// Likewise.
#[must_use]
pub fn takeover_through_link(connections: usize) -> Left {
    let mut course = Course::with_daemon(connections);
    let elsewhere = TempDir::new().expect("a directory");
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(course.path(), &link).expect("make a link");
    course.start(&link, &["--takeover"]);
    let mut left = course.conclude(false);
    let still = fs::read_link(&link).is_ok_and(|target| target == course.path());
    left.answers &= still;
    left
}

/// A daemon is killed while it takes over. If it has everything by then, so that the other one has ended, there is
/// nothing to be said about it: `None`.
///
/// # Panics
/// Likewise.
#[must_use]
pub fn killed_takeover(connections: usize, moment: Moment) -> Option<Left> {
    let mut course = Course::with_daemon(connections);
    let path = course.path();
    course.start(&path, &["--takeover"]);
    match moment {
        Moment::AfterTouching(time) => {
            let deadline = Instant::now() + PATIENCE;
            while course.stray().is_empty() && Instant::now() < deadline {
                std::hint::spin_loop();
            }
            let until = Instant::now() + time;
            while Instant::now() < until {
                std::hint::spin_loop();
            }
        }
        Moment::Listening => {
            let said = course.daemons[1].stderr.take().expect("its standard error");
            let mut line = String::new();
            BufReader::new(said).read_line(&mut line).expect("a line");
        }
    }
    let mut killed = course.daemons.remove(1);
    killed.kill().expect("kill it");
    killed.wait().expect("it is dead");
    // Either the other one ends, or it answers.
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline && course.running() == 1 && !course.answers() {
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(50));
    (course.running() == 1).then(|| course.conclude(true))
}

impl Course {
    fn new() -> Self {
        Self {
            directory: TempDir::new().expect("a directory"),
            daemons: Vec::new(),
            connections: Vec::new(),
        }
    }

    fn with_daemon(connections: usize) -> Self {
        let mut course = Self::new();
        let path = course.path();
        let said = course.start(&path, &[]).stderr.take();
        let mut line = String::new();
        BufReader::new(said.expect("its standard error"))
            .read_line(&mut line)
            .expect("a line");
        let client = greeted(Client::connect(&path).expect("connect"));
        course.connections = (0..connections)
            .map(|number| saved(&client, TTL, Connection::new(), &number.to_string()))
            .collect();
        bind(&client, "d", "p", "0");
        course
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    fn start(&mut self, path: &Path, arguments: &[&str]) -> &mut Child {
        let child = Command::new(built("scached"))
            .arg("--socket")
            .arg(path)
            .args(OPTIONS)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .expect("start scached");
        self.daemons.push(child);
        self.daemons.last_mut().expect("it was started")
    }

    fn running(&mut self) -> usize {
        let is_running = |child: &mut Child| child.try_wait().expect("wait for it").is_none();
        self.daemons
            .iter_mut()
            .map(is_running)
            .filter(|is| *is)
            .count()
    }

    fn answers(&self) -> bool {
        let Ok(client) = Client::connect(&self.path()) else {
            return false;
        };
        let find = crate::wire::list(&[("request", "find_endp"), ("label", "none")]);
        let is_sent = client.send(&find).is_ok();
        let until = || client.hear_list_until(Instant::now() + ANSWER);
        // The announcement, then the reply.
        is_sent && !until().is_empty() && !until().is_empty()
    }

    fn stray(&self) -> Vec<OsString> {
        let Ok(entries) = fs::read_dir(self.directory.path()) else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| Some(entry.ok()?.file_name()))
            .filter(|name| name != "socket")
            .collect()
    }

    /// Waits until one is left, and looks what it has.
    fn conclude(&mut self, was_killed: bool) -> Left {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.running() > 1 {
            sleep(Duration::from_millis(5));
        }
        // The one that is left notices that the others are gone; the lock of one that was killed stays.
        let deadline = Instant::now() + NOTICE;
        while Instant::now() < deadline && !was_killed && !self.stray().is_empty() {
            sleep(Duration::from_millis(5));
        }
        let answers = self.answers();
        let closed = self.connections.iter().filter(|one| is_closed(one)).count();
        let mut left = 0;
        if answers {
            let client = greeted(Client::connect(&self.path()).expect("it answers"));
            for (number, connection) in self.connections.iter().enumerate() {
                let found = try_find(&client, number.to_string()).expect("it answers");
                left += usize::from(found.is_some_and(|found| connection.check(&found.descriptor)));
            }
        }
        Left {
            daemons: self.running(),
            answers,
            found: left,
            closed,
            saved: self.connections.len(),
            stray: self.stray(),
        }
    }
}

fn is_closed(connection: &Connection) -> bool {
    let mut byte = [0];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(
        rustix::net::recv(connection.far(), &mut byte, flags),
        Ok((0, _))
    )
}

impl Drop for Course {
    fn drop(&mut self) {
        for child in &mut self.daemons {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
