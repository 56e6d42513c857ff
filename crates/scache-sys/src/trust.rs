//! Whether the socket at a path can be believed to be that of a cache.
//!
//! Whoever connects to a cache gives connections away and takes what it is given for its own. A user who may
//! create the socket, or put another one in its place, gets the former and chooses the latter. So a path that
//! nobody named, but that was found by a search, is checked twice: the directories that lead to it before connecting,
//! and the process at the other end afterwards.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::places::{Missing, PlaceError, resolve};
use crate::sockets;

/// Write permission for the group or for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Which sockets are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Any socket: the user named it, and so said whom to trust.
    #[default]
    Named,
    /// A socket of this user or of root: nobody else can put another one at the path, and one of them listens.
    OwnOrRoot,
    /// A socket of a service that root has set up, in a directory made for it, such as `/run/scache` or Postfix's
    /// `private`. That directory may belong to any user, who may then listen too. Nobody else may write to it, and only
    /// root and this user to those that lead to it.
    Service,
}

/// Why a socket is not trusted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// Another user can put a socket at the path.
    #[error("{0}")]
    Place(PlaceError),
    /// The process that listens belongs to another user.
    #[error("user {user} listens there")]
    Listener {
        /// The user who called listen(2).
        user: u32,
    },
    /// The path cannot be looked at, as when it is missing, or the kernel does not say who listens.
    #[error(transparent)]
    Unknown(#[from] io::Error),
}

impl Trust {
    /// Checks who can put a socket at `path`.
    ///
    /// # Errors
    /// [`Distrust::Place`], [`Distrust::Unknown`].
    pub fn check_path(self, path: &Path) -> Result<(), Distrust> {
        let own = rustix::process::geteuid().as_raw();
        match self {
            Self::Named => Ok(()),
            Self::OwnOrRoot => {
                resolve(path, own, Missing::Report)?;
                Ok(())
            }
            Self::Service => {
                let directory = service_directory(path)?;
                let mode = std::fs::symlink_metadata(&directory)?.mode() & 0o7777;
                if mode & WRITABLE_BY_OTHERS != 0 {
                    return Err(Distrust::Place(PlaceError::Writable { directory, mode }));
                }
                Ok(())
            }
        }
    }

    /// Checks the process at the other end of a connection to the socket at `path`, by the credentials that the kernel
    /// recorded when it called listen(2).
    ///
    /// # Errors
    /// [`Distrust`].
    pub fn check_listener(self, path: &Path, connection: BorrowedFd<'_>) -> Result<(), Distrust> {
        let service = match self {
            Self::Named => return Ok(()),
            Self::OwnOrRoot => None,
            Self::Service => Some(std::fs::symlink_metadata(service_directory(path)?)?.uid()),
        };
        let user = sockets::peer_user(connection)?;
        let own = rustix::process::geteuid().as_raw();
        if user == 0 || user == own || service == Some(user) {
            Ok(())
        } else {
            Err(Distrust::Listener { user })
        }
    }
}

/// The directory of a service's socket, as a path that only root and this user can make lead somewhere else.
fn service_directory(path: &Path) -> Result<PathBuf, Distrust> {
    let directory = match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    };
    let own = rustix::process::geteuid().as_raw();
    Ok(resolve(directory, own, Missing::Report)?)
}

impl From<PlaceError> for Distrust {
    fn from(error: PlaceError) -> Self {
        match error {
            PlaceError::Io { error, .. } => Self::Unknown(error),
            error => Self::Place(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// A directory for one test, which only this user may write to.
    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("scache-trust-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        make(&path, 0o755);
        path
    }

    /// Makes a directory with a mode, whatever the umask is.
    fn make(path: &Path, mode: u32) {
        create_dir(path).expect("a directory");
        set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
    }

    fn complaint(trust: Trust, socket: &Path) -> String {
        match trust.check_path(socket) {
            Ok(()) => String::new(),
            Err(distrust) => distrust.to_string(),
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_trusted() {
        let scratch = scratch("mode");
        for (mode, trusted) in [(0o700, true), (0o755, true), (0o775, false), (0o757, false)] {
            let directory = scratch.join(format!("{mode:o}"));
            make(&directory, mode);
            let socket = directory.join("s");
            assert_eq!(complaint(Trust::Named, &socket), "");
            for trust in [Trust::OwnOrRoot, Trust::Service] {
                let text = complaint(trust, &socket);
                assert_eq!(text.is_empty(), trusted, "{mode:o}: {text}");
                assert!(trusted || text.contains("others may replace"), "{text}");
            }
        }
        std::fs::remove_dir_all(scratch).expect("removed");
    }

    #[test]
    fn only_the_directory_of_a_service_may_be_another_users() {
        let scratch = scratch("owner");
        let other = scratch.join("other");
        make(&other, 0o755);
        let below = other.join("below");
        make(&below, 0o755);
        // Only root can give directories away; without it there is nobody else to mistrust.
        if chown(&other, Some(65533), None).is_ok() {
            let refused = "another user (65533)";
            assert!(complaint(Trust::OwnOrRoot, &other.join("s")).contains(refused));
            assert_eq!(complaint(Trust::Service, &other.join("s")), "");
            for trust in [Trust::OwnOrRoot, Trust::Service] {
                assert!(complaint(trust, &below.join("s")).contains(refused));
            }
        }
        std::fs::remove_dir_all(scratch).expect("removed");
    }

    #[test]
    fn a_listener_of_this_user_is_trusted() {
        let scratch = scratch("listener");
        let path = scratch.join("s");
        let _listener = UnixListener::bind(&path).expect("a socket");
        let connection = UnixStream::connect(&path).expect("connected");
        for trust in [Trust::Named, Trust::OwnOrRoot, Trust::Service] {
            let checked = trust.check_listener(&path, connection.as_fd());
            assert!(checked.is_ok(), "{checked:?}");
        }
        std::fs::remove_dir_all(scratch).expect("removed");
    }
}
