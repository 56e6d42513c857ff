//! What one client says and is told, read naively: each list from its first byte each time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use scache_engine::Complaint;
use scache_proto::limits;
use scache_proto::server::{Fault, Refusal};

use crate::model::Entry;
use crate::trace::{Asked, Got};
use crate::wire::{Found, Meaning, list, meaning, next_list};
use crate::world::Fd;

/// The server's end of a connection.
#[derive(Debug, Default)]
pub struct Session {
    /// What was read and not dealt with.
    pub input: Vec<u8>,
    /// How much was dealt with before it.
    done: u64,
    /// Descriptors by the bytes that they came with: the first, and the one behind the last.
    attached: VecDeque<(u64, u64, Option<Fd>)>,
    pub state: State,
    /// What is still to be written.
    pub out: Vec<u8>,
    /// Where in it the connection rides.
    pub rides_at: Option<usize>,
    pub blocked: bool,
    /// When the first byte of the request under way was read.
    pub began: Option<Instant>,
    last_input: Option<Instant>,
    pub broken: bool,
    /// So much input is known to be no complete list.
    incomplete: usize,
}

#[derive(Debug, Default)]
pub enum State {
    #[default]
    Idle,
    AwaitDescriptor {
        ttl: Duration,
        endpoint: Vec<u8>,
        property: Vec<u8>,
    },
    AwaitDummy(Entry),
    AwaitReceipt(Entry),
}

/// What comes next of what was read.
#[derive(Debug)]
pub enum Step {
    /// Nothing, before more is read or written.
    Stuck,
    /// To be carried out, with the connection to be saved.
    Request(Asked, Option<Fd>),
    Refused(Complaint),
    /// It has to end.
    Broken(Complaint),
    /// A connection that the client did not want.
    Declined(Entry),
    /// A connection that is the client's now.
    Delivered(Entry),
}

impl Session {
    pub fn new(announce: bool) -> Self {
        let out = if announce {
            list(&[(b"protocol", b"connection_cache_protocol")])
        } else {
            Vec::new()
        };
        Self {
            out,
            ..Self::default()
        }
    }

    pub fn read(&mut self, now: Instant, bytes: &[u8], got: Got) {
        let first = self.received();
        self.input.extend_from_slice(bytes);
        match got {
            Got::None => {}
            Got::One(fd) => self.attached.push_back((first, self.received(), Some(fd))),
            Got::Several | Got::Truncated => {
                self.attached.push_back((first, self.received(), None))
            }
        }
        self.last_input = Some(now);
        self.began.get_or_insert(now);
    }

    pub fn written(&mut self, bytes: usize) {
        self.blocked = false;
        self.out.drain(..bytes);
        self.rides_at = match self.rides_at {
            Some(0) if bytes > 0 => None,
            Some(at) => Some(at - bytes),
            None => None,
        };
    }

    /// What is to be written at once, and whether the connection rides on its first byte.
    pub fn to_write(&self) -> (&[u8], bool) {
        match self.rides_at {
            Some(0) => (&self.out, true),
            Some(at) => (&self.out[..at], false),
            None => (&self.out, false),
        }
    }

    /// The descriptors that belong to nothing yet.
    pub fn held(&self) -> impl Iterator<Item = Fd> {
        self.attached.iter().filter_map(|(_, _, fd)| *fd)
    }

    pub fn reply(&mut self, status: u8, properties: &[&[u8]]) {
        let status = [b'0' + status];
        let mut attributes: Vec<(&[u8], &[u8])> = vec![(b"status", &status)];
        attributes.extend(
            properties
                .iter()
                .map(|property| (&b"property"[..], *property)),
        );
        self.out.extend(list(&attributes));
        self.began = None;
    }

    /// Status 0 with a connection, which stays here until the client has it.
    pub fn hand_out(&mut self, entry: Entry, destination_property: Option<&[u8]>) {
        let began = self.began;
        let mut properties: Vec<&[u8]> = destination_property.into_iter().collect();
        properties.push(&entry.property);
        self.reply(0, &properties);
        self.began = began;
        self.state = State::AwaitDummy(entry);
    }

    pub fn step(&mut self) -> Step {
        if self.broken {
            return Step::Stuck;
        }
        if self
            .attached
            .front()
            .is_some_and(|(_, end, _)| *end <= self.done)
        {
            return self.break_off(Fault::StrayDescriptor);
        }
        match std::mem::take(&mut self.state) {
            State::Idle => self.step_request(),
            State::AwaitDescriptor {
                ttl,
                endpoint,
                property,
            } => self.step_descriptor(ttl, endpoint, property),
            State::AwaitDummy(entry) => match self.next_list() {
                Found::List(attributes, length) => {
                    self.consume(length);
                    if attributes.first().is_some_and(|(name, _)| name == b"dummy") {
                        self.rides_at = Some(self.out.len());
                        self.out.push(0);
                        self.state = State::AwaitReceipt(entry);
                        self.step_receipt_later()
                    } else {
                        self.began = None;
                        Step::Declined(entry)
                    }
                }
                other => {
                    self.state = State::AwaitDummy(entry);
                    self.need_more(&other)
                }
            },
            State::AwaitReceipt(entry) => {
                self.state = State::AwaitReceipt(entry);
                self.step_receipt_later()
            }
        }
    }

    fn step_receipt_later(&mut self) -> Step {
        // Nothing that comes before the connection is written can be its receipt.
        if self.rides_at.is_some() {
            let is_too_far_ahead = self.input.len() > limits::AHEAD_BYTES
                || self.attached.len() > limits::AHEAD_DESCRIPTORS;
            return if self.blocked && is_too_far_ahead {
                self.break_off(Fault::NotReading)
            } else {
                Step::Stuck
            };
        }
        match self.next_list() {
            Found::List(_, length) => {
                self.consume(length);
                self.began = None;
                match std::mem::take(&mut self.state) {
                    State::AwaitReceipt(entry) => Step::Delivered(entry),
                    other => panic!("{other:?}"),
                }
            }
            other => self.need_more(&other),
        }
    }

    fn step_request(&mut self) -> Step {
        if self.out.len() > limits::REPLY_BYTES {
            return if self.blocked && !self.input.is_empty() {
                self.break_off(Fault::NotReading)
            } else {
                Step::Stuck
            };
        }
        loop {
            let attributes = match self.next_list() {
                Found::List(attributes, length) => {
                    self.consume(length);
                    attributes
                }
                Found::Incomplete => {
                    if self.input.is_empty() {
                        self.began = None;
                    } else if self.began.is_none() {
                        self.began = self.last_input;
                    }
                    return self.need_more(&Found::Incomplete);
                }
                Found::TooLong => {
                    let began = self.began;
                    self.reply(1, &[]);
                    self.began = began;
                    return self.break_off(Fault::TooLong);
                }
            };
            match meaning(&attributes) {
                Meaning::Nothing => self.began = None,
                Meaning::Unknown => {
                    self.reply(1, &[]);
                    return Step::Refused(Refusal::Unknown.into());
                }
                Meaning::Malformed(properties) => {
                    self.reply(1, &vec![&b""[..]; properties]);
                    return Step::Refused(Refusal::Malformed.into());
                }
                Meaning::Request(Asked::SaveEndpoint {
                    ttl,
                    endpoint,
                    property,
                }) => {
                    self.out.extend(list(&[(b"dummy", b"")]));
                    return self.step_descriptor(ttl, endpoint, property);
                }
                Meaning::Request(asked) => return Step::Request(asked, None),
            }
        }
    }

    fn step_descriptor(&mut self, ttl: Duration, endpoint: Vec<u8>, property: Vec<u8>) -> Step {
        if self.input.is_empty() {
            self.state = State::AwaitDescriptor {
                ttl,
                endpoint,
                property,
            };
            return self.need_more(&Found::Incomplete);
        }
        let position = self.done;
        self.consume(1);
        let with_it = self
            .attached
            .pop_front_if(|(first, end, _)| (*first..*end).contains(&position))
            .and_then(|(_, _, fd)| fd);
        if with_it.is_none() {
            self.reply(2, &[]);
            return Step::Refused(Refusal::NoDescriptor.into());
        }
        let asked = Asked::SaveEndpoint {
            ttl,
            endpoint,
            property,
        };
        Step::Request(asked, with_it)
    }

    fn next_list(&mut self) -> Found {
        if self.incomplete == self.input.len() {
            return Found::Incomplete;
        }
        let found = next_list(&self.input);
        if matches!(found, Found::Incomplete) {
            self.incomplete = self.input.len();
        }
        found
    }

    fn need_more(&mut self, found: &Found) -> Step {
        match found {
            Found::TooLong => self.break_off(Fault::TooLong),
            // All that was read is done with or belongs to a list, and none of it to a descriptor.
            _ if !self.attached.is_empty() => self.break_off(Fault::StrayDescriptor),
            _ => Step::Stuck,
        }
    }

    fn break_off(&mut self, fault: Fault) -> Step {
        self.broken = true;
        Step::Broken(fault.into())
    }

    fn consume(&mut self, length: usize) {
        self.input.drain(..length);
        self.done += length as u64;
        self.incomplete = 0;
    }

    fn received(&self) -> u64 {
        self.done + self.input.len() as u64
    }
}
