//! What can go wrong between a program and its connection cache.

use std::io;
use std::path::PathBuf;

use scache_proto::ValueError;
use scache_proto::client::ProtocolError;

/// Why a request was not carried out.
///
/// The cache is an optimisation: a program that cannot reach it connects by itself and goes on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens at the socket, or it may not be used.
    #[error("cannot connect to the connection cache at {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// What connect(2) said.
        source: io::Error,
    },
    /// The connection to the cache failed in the middle of the request, twice if it could be repeated.
    ///
    /// A request to save whose descriptor was on its way already is not repeated: the connection may be
    /// in the cache or not, and must not be used any more in either case.
    #[error("lost the connection cache in the middle of a request")]
    Lost(#[source] io::Error),
    /// The server does not speak the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
    /// A name, a property or a time to live cannot be sent.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The cache did not want it: malformed in its eyes, or it could not take the descriptor.
    #[error("the connection cache refused the request")]
    Refused,
}
