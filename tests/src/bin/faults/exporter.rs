//! Connections that use up all that `scachectl exporter` may have, and how long a scrape waits meanwhile.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size;
use scache_tests::fake_master::built;

use crate::Counts;
use crate::report::Report;

/// As many as there may be, and one more.
const CONNECTIONS: usize = 65;

/// Less than the 75 s that an idle connection may stay, and many times what a slow machine needs: Prometheus itself
/// waits for 10 s.
const PROMISED: Duration = Duration::from_secs(60);

/// A scrape that was not answered until now is given up.
const GIVEN_UP: Duration = Duration::from_secs(100);

const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// What an attacker does with a connection.
type Attack = fn(&TcpStream);

const ATTACKS: [(&str, Attack); 4] = [
    ("silent", |_| {}),
    ("idle after an answer", |connection| {
        send(connection, SCRAPE);
        let _ = (&*connection).read(&mut [0; 4096]);
    }),
    ("half a head", |connection| {
        send(connection, b"GET /metrics HT");
    }),
    ("not reading", |connection| {
        // The buffers of the two sockets take less than these pages.
        let _ = set_socket_recv_buffer_size(connection, 4096);
        send(
            connection,
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200),
        );
    }),
];

pub fn measure(_counts: &Counts, report: &mut Report) {
    report.part(&format!(
        "{CONNECTIONS} connections hold the exporter, and a scrape is timed (stock has none)"
    ));
    let exporter = Exporter::start();
    let row = |report: &Report, name: &str, time: Option<Duration>| {
        let text = match time {
            Some(time) => format!("{:.1} ms", time.as_secs_f64() * 1e3),
            None => format!("no answer in {} s", GIVEN_UP.as_secs()),
        };
        report.row(name, &text);
    };
    row(report, "no other connection", exporter.scrape());
    let mut longest = Some(Duration::ZERO);
    for (name, attack) in ATTACKS {
        let attackers: Vec<TcpStream> = (0..CONNECTIONS)
            .map(|_| {
                let connection = TcpStream::connect(exporter.address).expect("it listens");
                let timeout = Some(Duration::from_millis(200));
                connection.set_read_timeout(timeout).expect("a socket");
                connection.set_write_timeout(timeout).expect("a socket");
                attack(&connection);
                connection
            })
            .collect();
        let time = exporter.scrape();
        row(report, name, time);
        longest = longest.zip(time).map(|(one, other)| one.max(other));
        drop(attackers);
    }
    report.promise(
        "a scrape is answered while other connections would stay",
        longest.is_some_and(|longest| longest < PROMISED),
    );
}

/// What does not fit is not sent.
fn send(mut connection: &TcpStream, bytes: &[u8]) {
    let _ = connection.write_all(bytes);
}

/// An exporter of a cache that is not there. It ends with this value.
struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    fn start() -> Self {
        let mut child = Command::new(built("scachectl"))
            .args(["--socket", "/nonexistent/cache", "exporter"])
            .args(["--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("scachectl");
        let mut line = String::new();
        let screen = child.stderr.take().expect("its standard error");
        BufReader::new(screen).read_line(&mut line).expect("a line");
        let address = line
            .split_once("http://")
            .and_then(|(_, rest)| rest.split('/').next()?.parse().ok());
        Self {
            child,
            address: address.expect("it says where it listens"),
        }
    }

    /// How long a scrape takes, if it is answered.
    fn scrape(&self) -> Option<Duration> {
        let began = Instant::now();
        let mut connection = TcpStream::connect(self.address).expect("it listens");
        connection
            .set_read_timeout(Some(GIVEN_UP))
            .expect("a socket");
        connection.write_all(SCRAPE).ok()?;
        let mut answer = [0; 12];
        connection.read_exact(&mut answer).ok()?;
        (&answer == b"HTTP/1.1 200").then(|| began.elapsed())
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
