//! Sockets that clients connect to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

/// What comes over a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Clients, over a UNIX socket.
    Unix,
    /// Clients, over TCP. They can ask, but descriptors cannot be passed.
    Inet,
    /// Connections that another process accepted, as descriptors with attributes.
    Pass,
}

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    socket: OwnedFd,
    transport: Transport,
}

impl Listener {
    /// Takes over a socket that is bound and listens.
    ///
    /// It is made non-blocking, for everybody who holds it: there is no other way to accept only what
    /// is there, and master(8) does the same.
    ///
    /// # Errors
    /// What fcntl(2) says.
    pub fn new(socket: OwnedFd, transport: Transport) -> io::Result<Self> {
        fcntl_setfl(&socket, fcntl_getfl(&socket)? | OFlags::NONBLOCK)?;
        Ok(Self { socket, transport })
    }

    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// The next connection, if there is one.
    pub(crate) fn accept(&self) -> io::Result<Option<OwnedFd>> {
        loop {
            match accept_with(self.socket.as_fd(), SocketFlags::CLOEXEC) {
                Ok(socket) => return Ok(Some(socket)),
                Err(Errno::AGAIN) => return Ok(None),
                // The client was faster in leaving than this process in coming.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    pub(crate) fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
