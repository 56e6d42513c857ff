//! A process that goes on in another one.

use std::io;
use std::num::NonZero;

/// Which of the two this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that was there before.
    Parent {
        /// The number of the other.
        child: NonZero<u32>,
    },
    /// The new one. It has every descriptor of the parent, and no timer.
    Child,
}

/// Divides this process, which must have one thread only.
///
/// # Errors
/// What fork(2) says, and `EINVAL` if there are other threads, which the child would lack.
pub fn fork() -> io::Result<Side> {
    // SAFETY: plain numbers. With one thread this changes nothing, with several it fails.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: with one thread no lock can be held by another one that the child lacks, so the child may do
    // whatever the parent may.
    let number = unsafe { libc::fork() };
    match u32::try_from(number).map(NonZero::new) {
        Ok(Some(child)) => Ok(Side::Parent { child }),
        Ok(None) => Ok(Side::Child),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
