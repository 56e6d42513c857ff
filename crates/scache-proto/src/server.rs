//! The server's end of one client's connection.
//!
//! Bytes and descriptors go in by [`Session::handle_input`]. [`Session::poll_event`] says what the
//! client wants; each request is answered by [`Session::reply`] before the next is asked for.
//! [`Session::poll_transmit`] says what to write. Nothing here blocks or knows what time it is.
//!
//! A connection that is handed out (`T`) stays in the session until the client has said that it
//! arrived: only then is it nobody else's.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::attached::Attached;
use crate::attr::{Attributes, Framer, List};
use crate::outgoing::Outgoing;
use crate::reply::{self, History};
use crate::request::{Kind, RequestError};
use crate::{Descriptors, Request, Status, limits};

/// What a client wants, or what came of what it wanted.
#[derive(Debug)]
pub enum Event<'a, D, T> {
    /// A request to keep a connection, [`Request::SaveEndpoint`] or [`Request::Save`], with that connection. To be
    /// answered.
    Save(Request<'a>, D),
    /// Any other request, but [`Request::Inline`] and [`Request::Details`]. To be answered.
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
    /// Done, whatever was asked for, but a save.
    Done,
    /// Saved: how long it will be kept, zero if it is not kept at all.
    Saved(Duration),
    /// Not found, or not saved.
    Failed,
    /// A connection, to be handed out.
    Found(T),
    /// What a [`Request::Administer`] asked for.
    Report(Attributes),
}

/// A connection taken from the cache, on its way to a client.
pub trait HandOut {
    /// What the client is told with it: of a find by destination the destination's property, then the
    /// connection's; of a find by endpoint only the connection's.
    fn properties(&self) -> impl Iterator<Item = &[u8]>;

    /// The endpoint it was saved under, for a client that asked for several.
    fn endpoint(&self) -> &[u8];

    /// Its past, if that is known, for a client that asked for details.
    fn history(&self) -> Option<History> {
        None
    }
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
    /// The client asked for descriptors on the bytes that they belong to.
    inline: bool,
    /// The client asked for more in replies than the stock protocol has.
    details: bool,
    /// The request whose descriptor is awaited.
    saving: Vec<u8>,
    out: Outgoing<Rider<T>>,
    /// Connections that went to an inline client, who says nothing about having got them.
    delivered: VecDeque<T>,
    /// Hand-outs written since the client was last known to have read everything.
    unread: usize,
    /// With so many unread or still to be written no further request is carried out.
    most_unread: usize,
    /// When it was first seen that a request waits for the client to read.
    reader_awaited: Option<Instant>,
    /// The last attempt to write found no room.
    blocked: bool,
    request_timeout: Duration,
    last_input: Option<Instant>,
    /// When the first byte of the request under way arrived.
    request_began: Option<Instant>,
    /// Nothing more is read.
    broken: bool,
}

/// A connection whose descriptor is to be written.
#[derive(Debug)]
struct Rider<T> {
    connection: T,
    /// The kind of request that it answers and the length of the reply, if it goes with the first byte of that (inline);
    /// in the stock protocol the reply went before.
    reply: Option<(Kind, usize)>,
}

/// What an idle session may keep allocated for the request that it saves.
const KEPT_BYTES: usize = 1024;

#[derive(Debug)]
enum State<T> {
    /// Between requests.
    Idle,
    /// A request was given out and its answer is awaited from our own side.
    Asked(Kind),
    /// A request was given out, could not be answered yet, and is to be given out again.
    Postponed(Kind),
    /// The dummy of a save_endp is written and the byte with the descriptor is to come.
    AwaitDescriptor,
    /// Status 0 of a find is written and the dummy is to come, then the descriptor is sent.
    AwaitDummy(T),
    /// The descriptor is to be written.
    Sending,
    /// The descriptor is written and the client's last dummy is to come.
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
            inline: false,
            details: false,
            saving: Vec::new(),
            out,
            delivered: VecDeque::new(),
            unread: 0,
            most_unread: limits::DESCRIPTORS,
            reader_awaited: None,
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
        if let Some(connection) = self.delivered.pop_front() {
            return Some(Event::Delivered(connection));
        }
        if self.broken || matches!(self.state, State::Asked(_)) {
            return None;
        }
        if let State::Postponed(kind) = self.state {
            self.state = State::Asked(kind);
            return Request::parse(self.framer.list()).ok().map(Event::Request);
        }
        if self.attached.stray(self.framer.consumed()) {
            return Some(self.broken(Fault::StrayDescriptor));
        }
        match std::mem::replace(&mut self.state, State::Idle) {
            State::AwaitDescriptor => self.poll_descriptor(),
            State::AwaitDummy(taken) => self.poll_dummy(taken),
            // Whatever the client says before the descriptor is written cannot be its receipt.
            State::Sending => {
                self.state = State::Sending;
                self.await_reader()
            }
            State::AwaitReceipt(taken) => self.poll_receipt(taken),
            State::Idle | State::Asked(_) | State::Postponed(_) => self.poll_request(),
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
                self.end_request();
                reply::encode_outcome(self.out.buffer(), Status::Done, []);
            }
            Answer::Saved(ttl) if self.details => {
                self.end_request();
                reply::encode_saved(self.out.buffer(), ttl);
            }
            Answer::Saved(_) => {
                self.end_request();
                reply::encode_outcome(self.out.buffer(), Status::Done, []);
            }
            Answer::Failed => {
                self.end_request();
                reply::encode_refusal(self.out.buffer(), Status::Failed, kind);
            }
            Answer::Report(report) => {
                self.end_request();
                reply::encode_report(self.out.buffer(), &report);
            }
            Answer::Found(taken) if self.inline => {
                let at = self.out.buffer().len();
                reply::encode_found(self.out.buffer(), kind, &taken, self.details);
                let rider = Rider {
                    connection: taken,
                    reply: Some((kind, self.out.buffer().len() - at)),
                };
                self.out.attach_at(at, rider);
            }
            Answer::Found(taken) => {
                reply::encode_found(self.out.buffer(), kind, &taken, false);
                self.state = State::AwaitDummy(taken);
            }
        }
    }

    /// Puts off the answer to the [`Event::Request`] that [`Session::poll_event`] gave out last: it gives it out again.
    /// Until then nothing more is to be read from the client.
    pub fn postpone(&mut self) {
        if let State::Asked(kind) = self.state {
            self.state = State::Postponed(kind);
        }
    }

    /// Whether a request was put off.
    pub fn is_postponed(&self) -> bool {
        matches!(self.state, State::Postponed(_))
    }

    /// What to write next, if anything.
    pub fn poll_transmit(&self) -> Option<Transmit<'_, T>> {
        let (bytes, rider) = self.out.next()?;
        let descriptor = rider.map(|rider| &rider.connection);
        Some(Transmit { bytes, descriptor })
    }

    /// Takes note that the first `bytes` bytes of the last [`Transmit`] are written, and its
    /// descriptor with them.
    pub fn handle_written(&mut self, bytes: usize) {
        self.blocked = false;
        let Some(Rider { connection, .. }) = self.out.handle_written(bytes) else {
            return;
        };
        self.unread += 1;
        if !self.inline {
            self.state = State::AwaitReceipt(connection);
            return;
        }
        self.delivered.push_back(connection);
        if self.out.riding() == 0 {
            // The time of a request under way counts from its last input, at the earliest from here.
            self.request_began = self.last_input.filter(|_| !self.framer.is_empty());
        }
    }

    /// Takes note that nothing of the last [`Transmit`] could be written for now.
    pub fn handle_blocked(&mut self) {
        self.blocked = true;
    }

    /// When the client is to be given up if it has not gone on by then.
    pub fn deadline(&self) -> Option<Instant> {
        self.reader_awaited
            .or(self.request_began)
            .and_then(|began| began.checked_add(self.request_timeout))
    }

    /// Returns whether the client is between two requests: it has said nothing that is not answered, and all that it
    /// is to be told and given is written.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
            && self.request_began.is_none()
            && self.framer.is_empty()
            && self.out.waiting() == 0
            && self.delivered.is_empty()
            && !self.broken
    }

    /// Returns how many bytes of memory are allocated for what the client said and is to be told.
    pub fn memory(&self) -> usize {
        self.framer.memory() + self.saving.capacity() + self.out.memory()
    }

    /// Ends the session. Connections that were being handed out are given back, the last taken first: that is the
    /// order in which they go back to where they were.
    pub fn close(self) -> impl Iterator<Item = Unfinished<T>> {
        let current = match self.state {
            State::AwaitDummy(taken) => Some(Unfinished::Unsent(taken)),
            State::AwaitReceipt(taken) => Some(Unfinished::Sent(taken)),
            _ => None,
        };
        let sent = self.delivered.into_iter().map(Unfinished::Sent);
        let unsent = self
            .out
            .into_riding()
            .rev()
            .map(|rider| Unfinished::Unsent(rider.connection));
        current.into_iter().chain(unsent).chain(sent)
    }

    fn poll_request(&mut self) -> Option<Event<'_, D, T>> {
        if self.out.waiting() > limits::REPLY_BYTES {
            // One reply may be longer than that; who asks for more must read first.
            let asks_for_more = self.blocked && !self.framer.is_empty();
            return asks_for_more.then(|| self.broken(Fault::NotReading));
        }
        if self.has_to_read() {
            // What waits has to be read in time, or the client is given up.
            return self.await_reader();
        }
        loop {
            let began = self.framer.consumed();
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
                Ok(request) if request.kind().is_inline_only() && !self.inline => {
                    return Some(self.refused(Refusal::Unknown, None));
                }
                Ok(request) if request.kind().brings_connection() => {
                    self.saving.clear();
                    request.encode(&mut self.saving);
                    if !self.inline {
                        reply::encode_dummy(self.out.buffer());
                        self.state = State::AwaitDescriptor;
                        return self.poll_descriptor();
                    }
                    let descriptor = self.attached.take(began);
                    return Some(self.save(descriptor));
                }
                Ok(Request::Inline) => {
                    self.inline = true;
                    self.end_request();
                    reply::encode_inline(self.out.buffer());
                }
                Ok(Request::Details) => {
                    self.details = true;
                    self.end_request();
                    reply::encode_outcome(self.out.buffer(), Status::Done, []);
                }
                Ok(request) => {
                    self.state = State::Asked(request.kind());
                    break;
                }
                Err(RequestError::NoRequest) => self.end_request(),
                Err(RequestError::Malformed(kind)) if !kind.is_inline_only() || self.inline => {
                    return Some(self.refused(Refusal::Malformed, Some(kind)));
                }
                Err(RequestError::Malformed(_) | RequestError::Unknown) => {
                    return Some(self.refused(Refusal::Unknown, None));
                }
            }
        }
        // Read once more: the borrow of an event cannot leave a loop.
        Request::parse(self.framer.list()).ok().map(Event::Request)
    }

    fn poll_descriptor(&mut self) -> Option<Event<'_, D, T>> {
        let Some((position, _)) = self.framer.next_byte() else {
            self.state = State::AwaitDescriptor;
            return self.await_input();
        };
        self.state = State::Idle;
        let descriptor = self.attached.take(position);
        Some(self.save(descriptor))
    }

    /// The request in `saving`, with its descriptor if one came.
    fn save(&mut self, descriptor: Option<D>) -> Event<'_, D, T> {
        let Some(descriptor) = descriptor else {
            reply::encode_outcome(self.out.buffer(), Status::Failed, []);
            self.end_request();
            return Event::Refused(Refusal::NoDescriptor);
        };
        let list = List::new(&self.saving[..self.saving.len().saturating_sub(1)]);
        match Request::parse(list) {
            Ok(request) => {
                self.state = State::Asked(request.kind());
                Event::Save(request, descriptor)
            }
            // It was parsed before, so this does not happen.
            Err(_) => {
                reply::encode_outcome(self.out.buffer(), Status::Malformed, []);
                Event::Refused(Refusal::Malformed)
            }
        }
    }

    fn refused(&mut self, refusal: Refusal, kind: Option<Kind>) -> Event<'static, D, T> {
        match kind {
            Some(kind) => reply::encode_refusal(self.out.buffer(), Status::Malformed, kind),
            None => reply::encode_outcome(self.out.buffer(), Status::Malformed, []),
        }
        self.end_request();
        Event::Refused(refusal)
    }

    fn poll_dummy(&mut self, taken: T) -> Option<Event<'_, D, T>> {
        match self.framer.advance() {
            Ok(true) if reply::is_dummy(self.framer.list()) => {
                self.out.attach(Rider {
                    connection: taken,
                    reply: None,
                });
                self.out.buffer().push(0);
                self.state = State::Sending;
                // Seen now, and not only by the next call: `None` has to stay true until something happens.
                let strays = self.attached.stray(self.framer.consumed());
                strays.then(|| self.broken(Fault::StrayDescriptor))
            }
            Ok(true) => {
                self.end_request();
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
        match self.framer.advance() {
            Ok(true) => {
                self.end_request();
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
            self.saving.clear();
            self.saving.shrink_to(KEPT_BYTES);
            self.end_request();
        } else if self.request_began.is_none() {
            self.request_began = self.last_input;
        }
    }

    /// More is to come, and everything read so far is done with or the beginning of a list: so no descriptor
    /// can wait, but one that came with the beginning of an inline request. To keep others until the list is
    /// complete would let a client pile them up, one for each byte.
    fn await_input(&mut self) -> Option<Event<'static, D, T>> {
        let begins_request = self.inline
            && !self.framer.is_empty()
            && self.attached.came_with(self.framer.consumed());
        let strays = self.attached.waiting() > usize::from(begins_request);
        strays.then(|| self.broken(Fault::StrayDescriptor))
    }

    /// The time of the request under way is over, unless a connection waits for an inline client to read.
    fn end_request(&mut self) {
        if self.out.riding() == 0 {
            self.request_began = None;
        }
    }

    fn broken(&mut self, fault: Fault) -> Event<'static, D, T> {
        self.broken = true;
        Event::Broken(fault)
    }
}

mod hand_outs;
#[cfg(test)]
mod tests;
