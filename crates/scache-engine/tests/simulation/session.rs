//! What one client says and is told, read naively: each list from its first byte each time.

mod hand_outs;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use scache_engine::Complaint;
use scache_proto::limits;
use scache_proto::server::{Fault, Refusal};

use crate::model::Entry;
use crate::oracle::report::Report;
use crate::trace::{Asked, Got};
use crate::wire::{Found, Meaning, list, meaning, next_list};
use crate::world::Fd;

/// Removes the first item of a queue if it `is_meant`, and returns it.
fn pop_front_if<T>(queue: &mut VecDeque<T>, is_meant: impl Fn(&T) -> bool) -> Option<T> {
    queue
        .front()
        .is_some_and(is_meant)
        .then(|| queue.pop_front())?
}

/// The server's end of a connection.
#[derive(Debug, Default, Clone)]
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
    /// Where in it connections ride, and which.
    pub riders: VecDeque<(usize, Entry)>,
    /// Where in it answers belong that are known when they are written, and what they have to say.
    unseen: VecDeque<(usize, Report)>,
    /// The one that rides is no cached connection, but a closed one in its place.
    pub stand_in: bool,
    /// What is to be written was looked at: nothing more is carried out before that.
    pub looked_at: bool,
    /// Connections that went to an inline client, and are still open here.
    pub delivered: VecDeque<Entry>,
    /// Hand-outs that it is not known to have read, and how many these may be.
    pub unread: usize,
    pub most_unread: usize,
    /// When it was first seen that it has to read before more is done for it.
    reader_awaited: Option<Instant>,
    /// The client asked for descriptors on the bytes that they belong to.
    pub inline: bool,
    /// The client asked for more in replies.
    details: bool,
    pub blocked: bool,
    /// When the first byte of the request under way was read.
    pub began: Option<Instant>,
    last_input: Option<Instant>,
    pub broken: bool,
    /// A find that comes next is told of and not carried out.
    looks_ahead: bool,
    /// So much input is known to be no complete list.
    incomplete: usize,
}

#[derive(Debug, Default, Clone)]
pub enum State {
    #[default]
    Idle,
    /// A save waits for its byte.
    AwaitDescriptor(Asked),
    AwaitDummy(Entry),
    /// The connection is to be written.
    Sending,
    /// A find waits for what another process hands over.
    Postponed(Asked),
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
            most_unread: limits::DESCRIPTORS,
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
        let gone = pop_front_if(&mut self.riders, |(at, _)| *at == 0 && bytes > 0);
        for (at, _) in &mut self.riders {
            *at -= bytes;
        }
        for (at, _) in &mut self.unseen {
            *at -= bytes;
        }
        self.unread += usize::from(gone.is_some());
        self.stand_in &= gone.is_none();
        match gone {
            Some((_, entry)) if self.inline => {
                self.delivered.push_back(entry);
                if self.riders.is_empty() {
                    self.began = self.last_input.filter(|_| !self.input.is_empty());
                }
            }
            Some((_, entry)) => self.state = State::AwaitReceipt(entry),
            None => {}
        }
    }

    /// These bytes are to be written: answers that are in them are checked, and known from now on.
    pub fn see(&mut self, bytes: &[u8]) {
        while let Some((at, report)) = pop_front_if(&mut self.unseen, |(at, _)| *at < bytes.len()) {
            let Found::List(answer, length) = next_list(&bytes[at..]) else {
                panic!("no list that a client reads: {report:?}");
            };
            assert!(length <= report.most_bytes(), "{length} bytes: {report:?}");
            report.check(&answer);
            self.out
                .splice(at..at, bytes[at..at + length].iter().copied());
            let riders = self.riders.iter_mut().map(|(place, _)| place);
            let unseen = self.unseen.iter_mut().map(|(place, _)| place);
            for place in riders.chain(unseen).filter(|place| **place >= at) {
                *place += length;
            }
        }
    }

    /// Whether it depends on answers that were not seen if more is carried out before it was read.
    pub fn is_uncertain(&self) -> bool {
        let unseen = self.unseen.iter();
        let most: usize = unseen.map(|(_, report)| report.most_bytes()).sum();
        let known = self.out.len();
        known <= limits::REPLY_BYTES && known + most > limits::REPLY_BYTES
    }

    /// Whether everything was written.
    pub fn is_answered(&self) -> bool {
        self.out.is_empty() && self.unseen.is_empty()
    }

    /// What is to be written at once, and the connection that rides on its first byte.
    pub fn to_write(&self) -> (&[u8], Option<Fd>) {
        let mut riders = self.riders.iter().peekable();
        let first = riders.next_if(|(at, _)| *at == 0);
        let end = riders.peek().map_or(self.out.len(), |(at, _)| *at);
        (&self.out[..end], first.map(|(_, entry)| entry.fd))
    }

    /// Whether this connection went to the client and is still open here.
    pub fn has_sent(&self, fd: Fd) -> bool {
        let delivered = self.delivered.front().is_some_and(|entry| entry.fd == fd);
        delivered || matches!(&self.state, State::AwaitReceipt(entry) if entry.fd == fd)
    }

    /// How many connections are in here: to be saved, and handed out.
    pub fn descriptors(&self) -> usize {
        let current = matches!(self.state, State::AwaitDummy(_) | State::AwaitReceipt(_));
        self.held().count() + usize::from(current) + self.riders.len() + self.delivered.len()
    }

    /// Does what nobody is told of, and says what comes behind that: a find is not carried out.
    pub fn look_ahead(&mut self) -> Step {
        self.looks_ahead = true;
        let step = self.step();
        self.looks_ahead = false;
        step
    }

    /// The descriptors that belong to nothing yet.
    pub fn held(&self) -> impl Iterator<Item = Fd> {
        self.attached.iter().filter_map(|(_, _, fd)| *fd)
    }

    pub fn reply(&mut self, status: u8, rest: &[(&[u8], &[u8])]) {
        self.say(status, rest);
        self.end_request();
    }

    /// An answer that is known when it is seen.
    pub fn report(&mut self, report: Report) {
        self.unseen.push_back((self.out.len(), report));
        self.end_request();
    }

    /// The status, and what would be behind it, empty.
    pub fn refuse(&mut self, status: u8, names: &[&[u8]]) {
        let rest: Vec<_> = names.iter().map(|name| (*name, &b""[..])).collect();
        self.reply(status, &rest);
    }

    /// What was saved is kept for `ttl`.
    pub fn keep(&mut self, ttl: Duration) {
        let milliseconds = ttl.as_millis().to_string();
        let rest: &[(&[u8], &[u8])] = &[(b"ttl_ms", milliseconds.as_bytes())];
        self.reply(0, if self.details { rest } else { &[] });
    }

    /// Status 0 with a connection, which stays here until the client has it. `through`: the property of the
    /// destination that led to it; `names_endpoint`: the client has to be told which it is; `life`: its age in
    /// milliseconds and how often it was taken, if that is known.
    pub fn hand_out(
        &mut self,
        entry: Entry,
        through: Option<&[u8]>,
        names_endpoint: bool,
        life: Option<(u64, u64)>,
    ) {
        let life = life.filter(|_| self.details);
        let life = life.map(|(age, taken)| (age.to_string(), taken.to_string()));
        let mut rest: Vec<(&[u8], &[u8])> = Vec::new();
        if names_endpoint {
            rest.push((b"label", &entry.endpoint));
        }
        rest.extend(through.map(|property| (&b"property"[..], property)));
        rest.push((b"property", &entry.property));
        if let Some((age, taken)) = &life {
            rest.extend([
                (&b"age_ms"[..], age.as_bytes()),
                (b"taken", taken.as_bytes()),
            ]);
        }
        let at = self.out.len();
        self.say(0, &rest);
        if self.inline {
            self.riders.push_back((at, entry));
        } else {
            self.state = State::AwaitDummy(entry);
        }
    }

    fn say(&mut self, status: u8, rest: &[(&[u8], &[u8])]) {
        let status = [b'0' + status];
        let attributes = [&[(&b"status"[..], &status[..])], rest].concat();
        self.out.extend(list(&attributes));
    }

    /// Who has connections to read has time for that as for a request.
    fn end_request(&mut self) {
        if self.riders.is_empty() {
            self.began = None;
        }
    }

    pub fn step(&mut self) -> Step {
        if let Some(entry) = self.delivered.pop_front() {
            return Step::Delivered(entry);
        }
        if self.broken {
            return Step::Stuck;
        }
        let state = std::mem::take(&mut self.state);
        if self.has_stray() && !matches!(state, State::Postponed(_)) {
            self.state = state;
            return self.break_off(Fault::StrayDescriptor);
        }
        match state {
            State::Postponed(asked) => {
                if self.looks_ahead {
                    self.state = State::Postponed(asked.clone());
                }
                Step::Request(asked, None)
            }
            State::Idle => self.step_request(),
            State::AwaitDescriptor(asked) => self.step_descriptor(asked),
            State::AwaitDummy(entry) => match self.next_list() {
                Found::List(attributes, length) => {
                    self.consume(length);
                    if attributes.first().is_some_and(|(name, _)| name == b"dummy") {
                        self.riders.push_back((self.out.len(), entry));
                        self.out.push(0);
                        self.state = State::Sending;
                        if self.has_stray() {
                            return self.break_off(Fault::StrayDescriptor);
                        }
                        self.await_reader()
                    } else {
                        self.end_request();
                        Step::Declined(entry)
                    }
                }
                other => {
                    self.state = State::AwaitDummy(entry);
                    self.need_more(&other)
                }
            },
            // Nothing that comes before the connection is written can be its receipt.
            State::Sending => {
                self.state = State::Sending;
                self.await_reader()
            }
            State::AwaitReceipt(entry) => match self.next_list() {
                Found::List(_, length) => {
                    self.consume(length);
                    self.end_request();
                    Step::Delivered(entry)
                }
                other => {
                    self.state = State::AwaitReceipt(entry);
                    self.need_more(&other)
                }
            },
        }
    }

    /// Connections are to be read first.
    fn await_reader(&mut self) -> Step {
        let is_too_far_ahead = self.input.len() > limits::AHEAD_BYTES
            || self.attached.len() > limits::AHEAD_DESCRIPTORS;
        if self.blocked && is_too_far_ahead {
            self.break_off(Fault::NotReading)
        } else {
            Step::Stuck
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
        if self.has_to_read() {
            return self.await_reader();
        }
        let began = self.done;
        loop {
            let position = self.done;
            let attributes = match self.next_list() {
                Found::List(attributes, length) => {
                    match meaning(&attributes, self.inline) {
                        Meaning::Request(asked) if self.looks_ahead && asked.is_find() => {
                            if self.done > began {
                                // Whoever did what is before it has come to this, too.
                                self.consume(length);
                                self.state = State::Postponed(asked.clone());
                            }
                            return Step::Request(asked, None);
                        }
                        _ => {}
                    }
                    self.consume(length);
                    attributes
                }
                Found::Incomplete => {
                    if self.input.is_empty() {
                        self.end_request();
                    } else if self.began.is_none() {
                        self.began = self.last_input;
                    }
                    return self.need_more(&Found::Incomplete);
                }
                Found::TooLong => {
                    self.say(1, &[]);
                    return self.break_off(Fault::TooLong);
                }
            };
            match meaning(&attributes, self.inline) {
                Meaning::Nothing => self.end_request(),
                Meaning::Unknown => {
                    self.reply(1, &[]);
                    return Step::Refused(Refusal::Unknown.into());
                }
                Meaning::Malformed(names) => {
                    self.refuse(1, names);
                    return Step::Refused(Refusal::Malformed.into());
                }
                Meaning::Request(Asked::Inline) => {
                    self.inline = true;
                    self.reply(0, &[(b"details", b"yes")]);
                }
                Meaning::Request(Asked::Details) => {
                    self.details = true;
                    self.reply(0, &[]);
                }
                Meaning::Request(asked) if self.inline && asked.brings_connection() => {
                    return self.step_save(asked, position);
                }
                Meaning::Request(asked @ Asked::SaveEndpoint { .. }) => {
                    self.out.extend(list(&[(b"dummy", b"")]));
                    return self.step_descriptor(asked);
                }
                Meaning::Request(asked) => return Step::Request(asked, None),
            }
        }
    }

    fn step_descriptor(&mut self, asked: Asked) -> Step {
        if self.input.is_empty() {
            self.state = State::AwaitDescriptor(asked);
            return self.need_more(&Found::Incomplete);
        }
        let position = self.done;
        self.consume(1);
        self.step_save(asked, position)
    }

    /// A request that brings a connection with the byte at this position, or should.
    fn step_save(&mut self, asked: Asked, position: u64) -> Step {
        let is_with_it = |(first, end, _): &(u64, u64, _)| (*first..*end).contains(&position);
        let with_it = pop_front_if(&mut self.attached, is_with_it).and_then(|(_, _, fd)| fd);
        if with_it.is_none() {
            self.reply(2, &[]);
            return Step::Refused(Refusal::NoDescriptor.into());
        }
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
            // All that was read is done with or belongs to a list, and none of it to a descriptor, but of the
            // first byte of a request.
            _ if self.attached.len() > usize::from(self.begins_with_descriptor()) => {
                self.break_off(Fault::StrayDescriptor)
            }
            _ => Step::Stuck,
        }
    }

    fn begins_with_descriptor(&self) -> bool {
        let front = self.attached.front();
        let with_it = front.is_some_and(|(first, end, _)| (*first..*end).contains(&self.done));
        self.inline && !self.input.is_empty() && with_it
    }

    /// Whether a descriptor came with bytes that are all dealt with.
    fn has_stray(&self) -> bool {
        let front = self.attached.front();
        front.is_some_and(|(_, end, _)| *end <= self.done)
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
