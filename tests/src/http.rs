//! One request over HTTP, and its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::wire::DEADLINE;

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Of the first line.
    pub status: u16,
    /// Everything before the empty line.
    pub head: String,
    /// Everything behind it.
    pub body: String,
}

impl Answer {
    /// The value of a header.
    #[must_use]
    pub fn header(&self, wanted: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.trim())
    }
}

/// Asks for a path.
///
/// # Panics
/// When there is no answer.
#[must_use]
pub fn get(server: SocketAddr, path: &str) -> Answer {
    ask(
        server,
        &format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n"),
    )
}

/// Sends a head that lacks the last line, and reads until the server closes.
///
/// # Panics
/// When there is no answer, or none that is text.
#[must_use]
pub fn ask(server: SocketAddr, head: &str) -> Answer {
    let mut connection = TcpStream::connect(server).expect("it listens");
    connection
        .set_read_timeout(Some(DEADLINE))
        .expect("a socket");
    let request = format!("{head}Connection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("sent");
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).expect("an answer");
    let text = String::from_utf8(bytes).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status"),
        head: head.to_owned(),
        // Prometheus answers in chunks to who says 1.1; the tests ask it as 1.0.
        body: body.to_owned(),
    }
}
