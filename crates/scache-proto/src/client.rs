//! The client's end of a connection to the cache.
//!
//! One request at a time: [`Session::start`] it, write what [`Session::poll_transmit`] says, feed what
//! arrives to [`Session::handle_input`], until [`Session::poll_outcome`] has the outcome. Nothing here
//! blocks; the stock protocol, in which every descriptor waits for a dummy, is hidden here.

use crate::attached::Attached;
use crate::attr::Framer;
use crate::outgoing::Outgoing;
use crate::reply::{self, Reply};
use crate::request::Kind;
use crate::{Descriptors, Request, Status};

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<D> {
    /// Saved, or whatever else was asked for; a descriptor that was sent can be closed.
    Done,
    /// Found: the connection is this client's now.
    Found {
        /// The connection.
        descriptor: D,
        /// What was saved with it: of a find by destination the destination's property, then the
        /// connection's; of a find by endpoint only the connection's.
        properties: Vec<Box<[u8]>>,
    },
    /// The cache has no such thing, or could not save it.
    Refused(Status),
}

/// What the server said makes no sense. The connection cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server does not speak the connection cache protocol")]
pub struct ProtocolError;

/// The client's end of one connection. `D` is a descriptor.
#[derive(Debug)]
pub struct Session<D> {
    framer: Framer,
    attached: Attached<D>,
    state: State<D>,
    out: Outgoing,
}

#[derive(Debug)]
enum State<D> {
    Idle,
    /// A save_endp is written; the dummy that lets the descriptor go is to come.
    AwaitDummy,
    /// The outcome is to come.
    AwaitOutcome(Kind),
    /// Status 0 of a find has come, the byte with the descriptor is next.
    AwaitDescriptor(Vec<Box<[u8]>>),
    Finished(Outcome<D>),
}

/// What to write next.
#[derive(Debug)]
pub struct Transmit<'a> {
    /// The bytes, at least one.
    pub bytes: &'a [u8],
    /// The descriptor to be saved rides on the first of them.
    pub descriptor: bool,
}

impl<D> Default for Session<D> {
    fn default() -> Self {
        Self {
            framer: Framer::default(),
            attached: Attached::new(),
            state: State::Idle,
            out: Outgoing::default(),
        }
    }
}

impl<D> Session<D> {
    /// Starts a request. The one before must be finished.
    pub fn start(&mut self, request: &Request<'_>) {
        debug_assert!(matches!(self.state, State::Idle), "one request at a time");
        request.encode(self.out.buffer());
        self.state = match request.kind() {
            Kind::SaveEndpoint => State::AwaitDummy,
            kind => State::AwaitOutcome(kind),
        };
    }

    /// What to write next, if anything.
    pub fn poll_transmit(&self) -> Option<Transmit<'_>> {
        let (bytes, descriptor) = self.out.next()?;
        Some(Transmit { bytes, descriptor })
    }

    /// Takes note that the first `bytes` bytes of the last [`Transmit`] are written.
    pub fn handle_written(&mut self, bytes: usize) {
        self.out.handle_written(bytes);
    }

    /// Takes in what one read brought.
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn handle_input(
        &mut self,
        bytes: &[u8],
        descriptors: Descriptors<D>,
    ) -> Result<(), ProtocolError> {
        self.attached.received(bytes.len(), descriptors);
        self.framer.extend(bytes);
        while self.step()? {}
        Ok(())
    }

    /// The outcome of the request, once it is known.
    pub fn poll_outcome(&mut self) -> Option<Outcome<D>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Finished(outcome) => Some(outcome),
            state => {
                self.state = state;
                None
            }
        }
    }

    fn step(&mut self) -> Result<bool, ProtocolError> {
        if let State::AwaitDescriptor(properties) = &mut self.state {
            let properties = std::mem::take(properties);
            return self.step_descriptor(properties);
        }
        if !self.framer.advance().map_err(|_| ProtocolError)? {
            return Ok(false);
        }
        let reply = Reply::parse(self.framer.list()).ok_or(ProtocolError)?;
        let next = match (&self.state, reply) {
            (_, Reply::Announcement) => return Ok(true),
            (State::AwaitDummy, Reply::Dummy) => {
                self.out.push_descriptor();
                State::AwaitOutcome(Kind::SaveEndpoint)
            }
            // A malformed save_endp is refused before its descriptor is asked for.
            (State::AwaitDummy, Reply::Outcome { status, .. }) if status != Status::Done => {
                State::Finished(Outcome::Refused(status))
            }
            (State::AwaitOutcome(kind), Reply::Outcome { status, rest }) => {
                let properties: Vec<Box<[u8]>> = match kind {
                    Kind::SaveEndpoint | Kind::SaveDestination | Kind::TakeOver => Vec::new(),
                    Kind::FindEndpoint => owned(reply::properties::<1>(rest)),
                    Kind::FindDestination => owned(reply::properties::<2>(rest)),
                };
                match (status, kind) {
                    (Status::Done, Kind::SaveEndpoint | Kind::SaveDestination | Kind::TakeOver) => {
                        State::Finished(Outcome::Done)
                    }
                    (Status::Done, _) if properties.is_empty() => return Err(ProtocolError),
                    (Status::Done, _) => {
                        reply::encode_dummy(self.out.buffer());
                        State::AwaitDescriptor(properties)
                    }
                    _ => State::Finished(Outcome::Refused(status)),
                }
            }
            _ => return Err(ProtocolError),
        };
        self.state = next;
        Ok(true)
    }

    fn step_descriptor(&mut self, properties: Vec<Box<[u8]>>) -> Result<bool, ProtocolError> {
        let Some((position, _)) = self.framer.next_byte() else {
            self.state = State::AwaitDescriptor(properties);
            return Ok(false);
        };
        let descriptor = self.attached.take(position).ok_or(ProtocolError)?;
        reply::encode_dummy(self.out.buffer());
        self.state = State::Finished(Outcome::Found {
            descriptor,
            properties,
        });
        Ok(true)
    }
}

fn owned<const N: usize>(properties: Option<[&[u8]; N]>) -> Vec<Box<[u8]>> {
    properties.map_or_else(Vec::new, |all| all.map(Box::from).into())
}
