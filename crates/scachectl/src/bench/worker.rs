//! A thread with some of the clients: each asks as soon as it has its answer, and none waits for another.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;

use super::client::{Client, Turn};
use super::link::Written;
use super::tally::{Kind, Tally};
use crate::socket::Socket;

/// How often clients are looked at that wait for long, and the end of time.
const LOOK: Duration = Duration::from_millis(100);

const LOOK_KERNEL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Events taken from the kernel at a time.
const EVENTS: usize = 64;

/// What all threads share.
pub(super) struct Work<'a> {
    pub(super) socket: &'a Socket,
    /// Cycles that nobody has begun; `None`: as many as there is time for.
    pub(super) cycles: Option<AtomicU64>,
    pub(super) deadline: Option<Instant>,
    pub(super) timeout: Duration,
    /// Enough, says the user.
    pub(super) stop: &'a AtomicBool,
    /// Operations that are done, to be shown while it goes on.
    pub(super) done: AtomicU64,
}

impl Work<'_> {
    /// Takes a cycle, if there is one left and time for it.
    fn claim(&self) -> bool {
        let has_time = self
            .deadline
            .is_none_or(|deadline| Instant::now() < deadline);
        let taken = |cycles: &AtomicU64| {
            cycles
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                    left.checked_sub(1)
                })
                .is_ok()
        };
        !self.stop.load(Ordering::Relaxed) && has_time && self.cycles.as_ref().is_none_or(taken)
    }
}

/// Lets all clients do what there is to do.
///
/// # Errors
/// What the kernel says to waiting for many sockets at once.
pub(super) fn run(clients: &mut [Client], work: &Work<'_>, tally: &mut Tally) -> io::Result<()> {
    let claim = || work.claim();
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    let mut crowd = Crowd {
        poll,
        active: vec![true; clients.len()],
        blocked: vec![false; clients.len()],
        remaining: clients.len(),
    };
    for (place, client) in clients.iter_mut().enumerate() {
        crowd.add(place, client)?;
        let turn = client.begin(work.socket, &claim, tally);
        crowd.settle(place, client, turn)?;
    }
    let mut events = [MaybeUninit::uninit(); EVENTS];
    let mut looked = Instant::now();
    let mut misses = tally.misses;
    while crowd.remaining > 0 {
        let (events, _) = match epoll::wait(&crowd.poll, &mut events, Some(&LOOK_KERNEL)) {
            Err(Errno::INTR) => continue,
            events => events?,
        };
        let before = tally.operations();
        for event in events {
            let place = usize::try_from(event.data.u64()).unwrap_or(usize::MAX);
            if let Some(client) = clients.get_mut(place)
                && crowd.active[place]
            {
                let turn = client.turn(work.socket, &claim, tally);
                crowd.settle(place, client, turn)?;
            }
        }
        work.done
            .fetch_add(tally.operations() - before, Ordering::Relaxed);
        let now = Instant::now();
        if now.saturating_duration_since(looked) < LOOK {
            continue;
        }
        looked = now;
        // What was not found has expired or was pushed out: nobody needs its other end, whoever made it.
        let missed = std::mem::replace(&mut misses, tally.misses) < tally.misses;
        for (place, client) in clients.iter_mut().enumerate() {
            if crowd.active[place] && client.is_overdue(now, work.timeout) {
                let late = io::ErrorKind::TimedOut.into();
                let turn = client.failed(&late, work.socket, &claim, tally);
                crowd.settle(place, client, turn)?;
            }
            if missed {
                client.tidy();
            }
        }
    }
    Ok(())
}

/// Who is waited for.
struct Crowd {
    poll: OwnedFd,
    active: Vec<bool>,
    /// Those that have more to write than the kernel took. A request is smaller than a socket's buffer, so there
    /// are hardly ever any.
    blocked: Vec<bool>,
    remaining: usize,
}

impl Crowd {
    fn add(&self, place: usize, client: &Client) -> io::Result<()> {
        let data = EventData::new_u64(place as u64);
        Ok(epoll::add(&self.poll, client, data, EventFlags::IN)?)
    }

    /// Waits for what a client waits for.
    fn settle(&mut self, place: usize, client: &Client, turn: Turn) -> io::Result<()> {
        match turn {
            Turn::Ended => {
                self.active[place] = false;
                self.remaining -= 1;
                // A closed connection that is still there would be told of for ever.
                match epoll::delete(&self.poll, client) {
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(error) => Err(error.into()),
                }
            }
            Turn::Reconnected(written) => {
                self.blocked[place] = false;
                self.add(place, client)?;
                self.settle(place, client, Turn::Waits(written))
            }
            Turn::Waits(written) => {
                let blocked = written == Written::Some;
                if blocked == self.blocked[place] {
                    return Ok(());
                }
                self.blocked[place] = blocked;
                let mut flags = EventFlags::IN;
                flags.set(EventFlags::OUT, blocked);
                let data = EventData::new_u64(place as u64);
                Ok(epoll::modify(&self.poll, client, data, flags)?)
            }
        }
    }
}

/// Takes note that a thread could not go on.
pub(super) fn broken(clients: usize, error: &io::Error, tally: &mut Tally) {
    tally.failed(Kind::Save, error);
    tally.gave_up += clients;
}
