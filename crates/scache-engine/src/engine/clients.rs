//! Clients of the loop: they come, have their turns, and go.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use scache_proto::limits;

use super::{Engine, PAUSE, Transport};
use crate::cache::{Pass, Surroundings};
use crate::client::{self, Client, Next, Turn};
use crate::handoff::{HandOff, Progress};
use crate::peers::Peer;
use crate::{Complaint, Failure, Host, Interest, Kernel, Key, Note, Token};

/// How many are accepted in one go: those who connect and leave again must not keep the others waiting.
const ACCEPTS_AT_ONCE: usize = 64;

/// Deadlines of clients that are gone are kept until there are so many more than of those that are here.
const SPARE_DEADLINES: usize = 1024;

/// How many cached connections may make room for clients in one go: when the whole system is out of
/// descriptors, what is given up here is taken elsewhere.
const EVICTIONS_PER_ACCEPT: usize = 8;

/// How often a client that is dropped is read from.
const LAST_READS: usize = 16;

impl<K: Kernel, H: Host> Engine<K, H> {
    /// Accepts who waits. `somebody`: an event said that somebody does.
    pub(super) fn accept(&mut self, place: u32, now: Instant, mut somebody: bool) {
        if self.asker.is_some() {
            // New clients are for the process that took over.
            return;
        }
        self.admit_waiting(now);
        let mut evictions = 0;
        for _ in 0..ACCEPTS_AT_ONCE {
            let has_place = self.has_place(now);
            let Some(listener) = self.listeners.get(place as usize) else {
                return;
            };
            if !has_place {
                self.full = true;
                if somebody {
                    self.host.complain(now, Complaint::ClientLimit);
                }
                return;
            }
            let transport = listener.transport;
            match self.kernel.accept(&listener.socket) {
                Ok(socket) => self.welcome(socket, transport, now),
                Err(Failure::WouldBlock) => return,
                Err(Failure::Exhausted)
                    if evictions < EVICTIONS_PER_ACCEPT && self.make_room(now) =>
                {
                    evictions += 1;
                }
                Err(_) => {
                    self.host.complain(now, Complaint::Accept);
                    self.retry_in(PAUSE, now);
                    return;
                }
            }
            somebody = false;
        }
        self.retry_in(Duration::ZERO, now);
    }

    /// Begins to serve a peer.
    pub(super) fn admit(&mut self, peer: Peer<K::Descriptor>, now: Instant) {
        // Who only hands somebody on is none.
        let is_client = matches!(peer, Peer::Client(_));
        let key = self.peers.insert(peer, now);
        let stats = self.cache.stats_mut();
        stats.clients_accepted += u64::from(is_client);
        stats.clients_most = stats.clients_most.max(self.peers.len() as u64);
        self.idle_since = None;
        self.host.note(Note::Connected);
        if self.watch_peer(key).is_err() && !(self.make_room(now) && self.watch_peer(key).is_ok()) {
            self.host.complain(now, Complaint::Accept);
            self.part(key, now);
            return;
        }
        // Says hello. What the client has sent by now makes an event.
        self.turn(key, now, false, false);
    }

    /// Lets one peer do what it can.
    pub(super) fn turn(&mut self, key: Key, now: Instant, readable: bool, ended: bool) {
        if self.unread.is_to_be_counted(now) {
            self.count_unread(now);
        }
        let surroundings = Surroundings {
            settings: &self.settings,
            clients: self.peers.len(),
            waiting: self.waiting.len(),
            listeners: self.listeners.len(),
        };
        let Some(peer) = self.peers.find(key) else {
            return;
        };
        let mut pass = Pass {
            now,
            kernel: &mut self.kernel,
            host: &mut self.host,
        };
        let mut turn = Turn {
            pass: &mut pass,
            cache: &mut self.cache,
            surroundings,
            buffer: &mut self.buffer,
            requests: client::REQUESTS_PER_TURN,
            may_yield: self.end.is_none() && self.listeners.len() == 1,
            awaits_entries: self.arrivals.are_expected(now),
            takes_over: false,
            is_handed_over: false,
            answered: 0,
        };
        let mut takes_over = false;
        let mut is_handed_over = false;
        let next = match peer {
            Peer::Client(client) => {
                let unread = client.unread();
                client.limit_unread(self.unread.room_for(unread));
                let next = if readable || ended {
                    client.turn(&mut turn, ended)
                } else {
                    client.answer(&mut turn)
                };
                self.unread.changed(unread, client.unread());
                takes_over = turn.takes_over;
                is_handed_over = turn.is_handed_over;
                self.answered += turn.answered;
                if turn.answered > 0 {
                    self.arrivals.answered();
                }
                if client.served() {
                    self.host.served();
                }
                next
            }
            Peer::HandOff(handoff) => match handoff.turn(&mut self.kernel, &mut self.buffer) {
                Progress::Pending => Next::Readable,
                Progress::Complete(socket) => {
                    let client = self.client(socket);
                    self.part(key, now);
                    self.admit(client, now);
                    return;
                }
                Progress::Failed => {
                    self.host.complain(now, Complaint::HandOff);
                    Next::Close
                }
            },
        };
        if self.peers.sort(key, now) {
            self.offer_slot(now);
        }
        self.note_arrivals(key, is_handed_over, now);
        match next {
            Next::Close => self.part(key, now),
            Next::Again => {
                self.again.insert(key);
            }
            Next::Later => {
                self.later.insert(key);
                self.retry_in(PAUSE, now);
                self.queue_deadline(key);
            }
            Next::Readable | Next::Writable => {
                self.await_writable(key, next == Next::Writable);
                self.queue_deadline(key);
            }
        }
        self.limit_memory(now);
        if takes_over {
            self.yield_to(key, now);
        }
    }

    /// Drops those that hold the most while all together hold too much, so that who has little to say gets through.
    fn limit_memory(&mut self, now: Instant) {
        while self.peers.memory() > limits::SESSIONS_BYTES {
            let Some(key) = self.peers.largest() else {
                break;
            };
            self.host.complain(now, Complaint::Memory);
            self.cache.client_dropped(now, Complaint::Memory);
            self.part(key, now);
        }
    }

    /// Drops who has not gone on in time.
    pub(super) fn drop_late_peers(&mut self, now: Instant) {
        while let Some(Reverse((due, key))) = self.deadlines.peek().copied() {
            if due > now {
                break;
            }
            self.deadlines.pop();
            self.peers.unqueued(key);
            let deadline = self.peers.find(key).and_then(|peer| peer.deadline());
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.host.complain(now, Complaint::Timeout);
                self.cache.client_dropped(now, Complaint::Timeout);
                self.part(key, now);
            } else {
                self.queue_deadline(key);
            }
        }
    }

    fn welcome(&mut self, socket: K::Descriptor, transport: Transport, now: Instant) {
        if self.settings.allowed_users.is_some() {
            let user = self.kernel.user(&socket);
            if !self.settings.allows(user) {
                self.host.complain(now, Complaint::NotAllowed);
                self.cache.stats_mut().clients_refused_user += 1;
                self.shut(&socket);
                return;
            }
        }
        self.place_client(socket, transport, now);
    }

    /// Begins to serve who was accepted and has a slot.
    pub(super) fn serve_peer(&mut self, socket: K::Descriptor, transport: Transport, now: Instant) {
        let peer = match transport {
            Transport::Unix | Transport::Inet => self.client(socket),
            Transport::Pass => {
                Peer::HandOff(HandOff::new(socket, now, self.settings.request_timeout))
            }
        };
        self.admit(peer, now);
    }

    fn client(&self, socket: K::Descriptor) -> Peer<K::Descriptor> {
        Peer::Client(Client::new(
            socket,
            self.settings.announce,
            self.settings.request_timeout,
        ))
    }

    fn watch_peer(&mut self, key: Key) -> Result<(), Failure> {
        match self.peers.find(key) {
            Some(peer) => self
                .kernel
                .watch(peer.socket(), Token::Peer(key), Interest::Readable),
            None => Ok(()),
        }
    }

    /// Asks for an event when the client has read, or no longer.
    fn await_writable(&mut self, key: Key, wanted: bool) {
        let Some(Peer::Client(client)) = self.peers.find(key) else {
            return;
        };
        if client.set_awaits_writable(wanted) {
            return;
        }
        let interest = if wanted {
            Interest::ReadableOrWritable
        } else {
            Interest::Readable
        };
        // The descriptor is watched already: this cannot fail for want of memory or places.
        let _ = self
            .kernel
            .watch_for(client.output(), Token::Peer(key), interest);
    }

    fn queue_deadline(&mut self, key: Key) {
        let Some(deadline) = self.peers.deadline_to_queue(key) else {
            return;
        };
        self.deadlines.push(Reverse((deadline, key)));
        // Of those who come and go only what is not due yet would stay, for as long as a request may take.
        if self.deadlines.len() > 2 * self.peers.len() + SPARE_DEADLINES {
            let peers = &self.peers;
            self.deadlines
                .retain(|Reverse((_, key))| peers.contains(*key));
            self.deadlines.shrink_to(2 * self.peers.len());
        }
    }

    pub(super) fn part(&mut self, key: Key, now: Instant) {
        let Some(peer) = self.peers.remove(key) else {
            return;
        };
        self.host.note(Note::Disconnected);
        let unread = self.forget_unread(&peer);
        self.hang_up(&peer);
        self.arrivals.parted(key);
        if let Peer::Client(client) = peer {
            let (cache, mut pass) = self.cache_and_pass(now);
            let socket = client.close(&mut pass, cache);
            if unread > 0 {
                self.unread.keep(&mut self.kernel, now, socket, unread);
            }
        }
        if self.peers.len() == 0 {
            self.idle_since = Some(now);
        }
        self.offer_slot(now);
    }

    /// Asks of all clients whether they have read what they were handed out.
    fn count_unread(&mut self, now: Instant) {
        self.host.note(Note::UnreadLimit);
        for peer in self.peers.iter_mut() {
            if let Peer::Client(client) = peer {
                let before = client.unread();
                client.look_at_unread(&mut self.kernel, now);
                self.unread.changed(before, client.unread());
            }
        }
    }

    /// Counts what a client has not read no longer as its own, and returns how many of it are still unread.
    fn forget_unread(&mut self, peer: &Peer<K::Descriptor>) -> usize {
        let Peer::Client(client) = peer else {
            return 0;
        };
        self.unread.changed(client.unread(), 0);
        if client.unread() > 0 && self.kernel.has_unread(client.output()) {
            client.unread()
        } else {
            0
        }
    }

    /// Prepares a peer's socket to be closed.
    pub(super) fn hang_up(&mut self, peer: &Peer<K::Descriptor>) {
        self.hang_up_socket(peer.socket(), peer.has_ended());
    }

    /// Prepares a socket to be closed. `has_ended`: everything that was sent to it is read.
    pub(super) fn hang_up_socket(&mut self, socket: &K::Descriptor, has_ended: bool) {
        // The other end of a handed-on connection is held by others: closing does not end its events.
        self.kernel.unwatch(socket);
        if !has_ended {
            self.shut(socket);
        }
    }

    /// Takes what a client has sent and nobody will carry out, so that its socket can be closed.
    pub(super) fn shut(&mut self, socket: &K::Descriptor) {
        // A client whose last words are read hears the end, not a reset. What it may have sent besides is not worth the
        // others' time, and is closed with the socket.
        self.kernel.hear_no_more(socket);
        for _ in 0..LAST_READS {
            if !matches!(self.kernel.receive(socket, &mut self.buffer), Ok((1.., _))) {
                break;
            }
        }
    }

    fn make_room(&mut self, now: Instant) -> bool {
        let (cache, mut pass) = self.cache_and_pass(now);
        cache.make_room(&mut pass)
    }
}
