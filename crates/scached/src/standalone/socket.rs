//! The socket file of a daemon on its own.
//!
//! A file left by a daemon that is gone is replaced, one that a live daemon listens on is not, and nothing else that
//! may be at the path is ever removed. Whatever is done about the file is done under the lock on its path, and in a
//! directory where nobody but root and this user can put something else there. The file of a daemon that gives way
//! stays: the next daemon gets its listening socket.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::Mode;
use scache_sys::places::{self, Missing, PlaceError};
use scache_sys::sockets::Name;

use super::lock::{Lock, LockError};

/// Where a socket file is or is to be: a path that only root and this user can make lead somewhere else.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Without symbolic links.
    path: PathBuf,
    /// The path for bind(2) and connect(2), which have little room for one.
    short: PathBuf,
}

/// Whether a file is still at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// It is.
    There,
    /// It is not: it was removed or renamed, or a directory above it was.
    Gone,
    /// Nobody knows: the system calls that would tell fail.
    Unknown,
}

/// A file's path, device and number.
#[derive(Clone, Debug)]
pub struct SocketFile {
    path: PathBuf,
    device: u64,
    number: u64,
}

/// A listening socket and its file, which goes away with it unless it is another daemon's.
#[derive(Debug)]
pub(super) struct Socket {
    listener: OwnedFd,
    place: Place,
    file: Option<SocketFile>,
    /// The file is to be removed at the end.
    is_ours: bool,
}

/// Why there is no socket. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketError {
    #[error("socket path is too long: {} ({} bytes; at most {LONGEST_PATH}): choose a shorter one with --socket", .0.display(), .0.as_os_str().len())]
    TooLong(PathBuf),
    #[error("{} is in use: another daemon listens there; stop it, or choose another path with --socket", .0.display())]
    InUse(PathBuf),
    #[error("{} is busy: another daemon is starting or taking over there; wait until it has, or choose another path with --socket", .0.display())]
    Busy(PathBuf),
    #[error("{} exists and is not a socket: remove it, or choose another path with --socket", .0.display())]
    NotASocket(PathBuf),
    #[error("{} is not safe: {error}; or choose a path in a directory of your own with --socket", .path.display())]
    Unsafe { path: PathBuf, error: PlaceError },
    #[error("cannot lock {}: {error}: see whether it can be written to and is on a local file system, or choose another path with --socket", .path.display())]
    Lock { path: PathBuf, error: io::Error },
    #[error("{} belongs to another user ({user}): remove it, or choose a path in a directory of your own with --socket", .path.display())]
    OtherUser { path: PathBuf, user: u32 },
    #[error("cannot create {}: there is no {}: make that directory, or choose another path with --socket", .path.display(), .directory.display())]
    NoDirectory { path: PathBuf, directory: PathBuf },
    #[error("cannot create {}: {error}: choose a path in a directory you may write to with --socket", .path.display())]
    Create { path: PathBuf, error: io::Error },
}

/// What sockaddr_un has room for, without the NUL behind it.
const LONGEST_PATH: usize = 107;

/// How long another process may take that starts or takes over at the same path.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// As many connections may wait to be accepted as the kernel allows for.
const BACKLOG: i32 = -1;

impl Place {
    /// Looks at the path of a socket. `missing`: whether to make directories that are missing, for this user only.
    pub(super) fn new(path: &Path, missing: Missing) -> Result<Self, SocketError> {
        let user = rustix::process::geteuid().as_raw();
        let resolved = places::resolve(path, user, missing).map_err(|error| {
            let path = path.to_owned();
            match error {
                PlaceError::Io {
                    path: directory,
                    error,
                } if error.kind() == io::ErrorKind::NotFound => {
                    SocketError::NoDirectory { path, directory }
                }
                PlaceError::Io { error, .. } => SocketError::Create { path, error },
                error => SocketError::Unsafe { path, error },
            }
        })?;
        // Nothing is locked beside what is no socket.
        if std::fs::symlink_metadata(&resolved)
            .is_ok_and(|metadata| !metadata.file_type().is_socket())
        {
            return Err(SocketError::NotASocket(resolved));
        }
        let fits = |path: &&Path| path.as_os_str().len() <= LONGEST_PATH;
        // A relative path may be short where the whole is not.
        let short = [&*resolved, path].into_iter().find(fits);
        let short = short.ok_or_else(|| SocketError::TooLong(resolved.clone()))?;
        Ok(Self {
            short: short.to_owned(),
            path: resolved,
        })
    }

    /// The path, without symbolic links.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The name to connect to.
    pub(super) fn name(&self) -> io::Result<Name> {
        Name::of_path(&self.short)
    }

    /// Lets no other process start here, take over or remove the file.
    pub(super) fn lock(&self) -> Result<Lock, SocketError> {
        Lock::take(&self.path, LOCK_PATIENCE).map_err(|error| match error {
            LockError::Busy => SocketError::Busy(self.path.clone()),
            // Nor could a socket be made there.
            LockError::Unusable(_, error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
                ) =>
            {
                self.cannot_create(error)
            }
            LockError::Unusable(path, error) => SocketError::Lock { path, error },
            LockError::OtherUser(path, user) => SocketError::OtherUser { path, user },
        })
    }
}

impl Socket {
    /// Listens at a place where nobody else does. The lock has to be held meanwhile.
    pub(super) fn bind(place: &Place, mode: u32, _lock: &Lock) -> Result<Self, SocketError> {
        remove_stale(place)?;
        let listener = bind_with_mode(&place.short, mode).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => SocketError::InUse(place.path.clone()),
            _ => place.cannot_create(error),
        })?;
        Ok(Self {
            listener: listener.into(),
            place: place.clone(),
            file: SocketFile::at(&place.path),
            is_ours: true,
        })
    }

    /// Takes over the listening socket of another daemon, whose file this is. It stays that daemon's until
    /// [`Socket::own`].
    pub(super) fn adopt(
        place: &Place,
        mode: u32,
        listener: OwnedFd,
        _lock: &Lock,
    ) -> Result<Self, SocketError> {
        // From now on clients are told that this process listens, not the other one.
        rustix::net::listen(&listener, BACKLOG)
            .map_err(|error| place.cannot_create(error.into()))?;
        let metadata =
            std::fs::symlink_metadata(&place.path).map_err(|error| place.cannot_create(error))?;
        if metadata.file_type().is_socket() && metadata.mode() & 0o777 != mode {
            // Only root and this user could have put something else there since.
            std::fs::set_permissions(&place.path, std::fs::Permissions::from_mode(mode))
                .map_err(|error| place.cannot_create(error))?;
        }
        Ok(Self {
            listener,
            place: place.clone(),
            file: SocketFile::at(&place.path),
            is_ours: false,
        })
    }

    /// Where it listens.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// The file.
    pub(super) fn file(&self) -> Option<&SocketFile> {
        self.file.as_ref()
    }

    /// Another descriptor of the listening socket.
    pub(super) fn listener(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    /// Sets whether the file goes at the end: not if another daemon listens there as well.
    pub(super) fn own(&mut self, is_ours: bool) {
        self.is_ours = is_ours;
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Nothing is lost if the file stays: the next daemon finds that it is stale. Whoever has the lock will.
        let Some(file) = self.file.as_ref().filter(|_| self.is_ours) else {
            return;
        };
        let Ok(_lock) = Lock::take(&self.place.path, Duration::ZERO) else {
            return;
        };
        if file.whereabouts() == Whereabouts::There {
            let _ = std::fs::remove_file(&file.path);
        }
    }
}

impl SocketFile {
    fn at(path: &Path) -> Option<Self> {
        let metadata = std::fs::symlink_metadata(path).ok()?;
        Some(Self {
            path: path.to_owned(),
            device: metadata.dev(),
            number: metadata.ino(),
        })
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether it is still there. As long as its socket is open no other file has its number.
    pub fn whereabouts(&self) -> Whereabouts {
        match std::fs::symlink_metadata(&self.path) {
            Ok(metadata) if (metadata.dev(), metadata.ino()) == (self.device, self.number) => {
                Whereabouts::There
            }
            Ok(_) => Whereabouts::Gone,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Whereabouts::Gone
            }
            Err(_) => Whereabouts::Unknown,
        }
    }
}

impl Place {
    fn cannot_create(&self, error: io::Error) -> SocketError {
        SocketError::Create {
            path: self.path.clone(),
            error,
        }
    }
}

/// Binds with the mode that the socket is to have: at no moment can anybody connect whom the mode keeps out, and
/// no file is given a mode by its path.
fn bind_with_mode(path: &Path, mode: u32) -> io::Result<UnixListener> {
    // The umask belongs to the whole process, which has one thread.
    let before = rustix::process::umask(Mode::from_raw_mode(0o777 & !mode));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

fn remove_stale(place: &Place) -> Result<(), SocketError> {
    let Ok(metadata) = std::fs::symlink_metadata(&place.path) else {
        return Ok(());
    };
    if !metadata.file_type().is_socket() {
        return Err(SocketError::NotASocket(place.path.clone()));
    }
    match place.name().and_then(|name| name.connect()) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(&place.path).map_err(|error| place.cannot_create(error))
        }
        // A full backlog or a lack of permission is a daemon as well.
        _ => Err(SocketError::InUse(place.path.clone())),
    }
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

    fn bind(path: &Path, mode: u32) -> Result<Socket, SocketError> {
        let place = Place::new(path, Missing::Report)?;
        let lock = place.lock()?;
        Socket::bind(&place, mode, &lock)
    }

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).unwrap().mode() & 0o777
    }

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).unwrap().count()
    }

    #[test]
    fn a_stale_file_is_replaced_and_a_live_one_is_not() {
        let directory = directory("stale");
        let path = directory.join("s");
        drop(UnixListener::bind(&path).unwrap());
        for wanted in [0o600, 0o666, 0o660] {
            let live = bind(&path, wanted).unwrap();
            assert_eq!(mode(&path), wanted);
            let refused = bind(&path, wanted).unwrap_err();
            assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
            drop(live);
            assert_eq!(files(&directory), 0);
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_socket_that_is_taken_over_keeps_its_file() {
        let directory = directory("adopted");
        let path = directory.join("s");
        let mut first = bind(&path, 0o600).unwrap();
        let place = first.place().clone();
        let lock = place.lock().unwrap();
        let listener = first.listener().unwrap();
        let mut second = Socket::adopt(&place, 0o660, listener, &lock).unwrap();
        drop(lock);
        assert_eq!(mode(&path), 0o660);
        first.own(false);
        drop(first);
        // Nobody else can start there.
        let refused = bind(&path, 0o600).unwrap_err();
        assert!(matches!(refused, SocketError::InUse(_)), "{refused}");
        second.own(true);
        drop(second);
        assert_eq!(files(&directory), 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_another_daemon_put_there_stays() {
        let directory = directory("another");
        let path = directory.join("s");
        let first = bind(&path, 0o600).unwrap();
        assert_eq!(first.file().unwrap().whereabouts(), Whereabouts::There);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(first.file().unwrap().whereabouts(), Whereabouts::Gone);
        let second = bind(&path, 0o600).unwrap();
        assert_eq!(first.file().unwrap().whereabouts(), Whereabouts::Gone);
        drop(first);
        assert_eq!(second.file().unwrap().whereabouts(), Whereabouts::There);
        std::fs::remove_dir_all(&directory).unwrap();
        assert_eq!(second.file().unwrap().whereabouts(), Whereabouts::Gone);
    }

    #[test]
    fn other_files_stay() {
        let directory = directory("other");
        let path = directory.join("s");
        std::fs::write(&path, "precious").unwrap();
        let refused = bind(&path, 0o600).unwrap_err();
        assert!(matches!(refused, SocketError::NotASocket(_)), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_directory_that_is_not_safe_is_refused_with_what_to_do() {
        let directory = directory("unsafe");
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&directory, open).unwrap();
        let refused = bind(&directory.join("s"), 0o600).unwrap_err().to_string();
        for part in ["not safe", "mode 0777", "chmod go-w", "--socket"] {
            assert!(refused.contains(part), "{refused}");
        }
        assert_eq!(files(&directory), 0);
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_path_that_cannot_be_is_named() {
        let long = PathBuf::from("/tmp").join("x".repeat(LONGEST_PATH));
        let refused = bind(&long, 0o600).unwrap_err().to_string();
        assert!(
            refused.contains("too long") && refused.contains("xxx"),
            "{refused}"
        );
        let refused = bind(Path::new("/proc/none/s"), 0o600)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("/proc/none/s"), "{refused}");
    }
}
