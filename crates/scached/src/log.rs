//! Log lines as Postfix writes them, to syslog, to postlogd(8) or to standard error.
//!
//! Logging never holds the daemon up: a line that cannot be written at once is dropped and counted.
//! Only last words are waited for, and not for long.

mod datagram;
mod stderr;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};

use scache_engine::Complaint;

use datagram::{Datagrams, Format};
pub use datagram::{Facility, UnknownFacility};
use stderr::Stderr;

/// How bad it is. `info` has no word of its own in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Ordinary.
    Info,
    /// Something is wrong, service goes on.
    Warning,
    /// Something is wrong and the administrator should look.
    Error,
    /// The process ends.
    Fatal,
}

/// Cuts a text to `bytes` bytes at most, after a whole character.
fn cut(text: &str, bytes: usize) -> &str {
    let mut ends = (0..=bytes.min(text.len())).rev();
    let end = ends.find(|&at| text.is_char_boundary(at));
    &text[..end.unwrap_or(0)]
}

/// Of each kind of complaint one is logged so often.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    name: Vec<u8>,
    target: RefCell<Option<Datagrams>>,
    stderr: RefCell<Option<Stderr>>,
    verbose: bool,
    complained: RefCell<HashMap<Complaint, Instant>>,
    dropped: Cell<u64>,
}

/// Where lines go, besides standard error.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    /// Nowhere.
    None,
    /// The system's log, by the socket of syslog(3).
    Syslog(Facility),
    /// The socket of postlogd(8), and this machine's name for its lines.
    Postlog {
        /// The socket.
        path: &'a Path,
        /// A host name; lines have it up to its first dot.
        host: &'a [u8],
    },
}

impl Log {
    /// A log whose lines bear `tag` and the number of the process that writes them. The socket is opened now, so that chroot(2) can follow.
    pub fn new(tag: impl Into<Vec<u8>>, target: Target<'_>) -> Self {
        let target = match target {
            Target::None => None,
            Target::Syslog(facility) => Some(Datagrams::open(
                Path::new("/dev/log"),
                Format::Syslog(facility),
            )),
            Target::Postlog { path, host } => {
                let host = host.split(|byte| *byte == b'.').next();
                let host = host.unwrap_or_default().to_owned();
                Some(Datagrams::open(path, Format::Postlog { host }))
            }
        };
        Self {
            name: tag.into(),
            target: RefCell::new(target),
            stderr: RefCell::default(),
            verbose: false,
            complained: RefCell::default(),
            dropped: Cell::new(0),
        }
    }

    /// Also writes every line to standard error, without date and process number.
    pub fn with_stderr(mut self, stderr: bool) -> Self {
        self.stderr = RefCell::new(stderr.then(Stderr::open));
        self
    }

    /// Also writes what [`Log::verbose`] is given.
    pub fn with_verbose(mut self, verbose: bool) -> Self {
        self.verbose = verbose;
        self
    }

    /// Writes a line.
    pub fn line(&self, severity: Severity, text: impl fmt::Display) {
        let text = match severity {
            Severity::Info => text.to_string(),
            Severity::Warning => format!("warning: {text}"),
            Severity::Error => format!("error: {text}"),
            Severity::Fatal => format!("fatal: {text}"),
        };
        // A line stays a line whatever a peer or a file put into it.
        let text: String = text
            .chars()
            .map(|character| {
                if character.is_control() {
                    '?'
                } else {
                    character
                }
            })
            .collect();
        let on_stderr = self.stderr.borrow_mut().as_mut().map(|stderr| {
            let name = String::from_utf8_lossy(&self.name);
            stderr.write(&format!("{name}: {text}"))
        });
        let target = &mut *self.target.borrow_mut();
        let in_log = target
            .as_mut()
            .map(|target| target.write(severity, &self.tag(), &text));
        // Beside a log, standard error is a courtesy.
        if in_log.or(on_stderr) == Some(false) {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    /// Writes text of several lines as it is, to standard error only.
    pub fn screen(&self, text: &str) {
        if let Some(stderr) = &mut *self.stderr.borrow_mut() {
            stderr.write(text);
        }
    }

    /// Writes an ordinary line.
    pub fn info(&self, text: impl fmt::Display) {
        self.line(Severity::Info, text);
    }

    /// Writes an ordinary line if more logging was asked for (`-v`).
    pub fn verbose(&self, text: impl fmt::Display) {
        if self.verbose {
            self.info(text);
        }
    }

    /// Writes a warning.
    pub fn warning(&self, text: impl fmt::Display) {
        self.line(Severity::Warning, text);
    }

    /// Writes a warning about a client, but not more than one per second and kind.
    pub fn complain(&self, now: Instant, complaint: Complaint) {
        let mut complained = self.complained.borrow_mut();
        if complained
            .get(&complaint)
            .is_none_or(|last| now.duration_since(*last) >= COMPLAINT_INTERVAL)
        {
            complained.insert(complaint, now);
            self.warning(complaint);
        }
    }

    /// For a second from now lines may be waited for: the loop has ended.
    pub fn begin_last_words(&self) {
        if let Some(target) = &mut *self.target.borrow_mut() {
            target.wait();
        }
    }

    /// Says how many lines could not be written, if any.
    pub fn tell_dropped(&self) {
        let dropped = self.dropped.get();
        if dropped > 0 {
            self.warning(format_args!(
                "{dropped} log lines were lost: the log was full or missing"
            ));
        }
    }

    /// A line made now and its descriptor, for a signal handler to write.
    pub fn prepared(&self, severity: Severity, text: &str) -> (Option<OwnedFd>, Vec<u8>) {
        match &*self.target.borrow() {
            Some(target) => target.prepared(severity, &self.tag(), text),
            None => {
                let stderr = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3).ok();
                (stderr, format!("{text}\n").into_bytes())
            }
        }
    }

    /// The name and the number of this process, which may have been divided since the start.
    fn tag(&self) -> Vec<u8> {
        let number = format!("[{}]", std::process::id());
        [self.name.as_slice(), number.as_bytes()].concat()
    }
}
