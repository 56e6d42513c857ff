//! What clients are owed.

use std::time::{Duration, Instant};

use scache_engine::{Complaint, Failure};
use scache_proto::entries::Happening;
use scache_proto::limits;
use scache_proto::server::Fault;
use scache_store::Reason;

use super::slots::Leisure;
use super::{Oracle, RELIEF};
use crate::model::{Bound, Entry};
use crate::session::{Session, Step};
use crate::trace::{Asked, Event, Got};
use crate::world::{Fd, World};

#[derive(Debug)]
pub struct Peer {
    pub session: Session,
    /// It is gone, or the kernel has no place for it.
    pub must_go: bool,
    pub may_go: bool,
    /// When what failed is to be tried again.
    pub retry_by: Option<Instant>,
    /// How often the kernel had no room in this pass.
    refusals: u32,
    /// How often it was read from in this pass.
    reads: usize,
    /// How much was carried out for it in this pass.
    carried: usize,
    /// How many requests about the cache were, too.
    looks: usize,
    /// The rest of what it said has to wait for others.
    pub is_owed: bool,
    /// The same, or it has to read first: it depends on answers that were not seen.
    may_be_behind: bool,
    /// It had to read first, and was seen to have read before its turn came.
    pub may_go_on: bool,
    /// When its find was put off first, that is under way.
    pub postponed_at: Option<Instant>,
    /// Its find may have been put off where that was not seen.
    pub may_be_postponed: bool,
    /// Everything that it said was read.
    pub ended: bool,
    pub leisure: Leisure,
}

/// How many turns a client may have in a pass: one for its events, one as the last was cut short, one as there may be
/// room again, and one as what it waits for may have come.
const TURNS: usize = 4;

/// How often one client may be read from in a turn.
const READS: usize = 16;

/// How much may be done for one client before others have their turn.
const EVENTS: usize = 256;

/// How many others a request about the cache counts for.
const ADMINISTRATION: usize = 100;

/// How many connections that a find sees dead count for another one.
const DEAD: usize = 8;

/// How many of them may be answered for one client in a turn.
const LOOKS: usize = 3;

impl Peer {
    /// How many descriptors the engine has on its account.
    pub fn descriptors(&self) -> usize {
        1 + self.session.descriptors()
    }

    /// It is tried again, and not over and over.
    fn refused(&mut self, now: Instant) {
        self.retry_by = Some(now + RELIEF);
        self.refusals += 1;
        assert!(self.refusals < 5, "tried too often");
    }

    /// Whether a turn of it was cut short.
    pub(super) fn may_be_owed(&self) -> bool {
        self.is_owed || self.may_be_behind || self.carried >= EVENTS
    }

    /// What else it said has to wait.
    pub fn is_cut_short(&mut self) {
        self.carried = EVENTS;
    }

    /// Whether more may be done for it without reading more from it.
    fn may_go_on_unread(&self) -> bool {
        self.may_be_owed()
            || self.may_go_on
            || self.may_be_postponed
            || self.postponed_at.is_some()
            || self.session.is_held_up()
    }

    pub fn is_answered(&self) -> bool {
        self.session.is_answered()
    }
}

impl Oracle {
    pub(super) fn accepted(&mut self, world: &World, result: Result<Fd, Failure>) {
        self.finish_turn();
        assert_eq!(self.asker, None, "clients are somebody else's");
        self.retry_by = None;
        match result {
            Ok(fd) => {
                let user = world.user(world.former_socket(fd));
                let may = self.settings.allowed_users.as_ref().is_none_or(|allowed| {
                    self.is_privileged(user) || user.is_some_and(|user| allowed.contains(&user))
                });
                if !may {
                    self.expected.push(Complaint::NotAllowed);
                    self.is_shut(fd);
                    return;
                }
                if !self.waits(fd, user) {
                    self.serve(world, fd);
                }
            }
            Err(Failure::WouldBlock) => {}
            Err(failure) => {
                self.room += usize::from(failure == Failure::Exhausted);
                self.accept_failed = true;
                self.retry_by = Some(self.now + RELIEF);
            }
        }
    }

    /// A client is here.
    pub(super) fn greet(&mut self, world: &World, fd: Fd) {
        let is_privileged = self.is_privileged(world.user(world.former_socket(fd)));
        self.idle_since = None;
        self.current = Some(fd);
        let peer = Peer {
            session: Session::new(self.settings.announce),
            must_go: false,
            may_go: false,
            retry_by: None,
            refusals: 0,
            reads: 0,
            carried: 0,
            looks: 0,
            may_be_behind: false,
            may_go_on: false,
            postponed_at: None,
            may_be_postponed: false,
            is_owed: false,
            ended: false,
            leisure: Leisure::new(self.now, is_privileged),
        };
        self.peers.insert(fd, peer);
        self.book.count("clients_accepted", 1);
        self.count_clients();
        self.acts(fd);
    }

    pub(super) fn count_clients(&mut self) {
        let clients = self.served();
        self.book.at_most("clients_most", clients as u64);
    }

    pub(super) fn received(&mut self, fd: Fd, result: &Result<(Vec<u8>, Got), Failure>) {
        self.finish_turn();
        self.current = Some(fd);
        // A turn that cannot even read carries out nothing.
        if *result != Err(Failure::Exhausted) {
            self.limit_unread(fd);
        }
        let peer = self.peers.get_mut(&fd).unwrap();
        peer.may_go_on = false;
        assert!(!peer.must_go, "it is read from though it has to go");
        if peer.may_be_owed() {
            assert!(self.comes_to_rest(fd), "it is read from while it is owed");
            let peer = self.peer(fd);
            peer.is_owed = false;
            peer.may_be_behind = false;
        }
        let peer = self.peers.get_mut(&fd).unwrap();
        assert_eq!(
            peer.postponed_at, None,
            "it is read from though it has to wait"
        );
        assert!(
            !peer.session.awaits_reader(),
            "it is read from though it has to read first"
        );
        peer.retry_by = None;
        match result {
            Ok((bytes, _)) if bytes.is_empty() => {
                peer.must_go = true;
                peer.ended = true;
            }
            Ok((bytes, got)) => {
                peer.session.read(self.now, bytes, *got);
                peer.reads += 1;
                assert!(peer.reads <= TURNS * READS, "others have to wait");
                let most = limits::LIST_BYTES * 2 + limits::REPLY_BYTES;
                assert!(peer.session.input.len() <= most, "it remembers too much");
                assert!(
                    peer.session.held().count() <= 2,
                    "it holds too many: {peer:?}"
                );
                if *got == Got::Truncated {
                    self.room += 1;
                    self.expected.push(Complaint::Truncated);
                }
            }
            Err(Failure::WouldBlock) => {}
            Err(Failure::Exhausted | Failure::TooManyInFlight) => peer.refused(self.now),
            Err(Failure::Unsupported | Failure::Lost) => peer.must_go = true,
        }
        if matches!(result, Ok((bytes, _)) if !bytes.is_empty()) {
            self.acts(fd);
        }
    }

    /// A request is carried out: the one that the current client made.
    pub(super) fn carry_out(
        &mut self,
        world: &mut World,
        index: usize,
        trace: &[Event],
        asked: &Asked,
    ) {
        self.assert_nothing_leaves();
        let fd = self.current.expect("a request of nobody");
        let descriptor = match self.step(fd) {
            Step::Request(expected, descriptor) if expected == *asked => descriptor,
            other => panic!("{asked:?} is carried out, not {other:?}"),
        };
        self.peer(fd).leisure.asked(asked);
        self.note_arrival(fd, asked);
        // The looks that follow at once are for this request. A connection that it found may be looked at again
        // later in the pass, if its client cannot be told.
        let next = trace[index + 1..]
            .iter()
            .position(|event| !matches!(event, Event::Peek { .. }))
            .map_or(trace.len(), |offset| index + 1 + offset);
        self.book.answered();
        if let Asked::Administer(about) = asked {
            let peer = self.peer(fd);
            peer.carried += ADMINISTRATION;
            peer.looks += 1;
            assert!(peer.looks <= TURNS * LOOKS, "others have to wait");
            self.administer(world, fd, about);
            return;
        }
        if *asked == Asked::TakeOver {
            self.asked_to_take_over(world, fd, &trace[index..next]);
            return;
        }
        let leads_here = |saved: &Fd| world.leads_here(world.former_socket(*saved));
        if let Some(saved) = descriptor.filter(leads_here) {
            self.expected.push(Complaint::OwnConnection);
            self.doomed.push(saved);
            self.peer(fd).session.reply(2, &[]);
            return;
        }
        if self.draining && asked.is_save() {
            self.turn_away(world, fd, asked, descriptor);
            return;
        }
        let (watch, blinded) = (self.settings.watch, &self.blinded);
        let judge = |fd: Fd| Self::judge(watch, blinded, world, fd, &(index..next));
        let expired = self.cache.expire(self.now);
        let mut dead = Vec::new();
        let mut retired = Vec::new();
        match asked {
            Asked::SaveEndpoint {
                ttl,
                endpoint,
                property,
                ..
            }
            | Asked::Save {
                ttl,
                endpoint,
                property,
                ..
            } => {
                if let Asked::Save {
                    destination,
                    destination_property,
                    ..
                } = asked
                {
                    self.cache.bind(Bound {
                        destination: destination.clone(),
                        endpoint: endpoint.clone(),
                        property: destination_property.clone(),
                        deadline: self.cache.deadline(self.now, *ttl),
                    });
                }
                let saved = descriptor.expect("saved without a descriptor");
                let socket = world.former_socket(saved);
                world.given.remove(&socket);
                let history = match asked {
                    Asked::SaveEndpoint { history, .. } => *history,
                    _ => None,
                };
                self.book.saved(self.now, socket as u64 + 1, history);
                let is_cut = *ttl > self.settings.ttl_limit;
                self.book.count("saves_ttl_cut", is_cut.into());
                let left = self.time_left(socket as u64 + 1, *ttl);
                let ttl = left.unwrap_or_default();
                let entry = Entry {
                    fd: saved,
                    endpoint: endpoint.clone(),
                    property: property.clone(),
                    deadline: self.cache.deadline(self.now, ttl),
                    since: self.now,
                    excused: false,
                };
                if left.is_some() {
                    let evicted = self.cache.save(entry);
                    self.releases.choose(evicted);
                    self.book.count("connections_saved", 1);
                    let life = self.book.life(self.now, socket as u64 + 1);
                    let was_taken = life.is_some_and(|(_, taken)| taken > 0);
                    let is_new = !was_taken && history.is_none();
                    self.book.count("connections_new", is_new.into());
                    let what = Happening::Saved;
                    self.book.happens(self.now, what, endpoint, b"");
                } else {
                    retired.push((entry, Reason::Retired));
                }
                let kept = self.cache.granted(ttl);
                self.peer(fd).session.keep(kept);
            }
            Asked::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                self.cache.bind(Bound {
                    destination: destination.clone(),
                    endpoint: endpoint.clone(),
                    property: property.clone(),
                    deadline: self.cache.deadline(self.now, *ttl),
                });
                let kept = self.cache.granted(*ttl);
                self.peer(fd).session.keep(kept);
            }
            Asked::FindEndpoint(endpoint) => {
                let mut found = self.cache.find_endpoint(endpoint, &judge, &mut dead);
                let life = self.found(world, endpoint, found.as_mut());
                match self.unless_refused(fd, found) {
                    Some(entry) => self.peer(fd).session.hand_out(entry, None, false, life),
                    None => self.peer(fd).session.refuse(2, &[b"property"]),
                }
            }
            Asked::FindDestination(destination) => {
                let mut found = self.cache.find_destination(destination, &judge, &mut dead);
                self.book.asked(destination, found.is_some());
                let entry = found.as_mut().map(|(entry, _)| entry);
                let life = self.found(world, destination, entry);
                let (entry, property) = found.unzip();
                match self.unless_refused(fd, entry).zip(property) {
                    Some((entry, property)) => {
                        self.peer(fd)
                            .session
                            .hand_out(entry, Some(&property), false, life);
                    }
                    None => self.peer(fd).session.refuse(2, &[b"property", b"property"]),
                }
            }
            Asked::Find {
                destination,
                endpoints,
            } => {
                let through = self.cache.find_destination(destination, &judge, &mut dead);
                self.book.asked(destination, through.is_some());
                let mut found = through.or_else(|| {
                    endpoints.iter().find_map(|endpoint| {
                        let entry = self.cache.find_endpoint(endpoint, &judge, &mut dead)?;
                        Some((entry, Vec::new()))
                    })
                });
                let entry = found.as_mut().map(|(entry, _)| entry);
                let life = self.found(world, destination, entry);
                let session = &mut self.peer(fd).session;
                match found {
                    Some((entry, property)) => session.hand_out(entry, Some(&property), true, life),
                    None => session.refuse(2, &[b"label", b"property", b"property"]),
                }
            }
            Asked::Inline | Asked::Details | Asked::TakeOver | Asked::Administer(_) => {
                panic!("{asked:?} is not for the cache")
            }
        }
        // To find many of them dead takes as long as other requests do.
        self.peer(fd).carried += dead.len() / DEAD;
        self.releases.push_all(retired);
        self.releases.expire(expired);
        self.releases.push_all(dead);
    }

    /// What a client wanted was found or not. Returns its age and how often it was taken, if that is known.
    pub(super) fn found(
        &mut self,
        world: &World,
        wanted: &[u8],
        entry: Option<&mut Entry>,
    ) -> Option<(u64, u64)> {
        let Some(entry) = entry else {
            self.book.happens_later(Happening::Missed, wanted);
            return None;
        };
        entry.since = self.now;
        self.book.happens_later(Happening::Taken, &entry.endpoint);
        self.taken(world, entry)
    }

    /// Nothing new is kept.
    fn turn_away(&mut self, world: &mut World, fd: Fd, asked: &Asked, descriptor: Option<Fd>) {
        if let (Asked::SaveEndpoint { endpoint, .. } | Asked::Save { endpoint, .. }, Some(saved)) =
            (asked, descriptor)
        {
            let socket = world.former_socket(saved);
            world.given.remove(&socket);
            let entry = Entry {
                fd: saved,
                endpoint: endpoint.clone(),
                property: Vec::new(),
                deadline: self.now,
                since: self.now,
                excused: false,
            };
            self.releases.push_all(vec![(entry, Reason::Drained)]);
        }
        self.peer(fd).session.keep(Duration::ZERO);
    }

    fn asked_to_take_over(&mut self, world: &World, fd: Fd, look: &[Event]) {
        let user = world.user(world.former_socket(fd));
        let may = user.is_some_and(|user| user == 0 || user == self.settings.own_user);
        // Who has gone since takes nothing over.
        let waits = look.iter().all(|event| {
            let Event::Peek { fd: at, result, .. } = event else {
                return true;
            };
            *at != fd || !matches!(result, Ok(0) | Err(Failure::Lost))
        });
        if !may {
            self.expected.push(Complaint::MayNotTakeOver);
        }
        let does = may
            && waits
            && self.settings.hand_over
            && self.end.is_none()
            && world.processes[self.process].may_yield;
        if does {
            self.promise_listener(fd);
        }
        let status = if does { 0 } else { 2 };
        self.peer(fd).session.reply(status, &[]);
    }

    /// A reply is written, which has to be what the client is to be told next.
    pub(super) fn sent(
        &mut self,
        world: &mut World,
        fd: Fd,
        bytes: &[u8],
        passed: Option<Fd>,
        result: Result<usize, Failure>,
    ) {
        if self.current != Some(fd) {
            self.finish_turn();
        }
        let now = self.now;
        self.current = Some(fd);
        self.limit_unread(fd);
        self.peer(fd).may_go_on = false;
        if !std::mem::take(&mut self.peer(fd).session.looked_at) {
            self.nothing_is_left_undone(fd);
        }
        let peer = self.peers.get_mut(&fd).unwrap();
        let was_uncertain = peer.session.is_uncertain();
        peer.session.see(bytes);
        if (peer.may_be_owed() || was_uncertain) && peer.session.to_write().0 != bytes {
            assert!(self.comes_to_rest(fd), "said too early");
        }
        let peer = self.peers.get_mut(&fd).unwrap();
        let (expected, rider) = peer.session.to_write();
        assert!(
            bytes == expected,
            "\"{}\", and not \"{}\"",
            bytes.escape_ascii(),
            expected.escape_ascii()
        );
        assert_eq!(passed, rider, "not the connection that was found");
        self.is_looked_at(world, fd);
        let peer = self.peer(fd);
        peer.retry_by = None;
        match result {
            Ok(written) => {
                peer.session.written(written);
                if let Some(passed) = passed {
                    let in_flight = world.in_flight(world.former_socket(fd));
                    assert!(in_flight <= limits::DESCRIPTORS, "{in_flight} in flight");
                    let socket = world.former_socket(passed);
                    assert!(world.given.insert(socket), "{socket} has two owners");
                }
            }
            Err(Failure::WouldBlock) => peer.session.blocked = true,
            Err(Failure::Exhausted) => {
                peer.session.blocked = true;
                peer.refused(now);
            }
            Err(Failure::TooManyInFlight) => self.withdraw(fd),
            Err(Failure::Unsupported | Failure::Lost) => peer.must_go = true,
        }
        if result.is_ok() {
            self.acts(fd);
        }
        let is_told = matches!(result, Err(Failure::Exhausted | Failure::Unsupported));
        if passed.is_some() && is_told {
            self.expected.push(Complaint::CannotSend);
        }
    }

    /// The log is told of what a client did.
    pub(super) fn client_is_told(&mut self, complaint: Complaint) {
        let fd = self.current.expect("a complaint of nobody");
        let session = &mut self.peer(fd).session;
        if complaint == Complaint::Fault(Fault::NotReading)
            && session.is_uncertain()
            && session.blocked
        {
            session.broken = true;
            return;
        }
        let mut step = self.step(fd);
        if matches!(step, Step::Stuck) && self.peer(fd).may_be_owed() {
            // What it came to rest with was not seen.
            step = self.step(fd);
        }
        match step {
            Step::Refused(expected) if expected == complaint => {
                self.peer(fd).leisure.served = true;
            }
            Step::Broken(expected) if expected == complaint => {}
            Step::Declined(entry) if complaint == Complaint::CannotSend => {
                self.put_back(entry);
            }
            other => panic!("{complaint:?}, not {other:?}"),
        }
    }

    /// A connection is closed that the client said it has. Whether it is so.
    pub(super) fn is_delivered(&mut self, fd: Fd) -> bool {
        let mut peers = self.peers.iter();
        let Some((&client, _)) = peers.find(|(_, peer)| peer.session.has_sent(fd)) else {
            return false;
        };
        if self.current != Some(client) {
            self.finish_turn();
            self.current = Some(client);
        }
        match self.step(client) {
            Step::Delivered(entry) => entry.fd == fd,
            Step::Stuck => false,
            other => panic!("{fd} is closed, not {other:?}"),
        }
    }

    /// What was left for later of what a client asked for is done without reading more from it. Whose it is shows
    /// in what follows.
    pub(super) fn take_up(&mut self, rest: &[Event]) {
        if !self.peers.values().any(Peer::may_go_on_unread) {
            return;
        }
        let current = self.current.filter(|fd| self.peers.contains_key(fd));
        if current.is_some_and(|fd| self.peers[&fd].carried < EVENTS && !self.comes_to_rest(fd)) {
            return;
        }
        let next = rest.iter().find_map(|event| match event {
            Event::Send { fd, .. } | Event::Receive { fd, .. } | Event::Unwatch(fd) => {
                self.peers.contains_key(fd).then_some(*fd)
            }
            _ => None,
        });
        if let Some(next) = next
            && self.current != Some(next)
            && self.peers[&next].may_go_on_unread()
        {
            self.finish_turn();
            self.peer(next).may_go_on = false;
            self.current = Some(next);
        }
    }

    /// The turn of the current client is over: nothing of what it said is left undone.
    pub(super) fn finish_turn(&mut self) {
        let current = self.current.take();
        if let Some(fd) = current.filter(|fd| self.peers.contains_key(fd)) {
            self.nothing_is_left_undone(fd);
        }
    }

    pub(super) fn nothing_is_left_undone(&mut self, fd: Fd) {
        let peer = self.peer(fd);
        let waits = peer.carried >= EVENTS || peer.session.is_uncertain() || peer.may_go_on;
        if peer.must_go || peer.session.broken {
            return;
        }
        if waits {
            // Whether it came to a find was not seen.
            let may_be_postponed = self.arrivals.are_possible(self.now);
            self.peer(fd).may_be_postponed |= may_be_postponed;
            return;
        }
        match self.peer(fd).session.step() {
            Step::Stuck => {}
            Step::Request(asked, None) if self.postpones(fd, &asked) => {}
            other => panic!("client {fd} is owed {other:?}"),
        }
    }

    /// The pass is over: everybody got what it is owed, and who has to go is gone.
    pub(super) fn end_turns(&mut self) {
        self.current = None;
        for fd in self.peers.keys().copied().collect::<Vec<_>>() {
            self.nothing_is_left_undone(fd);
            let peer = self.peer(fd);
            peer.may_be_behind = peer.carried >= EVENTS && peer.session.is_uncertain();
            // The engine has not seen yet whether the rest of what was said is a request that is late.
            let was_cut_short = peer.carried >= EVENTS;
            let is_owed = was_cut_short && !self.comes_to_rest(fd);
            let peer = self.peer(fd);
            peer.is_owed = is_owed;
            peer.leisure.is_uncertain |= was_cut_short;
            peer.refusals = 0;
            peer.reads = 0;
            peer.carried = 0;
            peer.looks = 0;
            let peer = &self.peers[&fd];
            assert!(!peer.must_go && !peer.session.broken, "{fd} is still here");
            let deadline = self.request_deadline(peer);
            let is_known = !peer.session.is_uncertain();
            assert!(
                deadline.is_none_or(|at| at > self.now || !is_known || was_cut_short),
                "{fd} is late"
            );
        }
        self.note_busy();
    }

    pub(super) fn request_deadline(&self, peer: &Peer) -> Option<Instant> {
        Some(peer.session.waited_since()? + self.settings.request_timeout)
    }

    /// The next thing that is done for a client.
    fn step(&mut self, fd: Fd) -> Step {
        self.limit_unread(fd);
        let peer = self.peer(fd);
        let step = peer.session.step();
        peer.carried += usize::from(!matches!(step, Step::Stuck));
        assert!(
            peer.carried <= TURNS * (EVENTS + ADMINISTRATION),
            "others have to wait"
        );
        step
    }

    pub(super) fn peer(&mut self, fd: Fd) -> &mut Peer {
        self.peers.get_mut(&fd).unwrap()
    }
}
