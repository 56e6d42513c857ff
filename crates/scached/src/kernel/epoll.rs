//! Waiting by epoll(7): what the daemons do.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Poll};
use scache_engine::{Event, Interest, Token};

use super::Watcher;

/// Waits by epoll(7), edge-triggered.
#[derive(Debug)]
pub struct Epoll {
    poll: Poll,
    events: Events,
}

const EVENTS_PER_PASS: usize = 256;

impl Epoll {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// What epoll_create(2) says.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_PER_PASS),
        })
    }
}

impl Watcher for Epoll {
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        let known = self.events.iter().filter_map(|event| {
            Some(Event {
                token: Token::from_number(event.token().0 as u64)?,
                readable: event.is_readable(),
                ended: event.is_read_closed(),
            })
        });
        events.extend(known);
        Ok(())
    }

    fn watch(&mut self, what: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().register(
            &mut SourceFd(&what.as_fd().as_raw_fd()),
            number(token),
            wanted(interest),
        )
    }

    fn watch_for(&mut self, what: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.poll.registry().reregister(
            &mut SourceFd(&what.as_fd().as_raw_fd()),
            number(token),
            wanted(interest),
        )
    }

    fn unwatch(&mut self, what: &impl AsFd) {
        // What was not watched is not watched now.
        let _ = self
            .poll
            .registry()
            .deregister(&mut SourceFd(&what.as_fd().as_raw_fd()));
    }
}

fn number(token: Token) -> mio::Token {
    mio::Token(token.to_number() as usize)
}

fn wanted(interest: Interest) -> mio::Interest {
    match interest {
        Interest::Readable => mio::Interest::READABLE,
        Interest::ReadableOrWritable => mio::Interest::READABLE | mio::Interest::WRITABLE,
    }
}
