//! Descriptors by number, and how many there may be.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Numbers below 64 that were adopted, one bit each: a second owner would close somebody else's file.
static ADOPTED: AtomicU64 = AtomicU64::new(0);

/// Takes ownership of a descriptor that this process was started with, and keeps it from children.
///
/// # Errors
/// `EBADF` if there is no such descriptor, if it is adopted already, or if `number` is not from 0 to 63.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    let none = || io::Error::from_raw_os_error(libc::EBADF);
    let bit = u32::try_from(number)
        .ok()
        .and_then(|number| 1u64.checked_shl(number))
        .ok_or_else(none)?;
    // SAFETY: fcntl(2) with F_SETFD takes any number and touches no memory of ours.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if ADOPTED.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(none());
    }
    // SAFETY: the descriptor is open, as fcntl(2) just said, and the bit that was clear until now says
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
    fn a_number_is_adopted_once() {
        let number = std::fs::File::open("/dev/null").unwrap().into_raw_fd();
        let owned = adopt(number).unwrap();
        assert_eq!(adopt(number).unwrap_err().raw_os_error(), Some(libc::EBADF));
        drop(owned);
        for number in [-1, 63, 64, RawFd::MAX] {
            assert_eq!(
                adopt(number).unwrap_err().raw_os_error(),
                Some(libc::EBADF),
                "{number}"
            );
        }
    }
}
