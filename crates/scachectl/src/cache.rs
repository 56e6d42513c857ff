//! The cache that is asked, and what to tell the user when it does not answer.

use std::error::Error as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scache_client::administration::Page;
use scache_client::{Client, Error};

use crate::failure::{Failure, Status};
use crate::socket::{self, Socket};

/// Longer than any cache takes that runs, and not too long for who waits.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A cache, by its socket.
#[derive(Debug)]
pub(crate) struct Cache {
    client: Client,
    path: PathBuf,
}

impl Cache {
    /// The cache that listens there. Nothing is connected yet.
    pub(crate) fn new(socket: Socket) -> Self {
        Self {
            client: socket.client().with_timeout(TIMEOUT),
            path: socket.path,
        }
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Asks it for something.
    ///
    /// # Errors
    /// As [`Cache::ask`], before it is told to the user.
    pub(crate) fn try_ask<T>(
        &mut self,
        question: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Error> {
        question(&mut self.client)
    }

    /// Asks it for something.
    ///
    /// # Errors
    /// In one line, what to do about it.
    pub(crate) fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Client) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        self.try_ask(question)
            .map_err(|error| failure(&error, &self.path))
    }
}

/// All that a cache tells a part at a time: `part` asks for the one that begins there.
pub(crate) fn all<T>(mut part: impl FnMut(u64) -> Result<Page<T>, Error>) -> Result<Vec<T>, Error> {
    let mut all = Vec::new();
    let mut from = Some(0);
    while let Some(at) = from {
        let page = part(at)?;
        all.extend(page.entries);
        from = page.next;
    }
    Ok(all)
}

/// Whether the cache may be back in a moment.
pub(crate) fn is_away(error: &Error) -> bool {
    matches!(error, Error::Connect { .. } | Error::Unanswered(_))
}

/// An error with what is behind it, in one line.
pub(crate) fn with_source(error: &Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// What to tell the user.
pub(crate) fn failure(error: &Error, path: &Path) -> Failure {
    let at = path.display();
    let (status, message) = match error {
        Error::Connect { source, .. } => return socket::failure(path, source),
        Error::Untrusted { reason, .. } => (Status::NoPermission, socket::untrusted(path, reason)),
        Error::Unanswered(source) => match source.kind() {
            ErrorKind::TimedOut => (
                Status::Unavailable,
                format!(
                    "{at} accepts, but does not answer: is it a connection cache, and does it run?"
                ),
            ),
            ErrorKind::PermissionDenied => return socket::failure(path, source),
            _ => (
                Status::Unavailable,
                format!(
                    "{at} closes the connection: is it a connection cache, and may this user use it (scached --allow-user)?"
                ),
            ),
        },
        Error::Unsupported => (
            Status::Protocol,
            format!(
                "{at} answers as Postfix's own scache, or one too old to be looked into: only the statistics in its \
                 log tell more; `scachectl postfix install` puts this one in its place"
            ),
        ),
        Error::Protocol(_) => (
            Status::Protocol,
            format!(
                "{at} is somebody else's: it does not answer as a connection cache; name another with --socket"
            ),
        ),
        Error::Refused => (
            Status::NoPermission,
            format!(
                "{at} refuses that to this user: it is for root and the user that the cache runs as"
            ),
        ),
        Error::Value(error) => (Status::Usage, format!("that cannot be asked for: {error}")),
        error => (Status::Unavailable, format!("{at}: {error}")),
    };
    Failure::new(status, message)
}
