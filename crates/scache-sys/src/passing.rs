//! Bytes and descriptors over a UNIX socket.
//!
//! Every descriptor that arrives is owned before anything is decided about it. Whether to wait is said
//! with each call: O_NONBLOCK belongs to the open socket and is shared with every process that holds it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use scache_proto::Descriptors;

use crate::descriptors::Descriptor;

/// The most descriptors one message can carry (SCM_MAX_FD in the kernel).
const MESSAGE_DESCRIPTORS: usize = 253;

const CONTROL_BYTES: usize = rustix::cmsg_space!(ScmRights(MESSAGE_DESCRIPTORS));

/// Whether a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Fail with [`io::ErrorKind::WouldBlock`] instead.
    Never,
    /// As the socket's own flags and timeouts say.
    AsTheSocketSays,
}

/// Reads bytes, and the descriptors of at most one message. 0 bytes is the end.
///
/// What is no socket is read as its own flags say.
///
/// # Errors
/// What recvmsg(2) says, but never `EINTR`.
pub fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    wait: Wait,
) -> io::Result<(usize, Descriptors<Descriptor>)> {
    let mut flags = RecvFlags::CMSG_CLOEXEC;
    flags.set(RecvFlags::DONTWAIT, wait == Wait::Never);
    let mut space = [MaybeUninit::uninit(); CONTROL_BYTES];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::NOTSOCK) => return read(socket, buffer),
            result => break result?,
        }
    };
    let mut owned = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .map(Descriptor::from);
    // MSG_CTRUNC: the kernel had descriptors for us and no number left to give them.
    let truncated = message.flags.contains(ReturnFlags::CTRUNC);
    let descriptors = match (owned.next(), owned.next()) {
        _ if truncated => Descriptors::Truncated,
        (Some(descriptor), None) => Descriptors::One(descriptor),
        (Some(_), Some(_)) => Descriptors::Several,
        (None, _) => Descriptors::None,
    };
    // What is left is closed here, each as carefully as it came.
    owned.for_each(drop);
    Ok((message.bytes, descriptors))
}

/// Looks at what could be read from a socket without taking it, and without waiting. 0 bytes is the end.
///
/// # Errors
/// What recv(2) says, but never `EINTR`: `WouldBlock` when there is nothing.
pub fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (_, bytes) = rustix::io::retry_on_intr(|| recv(socket, &mut *buffer, flags))?;
    Ok(bytes)
}

/// Writes bytes, the first of them with a descriptor if one is given. Says how many were written.
///
/// What is no socket is written to as its own flags say, and takes no descriptor.
///
/// # Errors
/// What sendmsg(2) and send(2) say, but never `EINTR`. `EPIPE` raises no signal.
pub fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptor: Option<BorrowedFd<'_>>,
    wait: Wait,
) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::DONTWAIT, wait == Wait::Never);
    let Some(descriptor) = descriptor else {
        // Cheaper than sendmsg(2), whose arguments the kernel has to fetch piece by piece.
        return match rustix::io::retry_on_intr(|| rustix::net::send(socket, bytes, flags)) {
            Err(Errno::NOTSOCK) => write(socket, bytes),
            result => Ok(result?),
        };
    };
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = [descriptor];
    // The buffer has room for exactly one.
    control.push(SendAncillaryMessage::ScmRights(&passed));
    let sent =
        rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags));
    Ok(sent?)
}

/// Sends bytes, the first of them with all of these descriptors, 64 at most, without waiting.
///
/// # Errors
/// What sendmsg(2) returns, but never `EINTR`; `EINVAL` for too many descriptors.
pub(crate) fn send_all(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL.into());
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    let sent =
        rustix::io::retry_on_intr(|| sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags));
    Ok(sent?)
}

fn read(file: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Descriptors<Descriptor>)> {
    let bytes = rustix::io::retry_on_intr(|| rustix::io::read(file, &mut *buffer))?;
    Ok((bytes, Descriptors::None))
}

fn write(file: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::retry_on_intr(|| {
        rustix::io::write(file, bytes)
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_arrives_with_its_byte_and_is_close_on_exec() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut kept, passed) = UnixStream::pair().unwrap();
        send(ours.as_fd(), b"before", None, Wait::Never).unwrap();
        send(ours.as_fd(), b"\0", Some(passed.as_fd()), Wait::Never).unwrap();
        send(ours.as_fd(), b"after", None, Wait::Never).unwrap();
        drop(passed);
        let mut buffer = [0; 100];
        let (bytes, descriptors) = receive(theirs.as_fd(), &mut buffer, Wait::Never).unwrap();
        assert_eq!(
            &buffer[..bytes],
            b"before\0",
            "a read ends with the descriptor's message"
        );
        let Descriptors::One(descriptor) = descriptors else {
            panic!("{descriptors:?}");
        };
        let flags = rustix::io::fcntl_getfd(&descriptor).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        UnixStream::from(std::os::fd::OwnedFd::from(descriptor))
            .write_all(b"nonce")
            .unwrap();
        let mut nonce = String::new();
        kept.read_to_string(&mut nonce).unwrap();
        assert_eq!(nonce, "nonce");
    }

    #[test]
    fn surplus_descriptors_are_closed() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut kept, passed) = UnixStream::pair().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let three = [passed.as_fd(); 3];
        assert!(control.push(SendAncillaryMessage::ScmRights(&three)));
        sendmsg(
            &ours,
            &[IoSlice::new(b"\0")],
            &mut control,
            SendFlags::empty(),
        )
        .unwrap();
        drop(passed);
        let mut buffer = [0; 100];
        let (bytes, descriptors) = receive(theirs.as_fd(), &mut buffer, Wait::Never).unwrap();
        assert_eq!(bytes, 1);
        assert!(matches!(descriptors, Descriptors::Several));
        drop(descriptors);
        let mut rest = Vec::new();
        assert_eq!(
            kept.read_to_end(&mut rest).unwrap(),
            0,
            "every copy is closed"
        );
    }

    #[test]
    fn nothing_to_read_would_block() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = receive(ours.as_fd(), &mut [0; 1], Wait::Never).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
