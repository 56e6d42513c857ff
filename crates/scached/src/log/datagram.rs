//! Lines as datagrams: to syslogd(8) and to postlogd(8).

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::net::{SendFlags, send};
use scache_sys::local_time::LocalTime;

use super::{Severity, cut};

/// A facility of syslog(3), by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facility(u32);

/// No such facility.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown syslog facility name: {0}")]
pub struct UnknownFacility(String);

const FACILITIES: [(&str, u32); 20] = [
    ("auth", 4),
    ("authpriv", 10),
    ("cron", 9),
    ("daemon", 3),
    ("ftp", 11),
    ("kern", 0),
    ("lpr", 6),
    ("mail", 2),
    ("news", 7),
    ("syslog", 5),
    ("user", 1),
    ("uucp", 8),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

impl Facility {
    /// `mail`, where Postfix logs unless told otherwise.
    pub const MAIL: Self = Self(2);

    /// A facility by its name.
    ///
    /// # Errors
    /// [`UnknownFacility`].
    pub fn parse(name: &str) -> Result<Self, UnknownFacility> {
        FACILITIES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| Self(*number))
            .ok_or_else(|| UnknownFacility(name.to_owned()))
    }
}

/// How a datagram looks.
#[derive(Debug)]
pub(super) enum Format {
    Syslog(Facility),
    Postlog { host: Vec<u8> },
}

/// The longest text postlogd(8) is sent, in bytes.
const POSTLOG_TEXT_BYTES: usize = 2000;

/// How long last words may wait for a full socket, all of them together.
const PATIENCE: Duration = Duration::from_secs(1);

/// A socket that takes lines.
#[derive(Debug)]
pub(super) struct Datagrams {
    path: PathBuf,
    format: Format,
    socket: Option<UnixDatagram>,
    /// Until when lines may be waited for.
    wait_until: Option<Instant>,
}

impl Datagrams {
    pub(super) fn open(path: &Path, format: Format) -> Self {
        let mut datagrams = Self {
            path: path.to_owned(),
            format,
            socket: None,
            wait_until: None,
        };
        datagrams.connect();
        datagrams
    }

    /// Says whether the line was taken.
    pub(super) fn write(&mut self, severity: Severity, tag: &[u8], text: &str) -> bool {
        let line = self.format.line(severity, tag, text);
        // The log daemon may have been restarted: its old socket refuses, a new one is at the path.
        self.send(&line) || (self.connect() && self.send(&line))
    }

    /// Lets lines be waited for, all of them together for [`PATIENCE`].
    pub(super) fn wait(&mut self) {
        self.wait_until.get_or_insert(Instant::now() + PATIENCE);
    }

    pub(super) fn prepared(
        &self,
        severity: Severity,
        tag: &[u8],
        text: &str,
    ) -> (Option<OwnedFd>, Vec<u8>) {
        let socket = self
            .socket
            .as_ref()
            .and_then(|socket| socket.as_fd().try_clone_to_owned().ok());
        (socket, self.format.line(severity, tag, text))
    }

    fn connect(&mut self) -> bool {
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(&self.path)?;
            Ok(socket)
        });
        // Behind chroot(2) the path may be out of reach: then the socket from before is all there is.
        match connected {
            Ok(socket) => {
                self.socket = Some(socket);
                true
            }
            Err(_) => false,
        }
    }

    fn send(&self, line: &[u8]) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let left = self
            .wait_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero());
        let mut flags = SendFlags::NOSIGNAL;
        // The timeout belongs to this socket, which is nobody else's.
        let may_wait = left.is_some() && socket.set_write_timeout(left).is_ok();
        flags.set(SendFlags::DONTWAIT, !may_wait);
        send(socket, line, flags).is_ok()
    }
}

impl Format {
    /// A name of the administrator's keeps its bytes, whatever they are.
    fn line(&self, severity: Severity, tag: &[u8], text: &str) -> Vec<u8> {
        let time = LocalTime::from(SystemTime::now());
        match self {
            Self::Syslog(facility) => {
                let priority = facility.0 * 8 + severity.syslog_level();
                let begin = format!("<{priority}>{time} ");
                [begin.as_bytes(), tag, b": ", text.as_bytes()].concat()
            }
            Self::Postlog { host } => {
                let text = cut(text, POSTLOG_TEXT_BYTES);
                let begin = format!("{time} ");
                [begin.as_bytes(), host, b" ", tag, b": ", text.as_bytes()].concat()
            }
        }
    }
}

impl Severity {
    /// The level of syslog(3); Postfix logs fatal errors as critical.
    fn syslog_level(self) -> u32 {
        match self {
            Self::Info => 6,
            Self::Warning => 4,
            Self::Error => 3,
            Self::Fatal => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_time(line: &[u8]) -> String {
        let line = String::from_utf8_lossy(line).into_owned();
        let (priority, rest) = line.split_once('>').unwrap_or(("", &line));
        format!("{priority} {}", &rest["Nov 23 15:57:00 ".len()..])
    }

    #[test]
    fn lines_look_as_their_reader_expects() {
        let syslog = Format::Syslog(Facility::MAIL);
        let line = syslog.line(Severity::Warning, b"postfix/scache[1]", "warning: x");
        assert_eq!(without_time(&line), "<20 postfix/scache[1]: warning: x");
        let postlog = Format::Postlog { host: b"mx".into() };
        let line = postlog.line(Severity::Info, b"postfix/scache[1]", "x");
        assert_eq!(without_time(&line), " mx postfix/scache[1]: x");
    }

    #[test]
    fn a_long_text_is_cut_for_postlogd_between_characters() {
        let postlog = Format::Postlog { host: b"mx".into() };
        let text = format!("{}é", "x".repeat(POSTLOG_TEXT_BYTES - 1));
        let line = postlog.line(Severity::Info, b"t", &text);
        assert!(line.ends_with(b"x"));
        assert_eq!(
            without_time(&line).len(),
            " mx t: ".len() + POSTLOG_TEXT_BYTES - 1
        );
    }

    #[test]
    fn a_full_socket_drops_the_line_and_does_not_wait() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let reader = UnixDatagram::bind(&path).unwrap();
        let mut log = Datagrams::open(&path, Format::Syslog(Facility::MAIL));
        while log.write(Severity::Info, b"t", "x") {}
        reader.recv(&mut [0; 100]).unwrap();
        assert!(log.write(Severity::Info, b"t", "x"));
        drop(reader);
        assert!(!log.write(Severity::Info, b"t", "nobody reads"));
    }

    #[test]
    fn last_words_are_waited_for_but_all_together_not_long() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let _reader = UnixDatagram::bind(&path).unwrap();
        let mut log = Datagrams::open(&path, Format::Syslog(Facility::MAIL));
        while log.write(Severity::Info, b"t", "x") {}
        log.wait();
        let began = Instant::now();
        for _ in 0..100 {
            assert!(!log.write(Severity::Info, b"t", "x"));
        }
        let time = began.elapsed();
        assert!(time >= PATIENCE && time < 50 * PATIENCE, "{time:?}");
    }

    #[test]
    fn facilities_have_names() {
        assert_eq!(Facility::parse("mail"), Ok(Facility::MAIL));
        assert!(Facility::parse("post").is_err());
    }
}
