//! The channel to master(8).
//!
//! master counts a new process as healthy once it has seen it taken and available again; a process that
//! dies before that gets the service throttled. Beyond that it is gossip, so one pair of records is
//! sent, behind the first request served, and never waited for.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use scache_sys::passing::{self, Wait};

/// The channel. Its end of file says that master is gone, or that Postfix was reloaded.
#[derive(Debug)]
pub struct StatusChannel {
    socket: OwnedFd,
    generation: u32,
    told: bool,
}

const TAKEN: u32 = 0;
const AVAILABLE: u32 = 1;

impl StatusChannel {
    /// `generation` is what master gave this process as its environment variable `GENERATION`.
    pub fn new(socket: OwnedFd, generation: u32) -> Self {
        Self {
            socket,
            generation,
            told: false,
        }
    }

    /// Tells master that this process works, once.
    pub(crate) fn served(&mut self) {
        if !self.told {
            self.told = true;
            self.tell(TAKEN);
            self.tell(AVAILABLE);
        }
    }

    /// Whether master's end is closed.
    pub(crate) fn ended(&self) -> bool {
        match passing::receive(self.socket.as_fd(), &mut [0; 64], Wait::Never) {
            Ok((bytes, _)) => bytes == 0,
            // A close over records that were not read is a reset, which is reported once.
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    fn tell(&self, status: u32) {
        let mut record = [0; 12];
        record[..4].copy_from_slice(&std::process::id().to_ne_bytes());
        record[4..8].copy_from_slice(&self.generation.to_ne_bytes());
        record[8..].copy_from_slice(&status.to_ne_bytes());
        // A full channel means that master is stopped: it can do without this.
        let _ = passing::send(self.socket.as_fd(), &record, None, Wait::Never);
    }
}

impl AsFd for StatusChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn master_is_gone_when_it_closes_with_or_without_reading() {
        for told in [false, true] {
            let (ours, masters) = UnixStream::pair().unwrap();
            let mut channel = StatusChannel::new(ours.into(), 0);
            if told {
                channel.served();
            }
            assert!(!channel.ended(), "told: {told}");
            drop(masters);
            assert!(channel.ended(), "told: {told}");
        }
    }
}
