//! What can go wrong between a program and its connection cache.

use std::io;
use std::path::PathBuf;

use scache_proto::ValueError;
use scache_proto::client::ProtocolError;
use scache_sys::trust::Distrust;

/// Why a request was not carried out.
///
/// The cache is an optimisation: a program that cannot reach it connects by itself and goes on.
///
/// What was to be saved is still the caller's after every error but [`Error::Lost`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens at the socket, or it may not be used.
    #[error("cannot connect to the connection cache at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What connect(2) said.
        source: io::Error,
    },
    /// The socket may be another user's ([`Client::with_trust`](crate::Client::with_trust)). Nothing was sent.
    ///
    /// Remove what that user has put there. If the cache of that user is meant, name its socket and use
    /// [`Trust::Named`](crate::Trust::Named).
    #[error("not using the socket {}, which may be another user's", path.display())]
    Untrusted {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        reason: Distrust,
    },
    /// The cache went away or did not answer in time, as often as it was tried.
    ///
    /// Nothing was saved: a connection that was to be is the caller's, to be used or closed.
    #[error("no answer from the connection cache")]
    Unanswered(#[source] io::Error),
    /// The cache went away or did not answer in time when a connection that is to be saved was on its way.
    ///
    /// It may be in the cache or not, so it is not sent again. **It must not be used any more**: close it.
    #[error("lost the connection cache while a connection was on its way to it")]
    Lost(#[source] io::Error),
    /// The server does not speak the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A name, a property or a time to live cannot be sent. Nothing was said to the cache.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// A connection that a pool got from the cache is of another kind than the program wants: a UNIX socket instead of a
    /// `TcpStream`, say. It was closed, and the next one taken.
    ///
    /// Something else is saved under this name: use names that tell the kinds apart.
    #[error("a connection from the cache is not of the kind that is wanted")]
    Unsuitable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The cache did not want it: malformed in its eyes, it could not take the descriptor, or this user may not.
    #[error("the connection cache refused the request")]
    Refused,
    /// The server does not know this request: it is stock scache, or older than this library.
    #[error("the connection cache does not know this request: it is Postfix's own, or too old")]
    Unsupported,
}
