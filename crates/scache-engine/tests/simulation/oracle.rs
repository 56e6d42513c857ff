//! Checks each thing that an engine does against the model, in its order.
//!
//! The oracle knows what clients said from what the engine read, so it knows what has to be carried out,
//! answered, closed and told. Where the engine may choose (who of two that expire at the same instant makes
//! room), it looks at the choice and checks that it was allowed.

mod about;
mod arrivals;
mod clients;
mod departures;
mod handoffs;
mod looks;
mod readers;
mod releases;
pub mod report;
mod rest;
mod slots;
mod takeovers;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use scache_engine::{Complaint, End, Failure, Settings, Transport};
use scache_proto::entries::Happening;
use scache_store::Reason;

use crate::leaving::Leaving;
use crate::model::{Cache, Entry};
use crate::oracle::about::Book;
use crate::oracle::arrivals::Arrivals;
use crate::oracle::clients::Peer;
use crate::oracle::handoffs::HandOff;
use crate::oracle::readers::Readers;
use crate::oracle::releases::{Parting, Releases};
use crate::oracle::slots::Waiting;
use crate::trace::{Event, Got};
use crate::world::{Fd, World};

/// What an engine has to do, as far as it has come.
#[derive(Debug)]
pub struct Oracle {
    pub process: usize,
    pub settings: Settings,
    pub cache: Cache,
    pub peers: BTreeMap<Fd, Peer>,
    transport: Transport,
    handoffs: BTreeMap<Fd, HandOff>,
    pub listener: Option<Fd>,
    releases: Releases,
    pub partings: Vec<Parting>,
    /// So many of them have to make room for others.
    surplus: usize,
    /// To be closed before the pass is over, without a word.
    doomed: Vec<Fd>,
    /// Complaints that have to come.
    expected: Vec<Complaint>,
    /// How often the engine may make room, as it ran out of something.
    room: usize,
    /// Whose turn it is.
    current: Option<Fd>,
    /// When what failed is to be tried again.
    retry_by: Option<Instant>,
    /// Clients may have to be told that they cannot come in.
    accept_failed: bool,
    timeouts: usize,
    idle_since: Option<Instant>,
    statistics_at: Option<Instant>,
    /// The end that the host or a client asked for.
    pub asked_to_end: Option<End>,
    pub end: Option<End>,
    ended_at: Option<Instant>,
    pub leaving: Option<Leaving>,
    /// A client that has to get the listening socket next, or to go.
    promised: Option<Fd>,
    /// Who has the listening socket, too.
    asker: Option<Fd>,
    asker_is_gone: bool,
    /// Connections and bindings that were handed over before it served again.
    handed_over_before: (usize, usize),
    pub now: Instant,
    spins: u32,
    polled_at: Option<Instant>,
    /// Counts what is more than waiting in vain.
    pub happened: u64,
    /// Connections that were not written to a client who is gone.
    to_put_back: VecDeque<Entry>,
    /// What is read of who is parted from.
    drains: Option<Draining>,
    /// What it has to tell about itself.
    book: Book,
    /// Nothing new is kept.
    draining: bool,
    /// A closed connection was made, to be sent in the place of another one; or could not be made.
    stand_in: Option<Result<Fd, Failure>>,
    /// What clients do not read.
    readers: Readers,
    /// What another process hands over.
    arrivals: Arrivals,
    /// Descriptors that were looked at in vain in this pass.
    blinded: Vec<(usize, Fd, Failure)>,
    /// Those who were accepted and have no slot.
    waiting: VecDeque<Waiting>,
    /// Counts what clients do.
    acts: u64,
    /// What was looked at last.
    looked_at: Option<Fd>,
    /// The next to be closed has been busy for too long.
    overdue: bool,
}

/// A client that is dropped: the end of what it sent is read, so that it hears an end and not a reset.
#[derive(Debug)]
struct Draining {
    fd: Fd,
    is_told: bool,
    reads: usize,
    is_over: bool,
}

/// How often a client that is dropped is read from.
const LAST_READS: usize = 16;

impl Draining {
    fn new(fd: Fd) -> Self {
        Self {
            fd,
            is_told: false,
            reads: 0,
            is_over: false,
        }
    }
}

/// What failed has to be tried again within this time.
pub const RELIEF: Duration = Duration::from_millis(100);

/// How much longer a process that ends may wait for clients than it promises.
const LAST_PASS: Duration = Duration::from_millis(5);

/// How long requests under way may take at the end.
fn last_requests(end: End) -> Duration {
    match end {
        End::Succession => Duration::from_secs(1),
        End::Idle | End::Signal => Duration::from_millis(200),
    }
}

impl Oracle {
    pub fn new(
        process: usize,
        settings: &Settings,
        listener: Fd,
        transport: Transport,
        now: Instant,
    ) -> Self {
        Self {
            process,
            settings: settings.clone(),
            cache: Cache::new(settings),
            peers: BTreeMap::new(),
            transport,
            handoffs: BTreeMap::new(),
            listener: Some(listener),
            releases: Releases::default(),
            partings: Vec::new(),
            surplus: 0,
            doomed: Vec::new(),
            expected: Vec::new(),
            room: 0,
            current: None,
            retry_by: None,
            accept_failed: false,
            timeouts: 0,
            idle_since: Some(now),
            statistics_at: settings.statistics_interval.map(|interval| now + interval),
            asked_to_end: None,
            end: None,
            ended_at: None,
            leaving: None,
            promised: None,
            asker: None,
            asker_is_gone: false,
            handed_over_before: (0, 0),
            now,
            spins: 0,
            polled_at: None,
            happened: 0,
            to_put_back: VecDeque::new(),
            drains: None,
            book: Book::new(now),
            draining: false,
            stand_in: None,
            readers: Readers::default(),
            arrivals: Arrivals::new(now, settings.expects_entries),
            blinded: Vec::new(),
            waiting: VecDeque::new(),
            acts: 0,
            looked_at: None,
            overdue: false,
        }
    }

    /// Checks what the engine did.
    pub fn check(&mut self, world: &mut World, trace: &[Event]) {
        self.now = world.now;
        self.blinded.clear();
        for (index, event) in trace.iter().enumerate() {
            if let Event::Peek {
                fd,
                result: Err(failure),
                injected: true,
            } = event
            {
                self.blinded.push((index, *fd, *failure));
            }
        }
        for (index, event) in trace.iter().enumerate() {
            if !matches!(event, Event::Unread { .. } | Event::Unwatch(_)) {
                self.readers.looked();
            }
            self.check_event(world, trace, index, event);
            self.conclude(world);
            self.put_back_next();
        }
    }

    fn check_event(&mut self, world: &mut World, trace: &[Event], index: usize, event: &Event) {
        let now = self.now;
        if let Event::Poll { .. } | Event::Receive { .. } | Event::Send { .. } | Event::Request(_) =
            event
        {
            self.looked_at = None;
        }
        match event {
            Event::Poll {
                timeout, before, ..
            } => {
                self.book.begin_pass();
                self.check_poll(trace, *timeout, *before);
            }
            Event::Accept(result) => {
                assert!(self.leaving.is_none(), "it accepts somebody and is leaving");
                self.accepted(world, *result);
            }
            Event::Receive { fd, result } => {
                if self.drains.as_ref().is_some_and(|drains| drains.fd == *fd) {
                    self.drained(result);
                } else if self.peers.contains_key(fd) {
                    self.received(*fd, result);
                } else if self.asker == Some(*fd) {
                    self.asker_received(result);
                } else if self.handoffs.contains_key(fd) {
                    self.hand_off_received(*fd, result);
                } else if let Some(leaving) = self.leaving_on(*fd) {
                    let (released, doomed) = leaving.received(now, result);
                    self.releases.push_all(released);
                    self.doomed.extend(doomed);
                } else {
                    self.parting_received(*fd, result);
                }
            }
            Event::Request(asked) => {
                self.take_up(&trace[index..]);
                self.carry_out(world, index, trace, asked);
            }
            Event::Send {
                fd,
                bytes,
                passed,
                result,
            } => {
                if passed.is_some() && *passed == self.listener {
                    self.yielded(*fd, bytes, *result);
                } else if self.peers.contains_key(fd) {
                    self.sent(world, *fd, bytes, *passed, *result);
                } else if self.leaving_on(*fd).is_some() {
                    self.handed_over(world, index, bytes, *passed, *result);
                } else {
                    self.said_goodbye(world, *fd, bytes, *result);
                }
            }
            Event::Peek { fd, result, .. } => self.looked_at(*fd, *result),
            Event::Watch { fd, result, .. } => {
                self.gets_slot(world, *fd);
                self.watched(*fd, *result);
            }
            Event::Unwatch(fd) => self.unwatched(world, *fd),
            Event::HearNoMore(fd) => {
                self.dismissed(*fd);
                let drains = self.drains.as_mut().filter(|drains| drains.fd == *fd);
                drains.expect("it is still listened to").is_told = true;
            }
            Event::Closed(result) => self.made_closed_connection(*result),
            Event::SayNoMore(fd) => self.said_no_more(*fd),
            Event::Unread { fd, result } => {
                // Whoever is parted from is looked at for the last time.
                let next = trace.get(index + 1);
                let parts = matches!(next, Some(Event::Unwatch(other)) if other == fd);
                self.looked_at_unread(*fd, *result, parts);
            }
            Event::UnreadLimit => self.count_unread(),
            Event::Close(fd) => self.closed(world, *fd),
            Event::Complaint(complaint) => {
                // A client that declines a connection may do so in what was left for later.
                let is_of_client = matches!(
                    complaint,
                    Complaint::Refused(_) | Complaint::Fault(_) | Complaint::CannotSend
                );
                if is_of_client && !self.expected.contains(complaint) {
                    self.take_up(&trace[index..]);
                }
                self.complained(*complaint);
                self.count_complaint(*complaint);
            }
            Event::Released {
                endpoint,
                reason,
                said,
            } => {
                self.releases.announce(endpoint, *reason, said);
                let what = happening(*reason);
                self.book.happens(now, what, endpoint, said);
            }
            Event::Connect(result) => {
                let leaving = self.leaving.as_mut().expect("it is not leaving");
                leaving.connected(self.now, *result);
            }
            Event::HandedOver {
                connections,
                bindings,
            } => {
                let leaving = self.leaving.as_mut().expect("it is not leaving");
                assert_eq!((*connections, *bindings), leaving.taken_over);
                leaving.end();
            }
            Event::Ending(end) => self.ending(*end),
            Event::Resumed => self.resumed(),
            Event::Statistics(statistics) => {
                let mut expected = std::mem::take(&mut self.cache.statistics);
                if std::mem::take(&mut self.cache.is_uncertain) {
                    expected.most_endpoints = statistics.most_endpoints;
                }
                assert_eq!(*statistics, expected);
                for (name, more) in [
                    ("destination_hits", expected.destination_hits),
                    ("destination_misses", expected.destination_misses),
                    ("endpoint_hits", expected.endpoint_hits),
                    ("endpoint_misses", expected.endpoint_misses),
                ] {
                    self.book.count(name, more);
                }
                let most = expected.most_connections as u64;
                self.book.at_most("connections_most", most);
                let is_time = self.statistics_at.is_some_and(|at| at <= self.now);
                assert!(is_time || self.end.is_some(), "statistics out of time");
                self.statistics_at = self
                    .settings
                    .statistics_interval
                    .map(|interval| self.now + interval);
            }
        }
    }

    /// The engine may sleep until something is due, and has to when nothing is to be done.
    fn check_poll(&mut self, trace: &[Event], timeout: Option<Duration>, before: Instant) {
        if let Some(due) = self.next_deadline(before) {
            let timeout = timeout.unwrap_or_else(|| panic!("it sleeps for ever, {due:?} is due"));
            assert!(
                before + timeout <= due.max(before),
                "it sleeps for {timeout:?}, past what is due at {due:?}: {self:?}"
            );
        }
        let has_moved = trace.iter().any(|event| {
            matches!(
                event,
                Event::Poll { delivered: 1.., .. }
                    | Event::Receive { result: Ok(_), .. }
                    | Event::Send { result: Ok(_), .. }
                    | Event::Accept(Ok(_))
                    | Event::Connect(Ok(_))
                    | Event::Close(_)
                    | Event::Request(_)
            )
        });
        self.happened += u64::from(has_moved);
        let time_stands = self.polled_at.replace(before) == Some(before);
        if has_moved || timeout != Some(Duration::ZERO) || !time_stands {
            self.spins = 0;
        } else {
            self.spins += 1;
            assert!(self.spins < 4, "it spins");
        }
    }

    /// When something has to be done at the latest.
    fn next_deadline(&self, before: Instant) -> Option<Instant> {
        let peers = self.peers.values();
        let serves = self.end.is_none();
        [
            self.cache.next_deadline(),
            peers
                .clone()
                .filter_map(|peer| self.request_deadline(peer))
                .min(),
            peers.clone().any(|peer| peer.is_owed).then_some(before),
            peers.filter_map(|peer| peer.retry_by).min(),
            self.handoffs.values().map(|handoff| handoff.deadline).min(),
            self.partings.iter().map(|parting| parting.deadline).min(),
            self.readers.look_at,
            self.postponed_until().map(|at| at.max(before)),
            // Nobody has to be accepted while there is no slot.
            self.retry_by.filter(|_| serves && !self.is_full()),
            self.idle_at().filter(|_| serves),
            self.statistics_at.filter(|_| serves),
            self.finish_by()
                .filter(|_| self.leaving.is_none())
                .map(|at| at.max(before) + LAST_PASS),
            self.leaving.as_ref().and_then(Leaving::deadline),
            self.slot_due().map(|at| at.max(before)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn is_full(&self) -> bool {
        self.served() >= self.slots() || !self.waiting.is_empty()
    }

    fn idle_at(&self) -> Option<Instant> {
        Some(self.idle_since? + self.settings.max_idle?)
    }

    /// When clients are parted from whatever they are doing.
    fn finish_by(&self) -> Option<Instant> {
        Some(self.ended_at? + last_requests(self.end?))
    }

    fn ending(&mut self, end: End) {
        if end == End::Idle {
            assert!(self.idle_at().is_some_and(|at| at <= self.now), "not idle");
        } else {
            assert_eq!(self.asked_to_end, Some(end), "nobody asked for this end");
        }
        if let Some(leaving) = &mut self.leaving {
            leaving.is_called_off = end == End::Signal;
        }
        self.end = Some(end);
        self.arrivals.are_over();
        self.ended_at.get_or_insert(self.now);
    }

    fn complained(&mut self, complaint: Complaint) {
        if let Some(at) = self.expected.iter().position(|other| *other == complaint) {
            self.expected.remove(at);
            return;
        }
        match complaint {
            Complaint::Refused(_) | Complaint::Fault(_) | Complaint::CannotSend => {
                self.client_is_told(complaint);
            }
            Complaint::Timeout => self.timeouts += 1,
            Complaint::Accept => assert!(self.accept_failed, "accepting did not fail"),
            Complaint::ClientLimit => {
                assert!(self.is_full(), "not full");
            }
            Complaint::TooManyWait => self.refused(),
            Complaint::KeepsSlot => self.overdue = true,
            Complaint::HandOver => {
                let leaving = self.leaving.as_ref().expect("it is not leaving");
                assert!(leaving.has_failed(self.now), "the hand-over did not fail");
                let is_there = leaving.was_answered || leaving.waits_for_asker;
                assert!(is_there, "there is no successor");
            }
            other => panic!("told without reason: {other:?}"),
        }
    }

    /// What a client said whom nobody listens to any more.
    fn drained(&mut self, result: &Result<(Vec<u8>, Got), Failure>) {
        let drains = self.drains.as_mut().expect("nobody is drained");
        assert!(drains.is_told && !drains.is_over, "{drains:?}");
        drains.reads += 1;
        match result {
            Ok((bytes, got)) => {
                drains.is_over = bytes.is_empty() || drains.reads == LAST_READS;
                if let Got::One(fd) = got {
                    self.doomed.push(*fd);
                }
            }
            Err(_) => drains.is_over = true,
        }
    }

    fn leaving_on(&mut self, fd: Fd) -> Option<&mut Leaving> {
        self.leaving
            .as_mut()
            .filter(|leaving| leaving.socket == Some(fd))
    }

    /// The last phase begins: what is cached is handed over or let go of.
    pub fn leave(&mut self) {
        assert!(
            self.peers.is_empty() && self.handoffs.is_empty() && self.waiting.is_empty(),
            "clients are still connected"
        );
        let is_empty = self.cache.entries.is_empty() && self.cache.bindings.is_empty();
        let hands_over = self.end == Some(End::Succession)
            && self.settings.hand_over
            && (!is_empty || self.asker.is_some());
        self.hurry();
        let entries = std::mem::take(&mut self.cache.entries);
        let bindings = std::mem::take(&mut self.cache.bindings);
        if hands_over {
            self.leaving = Some(Leaving::new(
                entries,
                bindings,
                self.now,
                self.settings.watch,
            ));
            self.expect_asker();
        } else {
            self.leaving = Some(Leaving::new(Vec::new(), Vec::new(), self.now, false));
            self.releases.clear(entries);
        }
    }
}

fn happening(reason: Reason) -> Happening {
    match reason {
        Reason::Expired => Happening::Expired,
        Reason::Evicted => Happening::Evicted,
        Reason::Purged => Happening::Purged,
        Reason::Drained => Happening::Drained,
        Reason::Retired => Happening::Retired,
        Reason::Cleared => Happening::Cleared,
        Reason::Closed => Happening::Closed,
        Reason::Reset => Happening::Reset,
        Reason::Spoke => Happening::Spoke,
    }
}
