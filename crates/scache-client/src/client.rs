//! The blocking client of the stock protocol.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scache_proto::client::{Outcome, Session};
use scache_proto::{Label, Property, Request, Ttl};
use scache_sys::descriptors::Descriptor;
use scache_sys::passing::{self, Wait};

use crate::Error;

/// How long each step of a request may take unless [`Client::with_timeout`] says otherwise.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Room for one read of a reply.
const READ_BYTES: usize = 4096;

/// A client of a connection cache.
///
/// It connects when it is first used and keeps that connection. When the server has gone away, a request
/// is repeated once over a new connection, so that a server that restarts goes unnoticed.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    timeout: Duration,
    server: Option<Server>,
}

/// A connection taken out of the cache: nobody else has it now.
#[derive(Debug)]
pub struct Found {
    /// The connection. `TcpStream::from` and `UnixStream::from` make what it is of it.
    pub connection: OwnedFd,
    /// What was saved with it.
    pub property: Box<[u8]>,
}

/// A connection that was found by a destination.
#[derive(Debug)]
pub struct FoundThrough {
    /// The connection and what was saved with it.
    pub found: Found,
    /// What was saved with the binding of the destination to the connection's endpoint.
    pub destination_property: Box<[u8]>,
}

#[derive(Debug)]
struct Server {
    socket: UnixStream,
    session: Session<Descriptor>,
    /// The connection failed behind an outcome.
    lost: bool,
}

/// How a request over one connection failed.
enum Failure {
    /// It can be repeated over another one.
    Repeatable(io::Error),
    Final(Error),
}

impl Client {
    /// A client of the cache that listens at `path`. Nothing is connected yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            timeout: TIMEOUT,
            server: None,
        }
    }

    /// Changes how long each step of a request may take (10 s otherwise). Zero counts as a millisecond.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Leaves a connection in the cache, under the name of an endpoint.
    ///
    /// `ttl` is rounded up to whole seconds, and the server has a limit of its own for it. `property`
    /// comes back with the connection. When this has succeeded the connection belongs to the cache:
    /// drop it without using it, and above all without shutting it down.
    ///
    /// # Errors
    /// See [`Error`]. The connection is still the caller's, but for [`Error::Lost`].
    pub fn save_endpoint(
        &mut self,
        ttl: Duration,
        endpoint: &[u8],
        property: &[u8],
        connection: &impl AsFd,
    ) -> Result<(), Error> {
        let request = Request::SaveEndpoint {
            ttl: whole_seconds(ttl)?,
            endpoint: Label::new(endpoint)?,
            property: Property::new(property)?,
        };
        saved(self.request(&request, Some(connection.as_fd()))?)
    }

    /// Remembers that connections of `endpoint` serve `destination`.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn save_destination(
        &mut self,
        ttl: Duration,
        destination: &[u8],
        property: &[u8],
        endpoint: &[u8],
    ) -> Result<(), Error> {
        let request = Request::SaveDestination {
            ttl: whole_seconds(ttl)?,
            destination: Label::new(destination)?,
            property: Property::new(property)?,
            endpoint: Label::new(endpoint)?,
        };
        saved(self.request(&request, None)?)
    }

    /// Takes the oldest connection of an endpoint out of the cache, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find_endpoint(&mut self, endpoint: &[u8]) -> Result<Option<Found>, Error> {
        let endpoint = Label::new(endpoint)?;
        match self.request(&Request::FindEndpoint { endpoint }, None)? {
            Outcome::Found {
                descriptor,
                properties,
                ..
            } => Ok(Some(Found {
                connection: descriptor.into(),
                property: properties.into_iter().next().unwrap_or_default(),
            })),
            _ => Ok(None),
        }
    }

    /// Takes a connection out of the cache that serves a destination, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn find_destination(&mut self, destination: &[u8]) -> Result<Option<FoundThrough>, Error> {
        let destination = Label::new(destination)?;
        match self.request(&Request::FindDestination { destination }, None)? {
            Outcome::Found {
                descriptor,
                properties,
                ..
            } => {
                let mut properties = properties.into_iter();
                let destination_property = properties.next().unwrap_or_default();
                Ok(Some(FoundThrough {
                    destination_property,
                    found: Found {
                        connection: descriptor.into(),
                        property: properties.next().unwrap_or_default(),
                    },
                }))
            }
            _ => Ok(None),
        }
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Result<Outcome<Descriptor>, Error> {
        // Only a connection from an earlier request can be a stale one.
        let repeat = self.server.is_some();
        match self.attempt(request, connection) {
            Err(Failure::Repeatable(_)) if repeat => self.attempt(request, connection),
            result => result,
        }
        .map_err(|failure| match failure {
            Failure::Repeatable(error) => Error::Lost(error),
            Failure::Final(error) => error,
        })
    }

    /// One try over one connection, which is kept only if the request went well.
    fn attempt(
        &mut self,
        request: &Request<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Result<Outcome<Descriptor>, Failure> {
        let mut server = match self.server.take() {
            Some(server) => server,
            None => Server::connect(&self.path, self.timeout).map_err(|source| {
                Failure::Final(Error::Connect {
                    path: self.path.clone(),
                    source,
                })
            })?,
        };
        let outcome = server.request(request, connection)?;
        self.server = Some(server).filter(|server| !server.lost);
        Ok(outcome)
    }
}

impl Server {
    fn connect(path: &Path, timeout: Duration) -> io::Result<Self> {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(Self {
            socket,
            session: Session::default(),
            lost: false,
        })
    }

    fn request(
        &mut self,
        request: &Request<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Result<Outcome<Descriptor>, Failure> {
        let mut sent = false;
        let failure = |error, sent| {
            if sent {
                Failure::Final(Error::Lost(error))
            } else {
                Failure::Repeatable(error)
            }
        };
        self.session.start(request);
        loop {
            while let Some(transmit) = self.session.poll_transmit() {
                let descriptor = connection.filter(|_| transmit.descriptor);
                sent |= descriptor.is_some();
                let written = passing::send(
                    self.socket.as_fd(),
                    transmit.bytes,
                    descriptor,
                    Wait::AsTheSocketSays,
                );
                match written {
                    Ok(written) => self.session.handle_written(written),
                    Err(error) => {
                        // The receipt of a descriptor that has arrived could not be sent: what has
                        // arrived is ours all the same.
                        self.lost = true;
                        return self
                            .session
                            .poll_outcome()
                            .ok_or_else(|| failure(error, sent));
                    }
                }
            }
            if let Some(outcome) = self.session.poll_outcome() {
                return Ok(outcome);
            }
            let mut buffer = [0; READ_BYTES];
            let (bytes, descriptors) =
                passing::receive(self.socket.as_fd(), &mut buffer, Wait::AsTheSocketSays)
                    .map_err(|error| failure(error, sent))?;
            if bytes == 0 {
                return Err(failure(io::ErrorKind::UnexpectedEof.into(), sent));
            }
            self.session
                .handle_input(&buffer[..bytes], descriptors)
                .map_err(|error| Failure::Final(error.into()))?;
        }
    }
}

fn saved(outcome: Outcome<Descriptor>) -> Result<(), Error> {
    match outcome {
        Outcome::Done => Ok(()),
        Outcome::Refused(_) | Outcome::Found { .. } => Err(Error::Refused),
    }
}

fn whole_seconds(ttl: Duration) -> Result<Ttl, Error> {
    let rounded_up = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    let seconds = u32::try_from(rounded_up).unwrap_or(u32::MAX);
    Ok(Ttl::from_secs(seconds)?)
}
