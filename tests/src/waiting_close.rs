//! Descriptors whose close(2) waits: lingering sockets, sockets that hold some unread, files of a slow file system.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation,
    INodeNo, LockOwner, ReplyAttr, ReplyEmpty, ReplyEntry, Request,
};
use rustix::net::sockopt::set_socket_linger;
use rustix::net::{SendFlags, send};
use tempfile::TempDir;

use crate::wire::{Client, Connection};

/// A TCP connection whose last close waits for `time`: its peer reads nothing of what was sent.
///
/// # Panics
/// When the system is out of sockets.
#[must_use]
pub fn lingering(time: Duration) -> Connection {
    let connection = Connection::tcp();
    spoil(connection.near(), time);
    connection
}

/// Lets the last close of a TCP socket wait for data that the peer never reads.
///
/// # Panics
/// When that cannot be set.
pub fn spoil(socket: BorrowedFd<'_>, time: Duration) {
    set_socket_linger(socket, Some(time)).expect("set the time to linger");
    fill(socket);
}

/// Sends until the socket takes no more, and says how many bytes that were.
pub fn fill(socket: BorrowedFd<'_>) -> usize {
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let mut sent = 0;
    let mut full_at = None;
    // Some of what was taken may still go over to the other side: full is what stays full.
    while full_at.is_none_or(|at: Instant| at.elapsed() < Duration::from_millis(200)) {
        // When there is no room for many bytes there may be some for one.
        match [&[b'x'; 65_536][..], b"x"]
            .into_iter()
            .find_map(|piece| send(socket, piece, flags).ok())
        {
            Some(count) => {
                sent += count;
                full_at = None;
            }
            None => {
                full_at = full_at.or(Some(Instant::now()));
                sleep(Duration::from_millis(10));
            }
        }
    }
    sent
}

/// One end of a pair of UNIX sockets in whose receive queue a lingering socket lies, `levels` pairs deep, and whatever
/// has to stay open for that.
///
/// # Panics
/// When the system is out of sockets.
#[must_use]
pub fn nested(levels: usize, time: Duration) -> (OwnedFd, Vec<OwnedFd>) {
    let mut connection = lingering(time);
    let mut kept = vec![OwnedFd::from(connection.far().try_clone().expect("a copy"))];
    let mut inner = connection.near().try_clone_to_owned().expect("a copy");
    connection.let_go();
    for _ in 0..levels {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        let far = Client::from(OwnedFd::from(far));
        far.send_descriptors(&[inner.as_fd()])
            .expect("send a descriptor");
        kept.push(far.as_fd().try_clone_to_owned().expect("a copy"));
        inner = near.into();
    }
    (inner, kept)
}

/// A file on a FUSE file system whose server does not answer FLUSH, which every close(2) of the file waits for, until
/// this value is dropped. Needs root.
#[derive(Debug)]
pub struct SlowFile {
    file: Option<File>,
    gate: Arc<Gate>,
    session: Option<BackgroundSession>,
    _directory: TempDir,
}

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    flushes: usize,
}

impl SlowFile {
    /// Mounts the file system and opens the file.
    ///
    /// # Panics
    /// When that is not possible.
    #[must_use]
    pub fn new() -> Self {
        let directory = TempDir::with_prefix("scache-slow-").expect("a directory");
        let gate = Arc::new(Gate::default());
        let slow = Slow(Arc::clone(&gate));
        let session = fuser::spawn_mount(slow, directory.path(), &Config::default())
            .expect("root may mount a FUSE file system");
        let file = File::open(directory.path().join(NAME)).expect("open the file");
        Self {
            file: Some(file),
            gate,
            session: Some(session),
            _directory: directory,
        }
    }

    /// The file.
    ///
    /// # Panics
    /// Never.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_ref().expect("it is open").as_fd()
    }

    /// How many closes the server was told of.
    #[must_use]
    pub fn flushes(&self) -> usize {
        self.gate.lock().flushes
    }
}

impl Default for SlowFile {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for SlowFile {
    fn drop(&mut self) {
        self.gate.lock().is_open = true;
        self.gate.changed.notify_all();
        self.file = None;
        if let Some(session) = self.session.take() {
            // Who still has the file open keeps the file system, not its name.
            let _ = session.umount_and_join();
        }
    }
}

impl Gate {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const NAME: &str = "file";

/// What the kernel is told of files need not be asked again while the server waits.
const FOREVER: Duration = Duration::from_secs(3600);

/// A file system with one empty file.
struct Slow(Arc<Gate>);

impl Filesystem for Slow {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if name == NAME {
            reply.entry(&FOREVER, &attributes(INodeNo(2)), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(
        &self,
        _request: &Request,
        inode: INodeNo,
        _file: Option<FileHandle>,
        reply: ReplyAttr,
    ) {
        reply.attr(&FOREVER, &attributes(inode));
    }

    fn flush(
        &self,
        _request: &Request,
        _inode: INodeNo,
        _file: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let mut state = self.0.lock();
        state.flushes += 1;
        while !state.is_open {
            state = self
                .0
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        drop(state);
        reply.ok();
    }
}

fn attributes(inode: INodeNo) -> FileAttr {
    let kind = if inode == INodeNo::ROOT {
        FileType::Directory
    } else {
        FileType::RegularFile
    };
    FileAttr {
        ino: inode,
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind,
        perm: 0o755,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        flags: 0,
        blksize: 512,
    }
}
