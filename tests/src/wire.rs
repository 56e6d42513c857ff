//! The protocol of scache(8) spoken by hand: bytes and descriptors as they go over the socket, with nothing added.
//!
//! The client here judges nothing and repairs nothing. It can say anything, malformed or at the wrong moment,
//! and it returns what it hears byte for byte. The codec of the project is deliberately not used.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::fstat;
use rustix::net::sockopt::{set_socket_recv_buffer_size, set_socket_send_buffer_size};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

use crate::stock;

/// How long anything that must come is waited for; far beyond what a loaded machine needs.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// How long to listen before concluding that nothing more is said.
pub const QUIET: Duration = Duration::from_millis(700);

/// The list a server says first to each client.
#[must_use]
pub fn announcement() -> Vec<u8> {
    list(&[("protocol", "connection_cache_protocol")])
}

/// An attribute list: name NUL value NUL for each pair, and one more NUL.
#[must_use]
pub fn list<N: AsRef<[u8]>, V: AsRef<[u8]>>(attributes: &[(N, V)]) -> Vec<u8> {
    let mut bytes = attributes_of(attributes);
    bytes.push(0);
    bytes
}

/// Attributes without the NUL that ends a list.
#[must_use]
pub fn attributes_of<N: AsRef<[u8]>, V: AsRef<[u8]>>(attributes: &[(N, V)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in attributes {
        bytes.extend_from_slice(name.as_ref());
        bytes.push(0);
        bytes.extend_from_slice(value.as_ref());
        bytes.push(0);
    }
    bytes
}

/// The empty attribute that paces the passing of descriptors.
#[must_use]
pub fn dummy() -> Vec<u8> {
    list(&[("dummy", "")])
}

/// One thing heard on a socket.
#[derive(Debug)]
pub enum Heard {
    /// A byte, and the descriptor that came with it.
    Byte(u8, Option<OwnedFd>),
    /// The other side is gone.
    End,
    /// Nothing came in the time given.
    Nothing,
}

/// A client's end of a connection to the server.
#[derive(Debug)]
pub struct Client {
    socket: OwnedFd,
    is_announced_to: bool,
}

impl Client {
    /// Connects to a UNIX socket.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(path: &Path) -> io::Result<Self> {
        Ok(Self::from(OwnedFd::from(UnixStream::connect(path)?)))
    }

    /// A client of a service of the tested Postfix, which says the name of the protocol first if its version does.
    #[must_use]
    pub fn of_postfix(socket: OwnedFd) -> Self {
        Self {
            socket,
            is_announced_to: stock::announces(),
        }
    }

    /// Whether the server says the name of the protocol first.
    #[must_use]
    pub fn is_announced_to(&self) -> bool {
        self.is_announced_to
    }

    /// Writes all of the bytes.
    ///
    /// # Errors
    /// Those of send(2), and `TimedOut` when the server does not read.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        let mut rest = bytes;
        while !rest.is_empty() {
            match rustix::net::send(
                &self.socket,
                rest,
                SendFlags::NOSIGNAL | SendFlags::DONTWAIT,
            ) {
                Ok(sent) => rest = &rest[sent..],
                Err(rustix::io::Errno::AGAIN) => {
                    if !ready(&self.socket, PollFlags::OUT, deadline)? {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Writes one NUL that carries descriptors.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send_descriptors(&self, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with_descriptors(&[0], descriptors)
    }

    /// Writes bytes in one message, the first of which carries descriptors.
    ///
    /// # Errors
    /// Those of sendmsg(2).
    pub fn send_with_descriptors(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(
            control.push(SendAncillaryMessage::ScmRights(descriptors)),
            "a message carries at most 253 descriptors"
        );
        rustix::net::sendmsg(
            &self.socket,
            &[IoSlice::new(bytes)],
            &mut control,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// Hears one byte, waiting for it until the deadline. A reset counts as the end.
    ///
    /// # Panics
    /// When the socket cannot be read for another reason than the peer's end.
    #[must_use]
    pub fn hear(&self, deadline: Instant) -> Heard {
        loop {
            if !ready(&self.socket, PollFlags::IN, deadline).expect("poll the client's socket") {
                return Heard::Nothing;
            }
            let mut byte = [0];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            // One byte at a time: a longer read could pass over the NUL whose descriptor is wanted.
            let got = rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(&mut byte)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            );
            match got {
                Ok(message) if message.bytes == 0 => return Heard::End,
                Ok(_) => {
                    let mut descriptor = None;
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(mut descriptors) = message {
                            descriptor = descriptors.next();
                        }
                    }
                    return Heard::Byte(byte[0], descriptor);
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return Heard::End,
                Err(error) => panic!("the client's socket cannot be read: {error}"),
            }
        }
    }

    /// Hears one attribute list, its end included; fewer bytes when the server is silent or gone before that.
    ///
    /// # Panics
    /// When a descriptor comes inside the list.
    #[must_use]
    pub fn hear_list(&self) -> Vec<u8> {
        self.hear_list_until(Instant::now() + DEADLINE)
    }

    /// The same, with another deadline.
    ///
    /// # Panics
    /// When a descriptor comes inside the list.
    #[must_use]
    pub fn hear_list_until(&self, deadline: Instant) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut end = ListEnd::default();
        loop {
            let mut peeked = [0; 4096];
            // What lies behind the list may carry a descriptor: looked at first, then read to the byte.
            let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
            let count = match rustix::net::recv(&self.socket, &mut peeked, flags) {
                Ok((0, _)) => return bytes,
                Ok((count, _)) => count,
                Err(rustix::io::Errno::AGAIN) => {
                    match ready(&self.socket, PollFlags::IN, deadline) {
                        Ok(true) => continue,
                        Ok(false) => return bytes,
                        Err(error) => panic!("the client's socket cannot be polled: {error}"),
                    }
                }
                Err(rustix::io::Errno::INTR) => continue,
                Err(rustix::io::Errno::CONNRESET | rustix::io::Errno::PIPE) => return bytes,
                Err(error) => panic!("the client's socket cannot be read: {error}"),
            };
            let part = peeked[..count]
                .iter()
                .position(|byte| end.comes_with(*byte))
                .map_or(count, |position| position + 1);
            let start = bytes.len();
            bytes.extend_from_slice(&peeked[..part]);
            self.read_exactly(&mut bytes[start..]);
            if part < count || end.came {
                return bytes;
            }
        }
    }

    /// Reads bytes that are known to be there.
    fn read_exactly(&self, mut room: &mut [u8]) {
        while !room.is_empty() {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let message = rustix::net::recvmsg(
                &self.socket,
                &mut [IoSliceMut::new(room)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
            )
            .expect("read what was seen");
            assert!(
                control.drain().next().is_none(),
                "a descriptor inside an attribute list"
            );
            room = &mut room[message.bytes..];
        }
    }
}

/// Finds the end of an attribute list.
#[derive(Default)]
struct ListEnd {
    strings: usize,
    in_string: usize,
    came: bool,
}

impl ListEnd {
    fn comes_with(&mut self, byte: u8) -> bool {
        if byte == 0 {
            self.came = self.strings.is_multiple_of(2) && self.in_string == 0;
            self.strings += 1;
            self.in_string = 0;
        } else {
            self.in_string += 1;
        }
        self.came
    }
}

impl From<OwnedFd> for Client {
    fn from(socket: OwnedFd) -> Self {
        Self {
            socket,
            is_announced_to: true,
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What tells an open socket or file from every other one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// That of a descriptor.
    ///
    /// # Panics
    /// When it cannot be looked at.
    #[must_use]
    pub fn of(descriptor: impl AsFd) -> Self {
        let status = fstat(descriptor).expect("fstat");
        Self {
            device: status.st_dev,
            inode: status.st_ino,
        }
    }

    /// That of a descriptor of any process, by its path in /proc.
    #[must_use]
    pub fn at(path: &Path) -> Option<Self> {
        let status = rustix::fs::stat(path).ok()?;
        Some(Self {
            device: status.st_dev,
            inode: status.st_ino,
        })
    }
}

/// A connection worth caching: the near end is given away, the far end stays with the test, which can tell by it
/// whether a descriptor that comes back is the one it gave.
#[derive(Debug)]
pub struct Connection {
    near: Option<OwnedFd>,
    identity: Identity,
    /// Also when it is a TCP socket: read(2), write(2) and shutdown(2) do not mind.
    far: UnixStream,
}

impl Connection {
    /// A fresh connection.
    ///
    /// # Panics
    /// When the system is out of sockets.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each connection is another one")]
    pub fn new() -> Self {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        Self::between(near.into(), far)
    }

    /// A fresh connection over TCP, as those of smtp(8) are.
    ///
    /// # Panics
    /// When the system is out of sockets.
    #[must_use]
    pub fn tcp() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("bind a TCP socket");
        // Little is enough to fill it: full buffers of many tests at once are more than the kernel stands for.
        set_socket_recv_buffer_size(&listener, 16 << 10).expect("set the size of a buffer");
        let address = listener.local_addr().expect("its address");
        let near = TcpStream::connect(address).expect("connect");
        set_socket_send_buffer_size(&near, 16 << 10).expect("set the size of a buffer");
        let (far, _) = listener.accept().expect("accept");
        Self::between(near.into(), UnixStream::from(OwnedFd::from(far)))
    }

    fn between(near: OwnedFd, far: UnixStream) -> Self {
        Self {
            identity: Identity::of(&near),
            near: Some(near),
            far,
        }
    }

    /// The end to give away.
    ///
    /// # Panics
    /// When it was let go.
    #[must_use]
    pub fn near(&self) -> BorrowedFd<'_> {
        self.near
            .as_ref()
            .expect("the near end is still here")
            .as_fd()
    }

    /// What the near end is known by, also when it is not here.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Closes the test's own copy of the near end, as a client does that has saved it.
    pub fn let_go(&mut self) {
        self.near = None;
    }

    /// The end that plays the remote server.
    #[must_use]
    pub fn far(&self) -> &UnixStream {
        &self.far
    }

    /// Whether `descriptor` is the near end of this connection. The proof is a nonce written through it that must
    /// arrive at the far end; a connection whose far end was shut down is known by its inode alone.
    ///
    /// # Panics
    /// When the nonce does not arrive although the socket is the same.
    #[must_use]
    pub fn check(&self, descriptor: &OwnedFd) -> bool {
        if Identity::of(descriptor) != self.identity {
            return false;
        }
        let nonce = fresh_nonce();
        if rustix::net::send(descriptor, &nonce, SendFlags::NOSIGNAL).is_err() {
            return true;
        }
        let mut arrived = [0; 16];
        self.far
            .set_read_timeout(Some(DEADLINE))
            .expect("a timeout");
        match (&self.far).read_exact(&mut arrived) {
            Ok(()) => {}
            // Over TCP only the answer to what was sent tells that the far end is closed.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::NotConnected
                ) =>
            {
                return true;
            }
            Err(error) => panic!("the nonce does not arrive at the far end: {error}"),
        }
        assert_eq!(arrived, nonce, "another nonce arrived at the far end");
        true
    }

    /// Speaks as the remote server.
    ///
    /// # Panics
    /// When the far end cannot be written.
    pub fn far_says(&self, text: &[u8]) {
        (&self.far).write_all(text).expect("the far end writes");
    }

    /// Whether neither a byte nor the end arrives at the far end for a while.
    #[must_use]
    pub fn far_hears_nothing(&self, time: Duration) -> bool {
        matches!(
            ready(&self.far, PollFlags::IN, Instant::now() + time),
            Ok(false)
        )
    }

    /// Ends it as a server does that has closed the session.
    ///
    /// # Panics
    /// When the far end was closed before.
    pub fn far_closes(&self) {
        self.far
            .shutdown(std::net::Shutdown::Both)
            .expect("shut the far end down");
    }

    /// What has arrived at the far end by now, without waiting.
    #[must_use]
    pub fn far_has_heard(&self) -> Vec<u8> {
        let mut heard = [0; 4096];
        match rustix::net::recv(&self.far, &mut heard, RecvFlags::DONTWAIT) {
            Ok((count, _)) => heard[..count].to_vec(),
            Err(_) => Vec::new(),
        }
    }

    /// One line at the far end, with its end; fewer bytes when it does not come.
    ///
    /// # Panics
    /// When the far end cannot be read.
    #[must_use]
    pub fn far_hears_line(&self) -> Vec<u8> {
        let deadline = Instant::now() + DEADLINE;
        let mut line = Vec::new();
        while line.last() != Some(&b'\n')
            && ready(&self.far, PollFlags::IN, deadline).expect("poll the far end")
        {
            let mut byte = [0];
            match (&self.far).read(&mut byte) {
                Ok(1) => line.push(byte[0]),
                _ => break,
            }
        }
        line
    }

    /// All that arrives at the far end until its end; `None` when that does not come.
    #[must_use]
    pub fn far_hears_to_the_end(&self) -> Option<Vec<u8>> {
        let mut heard = Vec::new();
        self.far.set_read_timeout(Some(DEADLINE)).ok()?;
        match (&self.far).read_to_end(&mut heard) {
            Ok(_) => Some(heard),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Some(heard),
            Err(_) => None,
        }
    }
}

fn fresh_nonce() -> [u8; 16] {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut nonce = [0; 16];
    nonce[..8].copy_from_slice(&COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes());
    nonce[8..].copy_from_slice(&u64::from(std::process::id()).to_be_bytes());
    nonce
}

/// Waits for an event on a descriptor; false when the deadline comes first.
///
/// # Errors
/// Those of poll(2).
pub fn ready(descriptor: impl AsFd, events: PollFlags, deadline: Instant) -> io::Result<bool> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::from_borrowed_fd(descriptor.as_fd(), events)],
            Some(&timeout),
        ) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
