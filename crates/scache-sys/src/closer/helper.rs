//! The processes that close what the event loop does not: a helper with a descriptor table of its own, and short-lived
//! ones that share the table of this process.
//!
//! Both let a timer interrupt their closes: a signal ends the wait for SO_LINGER, and while the signal is pending no
//! other wait of the same close(2) begins.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType,
    recv, recvmsg, send, socketpair,
};
use rustix::process::Pid;

use crate::passing::{self, BATCH, Wait};
use crate::processes::{self, Side};

/// Batches that the helper may have without having said that they are closed.
const BATCHES: usize = 4;

/// Time in which the helper has to close a batch.
const PATIENCE: Duration = Duration::from_secs(1);

/// The byte that brings descriptors to the helper, the byte that lets it close them, and its answer.
const HOLD: u8 = b'h';
const CLOSE: u8 = b'c';
const CLOSED: u8 = b'd';

/// A process that closes the sockets that it is sent.
#[derive(Debug)]
pub(super) struct Helper {
    process: Pid,
    socket: OwnedFd,
    /// Batches that it has not said to be closed.
    batches: usize,
    /// When the first of those was sent, or the one before it was closed.
    since: Instant,
}

impl Helper {
    /// Starts one. It ends when this process and those that were divided from it have ended.
    pub(super) fn start(now: Instant) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        match processes::fork()? {
            Side::Child => serve(theirs),
            Side::Parent { child } => Ok(Self {
                process: i32::try_from(child.get())
                    .ok()
                    .and_then(Pid::from_raw)
                    .ok_or(Errno::SRCH)?,
                socket: ours,
                batches: 0,
                since: now,
            }),
        }
    }

    pub(super) fn process(&self) -> Pid {
        self.process
    }

    /// Whether it may be sent another batch.
    pub(super) fn has_room(&self) -> bool {
        self.batches < BATCHES
    }

    /// Whether it has closed what it had time for.
    pub(super) fn closes_in_time(&self, now: Instant) -> bool {
        self.batches == 0 || now.saturating_duration_since(self.since) <= PATIENCE
    }

    /// Reads what it has closed. Returns whether it is still there.
    pub(super) fn hear(&mut self, now: Instant) -> bool {
        let mut closed = [0; BATCHES];
        match recv(&self.socket, &mut closed[..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => false,
            Ok((_, batches)) => {
                self.batches = self.batches.saturating_sub(batches);
                self.since = now;
                true
            }
            Err(error) => matches!(error, Errno::AGAIN | Errno::INTR),
        }
    }

    /// Sends a batch of sockets, closes the copies of this process, and lets the helper close the last ones.
    ///
    /// # Errors
    /// What sendmsg(2) returned, with the batch.
    pub(super) fn close(
        &mut self,
        batch: Vec<OwnedFd>,
        now: Instant,
    ) -> Result<(), (io::Error, Vec<OwnedFd>)> {
        let borrowed: Vec<BorrowedFd<'_>> = batch.iter().map(AsFd::as_fd).collect();
        if let Err(error) = passing::send_all(self.socket.as_fd(), &[HOLD], &borrowed) {
            return Err((error, batch));
        }
        // The helper keeps its copies until it is told, so none of these is the last one.
        drop(batch);
        // Two bytes for each of a few batches always find room. A helper that is gone has closed what it had.
        let _ = passing::send(self.socket.as_fd(), &[CLOSE], None, Wait::Never);
        if self.batches == 0 {
            self.since = now;
        }
        self.batches += 1;
        Ok(())
    }
}

/// Runs the helper until the other end of its socket is closed.
fn serve(socket: OwnedFd) -> ! {
    processes::stand_alone(c"scache-closer", socket.as_fd());
    let mut held = Vec::new();
    loop {
        let mut byte = [0];
        match receive(&socket, &mut byte, &mut held) {
            Ok(0) | Err(_) => processes::exit_now(),
            Ok(_) if byte == [CLOSE] => {
                processes::with_interruptions(|| held.clear());
                // The other end may be gone, which the next read tells.
                let _ = send(&socket, &[CLOSED], rustix::net::SendFlags::NOSIGNAL);
            }
            Ok(_) => {}
        }
    }
}

/// Waits for a byte, and adds the descriptors that came with it to `held`.
fn receive(socket: &OwnedFd, byte: &mut [u8; 1], held: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = rustix::io::retry_on_intr(|| {
        let flags = RecvFlags::CMSG_CLOEXEC;
        recvmsg(socket, &mut [IoSliceMut::new(byte)], &mut control, flags)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            held.extend(descriptors);
        }
    }
    Ok(message.bytes)
}

/// Lets a process that shares the descriptor table of this one close descriptors, and so do the waiting.
///
/// # Errors
/// The descriptors, if clone(2) fails.
pub(super) fn close_in_shared_table(descriptors: Vec<OwnedFd>) -> Result<Pid, Vec<OwnedFd>> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let Ok(process) = processes::close_in_child(&numbers) else {
        return Err(descriptors);
    };
    for descriptor in descriptors {
        // The other process owns the number now.
        let _ = descriptor.into_raw_fd();
    }
    Ok(process)
}
