//! The server's end of one client's connection.
//!
//! Bytes and descriptors go in by [`Session::handle_input`]. [`Session::poll_event`] says what the
//! client wants; each request is answered by [`Session::reply`] before the next is asked for.
//! [`Session::poll_transmit`] says what to write. Nothing here blocks or knows what time it is.
//!
//! A connection that is handed out (`T`) stays in the session until the client has said that it
//! arrived: only then is it nobody else's.

use std::time::{Duration, Instant};

use crate::attached::Attached;
use crate::attr::Framer;
use crate::outgoing::Outgoing;
use crate::reply;
use crate::request::{Kind, RequestError};
use crate::{Descriptors, Label, Property, Request, Status, Ttl, limits};

/// What a client wants, or what came of what it wanted.
#[derive(Debug)]
pub enum Event<'a, D, T> {
    /// Keep this connection. To be answered.
    SaveEndpoint {
        /// How long to keep it.
        ttl: Ttl,
        /// The name to find it by.
        endpoint: Label<'a>,
        /// What to hand out with it.
        property: Property<'a>,
        /// The connection.
        descriptor: D,
    },
    /// Any other request; never [`Request::SaveEndpoint`]. To be answered.
    Request(Request<'a>),
    /// The client did not go through with taking this connection, and never got it.
    Declined(T),
    /// The client has this connection now; the cache's copy can be closed.
    Delivered(T),
    /// Something was refused and the client was told. The session goes on.
    Refused(Refusal),
    /// The session cannot go on: write what there is to write, then close it.
    Broken(Fault),
}

/// The answer to a request.
#[derive(Debug)]
pub enum Answer<T> {
    /// Saved.
    Done,
    /// Not found, or not saved.
    Failed,
    /// A connection, to be handed out.
    Found(T),
}

/// A connection taken from the cache, on its way to a client.
pub trait HandOut {
    /// What the client is told with it: of a find by destination the destination's property, then the
    /// connection's; of a find by endpoint only the connection's.
    fn properties(&self) -> impl Iterator<Item = &[u8]>;
}

/// Why a client was told no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// An attribute is missing, misplaced or not what it should be.
    #[error("bad or missing request parameter")]
    Malformed,
    /// No such request.
    #[error("unrecognized request")]
    Unknown,
    /// A connection was to be saved and no descriptor came, or several, or one the kernel dropped.
    #[error("unable to receive file descriptor")]
    NoDescriptor,
}

/// Why a session had to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Fault {
    /// A request over the limits.
    #[error("request exceeds the size limit")]
    TooLong,
    /// A descriptor came where none belongs.
    #[error("unexpected file descriptor")]
    StrayDescriptor,
    /// More than [`limits::REPLY_BYTES`] of replies wait, and the client asks for more.
    #[error("client does not read its replies")]
    NotReading,
}

/// What to write next.
#[derive(Debug)]
pub struct Transmit<'a, T> {
    /// The bytes, at least one.
    pub bytes: &'a [u8],
    /// The connection whose descriptor rides on the first of them.
    pub descriptor: Option<&'a T>,
}

/// What is left of a session that ended while it handed out a connection.
#[derive(Debug)]
pub enum Unfinished<T> {
    /// The client cannot have it: nothing was sent.
    Unsent(T),
    /// The client may have it: it must never be handed out again.
    Sent(T),
}

/// The server's end of one client's connection. `D` is a descriptor that was received, `T` a
/// connection taken from the cache.
#[derive(Debug)]
pub struct Session<D, T> {
    framer: Framer,
    attached: Attached<D>,
    state: State<T>,
    /// The endpoint and the property of a save_endp whose descriptor is awaited.
    saving: Vec<u8>,
    out: Outgoing,
    /// The last attempt to write found no room.
    blocked: bool,
    request_timeout: Duration,
    last_input: Option<Instant>,
    /// When the first byte of the request under way arrived.
    request_began: Option<Instant>,
    /// Nothing more is read.
    broken: bool,
}

#[derive(Debug)]
enum State<T> {
    /// Between requests.
    Idle,
    /// A request was given out and its answer is awaited from our own side.
    Asked(Kind),
    /// The dummy of a save_endp is written and the byte with the descriptor is to come.
    /// `split` is where the property begins in `saving`.
    AwaitDescriptor { ttl: Ttl, split: usize },
    /// Status 0 of a find is written and the dummy is to come, then the descriptor is sent.
    AwaitDummy(T),
    /// The descriptor is written, or on its way, and the client's last dummy is to come.
    AwaitReceipt(T),
}

impl<D, T: HandOut> Session<D, T> {
    /// A session with a client that just connected.
    ///
    /// `announce`: say the name of the protocol first, as clients since Postfix 3.6 expect.
    /// `request_timeout`: how long a request may take from its first byte to its last.
    pub fn new(announce: bool, request_timeout: Duration) -> Self {
        let mut out = Outgoing::default();
        if announce {
            reply::encode_announcement(out.buffer());
        }
        Self {
            framer: Framer::default(),
            attached: Attached::new(),
            state: State::Idle,
            saving: Vec::new(),
            out,
            blocked: false,
            request_timeout,
            last_input: None,
            request_began: None,
            broken: false,
        }
    }

    /// Takes in what one read brought.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8], descriptors: Descriptors<D>) {
        if self.broken {
            return;
        }
        self.last_input = Some(now);
        self.request_began.get_or_insert(now);
        self.attached.received(bytes.len(), descriptors);
        self.framer.extend(bytes);
    }

    /// The next thing to do. To be asked until there is none, after every input.
    pub fn poll_event(&mut self) -> Option<Event<'_, D, T>> {
        if self.broken || matches!(self.state, State::Asked(_)) {
            return None;
        }
        if self.attached.stray(self.framer.consumed()) {
            return Some(self.broken(Fault::StrayDescriptor));
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::AwaitDescriptor { ttl, split } => self.poll_descriptor(ttl, split),
            State::AwaitDummy(taken) => self.poll_dummy(taken),
            State::AwaitReceipt(taken) => self.poll_receipt(taken),
            State::Idle | State::Asked(_) => self.poll_request(),
        }
    }

    /// Answers the request that [`Session::poll_event`] gave out last.
    pub fn reply(&mut self, answer: Answer<T>) {
        let State::Asked(kind) = self.state else {
            debug_assert!(false, "an answer without a request");
            return;
        };
        self.state = State::Idle;
        match answer {
            Answer::Done => {
                self.request_began = None;
                reply::encode_outcome(self.out.buffer(), Status::Done, []);
            }
            Answer::Failed => {
                self.request_began = None;
                reply::encode_refusal(self.out.buffer(), Status::Failed, kind);
            }
            Answer::Found(taken) => {
                reply::encode_outcome(self.out.buffer(), Status::Done, taken.properties());
                self.state = State::AwaitDummy(taken);
            }
        }
    }

    /// What to write next, if anything.
    pub fn poll_transmit(&self) -> Option<Transmit<'_, T>> {
        let (bytes, with_descriptor) = self.out.next()?;
        let descriptor = match &self.state {
            State::AwaitReceipt(taken) if with_descriptor => Some(taken),
            _ => None,
        };
        Some(Transmit { bytes, descriptor })
    }

    /// Takes note that the first `bytes` bytes of the last [`Transmit`] are written, and its
    /// descriptor with them.
    pub fn handle_written(&mut self, bytes: usize) {
        self.blocked = false;
        self.out.handle_written(bytes);
    }

    /// Takes note that nothing of the last [`Transmit`] could be written for now.
    pub fn handle_blocked(&mut self) {
        self.blocked = true;
    }

    /// When the client is to be given up if it has not gone on by then.
    pub fn deadline(&self) -> Option<Instant> {
        self.request_began
            .and_then(|began| began.checked_add(self.request_timeout))
    }

    /// Ends the session. A connection that was being handed out is given back.
    pub fn close(self) -> Option<Unfinished<T>> {
        match self.state {
            State::AwaitDummy(taken) => Some(Unfinished::Unsent(taken)),
            State::AwaitReceipt(taken) if self.out.descriptor_waits() => {
                Some(Unfinished::Unsent(taken))
            }
            State::AwaitReceipt(taken) => Some(Unfinished::Sent(taken)),
            _ => None,
        }
    }

    fn poll_request(&mut self) -> Option<Event<'_, D, T>> {
        if self.out.waiting() > limits::REPLY_BYTES {
            // One reply may be longer than that; who asks for more must read first.
            let asks_for_more = self.blocked && !self.framer.is_empty();
            return asks_for_more.then(|| self.broken(Fault::NotReading));
        }
        loop {
            match self.framer.advance() {
                Ok(true) => {}
                Ok(false) => {
                    self.await_request();
                    return self.await_input();
                }
                Err(_) => {
                    reply::encode_outcome(self.out.buffer(), Status::Malformed, []);
                    return Some(self.broken(Fault::TooLong));
                }
            }
            match Request::parse(self.framer.list()) {
                Ok(Request::SaveEndpoint {
                    ttl,
                    endpoint,
                    property,
                }) => {
                    self.saving.clear();
                    self.saving.extend_from_slice(endpoint.as_bytes());
                    self.saving.extend_from_slice(property.as_bytes());
                    let split = endpoint.as_bytes().len();
                    reply::encode_dummy(self.out.buffer());
                    return self.poll_descriptor(ttl, split);
                }
                Ok(request) => {
                    self.state = State::Asked(request.kind());
                    break;
                }
                Err(RequestError::NoRequest) => self.request_began = None,
                Err(RequestError::Malformed(kind)) => {
                    reply::encode_refusal(self.out.buffer(), Status::Malformed, kind);
                    self.request_began = None;
                    return Some(Event::Refused(Refusal::Malformed));
                }
                Err(RequestError::Unknown) => {
                    reply::encode_outcome(self.out.buffer(), Status::Malformed, []);
                    self.request_began = None;
                    return Some(Event::Refused(Refusal::Unknown));
                }
            }
        }
        // Read once more: the borrow of an event cannot leave a loop.
        Request::parse(self.framer.list()).ok().map(Event::Request)
    }

    fn poll_descriptor(&mut self, ttl: Ttl, split: usize) -> Option<Event<'_, D, T>> {
        let Some((position, _)) = self.framer.next_byte() else {
            self.state = State::AwaitDescriptor { ttl, split };
            return self.await_input();
        };
        let (endpoint, property) = self.saving.split_at(split);
        if let Some(descriptor) = self.attached.take(position)
            && let (Ok(endpoint), Ok(property)) = (Label::new(endpoint), Property::new(property))
        {
            self.state = State::Asked(Kind::SaveEndpoint);
            Some(Event::SaveEndpoint {
                ttl,
                endpoint,
                property,
                descriptor,
            })
        } else {
            reply::encode_refusal(self.out.buffer(), Status::Failed, Kind::SaveEndpoint);
            self.request_began = None;
            Some(Event::Refused(Refusal::NoDescriptor))
        }
    }

    fn poll_dummy(&mut self, taken: T) -> Option<Event<'_, D, T>> {
        match self.framer.advance() {
            Ok(true) if reply::is_dummy(self.framer.list()) => {
                self.out.push_descriptor();
                self.poll_receipt(taken)
            }
            Ok(true) => {
                self.request_began = None;
                Some(Event::Declined(taken))
            }
            Ok(false) => {
                self.state = State::AwaitDummy(taken);
                self.await_input()
            }
            Err(_) => {
                self.state = State::AwaitDummy(taken);
                Some(self.broken(Fault::TooLong))
            }
        }
    }

    fn poll_receipt(&mut self, taken: T) -> Option<Event<'_, D, T>> {
        // Whatever the client says before the descriptor is written cannot be its receipt. It is kept
        // unread, so there is a limit to it.
        if self.out.descriptor_waits() {
            self.state = State::AwaitReceipt(taken);
            let is_too_far_ahead = self.framer.waiting() > limits::AHEAD_BYTES
                || self.attached.waiting() > limits::AHEAD_DESCRIPTORS;
            return (self.blocked && is_too_far_ahead).then(|| self.broken(Fault::NotReading));
        }
        match self.framer.advance() {
            Ok(true) => {
                self.request_began = None;
                Some(Event::Delivered(taken))
            }
            Ok(false) => {
                self.state = State::AwaitReceipt(taken);
                self.await_input()
            }
            Err(_) => {
                self.state = State::AwaitReceipt(taken);
                Some(self.broken(Fault::TooLong))
            }
        }
    }

    /// Nothing complete is in the buffer: the clock of a request runs if there is a beginning of one.
    fn await_request(&mut self) {
        if self.framer.is_empty() {
            self.framer.shrink();
            self.request_began = None;
        } else if self.request_began.is_none() {
            self.request_began = self.last_input;
        }
    }

    /// More is to come, and everything read so far is done with or the beginning of a list: so no descriptor
    /// can wait. To keep one until the list is complete would let a client pile them up, one for each byte.
    fn await_input(&mut self) -> Option<Event<'static, D, T>> {
        (self.attached.waiting() > 0).then(|| self.broken(Fault::StrayDescriptor))
    }

    fn broken(&mut self, fault: Fault) -> Event<'static, D, T> {
        self.broken = true;
        Event::Broken(fault)
    }
}

#[cfg(test)]
mod tests;
