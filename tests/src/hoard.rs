//! Clients with inline descriptors that take connections out of a cache and read none of them.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use rustix::event::PollFlags;

use crate::exchange::{ask_inline, find_endp, greeted, save_endp, status};
use crate::scached::Scached;
use crate::wire::{Client, Connection, DEADLINE, Heard, ready};

/// User of the daemon, by number, whom no other test needs: man, on every Debian. Root may have any number in flight.
const USER: u32 = 6;

/// Descriptors that the daemon may have open, and its user in flight.
pub const DESCRIPTORS: u64 = 1024;

const OPTIONS: [&str; 8] = [
    "--mode",
    "0666",
    "--allow-user",
    "root",
    "--ttl-limit",
    "1h",
    "--request-timeout",
    "3s",
];

/// Starts a daemon of an ordinary user, which hoarders can bring to the limit of descriptors in flight.
///
/// # Panics
/// When it does not listen.
#[must_use]
pub fn daemon() -> Scached {
    Scached::of_user(USER, DESCRIPTORS, &OPTIONS)
}

/// Starts another one that takes over from it.
///
/// # Panics
/// When it does not listen.
#[must_use]
pub fn successor(old: &Scached) -> Scached {
    old.beside(USER, DESCRIPTORS, &[&OPTIONS[..], &["--takeover"]].concat())
}

/// A client that has taken connections and reads nothing.
#[derive(Debug)]
pub struct Hoarder {
    client: Client,
    /// The other ends of what it saved: nothing of it is dropped as closed.
    _connections: Vec<Connection>,
}

impl Hoarder {
    /// Connects, saves so many connections under a label of its own, and asks for all of them in one go.
    ///
    /// # Panics
    /// When it is not served, or what it saves is refused.
    #[must_use]
    pub fn start(path: &Path, label: &str, count: usize) -> Self {
        let client = inline(path);
        let connections = (0..count).map(|_| saved(&client, label)).collect();
        let finds = find_endp(label).repeat(count);
        client.send(&finds).expect("the requests fit");
        Self {
            client,
            _connections: connections,
        }
    }

    /// Sends nothing more, and goes on reading nothing.
    ///
    /// # Panics
    /// When the socket cannot be shut down.
    pub fn says_no_more(&self) {
        rustix::net::shutdown(&self.client, rustix::net::Shutdown::Write).expect("shut it down");
    }

    /// Whether the server ends it before the deadline, seen without reading.
    ///
    /// # Panics
    /// When the socket cannot be polled.
    #[must_use]
    pub fn is_dropped(&self) -> bool {
        let deadline = Instant::now() + DEADLINE;
        ready(self.client.as_fd(), PollFlags::RDHUP, deadline).expect("poll the socket")
    }

    /// Reads what there is to read, and says how many connections that were.
    #[must_use]
    pub fn reads(self) -> usize {
        let mut connections = 0;
        while let Heard::Byte(_, descriptor) = self.client.hear(Instant::now()) {
            connections += usize::from(descriptor.is_some());
        }
        connections
    }
}

/// A client that asked for inline descriptors.
///
/// # Panics
/// When it is not served.
#[must_use]
pub fn inline(path: &Path) -> Client {
    let client = greeted(Client::connect(path).expect("connect"));
    ask_inline(&client);
    client
}

/// Saves a connection for a minute, over a client with inline descriptors, and keeps only the far end.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn saved(client: &Client, label: &str) -> Connection {
    let mut connection = Connection::new();
    let request = save_endp("60", label, "p");
    client
        .send_with_descriptors(&request, &[connection.near()])
        .expect("send the request");
    assert_eq!(client.hear_list(), status(0), "a save under {label}");
    connection.let_go();
    connection
}
