//! A connection to the cache that never waits unless it is told to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use scache_proto::Request;
use scache_proto::client::{Outcome, Session};
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};
use scache_sys::sockets::{self, Until};

use crate::socket::Socket;

/// Room for one read: a reply is some hundred bytes.
const READ_BYTES: usize = 4096;

pub(super) struct Link {
    socket: OwnedFd,
    session: Session<Descriptor>,
}

/// How far a write came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    All,
    /// The kernel takes no more at present.
    Some,
}

impl Link {
    /// Connects, and waits until `deadline` for room in the queue of those who are to be accepted.
    ///
    /// # Errors
    /// What connect(2) says; `TimedOut`; that the socket cannot be trusted.
    pub(super) fn connect(socket: &Socket, deadline: Instant) -> io::Result<Self> {
        Ok(Self {
            socket: socket.connect(deadline)?,
            session: Session::default(),
        })
    }

    pub(super) fn start(&mut self, request: &Request<'_>) {
        self.session.start(request);
    }

    /// Writes what there is to write. A request that saves needs the connection.
    pub(super) fn write(&mut self, connection: Option<BorrowedFd<'_>>) -> io::Result<Written> {
        while let Some(transmit) = self.session.poll_transmit() {
            let descriptor = connection.filter(|_| transmit.descriptor);
            if transmit.descriptor && descriptor.is_none() {
                return Err(io::Error::other("no connection to be saved"));
            }
            match passing::send(self.socket.as_fd(), transmit.bytes, descriptor, Wait::Never) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Written::Some);
                }
                result => self.session.handle_written(result?),
            }
        }
        Ok(Written::All)
    }

    /// Reads once. Nothing to be read is no error.
    pub(super) fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; READ_BYTES];
        match passing::receive(self.socket.as_fd(), &mut buffer, Wait::Never) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((bytes, descriptors)) => self
                .session
                .handle_input(&buffer[..bytes], descriptors)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    pub(super) fn outcome(&mut self) -> Option<Outcome<Descriptor>> {
        self.session.poll_outcome()
    }

    /// Asks for something that brings no connection, and waits for the answer.
    ///
    /// # Errors
    /// What the kernel says; `TimedOut` at the deadline, `UnexpectedEof` at the end, `InvalidData` for what is
    /// no answer.
    pub(super) fn ask(
        &mut self,
        request: &Request<'_>,
        deadline: Instant,
    ) -> io::Result<Outcome<Descriptor>> {
        self.start(request);
        loop {
            let until = match self.write(None)? {
                Written::All => Until::Readable,
                Written::Some => Until::Writable,
            };
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if sockets::wait(self.socket.as_fd(), until, left)? {
                self.read()?;
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
