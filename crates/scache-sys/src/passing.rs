//! Bytes and descriptors over a UNIX socket.
//!
//! Every descriptor that arrives is owned before anything is decided about it. Whether to wait is said
//! with each call: O_NONBLOCK belongs to the open socket and is shared with every process that holds it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recv, recvmsg, sendmsg,
};
use scache_proto::Descriptors;

use crate::closer::Kind;
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

/// Looks at what could be read from a socket, urgent data included, without taking it and without waiting. Returns 0 at
/// the end of what the peer sends. Where SO_PEEK_OFF hides what is there, one byte is reported, as a question mark.
///
/// poll(2) is asked first, which neither urgent data nor SO_PEEK_OFF can deceive; one that has SO_RCVLOWAT set can, so
/// such a socket, as any of unknown kind, is read from as well.
///
/// # Errors
/// What recv(2) returns, but never `EINTR`: `WouldBlock` if there is nothing, `ENOTSOCK` for what is no socket.
pub fn peek(socket: &Descriptor, buffer: &mut [u8]) -> io::Result<usize> {
    let asks_poll_only = match socket.kind() {
        Kind::File => return Err(Errno::NOTSOCK.into()),
        Kind::Internet | Kind::UnixStream | Kind::UnixStreamAtEnd => true,
        Kind::OtherSocket | Kind::Unknown => false,
    };
    if !asks_poll_only {
        match receive_copy(socket, buffer, RecvFlags::empty()) {
            Err(Errno::AGAIN) => {}
            result => return Ok(result?),
        }
    }
    let wanted = PollFlags::IN | PollFlags::PRI | PollFlags::RDHUP;
    let mut asked = [PollFd::new(socket, wanted)];
    rustix::io::retry_on_intr(|| poll(&mut asked, Some(&Timespec::default())))?;
    let found = asked[0].revents();
    if found.is_empty() {
        return Err(Errno::AGAIN.into());
    }
    if found.contains(PollFlags::PRI) {
        if let Ok(bytes @ 1..) = receive_copy(socket, buffer, RecvFlags::OOB) {
            return Ok(bytes);
        }
    }
    match receive_copy(socket, buffer, RecvFlags::empty()) {
        Err(Errno::AGAIN) if ioctl_fionread(socket).is_ok_and(|waiting| waiting > 0) => {
            if let Some(first) = buffer.first_mut() {
                *first = b'?';
            }
            Ok(1)
        }
        result => Ok(result?),
    }
}

fn receive_copy(
    socket: &Descriptor,
    buffer: &mut [u8],
    more: RecvFlags,
) -> rustix::io::Result<usize> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT | more;
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

/// The most descriptors that [`send_all`] sends with one message.
pub(crate) const BATCH: usize = 64;

/// Sends bytes, the first of them with all of these descriptors, [`BATCH`] at most, without waiting.
///
/// # Errors
/// What sendmsg(2) returns, but never `EINTR`; `EINVAL` for too many descriptors.
pub(crate) fn send_all(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
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

    fn set(socket: &Descriptor, option: libc::c_int, value: libc::c_int) {
        use std::os::fd::AsRawFd;
        let length = size_of_val(&value) as libc::socklen_t;
        // SAFETY: the pointer is to live memory of that length.
        let code = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                length,
            )
        };
        assert_eq!(code, 0, "{}", io::Error::last_os_error());
    }

    #[test]
    fn no_option_of_a_socket_and_no_urgency_hides_what_its_peer_said() {
        let tcp = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let far = std::os::fd::OwnedFd::from(listener.accept().unwrap().0);
            (std::os::fd::OwnedFd::from(near), far)
        };
        let unix = || {
            let (near, far) = UnixStream::pair().unwrap();
            (near.into(), far.into())
        };
        let option = |option, value| {
            move |socket: &Descriptor| {
                if option > 0 {
                    set(socket, option, value);
                }
            }
        };
        let plain = option(0, 0);
        let offset = option(libc::SO_PEEK_OFF, 100);
        let lowat = option(libc::SO_RCVLOWAT, 1000);
        let pairs: [&dyn Fn() -> (std::os::fd::OwnedFd, std::os::fd::OwnedFd); 2] = [&tcp, &unix];
        for pair in pairs {
            for (prepare, kind) in [
                (&plain as &dyn Fn(&Descriptor), None),
                (&plain, Some(Kind::Unknown)),
                (&offset, None),
                (&offset, Some(Kind::Unknown)),
                (&lowat, Some(Kind::OtherSocket)),
            ] {
                for urgent in [false, true] {
                    let (near, far) = pair();
                    let near = Descriptor::from(near);
                    near.set_kind(kind.unwrap_or_else(|| Kind::of(&near)));
                    prepare(&near);
                    let nothing = peek(&near, &mut [0; 8]).unwrap_err();
                    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
                    let flags = if urgent {
                        SendFlags::OOB
                    } else {
                        SendFlags::empty()
                    };
                    rustix::net::send(&far, b"4", flags).unwrap();
                    let began = std::time::Instant::now();
                    // Loopback delivers within the call that sends, or a little later.
                    let seen = loop {
                        match peek(&near, &mut [0; 8]) {
                            Err(error)
                                if error.kind() == io::ErrorKind::WouldBlock
                                    && began.elapsed() < std::time::Duration::from_secs(20) => {}
                            seen => break seen.unwrap(),
                        }
                    };
                    assert_eq!(seen, 1);
                    assert_eq!(peek(&near, &mut [0; 8]).unwrap(), 1, "it is still there");
                }
            }
        }
    }

    #[test]
    fn nothing_to_read_would_block() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let error = receive(ours.as_fd(), &mut [0; 1], Wait::Never).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
