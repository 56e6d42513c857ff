//! smtp-sink(1) of Debian's Postfix: an SMTP server that takes every mail and counts.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::port::Port;
use crate::stock::Stock;
use crate::wire::DEADLINE;

/// A server on a port of its own, that ends with this value.
#[derive(Debug)]
pub struct SmtpSink {
    child: Child,
    port: Port,
    directory: TempDir,
}

/// What a server has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Sessions that have ended.
    pub sessions: u32,
    /// Messages that were taken.
    pub messages: u32,
}

impl SmtpSink {
    /// Starts one.
    ///
    /// # Panics
    /// When it does not start; it needs root.
    #[must_use]
    pub fn start() -> Self {
        let stock = Stock::locate();
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        File::create(root.join("main.cf")).expect("a configuration");
        let port = Port::claim();
        let counters = File::create(root.join("counters")).expect("a file");
        let child = Command::new(stock.command("smtp-sink"))
            .args(["-c", "-u", "nobody", &port.address().to_string(), "200"])
            .env("LD_LIBRARY_PATH", stock.library_path())
            .env("MAIL_CONFIG", root)
            .stdout(counters)
            .stderr(Stdio::null())
            .spawn()
            .expect("smtp-sink can be started");
        let mut sink = Self {
            child,
            port,
            directory,
        };
        let deadline = Instant::now() + DEADLINE;
        while !sink.greets() {
            let ended = sink.child.try_wait().expect("it is waited for");
            assert!(ended.is_none(), "smtp-sink ended: {ended:?}");
            assert!(Instant::now() < deadline, "smtp-sink does not listen");
            sleep(Duration::from_millis(20));
        }
        sink
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address()
    }

    /// What it has seen, once every session has ended: those that go on are not counted.
    ///
    /// # Panics
    /// When it does not count any more.
    #[must_use]
    pub fn finish(self) -> Seen {
        // It counts a session when it sees its end, or its QUIT. What ended before this one began is counted by
        // the time that this one is.
        let mut last = TcpStream::connect(self.port.address()).expect("it listens");
        last.write_all(b"QUIT\r\n").expect("it reads");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let text = std::fs::read_to_string(self.directory.path().join("counters"))
                .expect("its counters");
            let mut records = text.split('\r').filter(|record| record.contains("quit=1"));
            if let Some(record) = records.next() {
                let number = |name: &str| {
                    let rest = record.rsplit(name).next()?;
                    rest.split_whitespace().next()?.parse::<u32>().ok()
                };
                return Seen {
                    // But for this one, and that which saw whether it greets.
                    sessions: number("sess=").expect("sessions") - 2,
                    messages: number("mesg=").expect("messages"),
                };
            }
            assert!(Instant::now() < deadline, "it does not count: {text:?}");
            sleep(Duration::from_millis(20));
        }
    }

    fn greets(&self) -> bool {
        let mut line = String::new();
        TcpStream::connect(self.port.address())
            .and_then(|stream| BufReader::new(stream).read_line(&mut line))
            .is_ok_and(|_| line.starts_with("220"))
    }
}

impl Drop for SmtpSink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
