//! Descriptors: closed without waiting, by number, and how many there may be.

use std::collections::BTreeSet;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::closer::{self, Kind};

/// A descriptor of whatever kind that somebody else made, closed without waiting.
///
/// Where a [`Closer`](crate::closer::Closer) runs on the thread, a close that may wait is left to another process.
/// Elsewhere a socket with SO_LINGER loses that before it is closed.
#[derive(Debug)]
pub struct Descriptor {
    file: ManuallyDrop<OwnedFd>,
    /// A [`Kind`].
    kind: AtomicU8,
}

impl Descriptor {
    /// Returns the kind of this descriptor, as far as it is known.
    pub fn kind(&self) -> Kind {
        Kind::ALL[usize::from(self.kind.load(Ordering::Relaxed))]
    }

    /// Takes note of what this is, which saves asking the kernel when it is closed.
    pub fn set_kind(&self, kind: Kind) {
        self.kind.store(kind as u8, Ordering::Relaxed);
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        let kind = self.kind();
        // SAFETY: nothing uses the field behind this, which is the only place that takes it.
        let file = unsafe { ManuallyDrop::take(&mut self.file) };
        closer::close(file, kind);
    }
}

impl From<OwnedFd> for Descriptor {
    fn from(descriptor: OwnedFd) -> Self {
        Self {
            file: ManuallyDrop::new(descriptor),
            kind: AtomicU8::new(Kind::Unknown as u8),
        }
    }
}

impl From<Descriptor> for OwnedFd {
    fn from(descriptor: Descriptor) -> Self {
        let mut descriptor = ManuallyDrop::new(descriptor);
        // SAFETY: the outer wrapper keeps the destructor from running, so the field is taken once.
        unsafe { ManuallyDrop::take(&mut descriptor.file) }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Descriptor {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// Numbers that were adopted: a second owner would close somebody else's file.
static ADOPTED: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// Takes ownership of a descriptor that this process was started with, and keeps it from children.
///
/// # Errors
/// `EBADF` if there is no such descriptor, or if it is adopted already.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl(2) with F_SETFD takes any number and touches no memory of ours.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut adopted = ADOPTED.lock().unwrap_or_else(PoisonError::into_inner);
    if !adopted.insert(number) {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the descriptor is open, as fcntl(2) just said, and the number that was not in the set says
    // that nobody got it from here. Callers adopt what their parent handed down before opening more.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Raises the soft limit on descriptors to the hard one, and says how many there may be then.
///
/// # Errors
/// What setrlimit(2) says.
pub fn raise_limit() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(limit.maximum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::IntoRawFd;

    #[test]
    fn closing_does_not_wait_for_a_peer_that_does_not_read() {
        use std::io::Write;
        use std::time::{Duration, Instant};

        use rustix::net::sockopt::set_socket_linger;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (_peer, _) = listener.accept().unwrap();
        set_socket_linger(&connection, Some(Duration::from_secs(600))).unwrap();
        connection.set_nonblocking(true).unwrap();
        while connection.write(&[0; 65536]).is_ok() {}
        let began = Instant::now();
        drop(Descriptor::from(OwnedFd::from(connection)));
        assert!(began.elapsed() < Duration::from_secs(300));
    }

    #[test]
    fn what_it_was_made_of_can_be_had_again() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let number = file.as_raw_fd();
        let owned = OwnedFd::from(Descriptor::from(OwnedFd::from(file)));
        assert_eq!(owned.as_raw_fd(), number);
        assert!(rustix::io::fcntl_getfd(&owned).is_ok());
    }

    #[test]
    fn a_number_is_adopted_once() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let owned = adopt(number).unwrap();
        assert_eq!(adopt(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        drop(owned);
        for number in [-1, 1_000_000, RawFd::MAX] {
            assert_eq!(
                adopt(number).unwrap_err().raw_os_error(),
                Some(libc::EBADF),
                "{number}"
            );
        }
    }
}
