//! A socket that another user has put where a cache is looked for.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::process::{Gid, Uid};
use tempfile::TempDir;

/// The user who lays the trap: nobody, on every Debian.
pub const OTHER_USER: u32 = 65534;

/// A directory to use as TMPDIR, with a directory for caches in it.
#[derive(Debug)]
pub struct Planted {
    temporary: TempDir,
    socket: PathBuf,
    listener: UnixListener,
}

impl Planted {
    /// Makes root's directory for caches with this owner and mode, and lets the other user listen in it.
    ///
    /// # Panics
    /// Without the rights of root.
    #[must_use]
    pub fn new(owner: u32, mode: u32) -> Self {
        let temporary = TempDir::with_prefix("scache-planted-").expect("a directory");
        set_permissions(temporary.path(), Permissions::from_mode(0o1777)).expect("a mode");
        let directory = temporary.path().join("scache-0");
        // Whatever it is to become, the socket has to get there.
        DirBuilder::new()
            .mode(0o777)
            .create(&directory)
            .expect("a directory");
        set_permissions(&directory, Permissions::from_mode(0o777)).expect("a mode");
        let socket = directory.join("scache.sock");
        let listener = listen_as_other_user(&socket);
        set_permissions(&socket, Permissions::from_mode(0o777)).expect("a mode");
        chown(&directory, Some(owner), None).expect("a directory for another user");
        set_permissions(&directory, Permissions::from_mode(mode)).expect("a mode");
        Self {
            temporary,
            socket,
            listener,
        }
    }

    /// The directory that is to be TMPDIR.
    #[must_use]
    pub fn temporary(&self) -> &Path {
        self.temporary.path()
    }

    /// Where the other user listens.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whether somebody has connected and sent something, whose connection is closed then.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn first_byte(&self) -> bool {
        self.listener.set_nonblocking(true).expect("a socket");
        let Ok((mut connection, _)) = self.listener.accept() else {
            return false;
        };
        connection.set_nonblocking(false).expect("a socket");
        connection.read_exact(&mut [0]).is_ok()
    }

    /// How many have connected since this was asked last, and how many bytes they sent. All of them must be gone.
    ///
    /// # Panics
    /// When the kernel refuses.
    #[must_use]
    pub fn caught(&self) -> (usize, usize) {
        self.listener.set_nonblocking(true).expect("a socket");
        let mut caught = (0, 0);
        while let Ok((mut connection, _)) = self.listener.accept() {
            connection.set_nonblocking(false).expect("a socket");
            let mut bytes = Vec::new();
            let _ = connection.read_to_end(&mut bytes);
            caught = (caught.0 + 1, caught.1 + bytes.len());
        }
        caught
    }
}

/// Listens in a thread of the other user: the kernel remembers who called listen(2).
fn listen_as_other_user(socket: &Path) -> UnixListener {
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| {
            let group = Gid::from_raw(OTHER_USER);
            rustix::thread::set_thread_gid(group).expect("these tests need root");
            let user = Uid::from_raw(OTHER_USER);
            rustix::thread::set_thread_res_uid(user, user, user).expect("these tests need root");
            UnixListener::bind(socket).expect("a socket")
        });
        listener.join().expect("a listener")
    })
}
