//! Closes outside the event loop what may wait in close(2).
//!
//! The last close of a TCP socket with SO_LINGER waits until its peer has taken what was sent. The last close of a
//! UNIX socket closes every descriptor that lies unread in its receive queue, so it waits for those, and for those in
//! their queues in turn. The close of a file on a network or FUSE file system, be it the last one or not, waits for
//! the server of that file system.
//!
//! While a [`Closer`] exists, a [`Descriptor`](crate::descriptors::Descriptor) that is dropped on its thread is closed
//! there only if that cannot wait: an internet socket without SO_LINGER, a UNIX stream socket with an empty receive
//! queue or that was read to its end. Everything else is closed by another process:
//!
//! - Sockets are sent to a helper process in batches. This process closes its copies, which cannot wait while the
//!   batch is on its way, and then tells the helper to close the last ones.
//! - Other files wait even when the close is not the last, so passing them on is no help. They are closed by a process
//!   made for them that shares the descriptor table with this one (clone(2) with CLONE_FILES).
//!
//! A helper that does not answer in time is killed, which closes what it held, and replaced.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionread;
use rustix::net::sockopt::{set_socket_linger, socket_domain, socket_linger, socket_type};
use rustix::net::{AddressFamily, SocketType};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::passing::BATCH;
use helper::Helper;

mod helper;

/// A longer queue than this is not waited for: the helper is replaced.
const QUEUE: usize = 256;

/// Time that a dropped descriptor may wait for others to make a batch.
const DELAY: Duration = Duration::from_millis(5);

/// Time until the end of other processes is asked for again.
const PAUSE: Duration = Duration::from_millis(100);

/// Processes that may hang in a close of their own at one time.
const PROCESSES: usize = 8;

thread_local! {
    /// Descriptors that were dropped on this thread and are not closed; `None` where no closer runs.
    static QUEUED: RefCell<Option<Queued>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
struct Queued {
    sockets: Vec<OwnedFd>,
    files: Vec<OwnedFd>,
}

impl Queued {
    fn len(&self) -> usize {
        self.sockets.len() + self.files.len()
    }
}

/// Closes a descriptor: in this process if that cannot wait or no closer runs on this thread, else elsewhere.
pub(crate) fn close(descriptor: OwnedFd, kind: Kind) {
    let mut descriptor = Some(descriptor);
    // At the end of a thread its queue may be gone already.
    let _ = QUEUED.try_with(|queued| {
        let mut queued = queued.borrow_mut();
        let Some(queued) = &mut *queued else {
            return;
        };
        let Some(descriptor) = descriptor.take() else {
            return;
        };
        let kind = match kind {
            Kind::Unknown => Kind::of(&descriptor),
            known => known,
        };
        match kind {
            Kind::File => queued.files.push(descriptor),
            Kind::UnixStreamAtEnd => {}
            Kind::Internet if socket_linger(&descriptor) == Ok(None) => {}
            Kind::UnixStream if ioctl_fionread(&descriptor) == Ok(0) => {}
            _ => queued.sockets.push(descriptor),
        }
    });
    if let Some(descriptor) =
        descriptor.filter(|descriptor| matches!(socket_linger(descriptor), Ok(Some(_))))
    {
        let _ = set_socket_linger(&descriptor, None);
    }
}

/// Kind of a descriptor, which tells whether its close may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the kernel is asked when it is closed.
    Unknown,
    /// A socket of an internet protocol, whose close waits only with SO_LINGER.
    Internet,
    /// A UNIX stream socket, whose close waits only for what lies in its receive queue.
    UnixStream,
    /// A UNIX stream socket that was read to its end: nothing can come into its queue again, so its close does not wait.
    UnixStreamAtEnd,
    /// A socket of another kind.
    OtherSocket,
    /// No socket.
    File,
}

impl Kind {
    /// In the order of their numbers.
    pub(crate) const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Internet,
        Self::UnixStream,
        Self::UnixStreamAtEnd,
        Self::OtherSocket,
        Self::File,
    ];

    /// Asks the kernel.
    pub fn of(descriptor: impl AsFd) -> Self {
        let descriptor = descriptor.as_fd();
        match socket_domain(descriptor) {
            Ok(AddressFamily::INET | AddressFamily::INET6) => Self::Internet,
            Ok(AddressFamily::UNIX) if socket_type(descriptor) == Ok(SocketType::STREAM) => {
                Self::UnixStream
            }
            Ok(_) => Self::OtherSocket,
            Err(_) => Self::File,
        }
    }
}

/// Runs `work` on the queue of this thread.
fn with_queue<T: Default>(work: impl FnOnce(&mut Queued) -> T) -> T {
    QUEUED.with_borrow_mut(|queued| queued.as_mut().map(work).unwrap_or_default())
}

/// Has the descriptors that are dropped on its thread closed by other processes, for as long as it exists.
#[derive(Debug)]
pub struct Closer {
    helper: Option<Helper>,
    /// When the queue is passed on, unless a batch is full before.
    due: Option<Instant>,
    /// The last batch could not be sent, for want of memory or because of the limit on descriptors in flight.
    refused: bool,
    /// Processes that end by themselves: helpers that were killed, and those that close files.
    ending: Vec<Pid>,
}

impl Closer {
    /// Starts the helper process.
    ///
    /// # Errors
    /// What socketpair(2) and fork(2) return; `EINVAL` if this process has more than one thread.
    pub fn start(now: Instant) -> io::Result<Self> {
        let helper = Helper::start(now)?;
        QUEUED.set(Some(Queued::default()));
        Ok(Self {
            helper: Some(helper),
            due: None,
            refused: false,
            ending: Vec::new(),
        })
    }

    /// Passes on what was dropped if it is time to. Returns when to call this again at the latest.
    pub fn turn(&mut self, now: Instant) -> Option<Instant> {
        let length = with_queue(|queued| queued.len());
        if length == 0 && self.ending.is_empty() {
            return None;
        }
        let due = *self.due.get_or_insert(now + DELAY);
        if length >= BATCH || due <= now {
            self.flush(now);
        }
        self.due
    }

    /// Passes on what was dropped. Returns whether this process has fewer descriptors now.
    pub fn flush(&mut self, now: Instant) -> bool {
        let before = with_queue(|queued| queued.len());
        self.ending
            .retain(|process| matches!(waitpid(Some(*process), WaitOptions::NOHANG), Ok(None)));
        if before > 0 {
            self.replace_helper(now);
            while self.send_batch(now) {}
            self.close_in_shared_table();
        }
        let left = with_queue(|queued| queued.len());
        self.due = if left > 0 {
            Some(now + DELAY)
        } else {
            (!self.ending.is_empty()).then(|| now + PAUSE)
        };
        left < before
    }

    /// Puts another helper in the place of one that is gone, is stuck, or lets the queue grow too long.
    fn replace_helper(&mut self, now: Instant) {
        let overrun = with_queue(|queued| queued.sockets.len()) > QUEUE;
        if let Some(helper) = &mut self.helper {
            let alive = helper.hear(now);
            let serves = helper.closes_in_time(now) && (helper.has_room() || !overrun);
            if alive && (serves || self.ending.len() >= PROCESSES) {
                return;
            }
            if alive {
                // While it holds the other end of its socket the number is its own. It may end at this moment.
                let _ = kill_process(helper.process(), Signal::KILL);
            }
        }
        self.give_up_helper();
        if self.ending.len() < PROCESSES {
            self.helper = Helper::start(now).ok();
        }
    }

    fn give_up_helper(&mut self) {
        if let Some(helper) = self.helper.take() {
            self.ending.push(helper.process());
        }
    }

    /// Sends sockets to the helper. Returns whether to go on.
    fn send_batch(&mut self, now: Instant) -> bool {
        let Some(helper) = self.helper.as_mut().filter(|helper| helper.has_room()) else {
            return false;
        };
        let batch = with_queue(|queued| {
            let length = queued.sockets.len().min(BATCH);
            queued.sockets.drain(..length).collect::<Vec<_>>()
        });
        if batch.is_empty() {
            return false;
        }
        match helper.close(batch, now) {
            Ok(()) => {
                self.refused = false;
                true
            }
            Err((error, batch)) => {
                with_queue(|queued| queued.sockets.splice(..0, batch).for_each(drop));
                if error.kind() == io::ErrorKind::BrokenPipe {
                    self.give_up_helper();
                } else {
                    self.refused = true;
                }
                false
            }
        }
    }

    /// Lets processes that share the descriptor table close the files, one each since it may hang, and sockets that no
    /// helper takes.
    fn close_in_shared_table(&mut self) {
        let mut batches: Vec<Vec<OwnedFd>> = with_queue(|queued| {
            let free = PROCESSES.saturating_sub(self.ending.len());
            let files = queued.files.drain(..free.min(queued.files.len()));
            files.map(|file| vec![file]).collect()
        });
        if self.helper.is_none() || self.refused {
            batches.push(with_queue(|queued| std::mem::take(&mut queued.sockets)));
        }
        for batch in batches.into_iter().filter(|batch| !batch.is_empty()) {
            match helper::close_in_shared_table(batch) {
                Ok(process) => self.ending.push(process),
                Err(batch) => with_queue(|queued| queued.files.extend(batch)),
            }
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.flush(Instant::now());
        // The end of the process closes what is left, without lingering.
        std::mem::forget(QUEUED.take());
    }
}
