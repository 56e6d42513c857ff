//! Waiting by epoll(7): what the daemons do.
//!
//! A wait with a timeout makes the kernel set its clock and take that back, each time, which costs a busy daemon
//! more than carrying out a request. So there is a timer to be told by, which is left alone while it ends soon
//! enough: most deadlines are moved before they come.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use scache_engine::{Event, Interest, Token};

use super::Watcher;

/// Waits by epoll(7), edge-triggered.
#[derive(Debug)]
pub struct Epoll {
    poll: Poll,
    events: Events,
    timer: OwnedFd,
    /// When the timer ends; `None`: it is not set, or has ended.
    ends: Option<Instant>,
}

/// The number of no token.
const TIMER: mio::Token = mio::Token(usize::MAX);

const EVENTS_PER_PASS: usize = 256;

impl Epoll {
    /// Nothing is watched yet.
    ///
    /// # Errors
    /// What epoll_create(2) and timerfd_create(2) say.
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        poll.registry().register(
            &mut SourceFd(&timer.as_raw_fd()),
            TIMER,
            mio::Interest::READABLE,
        )?;
        Ok(Self {
            poll,
            events: Events::with_capacity(EVENTS_PER_PASS),
            timer,
            ends: None,
        })
    }

    /// Sees to it that the wait is over when `timeout` is. What is to be said to epoll besides.
    fn set_timer(&mut self, timeout: Option<Duration>) -> io::Result<Option<Duration>> {
        let Some(timeout) = timeout.filter(|timeout| !timeout.is_zero()) else {
            return Ok(timeout);
        };
        let Some(due) = Instant::now().checked_add(timeout) else {
            return Ok(None);
        };
        if self.ends.is_none_or(|ends| due < ends) {
            let time = Itimerspec {
                it_interval: Timespec::default(),
                it_value: Timespec::try_from(timeout).unwrap_or(LONGEST),
            };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time)?;
            self.ends = Some(due);
        }
        Ok(None)
    }
}

/// When the kernel cannot count as far: nothing is due before that.
const LONGEST: Timespec = Timespec {
    tv_sec: i32::MAX as i64,
    tv_nsec: 0,
};

impl Watcher for Epoll {
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = self.set_timer(timeout)?;
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        if self.events.iter().any(|event| event.token() == TIMER) {
            self.ends = None;
        }
        let known = self.events.iter().filter_map(|event| {
            Some(Event {
                token: Token::from_number(event.token().0 as u64)?,
                readable: event.is_readable() || event.is_priority(),
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
        // Urgent data is something to read as well.
        Interest::Readable => mio::Interest::READABLE | mio::Interest::PRIORITY,
        Interest::ReadableOrWritable => mio::Interest::READABLE | mio::Interest::WRITABLE,
    }
}
