//! The socket of the cache: the one that the user named, or else the one that is found, if it can be trusted.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use scache_client::{Client, Distrust, Trust};
use scache_sys::sockets::Name;

use crate::failure::{Failure, Status};

/// The socket of a cache, and whose it may be.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    pub(crate) path: PathBuf,
    pub(crate) trust: Trust,
}

/// What a look at a default path shows.
enum Look {
    Usable,
    Missing,
    Untrusted(Distrust),
    /// There is a socket, and nobody listens at it.
    Deserted,
    /// This user may not use it.
    Forbidden,
}

impl Socket {
    /// The socket that the user named, whoever listens there.
    pub(crate) fn named(path: PathBuf) -> Self {
        let trust = Trust::Named;
        Self { path, trust }
    }

    /// Looks for the socket of a scached of this user or of the system, then for that of Postfix.
    ///
    /// A socket that another user may have put there is passed over, and one that nobody listens at, and `warn` is told.
    ///
    /// # Errors
    /// If there is none, with the places where it was looked for and what is wrong with each.
    pub(crate) fn find(mut warn: impl FnMut(&str)) -> Result<Self, Failure> {
        let of_postfix = of_postfix();
        let postfix_is_there = !of_postfix.is_empty();
        let (mut tried, mut status) = (Vec::new(), Status::Unavailable);
        for socket in of_scached().into_iter().chain(of_postfix) {
            let shown = socket.path.display();
            tried.push(match socket.look() {
                Look::Usable => return Ok(socket),
                Look::Missing => shown.to_string(),
                Look::Untrusted(distrust) => {
                    warn(&untrusted(&socket.path, &distrust));
                    format!("{shown}: not used, {distrust}")
                }
                Look::Deserted => {
                    warn(&format!("nobody listens at {shown}: looking further"));
                    format!("{shown}: nobody listens")
                }
                Look::Forbidden => {
                    status = Status::NoPermission;
                    format!("{shown}: this user may not use it")
                }
            });
        }
        if !postfix_is_there {
            tried.push("that of Postfix: postconf does not say where it is".to_owned());
        }
        Err(Failure::new(
            status,
            format!(
                "no connection cache found (looked for {}): start scached or Postfix, or name its socket with --socket or \
                 SCACHE_SOCKET{}",
                tried.join(", "),
                match status {
                    Status::NoPermission => ", or run scachectl as root",
                    _ => "",
                }
            ),
        ))
    }

    /// Looks whether it is there and somebody listens.
    fn look(&self) -> Look {
        if let Ok(false) = self.path.try_exists() {
            return Look::Missing;
        }
        match self.trust.check_path(&self.path) {
            Ok(()) | Err(Distrust::Unknown(_)) => {}
            Err(distrust) => return Look::Untrusted(distrust),
        }
        match Name::of_path(&self.path).and_then(|name| name.connect()) {
            Err(error) => match error.kind() {
                ErrorKind::NotFound => Look::Missing,
                ErrorKind::ConnectionRefused => Look::Deserted,
                ErrorKind::PermissionDenied => Look::Forbidden,
                // What is wrong is found out when it is used.
                _ => Look::Usable,
            },
            // Nothing was said to whoever listens.
            Ok(_) => Look::Usable,
        }
    }

    /// A client of the cache there. Nothing is connected yet.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.path).with_trust(self.trust)
    }

    /// Connects, if the socket can be trusted.
    ///
    /// # Errors
    /// As [`connect`]; with a [`Distrust`] in it if the socket cannot be trusted.
    pub(crate) fn connect(&self, deadline: Instant) -> io::Result<OwnedFd> {
        let trust = self.trust;
        trust.check_path(&self.path).map_err(as_io_error)?;
        let connection = connect(&self.path, deadline)?;
        trust
            .check_listener(&self.path, connection.as_fd())
            .map_err(as_io_error)?;
        Ok(connection)
    }
}

/// Connects to the socket at `path`. If too many connections wait there to be accepted, it tries again until
/// `deadline`: connect(2) would wait for as long as the listener likes. The socket is non-blocking.
///
/// # Errors
/// What connect(2) says; `TimedOut`.
pub(crate) fn connect(path: &Path, deadline: Instant) -> io::Result<OwnedFd> {
    let name = Name::of_path(path)?;
    loop {
        match name.connect() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() >= deadline {
                    return Err(ErrorKind::TimedOut.into());
                }
                std::thread::sleep(PAUSE);
            }
            result => return result,
        }
    }
}

/// The pause between two attempts when too many wait to be accepted.
const PAUSE: Duration = Duration::from_millis(1);

fn as_io_error(distrust: Distrust) -> io::Error {
    match distrust {
        Distrust::Unknown(error) => error,
        distrust => io::Error::new(ErrorKind::PermissionDenied, distrust),
    }
}

/// Why a socket is not used, and what to do.
pub(crate) fn untrusted(path: &Path, distrust: &Distrust) -> String {
    format!(
        "not using {}, which may be another user's ({distrust}): remove it, or name it with --socket if it is meant",
        path.display()
    )
}

/// Why the socket at `path` cannot be used, by what connect(2) said, and what to do.
pub(crate) fn failure(path: &Path, error: &io::Error) -> Failure {
    let distrust = error.get_ref().and_then(|source| source.downcast_ref());
    if let Some(distrust) = distrust {
        return Failure::new(Status::NoPermission, untrusted(path, distrust));
    }
    let at = path.display();
    let is_socket = path
        .metadata()
        .map_or(true, |data| data.file_type().is_socket());
    let (status, message) = match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => (
            Status::NoInput,
            format!("there is no {at}: start the cache, or name its socket with --socket"),
        ),
        ErrorKind::PermissionDenied => (
            Status::NoPermission,
            format!(
                "this user may not use {at}: run scachectl as root or as a user who may write to it"
            ),
        ),
        _ if !is_socket => (
            Status::NoInput,
            format!("{at} is not a socket: name that of the cache with --socket"),
        ),
        ErrorKind::ConnectionRefused => (
            Status::Unavailable,
            format!("nobody listens at {at}: start the cache, or name its socket with --socket"),
        ),
        ErrorKind::InvalidInput | ErrorKind::InvalidFilename => (
            Status::Usage,
            format!("{at} cannot be the path of a socket: {error}"),
        ),
        _ => (
            Status::Unavailable,
            format!("cannot connect to {at}: {error}"),
        ),
    };
    Failure::new(status, message)
}

/// Where a scached listens that was not told where: the same places in the same order as its `--socket`.
fn of_scached() -> Vec<Socket> {
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .map(|directory| Path::new(&directory).join("scache.sock"));
    let temporary = std::env::temp_dir().join(format!("scache-{user}/scache.sock"));
    let socket = |path, trust| Socket { path, trust };
    runtime
        .map(|path| socket(path, Trust::OwnOrRoot))
        .into_iter()
        .chain([
            socket(PathBuf::from("/run/scache/scache.sock"), Trust::Service),
            socket(temporary, Trust::OwnOrRoot),
        ])
        .collect()
}

/// The sockets at which Postfix's scache may listen, if Postfix is installed: master.cf decides in which of two directories.
/// They belong to Postfix's user.
fn of_postfix() -> Vec<Socket> {
    let output = Command::new("postconf")
        .args(["-xh", "queue_directory", "connection_cache_service_name"])
        .output()
        .ok()
        .filter(|output| output.status.success());
    let said = output.and_then(|output| String::from_utf8(output.stdout).ok());
    let mut lines = said.iter().flat_map(|said| said.lines());
    let (Some(queue), Some(service)) = (lines.next(), lines.next()) else {
        return Vec::new();
    };
    let socket = |directory| Socket {
        path: Path::new(queue).join(directory).join(service),
        trust: Trust::Service,
    };
    ["private", "public"].map(socket).into()
}
