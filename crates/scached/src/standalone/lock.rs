//! The lock on a socket's path: one process at a time starts there, takes over there, or removes the file.
//!
//! The lock is flock(2) on a file beside the socket, so the kernel releases it when its process ends, however that
//! ends. The file is removed by who holds the lock; whoever gets a lock on a file that is no longer at the path tries
//! again with the one that is there. A file that a killed process left is locked like a new one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

/// The lock on a path. Dropping it releases the lock.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    file: File,
}

/// Why there is no lock.
#[derive(Debug)]
pub(super) enum LockError {
    /// Another process has it.
    Busy,
    /// The file at this path cannot be locked.
    Unusable(PathBuf, io::Error),
    /// It is of another user, who could keep the lock.
    OtherUser(PathBuf, u32),
}

/// How long until a lock is tried again that another process has.
const PAUSE: Duration = Duration::from_millis(10);

impl Lock {
    /// Locks the path of a socket, and waits for it no longer than `patience`. The directory has to be one where nobody
    /// but root and this user can replace what they own.
    pub(super) fn take(socket: &Path, patience: Duration) -> Result<Self, LockError> {
        let path = beside(socket);
        let deadline = Instant::now() + patience;
        loop {
            let unusable = |error| LockError::Unusable(path.clone(), error);
            let file = open(&path).map_err(unusable)?;
            let metadata = file.metadata().map_err(unusable)?;
            if !is_ours(metadata.uid()) {
                return Err(LockError::OtherUser(path, metadata.uid()));
            }
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&path, &metadata) => return Ok(Self { path, file }),
                // Whoever had the lock removed this file.
                Ok(()) | Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) if Instant::now() < deadline => std::thread::sleep(PAUSE),
                Err(Errno::WOULDBLOCK) => return Err(LockError::Busy),
                Err(error) => return Err(unusable(error.into())),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While the lock is still held. A file that stays does no harm.
        if self
            .file
            .metadata()
            .is_ok_and(|metadata| is_at(&self.path, &metadata))
        {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The path of the lock's file.
fn beside(socket: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(socket.file_name().unwrap_or_default());
    name.push(".lock");
    socket.with_file_name(name)
}

fn open(path: &Path) -> io::Result<File> {
    // Network file systems lock only what is open for writing.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
        .open(path)
}

fn is_ours(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

fn is_at(path: &Path, file: &fs::Metadata) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|there| (there.dev(), there.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[test]
    fn one_at_a_time_has_it_and_nothing_stays() {
        const PATIENCE: Duration = Duration::from_secs(300);
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        let (held, taken) = (AtomicBool::new(false), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let lock = Lock::take(&socket, PATIENCE).unwrap();
                        assert!(!held.swap(true, Ordering::SeqCst), "two have it");
                        taken.fetch_add(1, Ordering::SeqCst);
                        held.store(false, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 200);
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_was_left_is_locked_and_one_that_is_locked_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("socket");
        fs::write(beside(&socket), "").unwrap();
        let lock = Lock::take(&socket, Duration::ZERO).unwrap();
        let refused = Lock::take(&socket, Duration::ZERO);
        assert!(matches!(refused, Err(LockError::Busy)), "{refused:?}");
        drop(lock);
        assert!(!beside(&socket).exists());
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (socket, elsewhere) = (
            directory.path().join("socket"),
            directory.path().join("elsewhere"),
        );
        std::os::unix::fs::symlink(&elsewhere, beside(&socket)).unwrap();
        let refused = Lock::take(&socket, Duration::ZERO);
        assert!(
            matches!(refused, Err(LockError::Unusable(..))),
            "{refused:?}"
        );
        assert!(!elsewhere.exists());
    }
}
