//! Taking the place of the daemon that listens at a path, and its connections.
//!
//! We connect to it, put a socket of our own in place of its socket, and ask it over that connection to hand
//! over. It does so as a client of ours, once it has answered who was in the middle of something. Should it
//! refuse, it gets its place back.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use scache_proto::client::{Outcome, Session};
use scache_proto::{Request, Status};
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};
use scache_sys::sockets::{Name, peer_user};

use super::socket::{Displaced, Socket, SocketError};

/// A daemon that is about to be asked to hand over.
#[derive(Debug)]
pub(super) struct Takeover {
    server: UnixStream,
    place: Displaced,
    path: PathBuf,
}

/// Whose place it is.
#[derive(Debug)]
pub(super) enum Place {
    /// Nobody listened there.
    Free(Socket),
    /// Somebody does.
    Taken(Takeover),
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
    #[error("the daemon at {} refuses to hand over (--handover no, or systemd holds its socket): restart it instead; it goes on", .0.display())]
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

/// Listens at `path`. From then on clients come to us; if another daemon did so before, it is to be asked to
/// hand over when they can be served.
pub(super) fn begin(path: &Path, mode: u32) -> Result<Place, TakeoverError> {
    let server = match connect(path) {
        Ok(server) => server,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            return Ok(Place::Free(Socket::bind(path, mode)?));
        }
        Err(error) => {
            return Err(TakeoverError::Connect {
                path: path.to_owned(),
                error,
            });
        }
    };
    // Another user's daemon could not connect to us, or would not listen to us.
    if let Ok(user) = peer_user(server.as_fd())
        && user != rustix::process::geteuid().as_raw()
    {
        return Err(TakeoverError::OtherUser {
            path: path.to_owned(),
            user,
        });
    }
    Ok(Place::Taken(Takeover {
        server,
        place: Socket::displace(path, mode)?,
        path: path.to_owned(),
    }))
}

impl Takeover {
    /// The socket that clients come to now.
    pub(super) fn socket(&self) -> Option<&Socket> {
        self.place.socket()
    }

    /// Asks the other daemon to hand over and waits for its answer, not for what it hands over.
    pub(super) fn ask(self) -> Result<Option<Socket>, TakeoverError> {
        match ask(&self.server) {
            Ok(Outcome::Done) => Ok(self.place.keep()),
            Ok(Outcome::Refused(Status::Failed)) => Err(TakeoverError::Refused(self.path)),
            Ok(_) => Err(TakeoverError::Unknown(self.path)),
            Err(error) => Err(TakeoverError::Silent {
                path: self.path,
                error,
            }),
        }
    }
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let name = Name::of_path(path)?;
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
