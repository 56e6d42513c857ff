//! Signals that a process does not want to hear of.

use std::io;

/// Ignores a signal. A handler that does nothing is not the same: a terminal makes a process that handles SIGTTOU
/// wait, and one that ignores it not.
///
/// # Errors
/// What sigaction(2) says.
pub fn ignore(signal: i32) -> io::Result<()> {
    // SAFETY: a plain number, and a disposition that runs no code.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Whether a signal is ignored, because whoever started this program wants it so: nohup(1), or a shell
/// that starts a program in the background.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: a zeroed sigaction is a valid one, and sigaction(2) writes to nothing else.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_stays_ignored_until_told_otherwise() {
        assert!(!is_ignored(libc::SIGUSR2));
        ignore(libc::SIGUSR2).unwrap();
        assert!(is_ignored(libc::SIGUSR2));
        // SAFETY: a signal to this process, which ignores it.
        assert_eq!(unsafe { libc::raise(libc::SIGUSR2) }, 0);
        assert!(ignore(libc::SIGKILL).is_err());
    }
}
