//! Whether the socket at a path can be believed to be that of a cache.
//!
//! Whoever connects to a cache gives connections away and takes what it is given for its own. A user who may
//! create the socket, or put another one in its place, gets the former and chooses the latter. So a path that
//! nobody named, but that was found by a search, is checked twice: its directory before connecting, and the
//! process at the other end afterwards.

use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sockets;

/// Write permission for the group or for others.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// As many symbolic links as the kernel follows.
const LINKS: usize = 40;

/// Which sockets are trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trust {
    /// Any socket: the user named it, and so said whom to trust.
    #[default]
    Named,
    /// A socket of this user or of root: the directory belongs to one of them and nobody else may write to it,
    /// and one of them listens.
    OwnOrRoot,
    /// A socket of a service that root has set up, in a directory made for it, such as `/run/scache` or Postfix's
    /// `private`. The directory above must satisfy [`Trust::OwnOrRoot`]. The socket's own directory may belong to any
    /// user, who may then listen too, but nobody else may write to it.
    Service,
}

/// Why a socket is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Distrust {
    /// The directory, or a symbolic link in its place, belongs to another user.
    #[error("{} belongs to user {user}", path.display())]
    Owner {
        /// The directory or the link.
        path: PathBuf,
        /// The user it belongs to.
        user: u32,
    },
    /// Other users may write to the directory.
    #[error("other users may write to {} (mode {mode:04o})", path.display())]
    Writable {
        /// The directory.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The process that listens belongs to another user.
    #[error("user {user} listens there")]
    Listener {
        /// The user who called listen(2).
        user: u32,
    },
    /// The directory cannot be looked at, or the kernel does not say who listens.
    #[error(transparent)]
    Unknown(#[from] io::Error),
}

impl Trust {
    /// Checks the directory of the socket at `path`.
    ///
    /// # Errors
    /// [`Distrust`]. [`Distrust::Unknown`] if the directory is missing: then there is no socket either.
    pub fn check_directory(self, path: &Path) -> Result<(), Distrust> {
        let directory = parent(path);
        match self {
            Self::Named => Ok(()),
            Self::OwnOrRoot => check_owner_and_mode(directory, true),
            Self::Service => {
                check_owner_and_mode(parent(directory), true)?;
                check_owner_and_mode(directory, false)
            }
        }
    }

    /// Checks the process at the other end of a connection to the socket at `path`, by the credentials that the kernel
    /// recorded when it called listen(2).
    ///
    /// # Errors
    /// [`Distrust::Listener`], [`Distrust::Unknown`].
    pub fn check_listener(self, path: &Path, connection: BorrowedFd<'_>) -> Result<(), Distrust> {
        let service = match self {
            Self::Named => return Ok(()),
            Self::OwnOrRoot => None,
            Self::Service => Some(std::fs::metadata(parent(path))?.uid()),
        };
        let user = sockets::peer_user(connection)?;
        if is_own_or_root(user) || service == Some(user) {
            Ok(())
        } else {
            Err(Distrust::Listener { user })
        }
    }
}

/// Checks that this user or root owns the directory, and that nobody else may write to it.
///
/// # Errors
/// [`Distrust`].
pub fn check_directory(directory: &Path) -> Result<(), Distrust> {
    check_owner_and_mode(directory, true)
}

/// Checks a directory. A symbolic link is followed only if this user or root made it.
fn check_owner_and_mode(directory: &Path, own_or_root: bool) -> Result<(), Distrust> {
    let mut path = directory.to_owned();
    for _ in 0..LINKS {
        let metadata = std::fs::symlink_metadata(&path)?;
        let (user, is_link) = (metadata.uid(), metadata.is_symlink());
        if !is_own_or_root(user) && (own_or_root || is_link) {
            return Err(Distrust::Owner { path, user });
        }
        if is_link {
            let target = std::fs::read_link(&path)?;
            path = parent(&path).join(target);
            continue;
        }
        let mode = metadata.mode() & 0o7777;
        if mode & WRITABLE_BY_OTHERS != 0 {
            return Err(Distrust::Writable { path, mode });
        }
        return Ok(());
    }
    Err(io::Error::from(rustix::io::Errno::LOOP).into())
}

fn is_own_or_root(user: u32) -> bool {
    user == 0 || user == rustix::process::geteuid().as_raw()
}

/// The directory that a path is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        Some(_) => Path::new("."),
        None => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{DirBuilder, Permissions, create_dir, set_permissions};
    use std::os::fd::AsFd;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, lchown, symlink};
    use std::os::unix::net::{UnixListener, UnixStream};

    /// A directory for one test, which only this user may write to.
    fn scratch(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("scache-trust-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        DirBuilder::new()
            .mode(0o755)
            .create(&path)
            .expect("a directory");
        set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
        path
    }

    /// Makes a directory with a mode, whatever the umask is.
    fn make(path: &Path, mode: u32) {
        create_dir(path).expect("a directory");
        set_permissions(path, Permissions::from_mode(mode)).expect("its mode");
    }

    fn complaint(trust: Trust, socket: &Path) -> String {
        match trust.check_directory(socket) {
            Ok(()) => String::new(),
            Err(distrust) => distrust.to_string(),
        }
    }

    #[test]
    fn a_directory_that_others_may_write_to_is_not_trusted() {
        let scratch = scratch("mode");
        for (mode, trusted) in [
            (0o700, true),
            (0o755, true),
            (0o775, false),
            (0o757, false),
            (0o1777, false),
        ] {
            let directory = scratch.join(format!("{mode:o}"));
            make(&directory, mode);
            let socket = directory.join("s");
            assert_eq!(complaint(Trust::Named, &socket), "");
            for trust in [Trust::OwnOrRoot, Trust::Service] {
                let text = complaint(trust, &socket);
                assert_eq!(text.is_empty(), trusted, "{mode:o}: {text}");
                assert!(trusted || text.contains("may write to"), "{text}");
            }
        }
        std::fs::remove_dir_all(scratch).expect("removed");
    }

    #[test]
    fn a_directory_or_link_of_another_user_is_not_trusted() {
        let scratch = scratch("owner");
        let own = scratch.join("own");
        make(&own, 0o755);
        let link = scratch.join("link");
        symlink("own", &link).expect("a link");
        assert_eq!(complaint(Trust::OwnOrRoot, &link.join("s")), "");
        let endless = scratch.join("endless");
        symlink("endless", &endless).expect("a link");
        assert!(!complaint(Trust::OwnOrRoot, &endless.join("s")).is_empty());
        // Only root can give files away; without it there is nobody else to mistrust.
        if lchown(&link, Some(65534), None).is_ok() {
            let other = scratch.join("other");
            make(&other, 0o755);
            chown(&other, Some(65534), None).expect("given away");
            assert!(complaint(Trust::OwnOrRoot, &other.join("s")).ends_with("user 65534"));
            assert_eq!(complaint(Trust::Service, &other.join("s")), "");
            let below = other.join("below");
            make(&below, 0o755);
            assert!(complaint(Trust::Service, &below.join("s")).ends_with("user 65534"));
            for trust in [Trust::OwnOrRoot, Trust::Service] {
                assert!(complaint(trust, &link.join("s")).contains("link belongs to user 65534"));
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
