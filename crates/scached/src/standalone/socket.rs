//! The socket file of a daemon on its own.
//!
//! A file left by a daemon that is gone is replaced, one that a live daemon listens on is not, and
//! nothing else that may be at the path is ever removed. A socket that takes the place of another one is made
//! beside it, and the two files change names: at no moment is there none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A listening socket and its file, which goes away with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    /// The file's device and number: somebody may have put another file there since.
    identity: Option<(u64, u64)>,
}

/// Why there is no socket. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("socket path is too long: {} ({} bytes; at most {LONGEST_PATH}): choose a shorter one with --socket", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    #[error("{} is in use: another daemon listens there; stop it, or choose another path with --socket", .0.display())]
    InUse(PathBuf),
    #[error("{} exists and is not a socket: remove it, or choose another path with --socket", .0.display())]
    NotASocket(PathBuf),
    #[error("{} belongs to another user, who could take the socket away: choose a path in a directory of your own with --socket", .0.display())]
    NotOurs(PathBuf),
    #[error("{} cannot change places with a socket beside it: {error}: stop the daemon there and start without --takeover, or choose a path on another file system with --socket", .path.display())]
    Exchange { path: PathBuf, error: io::Error },
    #[error("cannot create {}: {error}: choose a path in a directory you may write to with --socket", .path.display())]
    Create { path: PathBuf, error: io::Error },
}

/// What sockaddr_un has room for, without the NUL behind it.
const LONGEST_PATH: usize = 107;

impl Socket {
    /// Listens at `path`, whose directory is made if it is missing (for this user only).
    pub(super) fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        if path.as_os_str().len() > LONGEST_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        if let Some(directory) = path.parent()
            && !directory.as_os_str().is_empty()
            && !directory.exists()
        {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .map_err(|error| SocketError::create(path, error))?;
        }
        if !is_trustworthy(path) {
            return Err(SocketError::NotOurs(path.to_owned()));
        }
        remove_stale(path)?;
        Self::bind_here(path, mode)
    }

    /// Listens at `path`, where another daemon does. Its socket stays where it was, under another name, until
    /// it is known whether that daemon gives way.
    pub(super) fn displace(path: &Path, mode: u32) -> Result<Displaced, SocketError> {
        if !is_trustworthy(path) {
            return Err(SocketError::NotOurs(path.to_owned()));
        }
        let aside = path.with_file_name(format!(".scache.{}", std::process::id()));
        if aside.as_os_str().len() > LONGEST_PATH {
            return Err(SocketError::TooLong(path.to_owned()));
        }
        remove_stale(&aside)?;
        let mut socket = Self::bind_here(&aside, mode)?;
        exchange(path, &aside).map_err(|error| SocketError::Exchange {
            path: path.to_owned(),
            error,
        })?;
        path.clone_into(&mut socket.path);
        Ok(Displaced {
            socket: Some(socket),
            aside,
        })
    }

    fn bind_here(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let listener = bind_with_mode(path, mode).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SocketError::InUse(path.to_owned()),
            _ => SocketError::create(path, error),
        })?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            identity: identity(path),
        })
    }

    /// Where it listens.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Another descriptor of the listening socket.
    pub(super) fn listener(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.identity.is_some() && self.identity == identity(&self.path) {
            // Nothing is lost if it stays: the next daemon finds that it is stale.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A socket in the place of another one, which gets its place back if nothing else is decided.
#[derive(Debug)]
pub(super) struct Displaced {
    socket: Option<Socket>,
    /// The name that the other one has meanwhile.
    aside: PathBuf,
}

impl Displaced {
    /// The socket in its place.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.socket.as_ref()
    }

    /// The other daemon gives way: its file goes.
    pub(super) fn keep(mut self) -> Option<Socket> {
        // Nothing is lost if it stays.
        let _ = std::fs::remove_file(&self.aside);
        self.socket.take()
    }
}

impl Drop for Displaced {
    fn drop(&mut self) {
        if let Some(mut socket) = self.socket.take()
            && exchange(&socket.path, &self.aside).is_ok()
        {
            std::mem::swap(&mut socket.path, &mut self.aside);
        }
    }
}

impl SocketError {
    fn create(path: &Path, error: io::Error) -> Self {
        Self::Create {
            path: path.to_owned(),
            error,
        }
    }
}

/// Lets two files change names, in one step.
fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE)?)
}

/// Binds with nobody allowed, then sets the mode: at no moment can anybody connect whom the mode
/// keeps out.
fn bind_with_mode(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // The umask belongs to the whole process, which has one thread.
    let listener = {
        let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o777));
        let listener = UnixListener::bind(path);
        rustix::process::umask(before);
        listener?
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| SocketError::create(path, error))
        }
        // A full backlog or a lack of permission is a daemon as well.
        _ => Err(SocketError::InUse(path.to_owned())),
    }
}

/// Whether nobody but this user and root can put another socket in place of this one: the default below
/// the temporary directory is a name that anybody could have made first.
fn is_trustworthy(path: &Path) -> bool {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let Ok(metadata) = std::fs::metadata(directory) else {
        // It cannot be used either, which bind(2) will say better.
        return true;
    };
    let owner = metadata.uid();
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        tempfile::Builder::new()
            .prefix(name)
            .tempdir()
            .unwrap()
            .keep()
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let directory = directory("stale");
        let path = directory.join("s");
        drop(UnixListener::bind(&path).unwrap());
        let live = Socket::bind(&path, 0o600).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = Socket::bind(&path, 0o600).unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        drop(live);
        assert!(!path.exists());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_socket_that_is_displaced_gets_its_place_back_or_goes() {
        let directory = directory("displaced");
        let path = directory.join("s");
        let first = Socket::bind(&path, 0o600).unwrap();
        drop(Socket::displace(&path, 0o600).unwrap());
        assert_eq!(identity(&path), first.identity);
        let second = Socket::displace(&path, 0o660).unwrap().keep().unwrap();
        assert_eq!(identity(&path), second.identity);
        drop(first);
        assert_eq!(identity(&path), second.identity);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1);
        drop(second);
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn other_files_stay() {
        let directory = directory("other");
        let path = directory.join("s");
        std::fs::write(&path, "precious").unwrap();
        let refused = Socket::bind(&path, 0o600).unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_directory_of_somebody_else_is_refused() {
        let directory = directory("foreign");
        // Only root can give a directory away; for others this is as far as the test goes.
        if std::os::unix::fs::chown(&directory, Some(12345), None).is_ok() {
            let refused = Socket::bind(&directory.join("s"), 0o600).unwrap_err();
            assert!(matches!(refused, SocketError::NotOurs(_)), "{refused}");
        } else {
            assert!(is_trustworthy(&directory.join("s")));
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_is_named() {
        let long = PathBuf::from("/tmp").join("x".repeat(LONGEST_PATH));
        let refused = Socket::bind(&long, 0o600).unwrap_err().to_string();
        assert!(
            refused.contains("too long") && refused.contains("xxx"),
            "{refused}"
        );
        let refused = Socket::bind(Path::new("/proc/none/s"), 0o600)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("/proc/none/s"), "{refused}");
    }
}
