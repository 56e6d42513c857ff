//! Who is at the other end of a UNIX socket, getting to one by its name, and waiting for it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Timeout, set_socket_timeout, socket_acceptconn, socket_cookie, socket_domain, socket_timeout,
    socket_type,
};
use rustix::net::{
    AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, connect, getpeername,
    getsockname, socket_with, socketpair,
};

/// The name of a UNIX socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(SocketAddrUnix);

impl Name {
    /// The name of a socket file.
    ///
    /// # Errors
    /// `ENAMETOOLONG` for what does not fit a socket's name.
    pub fn of_path(path: &Path) -> io::Result<Self> {
        Ok(Self(SocketAddrUnix::new(path)?))
    }

    /// The name that a listening socket was bound to; `None` if it is no UNIX socket or has none.
    pub fn of_listener(socket: BorrowedFd<'_>) -> Option<Self> {
        named(getsockname(socket).ok()?)
    }

    /// Connects to who listens there, without waiting for it to accept.
    ///
    /// # Errors
    /// What socket(2) and connect(2) say: `WouldBlock` when too many wait there already.
    pub fn connect(&self) -> io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::io::retry_on_intr(|| connect(&socket, &self.0))?;
        Ok(socket)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.path_bytes(), self.0.abstract_name()) {
            (Some(path), _) => write!(f, "{}", Path::new(OsStr::from_bytes(path)).display()),
            (None, Some(name)) => write!(f, "@{}", name.escape_ascii()),
            (None, None) => f.write_str("(no name)"),
        }
    }
}

/// What a descriptor is connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A UNIX socket, by its name if it was bound to one.
    Unix(Option<Name>),
    /// An address and a port.
    Internet(SocketAddr),
    /// Something else, or nothing.
    Other,
}

impl Peer {
    /// What this one is connected to.
    pub fn of(socket: BorrowedFd<'_>) -> Self {
        match getpeername(socket) {
            Ok(Some(address)) if address.address_family() == AddressFamily::UNIX => {
                Self::Unix(named(address))
            }
            Ok(Some(address)) => SocketAddr::try_from(address).map_or(Self::Other, Self::Internet),
            _ => Self::Other,
        }
    }
}

/// As it is said in logs; nothing if nothing is known.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(Some(name)) => write!(f, "{name}"),
            Self::Unix(None) => f.write_str("unix"),
            Self::Internet(address) => write!(f, "{address}"),
            Self::Other => Ok(()),
        }
    }
}

/// The kernel's number of a socket, which no other socket has or had since the system started; `None` for what is
/// no socket.
pub fn cookie(socket: BorrowedFd<'_>) -> Option<u64> {
    socket_cookie(socket).ok()
}

/// Makes a UNIX stream socket whose other end is closed.
///
/// # Errors
/// What socketpair(2) says.
pub fn closed_connection() -> io::Result<OwnedFd> {
    let (connection, _closed) = socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    Ok(connection)
}

/// Returns whether the other end of a UNIX stream socket has not read everything that was written here. An end that was
/// closed has nothing unread. `false` for what is no socket; of a socket that is no UNIX socket nothing follows.
pub fn has_unread(socket: BorrowedFd<'_>) -> bool {
    /// The kernel counts the memory of the messages, some 700 bytes for the smallest. While it frees one it counts a byte
    /// or two of it until it has told the poller, which must not be taken for a message.
    const LEAST: libc::c_int = 256;
    let mut memory: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one int, which is what it is given.
    let told = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut memory) };
    told == 0 && memory >= LEAST
}

/// Whether this is a UNIX stream socket that listens.
pub fn listens(socket: BorrowedFd<'_>) -> bool {
    socket_domain(socket) == Ok(AddressFamily::UNIX)
        && socket_type(socket) == Ok(SocketType::STREAM)
        && socket_acceptconn(socket) == Ok(true)
}

/// Whether SO_RCVLOWAT is set, so that poll(2) and epoll(7) are silent about data until there is more of it.
pub fn waits_for_more(socket: BorrowedFd<'_>) -> bool {
    let mut bytes: libc::c_int = 1;
    let mut length = size_of_val(&bytes) as libc::socklen_t;
    // SAFETY: both pointers are to live memory, the first of the length that the second says.
    let code = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVLOWAT,
            (&raw mut bytes).cast(),
            &raw mut length,
        )
    };
    code == 0 && bytes > 1
}

/// What to wait for at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Something can be read, be it the end.
    Readable,
    /// Something can be written, be it to learn that nobody reads it.
    Writable,
}

/// Waits for a socket, and says whether it got there in that time. A signal cuts the wait short.
///
/// # Errors
/// What poll(2) says, but never `EINTR`.
pub fn wait(socket: BorrowedFd<'_>, until: Until, time: Duration) -> io::Result<bool> {
    let events = match until {
        Until::Readable => PollFlags::IN,
        Until::Writable => PollFlags::OUT,
    };
    // More than the kernel can count is for ever.
    let timeout = Timespec::try_from(time).ok();
    match poll(
        &mut [PollFd::from_borrowed_fd(socket, events)],
        timeout.as_ref(),
    ) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Puts a descriptor into blocking mode, for all who share what is open.
///
/// # Errors
/// What ioctl(2) says.
pub fn set_blocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::io::ioctl_fionbio(descriptor, false)?)
}

/// The user at the other end of a UNIX socket, when it connected.
///
/// # Errors
/// What getsockopt(2) says: other sockets have none.
pub fn peer_user(socket: BorrowedFd<'_>) -> io::Result<u32> {
    let credentials = rustix::net::sockopt::socket_peercred(socket)?;
    Ok(credentials.uid.as_raw())
}

fn named(address: SocketAddrAny) -> Option<Name> {
    let address = SocketAddrUnix::try_from(address).ok()?;
    let name = address.path_bytes().or_else(|| address.abstract_name());
    name.is_some_and(|name| !name.is_empty())
        .then_some(Name(address))
}

/// Time limit for sending that marks a listening socket. It has no other effect: nothing is sent over such a socket, and
/// the UNIX sockets that are accepted from it do not inherit it.
const MARK: Duration = Duration::from_secs(1234);

/// Marks a listening socket, for the next process that inherits it.
///
/// # Errors
/// What setsockopt(2) returns.
pub fn leave_mark(listener: BorrowedFd<'_>) -> io::Result<()> {
    Ok(set_socket_timeout(listener, Timeout::Send, Some(MARK))?)
}

/// Takes the mark from a listening socket. Returns whether it had one.
pub fn take_mark(listener: BorrowedFd<'_>) -> bool {
    let is_marked = socket_timeout(listener, Timeout::Send).is_ok_and(|time| time == Some(MARK));
    if is_marked {
        // The socket is as it was made, or stays marked: then the next process waits for nothing, once.
        let _ = set_socket_timeout(listener, Timeout::Send, None);
    }
    is_marked
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_connection_is_known_by_where_it_leads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let name = Name::of_listener(listener.as_fd()).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let named = Peer::Unix(Some(name.clone()));
        assert_eq!(Peer::of(client.as_fd()), named);
        assert_eq!(Name::of_path(&path).unwrap(), name);
        assert_eq!(name.to_string(), path.display().to_string());
        assert!(listens(listener.as_fd()) && !listens(client.as_fd()));
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(Peer::of(accepted.as_fd()), Peer::Unix(None));
        assert_eq!(
            peer_user(accepted.as_fd()).unwrap(),
            rustix::process::geteuid().as_raw()
        );
        let again = name.connect().unwrap();
        assert_eq!(Peer::of(again.as_fd()), named);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(name.connect().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_has_no_name_has_none() {
        let (one, other) = UnixStream::pair().unwrap();
        assert_eq!(Peer::of(one.as_fd()), Peer::Unix(None));
        assert_eq!(Name::of_listener(other.as_fd()), None);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(Name::of_listener(listener.as_fd()), None);
        let address = listener.local_addr().unwrap();
        let stream = std::net::TcpStream::connect(address).unwrap();
        assert_eq!(Peer::of(stream.as_fd()), Peer::Internet(address));
        let copy = stream.try_clone().unwrap();
        assert_eq!(cookie(copy.as_fd()), cookie(stream.as_fd()));
        assert_ne!(cookie(stream.as_fd()), cookie(listener.as_fd()));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(Peer::of(file.as_fd()), Peer::Other);
        assert_eq!(cookie(file.as_fd()), None);
    }

    #[test]
    fn a_closed_connection_is_at_its_end() {
        use std::io::Read;
        let mut connection = UnixStream::from(closed_connection().unwrap());
        assert_eq!(connection.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn what_the_other_end_has_not_read_is_known() {
        use std::io::{Read, Write};
        let (mut one, mut other) = UnixStream::pair().unwrap();
        assert!(!has_unread(one.as_fd()));
        one.write_all(b"xy").unwrap();
        assert!(has_unread(one.as_fd()));
        assert!(!has_unread(other.as_fd()));
        other.read_exact(&mut [0]).unwrap();
        assert!(has_unread(one.as_fd()), "half a message is unread");
        other.read_exact(&mut [0]).unwrap();
        assert!(!has_unread(one.as_fd()));
        one.write_all(b"z").unwrap();
        drop(other);
        assert!(!has_unread(one.as_fd()), "nobody will read it any more");
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(!has_unread(file.as_fd()));
    }

    #[test]
    fn a_mark_is_taken_once() {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("socket")).unwrap();
        assert!(!take_mark(listener.as_fd()));
        leave_mark(listener.as_fd()).unwrap();
        let other = listener.try_clone().unwrap();
        drop(listener);
        assert!(take_mark(other.as_fd()));
        assert!(!take_mark(other.as_fd()));
    }

    #[test]
    fn what_can_be_read_is_not_waited_for() {
        let (one, other) = UnixStream::pair().unwrap();
        let ready = |until, time| wait(one.as_fd(), until, time).unwrap();
        assert!(ready(Until::Writable, Duration::MAX));
        assert!(!ready(Until::Readable, Duration::ZERO));
        drop(other);
        assert!(ready(Until::Readable, Duration::MAX));
    }
}
