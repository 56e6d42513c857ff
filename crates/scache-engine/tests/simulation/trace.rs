//! What an engine did in a pass, in its order: all that the oracle gets to see.

use std::time::{Duration, Instant};

use scache_engine::{Complaint, End, Failure};
use scache_proto::client::Session;
use scache_proto::reply::History;
use scache_proto::request::Labels;
use scache_proto::{Label, Property, Request, Ttl};
use scache_store::{Reason, Statistics};

use crate::about::About;
use crate::world::Fd;

/// A call of the kernel or of the host, with what came of it.
#[derive(Debug, Clone)]
pub enum Event {
    Poll {
        timeout: Option<Duration>,
        before: Instant,
        delivered: usize,
    },
    Accept(Result<Fd, Failure>),
    Connect(Result<Fd, Failure>),
    Receive {
        fd: Fd,
        result: Result<(Vec<u8>, Got), Failure>,
    },
    Send {
        fd: Fd,
        bytes: Vec<u8>,
        passed: Option<Fd>,
        result: Result<usize, Failure>,
    },
    /// `injected`: the result says nothing about the connection.
    Peek {
        fd: Fd,
        result: Result<usize, Failure>,
        injected: bool,
    },
    Watch {
        fd: Fd,
        result: Result<(), Failure>,
    },
    Unwatch(Fd),
    HearNoMore(Fd),
    SayNoMore(Fd),
    /// A connection whose other end is closed was made.
    Closed(Result<Fd, Failure>),
    /// Whether the other end has not read everything.
    Unread {
        fd: Fd,
        result: bool,
    },
    /// All clients are asked about next.
    UnreadLimit,
    Close(Fd),
    Complaint(Complaint),
    Request(Asked),
    Released {
        endpoint: Vec<u8>,
        reason: Reason,
        said: Vec<u8>,
    },
    HandedOver {
        connections: usize,
        bindings: usize,
    },
    Ending(End),
    Resumed,
    Statistics(Statistics),
}

/// The descriptors that came with a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Got {
    None,
    One(Fd),
    Several,
    Truncated,
}

/// A request as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    SaveEndpoint {
        ttl: Duration,
        endpoint: Vec<u8>,
        property: Vec<u8>,
        /// Its age in milliseconds, and how often it was taken.
        history: Option<(u64, u64)>,
    },
    FindEndpoint(Vec<u8>),
    SaveDestination {
        ttl: Duration,
        destination: Vec<u8>,
        property: Vec<u8>,
        endpoint: Vec<u8>,
    },
    FindDestination(Vec<u8>),
    Inline,
    Details,
    Save {
        ttl: Duration,
        destination: Vec<u8>,
        destination_property: Vec<u8>,
        endpoint: Vec<u8>,
        property: Vec<u8>,
    },
    Find {
        destination: Vec<u8>,
        endpoints: Vec<Vec<u8>>,
    },
    TakeOver,
    Administer(About),
}

impl Asked {
    pub fn of(request: &Request<'_>) -> Self {
        match *request {
            Request::SaveEndpoint {
                ttl,
                endpoint,
                property,
                history,
            } => Self::SaveEndpoint {
                ttl: ttl.into(),
                endpoint: endpoint.as_bytes().to_vec(),
                property: property.as_bytes().to_vec(),
                history: history
                    .map(|history| (history.age.as_millis() as u64, history.taken.into())),
            },
            Request::FindEndpoint { endpoint } => Self::FindEndpoint(endpoint.as_bytes().to_vec()),
            Request::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => Self::SaveDestination {
                ttl: ttl.into(),
                destination: destination.as_bytes().to_vec(),
                property: property.as_bytes().to_vec(),
                endpoint: endpoint.as_bytes().to_vec(),
            },
            Request::FindDestination { destination } => {
                Self::FindDestination(destination.as_bytes().to_vec())
            }
            Request::Inline => Self::Inline,
            Request::Details => Self::Details,
            Request::Save {
                ttl,
                destination,
                destination_property,
                endpoint,
                property,
            } => Self::Save {
                ttl: ttl.into(),
                destination: destination.as_bytes().to_vec(),
                destination_property: destination_property.as_bytes().to_vec(),
                endpoint: endpoint.as_bytes().to_vec(),
                property: property.as_bytes().to_vec(),
            },
            Request::Find {
                destination,
                endpoints,
            } => Self::Find {
                destination: destination.as_bytes().to_vec(),
                endpoints: endpoints
                    .into_iter()
                    .map(|endpoint| endpoint.as_bytes().to_vec())
                    .collect(),
            },
            Request::TakeOver => Self::TakeOver,
            Request::Administer(administration) => Self::Administer(About::of(administration)),
        }
    }

    /// Starts it in the session of a client that speaks through one.
    pub fn start<D>(&self, session: &mut Session<D>) {
        let ttl = |ttl: &Duration| Ttl::from_remaining(*ttl).unwrap();
        let tried: Vec<_> = match self {
            Self::Find { endpoints, .. } => endpoints
                .iter()
                .map(|endpoint| Label::new(endpoint).unwrap())
                .collect(),
            _ => Vec::new(),
        };
        session.start(&match self {
            Self::SaveEndpoint {
                ttl: time,
                endpoint,
                property,
                history,
            } => Request::SaveEndpoint {
                ttl: ttl(time),
                endpoint: Label::new(endpoint).unwrap(),
                property: Property::new(property).unwrap(),
                history: history.map(|(age, taken)| History {
                    age: Duration::from_millis(age),
                    taken: taken as u32,
                }),
            },
            Self::FindEndpoint(endpoint) => Request::FindEndpoint {
                endpoint: Label::new(endpoint).unwrap(),
            },
            Self::SaveDestination {
                ttl: time,
                destination,
                property,
                endpoint,
            } => Request::SaveDestination {
                ttl: ttl(time),
                destination: Label::new(destination).unwrap(),
                property: Property::new(property).unwrap(),
                endpoint: Label::new(endpoint).unwrap(),
            },
            Self::FindDestination(destination) => Request::FindDestination {
                destination: Label::new(destination).unwrap(),
            },
            Self::Inline => Request::Inline,
            Self::Details => Request::Details,
            Self::Save {
                ttl: time,
                destination,
                destination_property,
                endpoint,
                property,
            } => Request::Save {
                ttl: ttl(time),
                destination: Label::new(destination).unwrap(),
                destination_property: Property::new(destination_property).unwrap(),
                endpoint: Label::new(endpoint).unwrap(),
                property: Property::new(property).unwrap(),
            },
            Self::Find { destination, .. } => Request::Find {
                destination: Label::new(destination).unwrap(),
                endpoints: Labels::new(&tried).unwrap(),
            },
            Self::TakeOver => Request::TakeOver,
            Self::Administer(about) => about.request(),
        });
    }

    /// Whether a connection comes with it.
    pub fn brings_connection(&self) -> bool {
        matches!(self, Self::SaveEndpoint { .. } | Self::Save { .. })
    }

    /// Whether something is to be cached.
    pub fn is_save(&self) -> bool {
        self.brings_connection() || matches!(self, Self::SaveDestination { .. })
    }

    pub fn is_find(&self) -> bool {
        matches!(
            self,
            Self::FindEndpoint(_) | Self::FindDestination(_) | Self::Find { .. }
        )
    }

    /// How many properties an answer to it carries.
    pub fn properties(&self) -> usize {
        match self {
            Self::FindEndpoint(_) => 1,
            Self::FindDestination(_) | Self::Find { .. } => 2,
            _ => 0,
        }
    }
}
