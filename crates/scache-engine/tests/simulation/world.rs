//! Virtual time, open sockets, and processes with descriptors to them.
//!
//! An open socket (a [`Socket`]) is held by descriptors of processes, by messages that carry it, and by the
//! outside; the last one to let go closes it. A descriptor has a number that is never used again.

mod processes;

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use scache_engine::{End, Failure, Interest, Token};

use crate::faults::Faults;
use crate::trace::Event;

pub type Fd = usize;
pub type Socket = usize;

#[derive(Debug)]
pub struct World {
    pub now: Instant,
    pub random: fastrand::Rng,
    sockets: Vec<Open>,
    fds: Vec<Descriptor>,
    pub processes: Vec<Process>,
    pub trace: Vec<Event>,
    pub faults: Faults,
    /// How long nothing happens outside if a poll finds nothing.
    pub patience: Duration,
    /// Where clients connect to, and the next process.
    pub listener: Socket,
    pub successor: Successor,
    /// The other ends of the connections that a scripted successor was sent.
    pub called: Vec<Socket>,
    /// Connections that were sent to somebody, who is the owner until it saves them.
    pub given: BTreeSet<Socket>,
}

/// Who answers at the name of the listener when a process leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Successor {
    /// Whoever accepts from the listener, if anybody does.
    Listener,
    Nobody,
    /// Too many wait there.
    Crowd,
    /// A program of the test.
    Script,
}

#[derive(Debug, Default)]
pub struct Process {
    /// Descriptors that it may have.
    pub limit: Option<usize>,
    pub open: usize,
    /// Descriptors whose registration has an event.
    ready: Vec<Fd>,
    watched: Vec<Fd>,
    /// The host wants it to end.
    pub end: Option<End>,
    /// Its host allows another process to take over.
    pub may_yield: bool,
    /// All its descriptors are closed at once, with its epoll instance.
    pub exits: bool,
    /// Events are held back and made up at random.
    pub is_calm: bool,
}

#[derive(Debug)]
struct Descriptor {
    process: usize,
    socket: Socket,
    open: bool,
    registration: Option<(Token, Interest)>,
    is_ready: bool,
}

#[derive(Debug)]
struct Open {
    holders: u32,
    /// Descriptors of it that are watched.
    watchers: Vec<Fd>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Stream(Stream),
    Listener(VecDeque<Socket>),
    /// Not a socket. Some such things have events.
    File {
        events: bool,
    },
}

#[derive(Debug, Default)]
struct Stream {
    peer: Socket,
    queue: VecDeque<Message>,
    queued: usize,
    room: usize,
    /// The peer sends nothing more.
    ended: bool,
    /// It is not to send anything more.
    deaf: bool,
    /// The peer closed with unread data, or pulled the plug.
    reset: bool,
    /// A reset discards what was not read.
    is_tcp: bool,
    leads_here: bool,
    user: Option<u32>,
}

#[derive(Debug)]
struct Message {
    bytes: Vec<u8>,
    start: usize,
    passed: Vec<Socket>,
}

/// What a look at a socket shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    Alive,
    NoSocket,
    Closed,
    Reset,
    Spoke(Vec<u8>),
}

impl World {
    pub fn new(now: Instant, random: fastrand::Rng) -> Self {
        let mut world = Self {
            now,
            random,
            sockets: Vec::new(),
            fds: Vec::new(),
            processes: Vec::new(),
            trace: Vec::new(),
            faults: Faults::default(),
            patience: Duration::ZERO,
            listener: 0,
            successor: Successor::Listener,
            called: Vec::new(),
            given: BTreeSet::new(),
        };
        world.listener = world.open(Kind::Listener(VecDeque::new()));
        world
    }

    // Sockets, as the outside has them: who makes one holds it.

    pub fn pair(&mut self, rooms: [usize; 2], is_tcp: bool) -> [Socket; 2] {
        let first = self.sockets.len();
        for (index, room) in rooms.into_iter().enumerate() {
            self.open(Kind::Stream(Stream {
                peer: first + 1 - index,
                room,
                is_tcp,
                ..Stream::default()
            }));
        }
        [first, first + 1]
    }

    pub fn file(&mut self, events: bool) -> Socket {
        self.open(Kind::File { events })
    }

    /// A connection to the listener, by a user.
    pub fn connect(&mut self, rooms: [usize; 2], user: Option<u32>) -> Socket {
        let [near, far] = self.pair(rooms, false);
        self.stream_mut(near).leads_here = true;
        self.stream_mut(far).user = user;
        let listener = self.listener;
        self.backlog_mut().push_back(far);
        self.wake(listener);
        near
    }

    pub fn hold(&mut self, socket: Socket) {
        self.sockets[socket].holders += 1;
    }

    pub fn let_go(&mut self, socket: Socket) {
        let mut gone = vec![socket];
        while let Some(socket) = gone.pop() {
            let open = &mut self.sockets[socket];
            open.holders -= 1;
            if open.holders > 0 {
                continue;
            }
            let Kind::Stream(stream) = &open.kind else {
                continue;
            };
            let (peer, unread) = (stream.peer, !stream.queue.is_empty());
            // What was not read keeps standing here, so that one can ask later how this socket was.
            gone.extend(stream.queue.iter().flat_map(|message| &message.passed));
            if self.sockets[peer].holders > 0 {
                if unread {
                    self.reset(peer);
                } else {
                    self.end(peer);
                }
            }
        }
    }

    pub fn is_open(&self, socket: Socket) -> bool {
        self.sockets[socket].holders > 0
    }

    /// Nothing more will be sent to this socket.
    pub fn end(&mut self, socket: Socket) {
        self.stream_mut(socket).ended = true;
        self.wake(socket);
    }

    /// Whoever writes to this socket from now on is told that nobody will read it.
    pub fn hear_no_more(&mut self, socket: Socket) {
        let stream = self.stream_mut(socket);
        (stream.ended, stream.deaf) = (true, true);
        let peer = stream.peer;
        self.wake(socket);
        self.wake(peer);
    }

    /// The connection of this socket breaks.
    pub fn reset(&mut self, socket: Socket) {
        let stream = self.stream_mut(socket);
        stream.reset = true;
        if stream.is_tcp {
            stream.queued = 0;
            for message in std::mem::take(&mut stream.queue) {
                for passed in message.passed {
                    self.let_go(passed);
                }
            }
        }
        self.wake(socket);
    }

    pub fn peer(&self, socket: Socket) -> Socket {
        self.stream(socket).peer
    }

    pub fn user(&self, socket: Socket) -> Option<u32> {
        self.stream(socket).user
    }

    pub fn leads_here(&self, socket: Socket) -> bool {
        matches!(&self.sockets[socket].kind, Kind::Stream(stream) if stream.leads_here)
    }

    /// Bytes that wait to be read.
    pub fn queued(&self, socket: Socket) -> usize {
        self.stream(socket).queued
    }

    pub fn room(&self, socket: Socket) -> usize {
        let peer = self.stream(self.stream(socket).peer);
        peer.room - peer.queued
    }

    /// Whether the other end is there and has not read everything.
    pub fn has_unread(&self, socket: Socket) -> bool {
        let peer = self.stream(socket).peer;
        self.is_open(peer) && self.stream(peer).queued > 0
    }

    /// Connections on their way to the other end that it has not read.
    pub fn in_flight(&self, socket: Socket) -> usize {
        let queue = &self.stream(self.stream(socket).peer).queue;
        queue.iter().map(|message| message.passed.len()).sum()
    }

    pub fn waiting_clients(&self) -> usize {
        match &self.sockets[self.listener].kind {
            Kind::Listener(backlog) => backlog.len(),
            _ => 0,
        }
    }

    /// Writes what there is room for. The message takes holds of its own.
    pub fn write(
        &mut self,
        from: Socket,
        bytes: &[u8],
        passed: &[Socket],
    ) -> Result<usize, Failure> {
        let peer = self.stream(from).peer;
        if !self.is_open(peer) || self.stream(peer).deaf || self.stream(from).reset {
            return Err(Failure::Lost);
        }
        let stream = self.stream_mut(peer);
        let length = bytes.len().min(stream.room - stream.queued);
        if length == 0 {
            return Err(Failure::WouldBlock);
        }
        stream.queued += length;
        stream.queue.push_back(Message {
            bytes: bytes[..length].to_vec(),
            start: 0,
            passed: passed.to_vec(),
        });
        for socket in passed {
            self.hold(*socket);
        }
        self.wake(peer);
        Ok(length)
    }

    /// Reads as Linux does: not beyond the first message that carried descriptors, whose holds go to the
    /// reader.
    pub fn read(&mut self, at: Socket, most: usize) -> Result<(Vec<u8>, Vec<Socket>), Failure> {
        let stream = self.stream_mut(at);
        if stream.queue.is_empty() {
            return match (stream.reset, stream.ended) {
                (true, _) => Err(Failure::Lost),
                (false, true) => Ok((Vec::new(), Vec::new())),
                (false, false) => Err(Failure::WouldBlock),
            };
        }
        let (mut bytes, mut passed) = (Vec::new(), Vec::new());
        while let Some(message) = stream.queue.front_mut() {
            if bytes.len() >= most || !passed.is_empty() {
                break;
            }
            let end = message.bytes.len().min(message.start + most - bytes.len());
            bytes.extend_from_slice(&message.bytes[message.start..end]);
            message.start = end;
            passed = std::mem::take(&mut message.passed);
            if end == message.bytes.len() {
                stream.queue.pop_front();
            }
        }
        stream.queued -= bytes.len();
        let peer = stream.peer;
        self.wake(peer);
        Ok((bytes, passed))
    }

    pub fn health(&self, socket: Socket) -> Health {
        let Kind::Stream(stream) = &self.sockets[socket].kind else {
            return Health::NoSocket;
        };
        if let Some(first) = stream.queue.front() {
            let mut said = first.bytes[first.start..].to_vec();
            for message in stream.queue.iter().skip(1) {
                said.extend_from_slice(&message.bytes);
            }
            return Health::Spoke(said);
        }
        match (stream.reset, stream.ended) {
            (true, _) => Health::Reset,
            (false, true) => Health::Closed,
            (false, false) => Health::Alive,
        }
    }

    fn open(&mut self, kind: Kind) -> Socket {
        self.sockets.push(Open {
            holders: 1,
            watchers: Vec::new(),
            kind,
        });
        self.sockets.len() - 1
    }

    /// Readable, ended, writable.
    fn readiness(&self, socket: Socket) -> (bool, bool, bool) {
        match &self.sockets[socket].kind {
            Kind::Listener(backlog) => (!backlog.is_empty(), false, false),
            Kind::File { .. } => (true, false, true),
            Kind::Stream(stream) => {
                let ended = stream.ended || stream.reset;
                let readable = ended || !stream.queue.is_empty();
                (readable, ended, ended || self.room(socket) > 0)
            }
        }
    }

    fn wake(&mut self, socket: Socket) {
        for index in 0..self.sockets[socket].watchers.len() {
            self.wake_one(self.sockets[socket].watchers[index]);
        }
    }

    /// An event is there if something is possible now.
    fn wake_one(&mut self, fd: Fd) {
        let descriptor = &self.fds[fd];
        let Some((_, interest)) = descriptor.registration else {
            return;
        };
        let (readable, ended, writable) = self.readiness(descriptor.socket);
        let wanted = writable && interest == Interest::ReadableOrWritable;
        if (readable || ended || wanted) && !descriptor.is_ready {
            self.processes[descriptor.process].ready.push(fd);
            self.fds[fd].is_ready = true;
        }
    }

    fn backlog_mut(&mut self) -> &mut VecDeque<Socket> {
        match &mut self.sockets[self.listener].kind {
            Kind::Listener(backlog) => backlog,
            other => panic!("{other:?} does not listen"),
        }
    }

    fn stream(&self, socket: Socket) -> &Stream {
        match &self.sockets[socket].kind {
            Kind::Stream(stream) => stream,
            other => panic!("{other:?} is no stream"),
        }
    }

    fn stream_mut(&mut self, socket: Socket) -> &mut Stream {
        match &mut self.sockets[socket].kind {
            Kind::Stream(stream) => stream,
            other => panic!("{other:?} is no stream"),
        }
    }
}
