//! Where the cache listens, if nobody says so.

use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Status};

/// The socket of a scached of this user or of the system if there is one, else that of Postfix.
pub(crate) fn find() -> Result<PathBuf, Failure> {
    let candidates = of_scached().into_iter().chain(of_postfix());
    let mut tried = Vec::new();
    for path in candidates {
        match path.try_exists() {
            // Whether one may look is found out by connecting.
            Ok(true) | Err(_) => return Ok(path),
            Ok(false) => tried.push(path.display().to_string()),
        }
    }
    Err(Failure::new(
        Status::Unavailable,
        format!(
            "no connection cache found (looked for {}): start scached or Postfix, or name its socket with --socket",
            tried.join(", ")
        ),
    ))
}

/// Why the socket at `path` cannot be used, by what connect(2) said, and what to do.
pub(crate) fn failure(path: &Path, error: &io::Error) -> Failure {
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
fn of_scached() -> Vec<PathBuf> {
    let user = rustix::process::geteuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| !directory.is_empty())
        .map(|directory| Path::new(&directory).join("scache.sock"));
    let temporary = std::env::temp_dir().join(format!("scache-{user}/scache.sock"));
    runtime
        .into_iter()
        .chain([PathBuf::from("/run/scache/scache.sock"), temporary])
        .collect()
}

/// Where Postfix's scache listens, if Postfix is installed.
fn of_postfix() -> Option<PathBuf> {
    let output = Command::new("postconf")
        .args(["-h", "queue_directory"])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let directory = String::from_utf8(output.stdout).ok()?;
    Some(Path::new(directory.trim_end()).join("private/scache"))
}
