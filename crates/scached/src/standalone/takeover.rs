//! Taking over from the daemon that listens at a path.
//!
//! We connect to it and ask for its listening socket. It answers, accepts nobody any more, and hands over as a
//! client of ours when we serve. The file and its name stay as they are, so no client is ever refused. The connection
//! over which we asked stays open until that daemon has nothing left: it tells each of us that the other is gone, and
//! if we are, that daemon serves again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use scache_proto::client::{Outcome, Session};
use scache_proto::{Request, Status};
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};
use scache_sys::sockets::{listens, peer_user};

use super::lock::Lock;
use super::socket::{Place, Socket, SocketError};

/// The daemon that hands over to this one.
#[derive(Debug)]
pub struct Predecessor {
    /// The connection over which it was asked.
    connection: UnixStream,
    /// Nobody else starts or takes over until it is gone.
    _lock: Lock,
}

/// Why nothing was taken over; the other daemon goes on. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum TakeoverError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("cannot connect to the daemon at {}: {error}: stop it, or start without --takeover on another --socket", .path.display())]
    Connect { path: PathBuf, error: io::Error },
    #[error("the daemon at {} is of user {user}: only that user can take its place, so start as that user", .path.display())]
    OtherUser { path: PathBuf, user: u32 },
    #[error("the daemon at {} refuses to hand over (--handover no, systemd holds its socket, or another take-over is under way): restart it instead, or try again; it goes on", .0.display())]
    Refused(PathBuf),
    #[error("the daemon at {} does not know how to hand over: stop it and start without --takeover; it goes on", .0.display())]
    Unknown(PathBuf),
    #[error("the daemon at {} did not answer: {error}: see whether it is stopped or stuck; nothing was taken over", .path.display())]
    Silent { path: PathBuf, error: io::Error },
}

/// How long the other daemon may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long until connecting is tried again when others wait there.
const PAUSE: Duration = Duration::from_millis(10);

const READ_BYTES: usize = 4096;

/// Listens at a place, instead of the daemon that does so, or as the first. From then on clients come to us.
pub(super) fn begin(
    place: &Place,
    mode: u32,
    lock: Lock,
) -> Result<(Socket, Option<Predecessor>), TakeoverError> {
    let mut is_leaving = false;
    loop {
        let path = || place.path().to_owned();
        let connection = match connect(place) {
            Ok(connection) => connection,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok((Socket::bind(place, mode, &lock)?, None));
            }
            Err(error) => {
                return Err(TakeoverError::Connect {
                    path: path(),
                    error,
                });
            }
        };
        // Another user's daemon could not connect to us, or would not listen to us.
        let own_user = rustix::process::geteuid().as_raw();
        let other_user = peer_user(connection.as_fd()).ok();
        if let Some(user) = other_user.filter(|user| *user != own_user) {
            return Err(TakeoverError::OtherUser { path: path(), user });
        }
        let listener = match ask(&connection) {
            Ok(Outcome::Found { descriptor, .. }) if listens(descriptor.as_fd()) => descriptor,
            Ok(Outcome::Refused(Status::Failed)) => return Err(TakeoverError::Refused(path())),
            Ok(_) => return Err(TakeoverError::Unknown(path())),
            // It may have been about to end. Then nobody listens there now.
            Err(error) if is_end(&error) && !is_leaving => {
                is_leaving = true;
                continue;
            }
            Err(error) => {
                return Err(TakeoverError::Silent {
                    path: path(),
                    error,
                });
            }
        };
        let listener = OwnedFd::from(listener);
        let socket = Socket::adopt(place, mode, listener, &lock)?;
        connection
            .set_nonblocking(true)
            .map_err(|error| TakeoverError::Silent {
                path: path(),
                error,
            })?;
        let predecessor = Predecessor {
            connection,
            _lock: lock,
        };
        return Ok((socket, Some(predecessor)));
    }
}

impl Predecessor {
    /// The connection whose end is that of the daemon.
    pub fn connection(&self) -> &UnixStream {
        &self.connection
    }

    /// Whether it is gone, so that nothing more comes of it.
    pub fn is_gone(&self) -> bool {
        let received = passing::receive(self.connection.as_fd(), &mut [0; 64], Wait::Never);
        match received {
            Ok((bytes, _)) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Whether the other end is gone.
fn is_end(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    error.kind() == io::ErrorKind::UnexpectedEof
        || matches!(errno, Some(Errno::CONNRESET | Errno::PIPE))
}

fn connect(place: &Place) -> io::Result<UnixStream> {
    let name = place.name()?;
    let deadline = Instant::now() + PATIENCE;
    let server = loop {
        match name.connect() {
            Err(error)
                if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < deadline =>
            {
                std::thread::sleep(PAUSE);
            }
            result => break UnixStream::from(result?),
        }
    };
    server.set_nonblocking(false)?;
    server.set_read_timeout(Some(PATIENCE))?;
    server.set_write_timeout(Some(PATIENCE))?;
    Ok(server)
}

fn ask(server: &UnixStream) -> io::Result<Outcome<Descriptor>> {
    let mut session = Session::default();
    session.start(&Request::TakeOver);
    loop {
        while let Some(transmit) = session.poll_transmit() {
            let written =
                passing::send(server.as_fd(), transmit.bytes, None, Wait::AsTheSocketSays)?;
            session.handle_written(written);
        }
        if let Some(outcome) = session.poll_outcome() {
            return Ok(outcome);
        }
        let mut buffer = [0; READ_BYTES];
        let (bytes, descriptors) =
            passing::receive(server.as_fd(), &mut buffer, Wait::AsTheSocketSays)?;
        if bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        session
            .handle_input(&buffer[..bytes], descriptors)
            .map_err(io::Error::other)?;
    }
}
