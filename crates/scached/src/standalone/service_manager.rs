//! The service manager that started this program and wants to be told of it: systemd, or one that speaks as it
//! does.
//!
//! Messages are composed as the crate sd-notify does, but sent from here: it waits for a manager that does not
//! read, and does not know names that are no path.

use std::cell::Cell;
use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use scache_sys::passing::{self, Wait};
use sd_notify::NotifyState;

/// A service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    watchdog: Option<Watchdog>,
    /// How many descriptors it keeps for us.
    store: usize,
}

#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Cell<Instant>,
}

/// How long a step may take that is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait until something is tried again of which poll(2) does not know when it goes.
const PAUSE: Duration = Duration::from_millis(5);

/// No watchdog is told more often than this, whatever it asks for.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

const SOCKET: &str = "NOTIFY_SOCKET";
const STORE: &str = "FDSTORE";

impl ServiceManager {
    /// The service manager that the environment names, if it names one. Without one that can be reached a
    /// daemon serves as well.
    ///
    /// # Errors
    /// In words, if it cannot be reached.
    pub fn from_environment() -> Result<Option<Self>, String> {
        let Some(name) = env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let socket = connect(&name).map_err(|error| {
            let name = Path::new(&name).display();
            format!("{SOCKET}={name}: {error}: let the service manager set it, or unset it")
        })?;
        let watchdog = sd_notify::watchdog_enabled().map(|time| Watchdog {
            interval: (time / 2).max(SHORTEST_INTERVAL),
            next: Cell::new(Instant::now()),
        });
        let store = env::var(STORE).ok().and_then(|number| number.parse().ok());
        Ok(Some(Self {
            socket,
            watchdog,
            store: store.unwrap_or(0),
        }))
    }

    /// Says something if it can be said now. Whether it could.
    pub fn tell(&self, states: &[NotifyState<'_>]) -> bool {
        self.try_to_send(&text(states), None).is_ok()
    }

    /// Says that the loop goes on, if it is time for that.
    pub fn is_alive(&self, now: Instant) {
        let watchdog = self.watchdog.as_ref();
        if let Some(watchdog) = watchdog.filter(|watchdog| watchdog.next.get() <= now) {
            // One that is not heard is made up for by the next: there are two in each time-out.
            self.tell(&[NotifyState::Watchdog]);
            watchdog.next.set(now + watchdog.interval);
        }
    }

    /// When [`ServiceManager::is_alive`] is to be called again.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next.get())
    }

    /// How many descriptors it keeps for us.
    pub(super) fn store(&self) -> usize {
        self.store
    }

    /// Says something, with a descriptor or none, and waits for room for it.
    pub(super) fn say(
        &self,
        states: &[NotifyState<'_>],
        descriptor: Option<BorrowedFd<'_>>,
    ) -> io::Result<()> {
        let text = text(states);
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_to_send(&text, descriptor) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait_for(self.socket.as_fd(), PollFlags::OUT, deadline)?;
                }
                // Too many on their way: they arrive when the manager reads.
                Err(error)
                    if matches!(
                        Errno::from_io_error(&error),
                        Some(Errno::TOOMANYREFS | Errno::NOBUFS)
                    ) && Instant::now() < deadline =>
                {
                    std::thread::sleep(PAUSE);
                }
                result => return result,
            }
        }
    }

    /// Waits until the manager has taken in everything that was said.
    pub(super) fn settle(&self) -> io::Result<()> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC)?;
        self.say(&[NotifyState::Custom("BARRIER=1")], Some(writer.as_fd()))?;
        drop(writer);
        // The manager closes its end of the pipe when it comes to the message.
        self.wait_for(reader.as_fd(), PollFlags::IN, Instant::now() + PATIENCE)
    }

    fn try_to_send(&self, text: &str, descriptor: Option<BorrowedFd<'_>>) -> io::Result<()> {
        passing::send(
            self.socket.as_fd(),
            text.as_bytes(),
            descriptor,
            Wait::Never,
        )
        .map(drop)
    }

    fn wait_for(
        &self,
        what: BorrowedFd<'_>,
        events: PollFlags,
        deadline: Instant,
    ) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut files = [PollFd::from_borrowed_fd(what, events)];
        match rustix::io::retry_on_intr(|| poll(&mut files, Some(&left)))? {
            0 => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => return Err(io::Error::other("not the name of a UNIX socket")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

fn text(states: &[NotifyState<'_>]) -> String {
    states.iter().map(|state| format!("{state}\n")).collect()
}
