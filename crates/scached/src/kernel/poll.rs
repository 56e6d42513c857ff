//! Waiting by poll(2), which also knows files and pipes: for one client on standard input and output.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use scache_engine::{Event, Interest, Token};

use super::Watcher;

/// Waits by poll(2): each call costs as much as there is to watch.
#[derive(Debug, Default)]
pub struct Poll {
    watched: Vec<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// The number that it is watched under, and a descriptor of our own to ask for it.
    number: i32,
    descriptor: OwnedFd,
    token: Token,
    flags: PollFlags,
}

impl Watcher for Poll {
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> io::Result<()> {
        let mut files: Vec<PollFd<'_>> = self
            .watched
            .iter()
            .map(|watched| PollFd::new(&watched.descriptor, watched.flags))
            .collect();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        rustix::io::retry_on_intr(|| poll(&mut files, timeout.as_ref()))?;
        let happened = files.iter().map(PollFd::revents);
        let found = self.watched.iter().zip(happened);
        events.extend(
            found
                .filter(|(_, flags)| !flags.is_empty())
                .map(|(watched, flags)| Event {
                    token: watched.token,
                    readable: flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
                    ended: flags.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::RDHUP),
                }),
        );
        Ok(())
    }

    fn watch(&mut self, what: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        let what = what.as_fd();
        let wanted = match interest {
            Interest::Readable => PollFlags::IN | PollFlags::RDHUP,
            Interest::ReadableOrWritable => PollFlags::IN | PollFlags::RDHUP | PollFlags::OUT,
        };
        self.watched.push(Watched {
            number: what.as_raw_fd(),
            descriptor: what.try_clone_to_owned()?,
            token,
            flags: wanted,
        });
        Ok(())
    }

    fn watch_for(&mut self, what: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        self.unwatch(what);
        self.watch(what, token, interest)
    }

    fn unwatch(&mut self, what: &impl AsFd) {
        let what: BorrowedFd<'_> = what.as_fd();
        self.watched
            .retain(|watched| watched.number != what.as_raw_fd());
    }
}
