//! Requests and their outcomes over a connection to the cache, and what is done when that fails.
//!
//! Written once for both clients: whoever waits does so behind [`Socket`], be it a thread or a task.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use scache_proto::attr::Attributes;
use scache_proto::client::{Outcome, Session};
use scache_proto::reply::History;
use scache_proto::{Descriptors, Label, Property, Request, Status, Ttl, request::Labels};
use scache_sys::descriptors::Descriptor;
use scache_sys::generation::Generation;
use scache_sys::sockets::Name;
use scache_sys::trust::{Distrust, Trust};

use crate::Error;
use crate::operation::{Operation, Saved, fits, portions};

/// How often a request is tried over a new connection when one fails: with the pauses, some 600 ms. A daemon has
/// restarted by then, or will not.
const TRIES: u32 = 8;

/// The pause before the third try; each later one is twice as long. The second follows at once.
const PAUSE: Duration = Duration::from_millis(10);

/// How long any request may take, also for who asks for more.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Room for one read of a reply.
const READ_BYTES: usize = 4096;

/// A connected UNIX socket, not blocking, and how to wait for it.
pub(crate) trait Socket: Sized {
    fn new(socket: OwnedFd) -> io::Result<Self>;

    /// Drops a socket that this process inherited from another one, which may still use it, without any effect there.
    fn abandon(self);

    /// Writes some of the bytes, with a descriptor on the first if one is given. On an error nothing went.
    async fn send(
        &self,
        bytes: &[u8],
        descriptor: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> io::Result<usize>;

    /// Reads. `TimedOut` at the deadline.
    async fn receive(
        &self,
        buffer: &mut [u8],
        deadline: Instant,
    ) -> io::Result<(usize, Descriptors<Descriptor>)>;

    async fn pause(time: Duration);
}

/// What came of an operation.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Done; of a save, how long the server keeps it, if it says so.
    Done(Option<Duration>),
    Found {
        descriptor: Descriptor,
        endpoint: Option<Box<[u8]>>,
        destination_property: Box<[u8]>,
        property: Box<[u8]>,
        history: Option<History>,
    },
    /// What was asked about the cache.
    Report(Attributes),
    /// Not found, or not possible.
    Refused(Status),
}

/// A client without its public face.
#[derive(Debug)]
pub(crate) struct Exchange<S: Socket> {
    pub(crate) path: PathBuf,
    pub(crate) timeout: Duration,
    inline: bool,
    pub(crate) trust: Trust,
    /// Between operations only: one that fails or is dropped in the middle takes its connection with it, so
    /// that no reply is ever taken for that to another request.
    link: Option<Link<S>>,
}

/// A connection to the cache.
#[derive(Debug)]
struct Link<S> {
    socket: S,
    session: Session<Descriptor>,
    /// The first outcome is that of [`Request::Details`], which was sent ahead of a request.
    details_pending: bool,
    /// The process that connected. A child has a copy of the socket, and must not use it.
    generation: Generation,
}

/// How a try failed.
enum Failure {
    /// The connection failed and nothing was saved: it can be repeated over another one.
    Broken(io::Error),
    /// Nobody accepted a connection.
    Unreachable(io::Error),
    Final(Error),
}

impl<S: Socket> Exchange<S> {
    pub(crate) fn new(path: PathBuf, timeout: Duration) -> Self {
        Self {
            path,
            timeout,
            inline: true,
            trust: Trust::Named,
            link: None,
        }
    }

    /// Speaks the stock protocol only from now on: a connection on which more was agreed is not used any more.
    pub(crate) fn speak_stock(&mut self) {
        self.abandon_inherited();
        self.inline = false;
        self.link = None;
    }

    /// Carries an operation out, over as many connections as that takes.
    pub(crate) async fn perform(
        &mut self,
        operation: &Operation<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Result<Answer, Error> {
        let deadline = Instant::now() + self.timeout.min(LONGEST);
        let mut broken = false;
        let mut tries = 1;
        loop {
            let failure = match self.attempt(operation, connection, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Final(error)) => return Err(error),
                Err(failure) => failure,
            };
            let pause = match tries {
                1 => Duration::ZERO,
                _ => PAUSE * 2u32.pow(tries - 2),
            };
            // Where nobody listens nobody is waited for, unless somebody did before this request.
            broken |= matches!(failure, Failure::Broken(_));
            if !broken || tries == TRIES || left(deadline) <= pause {
                return Err(match failure {
                    Failure::Broken(error) => Error::Unanswered(error),
                    Failure::Unreachable(source) => Error::Connect {
                        path: self.path.clone(),
                        source,
                    },
                    Failure::Final(error) => error,
                });
            }
            if !pause.is_zero() {
                S::pause(pause).await;
            }
            tries += 1;
        }
    }

    /// One try over one connection, which is kept only if all went well.
    async fn attempt(
        &mut self,
        operation: &Operation<'_>,
        connection: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        self.abandon_inherited();
        let mut link = match self.link.take() {
            Some(link) => link,
            None => self.connect(deadline).await?,
        };
        let answer = link.perform(operation, connection, deadline).await?;
        self.link = Some(link);
        Ok(answer)
    }

    async fn connect(&self, deadline: Instant) -> Result<Link<S>, Failure> {
        let name = Name::of_path(&self.path).map_err(Failure::Unreachable)?;
        self.trust
            .check_path(&self.path)
            .map_err(|reason| self.untrusted(reason))?;
        let socket = loop {
            match name.connect() {
                // Too many wait to be accepted.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if left(deadline) <= PAUSE {
                        return Err(Failure::Unreachable(io::ErrorKind::TimedOut.into()));
                    }
                    S::pause(PAUSE).await;
                }
                result => break result.map_err(Failure::Unreachable)?,
            }
        };
        self.trust
            .check_listener(&self.path, socket.as_fd())
            .map_err(|reason| self.untrusted(reason))?;
        let mut link = Link {
            socket: S::new(socket).map_err(Failure::Unreachable)?,
            session: Session::default(),
            details_pending: false,
            generation: Generation::current(),
        };
        if self.inline {
            // A stock server refuses, and the session goes on as it was.
            link.request(&Request::Inline, None, deadline).await?;
        }
        if link.session.offers_details() {
            // Goes with the next request: whether it is granted changes nothing for that.
            link.session.start(&Request::Details);
            link.details_pending = true;
        }
        Ok(link)
    }

    /// Lets go of a connection that a parent of this process made: requests over it would mix with the parent's.
    fn abandon_inherited(&mut self) {
        let current = Generation::current();
        if let Some(link) = self.link.take_if(|link| link.generation != current) {
            link.socket.abandon();
        }
    }

    fn untrusted(&self, reason: Distrust) -> Failure {
        match reason {
            Distrust::Unknown(error) => Failure::Unreachable(error),
            reason => Failure::Final(Error::Untrusted {
                path: self.path.clone(),
                reason,
            }),
        }
    }
}

impl<S: Socket> Drop for Exchange<S> {
    fn drop(&mut self) {
        self.abandon_inherited();
    }
}

impl<S: Socket> Link<S> {
    async fn perform(
        &mut self,
        operation: &Operation<'_>,
        connection: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        match *operation {
            Operation::SaveEndpoint {
                ttl,
                endpoint,
                property,
            } => {
                let request = Request::SaveEndpoint {
                    ttl,
                    endpoint,
                    property,
                    history: None,
                };
                self.request(&request, connection, deadline).await
            }
            Operation::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                let request = Request::SaveDestination {
                    ttl,
                    destination,
                    property,
                    endpoint,
                };
                self.request(&request, None, deadline).await
            }
            Operation::FindEndpoint { endpoint } => self.find_endpoint(endpoint, deadline).await,
            Operation::FindDestination { destination } => {
                self.find(destination, &[], false, deadline).await
            }
            Operation::Save {
                ttl,
                destination,
                destination_property,
                endpoint,
                property,
            } => {
                let names = [(destination, destination_property), (endpoint, property)];
                self.save(ttl, names, connection, deadline).await
            }
            Operation::Find {
                destination,
                ref endpoints,
                says_endpoint,
            } => {
                self.find(destination, endpoints, says_endpoint, deadline)
                    .await
            }
            Operation::Administer(administration) => {
                let request = Request::Administer(administration);
                self.request(&request, None, deadline).await
            }
        }
    }

    async fn save(
        &mut self,
        ttl: Ttl,
        [
            (destination, destination_property),
            (endpoint, endpoint_property),
        ]: [(Label<'_>, Property<'_>); 2],
        connection: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let values = [
            destination.as_bytes(),
            destination_property.as_bytes(),
            endpoint.as_bytes(),
            endpoint_property.as_bytes(),
        ];
        if self.session.is_inline() && fits(values) {
            let request = Request::Save {
                ttl,
                destination,
                destination_property,
                endpoint,
                property: endpoint_property,
            };
            return self.request(&request, connection, deadline).await;
        }
        let binding = Request::SaveDestination {
            ttl,
            destination,
            property: destination_property,
            endpoint,
        };
        let bound = self.request(&binding, None, deadline).await?;
        if !matches!(bound, Answer::Done(_)) {
            return Ok(bound);
        }
        let request = Request::SaveEndpoint {
            ttl,
            endpoint,
            property: endpoint_property,
            history: None,
        };
        self.request(&request, connection, deadline).await
    }

    async fn find(
        &mut self,
        destination: Label<'_>,
        endpoints: &[Label<'_>],
        says_endpoint: bool,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        if self.session.is_inline() {
            for portion in portions(destination, endpoints) {
                let Some(endpoints) = Labels::new(portion) else {
                    continue;
                };
                let request = Request::Find {
                    destination,
                    endpoints,
                };
                let answer = self.request(&request, None, deadline).await?;
                if matches!(answer, Answer::Found { .. }) {
                    return Ok(answer);
                }
            }
            return Ok(Answer::Refused(Status::Failed));
        }
        if !says_endpoint {
            let request = Request::FindDestination { destination };
            let answer = self.request(&request, None, deadline).await?;
            if matches!(answer, Answer::Found { .. }) {
                return Ok(answer);
            }
        }
        for &endpoint in endpoints {
            let answer = self.find_endpoint(endpoint, deadline).await?;
            if matches!(answer, Answer::Found { .. }) {
                return Ok(answer);
            }
        }
        Ok(Answer::Refused(Status::Failed))
    }

    async fn find_endpoint(
        &mut self,
        endpoint: Label<'_>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let request = Request::FindEndpoint { endpoint };
        let mut answer = self.request(&request, None, deadline).await?;
        if let Answer::Found {
            endpoint: known, ..
        } = &mut answer
        {
            *known = Some(endpoint.as_bytes().into());
        }
        Ok(answer)
    }

    async fn request(
        &mut self,
        request: &Request<'_>,
        connection: Option<BorrowedFd<'_>>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let mut sent = false;
        self.session.start(request);
        match self.outcome(connection, &mut sent, deadline).await {
            Ok(outcome) => Ok(Answer::from(outcome)),
            // Whatever the reason: the server may have it.
            Err(Failure::Broken(error)) if sent => Err(Failure::Final(Error::Lost(error))),
            Err(Failure::Final(error)) if sent => {
                Err(Failure::Final(Error::Lost(io::Error::other(error))))
            }
            Err(failure) => Err(failure),
        }
    }

    async fn outcome(
        &mut self,
        connection: Option<BorrowedFd<'_>>,
        sent: &mut bool,
        deadline: Instant,
    ) -> Result<Outcome<Descriptor>, Failure> {
        loop {
            while let Some(transmit) = self.session.poll_transmit() {
                let descriptor = connection.filter(|_| transmit.descriptor);
                let written = self.socket.send(transmit.bytes, descriptor, deadline);
                match written.await {
                    Ok(written) => {
                        *sent |= descriptor.is_some();
                        self.session.handle_written(written);
                    }
                    Err(error) => {
                        // The receipt of a descriptor that has arrived could not be sent: what has
                        // arrived is ours all the same. The next request will fail, and be repeated.
                        return self.session.poll_outcome().ok_or(Failure::Broken(error));
                    }
                }
            }
            if let Some(outcome) = self.session.poll_outcome() {
                if std::mem::take(&mut self.details_pending) {
                    continue;
                }
                return Ok(outcome);
            }
            let mut buffer = [0; READ_BYTES];
            let (bytes, descriptors) = self
                .socket
                .receive(&mut buffer, deadline)
                .await
                .map_err(Failure::Broken)?;
            if bytes == 0 {
                return Err(Failure::Broken(io::ErrorKind::UnexpectedEof.into()));
            }
            if matches!(descriptors, Descriptors::Truncated) {
                // The kernel has closed it: trying again would lose the next one as well.
                let error =
                    io::Error::other("no descriptor is left for the connection that was found");
                return Err(Failure::Final(Error::Unanswered(error)));
            }
            self.session
                .handle_input(&buffer[..bytes], descriptors)
                .map_err(|error| Failure::Final(error.into()))?;
        }
    }
}

impl From<Outcome<Descriptor>> for Answer {
    fn from(outcome: Outcome<Descriptor>) -> Self {
        match outcome {
            Outcome::Done => Self::Done(None),
            Outcome::Saved { ttl } => Self::Done(Some(ttl)),
            Outcome::Refused(status) => Self::Refused(status),
            Outcome::Report(report) => Self::Report(report),
            Outcome::Found {
                descriptor,
                endpoint,
                properties,
                history,
            } => {
                let mut properties = properties.into_iter().rev();
                Self::Found {
                    descriptor,
                    endpoint,
                    property: properties.next().unwrap_or_default(),
                    destination_property: properties.next().unwrap_or_default(),
                    history,
                }
            }
        }
    }
}

impl Answer {
    pub(crate) fn saved(self) -> Result<Saved, Error> {
        match self {
            Self::Done(ttl) => Ok(Saved { ttl }),
            Self::Refused(_) | Self::Report(_) | Self::Found { .. } => Err(Error::Refused),
        }
    }
}

pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
