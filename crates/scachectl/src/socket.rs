//! Where the cache listens, if nobody says so.

use std::io;
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
    let path = path.display();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::new(
            Status::Unavailable,
            format!(
                "there is no socket {path}: start the cache, or name another one with --socket"
            ),
        ),
        io::ErrorKind::ConnectionRefused => Failure::new(
            Status::Unavailable,
            format!(
                "nobody listens at {path}: start the cache, or name another socket with --socket"
            ),
        ),
        io::ErrorKind::PermissionDenied => Failure::new(
            Status::NoPermission,
            format!(
                "not allowed to use {path}: be its owner or root (scached: --mode, --allow-user)"
            ),
        ),
        _ => Failure::new(
            Status::Unavailable,
            format!("cannot connect to {path}: {error}"),
        ),
    }
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
