//! The client's end of a connection to the cache.
//!
//! [`Session::start`] a request, write what [`Session::poll_transmit`] says, feed what arrives to
//! [`Session::handle_input`], until [`Session::poll_outcome`] has the outcome. Nothing here blocks; the stock
//! protocol, in which every descriptor waits for a dummy, is hidden here.
//!
//! In the stock protocol one request is under way at a time. When [`Request::Inline`] was done, several may be:
//! outcomes come in the order of the requests.

use std::collections::VecDeque;
use std::time::Duration;

use crate::attached::Attached;
use crate::attr::{Attributes, Framer, List};
use crate::outgoing::Outgoing;
use crate::reply::{self, History, Reply};
use crate::request::Kind;
use crate::{Descriptors, Request, Status};

/// What came of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome<D> {
    /// Saved, or whatever else was asked for; a descriptor that was sent can be closed.
    Done,
    /// Saved, from a server that was asked for [`Request::Details`]; the descriptor that was sent can be closed.
    Saved {
        /// How long the server keeps it; zero if it does not.
        ttl: Duration,
    },
    /// Found: the connection is this client's now. Of a [`Request::TakeOver`] it is the listening socket, without
    /// properties.
    Found {
        /// The connection, or the listening socket.
        descriptor: D,
        /// Of a [`Request::Find`], the endpoint that it was saved under.
        endpoint: Option<Box<[u8]>>,
        /// What was saved with it: of a find by endpoint only the connection's, else first the
        /// destination's property, which is empty if it was not found by that.
        properties: Vec<Box<[u8]>>,
        /// Its past, from a server that was asked for [`Request::Details`], if that knows it.
        history: Option<History>,
    },
    /// What a [`Request::Administer`] asked for.
    Report(Attributes),
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
    /// Descriptors ride on the bytes that they belong to.
    inline: bool,
    offers_details: bool,
    /// The requests that are under way.
    pending: VecDeque<Kind>,
    /// What the first of them waits for.
    step: Step,
    finished: VecDeque<Outcome<D>>,
    out: Outgoing<()>,
}

#[derive(Debug)]
enum Step {
    /// A save_endp is written; the dummy that lets the descriptor go is to come.
    Dummy,
    /// The outcome is to come.
    Outcome,
    /// Status 0 of a find or of a take-over has come, the byte with the descriptor is next.
    Descriptor(Vec<Box<[u8]>>),
}

/// What to write next.
#[derive(Debug)]
pub struct Transmit<'a> {
    /// The bytes, at least one.
    pub bytes: &'a [u8],
    /// The descriptor to be saved rides on the first of them: that of the first request which wants one and
    /// whose descriptor was not written yet.
    pub descriptor: bool,
}

impl<D> Default for Session<D> {
    fn default() -> Self {
        Self {
            framer: Framer::default(),
            attached: Attached::new(),
            inline: false,
            offers_details: false,
            pending: VecDeque::new(),
            step: Step::Outcome,
            finished: VecDeque::new(),
            out: Outgoing::default(),
        }
    }
}

impl<D> Session<D> {
    /// Starts a request. In the stock protocol the one before must be finished; then [`Request::Save`] and
    /// [`Request::Find`] are not understood.
    pub fn start(&mut self, request: &Request<'_>) {
        let kind = request.kind();
        debug_assert!(
            self.inline || (self.pending.is_empty() && !kind.is_inline_only()),
            "one stock request at a time"
        );
        let brings_connection = kind.brings_connection();
        if self.inline && brings_connection {
            self.out.attach(());
        } else {
            self.step = if brings_connection {
                Step::Dummy
            } else {
                Step::Outcome
            };
        }
        if self.inline {
            request.encode(self.out.buffer());
        } else {
            // Stock warns of what it does not know.
            request.in_whole_seconds().encode(self.out.buffer());
        }
        self.pending.push_back(kind);
    }

    /// Whether several requests may be under way, as [`Request::Inline`] asks for.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// Whether the server understands [`Request::Details`], as it says when it is asked for [`Request::Inline`].
    pub fn offers_details(&self) -> bool {
        self.offers_details
    }

    /// What to write next, if anything.
    pub fn poll_transmit(&self) -> Option<Transmit<'_>> {
        let (bytes, descriptor) = self.out.next()?;
        Some(Transmit {
            bytes,
            descriptor: descriptor.is_some(),
        })
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
        while self.go_on()? {}
        // Everything that could carry one is done with, but the beginning of an inline reply: what waits
        // besides was never asked for.
        let begins_reply = self.inline
            && !self.framer.is_empty()
            && self.attached.came_with(self.framer.consumed());
        if self.attached.waiting() > usize::from(begins_reply) {
            return Err(ProtocolError);
        }
        Ok(())
    }

    /// The outcome of the first request whose outcome was not asked for yet, once it is known.
    pub fn poll_outcome(&mut self) -> Option<Outcome<D>> {
        self.finished.pop_front()
    }

    fn go_on(&mut self) -> Result<bool, ProtocolError> {
        if let Step::Descriptor(properties) = &mut self.step {
            let Some((position, _)) = self.framer.next_byte() else {
                return Ok(false);
            };
            let properties = std::mem::take(properties);
            let descriptor = self.attached.take(position).ok_or(ProtocolError)?;
            // A listening socket is not acknowledged: the server reads nothing more from who took it over.
            if self.pending.front() != Some(&Kind::TakeOver) {
                reply::encode_dummy(self.out.buffer());
            }
            self.finish(Outcome::Found {
                descriptor,
                endpoint: None,
                properties,
                history: None,
            });
            return Ok(true);
        }
        let began = self.framer.consumed();
        if !self.framer.advance().map_err(|_| ProtocolError)? {
            return Ok(false);
        }
        match (&self.step, Reply::parse(self.framer.list())) {
            (_, Some(Reply::Announcement)) => {}
            (Step::Dummy, Some(Reply::Dummy)) => {
                self.out.attach(());
                self.out.buffer().push(0);
                self.step = Step::Outcome;
            }
            // A malformed save_endp is refused before its descriptor is asked for.
            (Step::Dummy, Some(Reply::Outcome { status, .. })) if status != Status::Done => {
                self.finish(Outcome::Refused(status));
            }
            (Step::Outcome, Some(Reply::Outcome { status, rest })) => {
                let kind = *self.pending.front().ok_or(ProtocolError)?;
                let found = match kind {
                    _ if status != Status::Done => None,
                    Kind::Administer(_) => {
                        self.finish(Outcome::Report(rest.into()));
                        return Ok(true);
                    }
                    Kind::TakeOver => {
                        self.step = Step::Descriptor(Vec::new());
                        return Ok(true);
                    }
                    Kind::FindEndpoint => Some((None, owned(reply::properties::<1>(rest))?)),
                    Kind::FindDestination => Some((None, owned(reply::properties::<2>(rest))?)),
                    Kind::Find => Some(found(rest)?),
                    _ => None,
                };
                match found {
                    Some((_, properties)) if !self.inline => {
                        reply::encode_dummy(self.out.buffer());
                        self.step = Step::Descriptor(properties);
                    }
                    Some((endpoint, properties)) => {
                        let descriptor = self.attached.take(began).ok_or(ProtocolError)?;
                        self.finish(Outcome::Found {
                            descriptor,
                            endpoint,
                            properties,
                            history: reply::history(rest),
                        });
                    }
                    None if status == Status::Done => {
                        self.inline |= kind == Kind::Inline;
                        self.offers_details |= kind == Kind::Inline && reply::offers_details(rest);
                        self.finish(match reply::granted(rest) {
                            Some(ttl) if kind.is_save() => Outcome::Saved { ttl },
                            _ => Outcome::Done,
                        });
                    }
                    None => self.finish(Outcome::Refused(status)),
                }
            }
            _ => return Err(ProtocolError),
        }
        Ok(true)
    }

    fn finish(&mut self, outcome: Outcome<D>) {
        self.pending.pop_front();
        self.step = Step::Outcome;
        self.finished.push_back(outcome);
    }
}

/// What is found through several endpoints: which, and the properties.
type Found = (Option<Box<[u8]>>, Vec<Box<[u8]>>);

fn found(rest: List<'_>) -> Result<Found, ProtocolError> {
    let (endpoint, properties) = reply::found(rest).ok_or(ProtocolError)?;
    Ok((Some(endpoint.into()), owned(Some(properties))?))
}

fn owned<const N: usize>(properties: Option<[&[u8]; N]>) -> Result<Vec<Box<[u8]>>, ProtocolError> {
    let properties = properties.ok_or(ProtocolError)?;
    Ok(properties.map(Box::from).into())
}
