//! Looks now and then whether the socket's file is still at its path.
//!
//! A daemon whose file was removed or replaced is one that no client finds, and that nobody ends: a cleaner of
//! temporary files is enough for that. It ends itself, with its goodbyes, and says why.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::socket::{SocketFile, Whereabouts};

/// A timer, and the file to look at.
#[derive(Debug)]
pub struct Guard {
    file: SocketFile,
    timer: OwnedFd,
    /// It was not there the last time. Whoever moves a directory away and back has that long.
    was_gone: bool,
    is_lost: bool,
}

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(5);

/// How long until the second look at what was not there.
const SECOND_LOOK: Duration = Duration::from_secs(1);

impl Guard {
    /// Guards a file.
    pub(super) fn new(file: SocketFile) -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let guard = Self {
            file,
            timer,
            was_gone: false,
            is_lost: false,
        };
        guard.wind_up(INTERVAL)?;
        Ok(guard)
    }

    /// The file.
    pub fn file(&self) -> &SocketFile {
        &self.file
    }

    /// Looks, when the timer says so. Whether the file is lost.
    pub fn attend(&mut self) -> bool {
        let mut expirations = [0; size_of::<u64>()];
        if rustix::io::read(&self.timer, &mut expirations[..]).is_err() {
            return false;
        }
        let is_gone = self.file.whereabouts() == Whereabouts::Gone;
        self.is_lost |= is_gone && self.was_gone;
        self.was_gone = is_gone;
        // A timer that cannot be set was set before, so this does not happen.
        let _ = self.wind_up(if is_gone { SECOND_LOOK } else { INTERVAL });
        self.is_lost
    }

    /// Whether the file was found to be lost.
    pub fn is_lost(&self) -> bool {
        self.is_lost
    }

    fn wind_up(&self, time: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec::default(),
            it_value: Timespec::try_from(time).map_err(io::Error::other)?,
        };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl AsFd for Guard {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}
