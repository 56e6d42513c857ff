//! What was found in the cache.

use std::fmt;
use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use scache_proto::Text;
use scache_proto::reply::History;

use crate::exchange::Answer;

/// A connection taken out of the cache: nobody else has it now. Dropping it closes it.
///
/// `TcpStream::try_from` and `UnixStream::try_from` make of it what it is. Flags and options belong to the open
/// socket and come along: O_NONBLOCK, timeouts, TCP_NODELAY are as the program left them that saved it. The
/// conversions see to O_NONBLOCK, as the type that they make expects; the rest is the caller's.
#[must_use = "a connection that is not used is closed"]
#[non_exhaustive]
pub struct Found {
    /// The connection, as it came.
    pub connection: OwnedFd,
    /// What was saved with it.
    pub property: Box<[u8]>,
    /// How old it is and how often it was taken. `None` if the cache does not say: a cache of ours says it over inline
    /// descriptors and forgets it when it holds very many; the stock program never says it.
    pub history: Option<History>,
}

/// A connection that was looked for by a destination.
#[must_use = "a connection that is not used is closed"]
#[non_exhaustive]
pub struct FoundThrough {
    /// The connection and what was saved with it.
    pub found: Found,
    /// What was saved with the binding of the destination to the connection's endpoint. Empty if it was not found
    /// by the destination but by one of the endpoints that were asked for besides.
    pub destination_property: Box<[u8]>,
    /// The endpoint that it was saved under. The stock protocol does not say it of what is found by the
    /// destination.
    pub endpoint: Option<Box<[u8]>>,
}

impl fmt::Debug for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("connection", &self.connection)
            .field("property", &Text(&self.property))
            .field("history", &self.history)
            .finish()
    }
}

impl fmt::Debug for FoundThrough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FoundThrough")
            .field("found", &self.found)
            .field("destination_property", &Text(&self.destination_property))
            .field("endpoint", &self.endpoint.as_deref().map(Text))
            .finish()
    }
}

impl From<Found> for OwnedFd {
    fn from(found: Found) -> Self {
        found.connection
    }
}

/// In blocking mode. `InvalidInput` if it is no TCP socket; it is closed then.
impl TryFrom<Found> for TcpStream {
    type Error = io::Error;

    fn try_from(found: Found) -> io::Result<Self> {
        let stream = Self::from(found.connection);
        // Fails for an address that is not of the Internet.
        stream.local_addr()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

/// In blocking mode. `InvalidInput` if it is no UNIX socket; it is closed then.
impl TryFrom<Found> for UnixStream {
    type Error = io::Error;

    fn try_from(found: Found) -> io::Result<Self> {
        let stream = Self::from(found.connection);
        stream.local_addr()?;
        stream.set_nonblocking(false)?;
        Ok(stream)
    }
}

impl Found {
    pub(crate) fn from_answer(answer: Answer) -> Option<Self> {
        FoundThrough::from_answer(answer).map(|through| through.found)
    }
}

impl FoundThrough {
    pub(crate) fn from_answer(answer: Answer) -> Option<Self> {
        match answer {
            Answer::Found {
                descriptor,
                endpoint,
                destination_property,
                property,
                history,
            } => Some(Self {
                found: Found {
                    connection: descriptor.into(),
                    property,
                    history,
                },
                destination_property,
                endpoint,
            }),
            Answer::Done(_) | Answer::Refused(_) | Answer::Report(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{ErrorKind, Read};
    use std::net::TcpListener;

    fn found(connection: impl Into<OwnedFd>) -> Found {
        Found {
            connection: connection.into(),
            property: Box::default(),
            history: None,
        }
    }

    #[test]
    fn a_stream_is_made_of_its_own_kind_of_socket_only() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = || TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let unix = || UnixStream::pair().unwrap().0;
        assert!(TcpStream::try_from(found(tcp())).is_ok());
        assert!(UnixStream::try_from(found(unix())).is_ok());
        assert!(TcpStream::try_from(found(unix())).is_err());
        assert!(UnixStream::try_from(found(tcp())).is_err());
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(TcpStream::try_from(found(file)).is_err());
    }

    #[test]
    fn a_stream_that_was_left_non_blocking_blocks_again() {
        let (one, other) = UnixStream::pair().unwrap();
        one.set_nonblocking(true).unwrap();
        let mut one = UnixStream::try_from(found(one)).unwrap();
        let time = Some(std::time::Duration::from_millis(1));
        one.set_read_timeout(time).unwrap();
        let began = std::time::Instant::now();
        let error = one.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(Some(began.elapsed()) >= time);
        drop(other);
    }
}
