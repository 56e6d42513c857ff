//! The loop, a pass at a time, from the first client to the last goodbye.
//!
//! A pass waits for events, serves them, then does what is due. What a client wants is decided in its
//! session, what is cached in the store.

mod arrivals;
mod clients;
mod leaving;
mod slots;
mod takeover;

pub use leaving::Departure;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use scache_store::{Counts, Entries};

use crate::cache::{Cache, Carried, Pass, Surroundings};
use crate::client::{self, Client};
use crate::peers::{Peer, Peers};
use crate::succession::Succession;
use crate::unread::Unread;
use crate::{End, Event, Failure, Host, Interest, Kernel, Key, Note, Settings, Stats, Token};
use arrivals::Arrivals;
use slots::Waiting;

/// What comes over a listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Clients, over a UNIX socket.
    Unix,
    /// Clients, over TCP. They can ask, but descriptors cannot be passed.
    Inet,
    /// Connections that another process accepted, as descriptors with attributes.
    Pass,
}

/// A socket that is bound and listens. Accepting from it must not wait.
#[derive(Debug)]
pub struct Listener<D> {
    /// The socket.
    pub socket: D,
    /// What comes over it.
    pub transport: Transport,
}

/// How far an engine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Clients are served.
    Serving,
    /// The end has come; requests under way are finished, nobody new is accepted.
    Finishing,
    /// All clients are gone and the statistics are told; what is cached is still here.
    Finished(End),
    /// What is cached is handed over or said goodbye to.
    Leaving,
    /// There is nothing left to do.
    Left,
}

/// A connection cache.
#[derive(Debug)]
pub struct Engine<K: Kernel, H> {
    settings: Settings,
    kernel: K,
    host: H,
    listeners: Vec<Listener<K::Descriptor>>,
    peers: Peers<K::Descriptor>,
    cache: Cache<K::Descriptor>,
    unread: Unread<K::Descriptor>,
    phase: Phase,
    /// Why it ends, from when it does.
    end: Option<End>,
    /// How long requests under way may take then.
    finish_by: Instant,
    succession: Option<Succession<K::Descriptor>>,
    /// The connection of a process that takes over and has the listening socket. Its end is that of the process.
    asker: Option<K::Descriptor>,
    /// For each peer at most one deadline, possibly one that it has kept since.
    deadlines: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Peers whose turn was cut short. Each has one more, whatever events come besides.
    again: BTreeSet<Key>,
    /// Peers for whom the kernel had no room.
    later: BTreeSet<Key>,
    /// When to try again what the kernel had no room for, or what somebody had more than enough of.
    retry_at: Option<Instant>,
    /// Finds that wait for what another process hands over.
    arrivals: Arrivals,
    /// Somebody waits for a slot, accepted or not.
    full: bool,
    /// Clients that were accepted and wait for a slot.
    waiting: VecDeque<Waiting<K::Descriptor>>,
    idle_since: Option<Instant>,
    statistics_at: Option<Instant>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    /// The most bytes that names, properties and sessions took since memory was given back.
    most_bytes: usize,
    /// When to give memory back.
    trim_at: Option<Instant>,
    /// When the last wait for events ended.
    woke: Option<Instant>,
    /// Requests answered since.
    answered: u64,
}

/// How long to wait until something is tried again that the kernel had no room for.
const PAUSE: Duration = Duration::from_millis(50);

/// How many bytes have to be freed before they are given back to the system: few enough for that to take a few
/// milliseconds.
const TRIMMED_BYTES: usize = 16 << 20;

/// How long a quiet moment is waited for before that is done all the same.
const TRIM_PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait for the next step of one of them.
const LAST_PASS: Duration = Duration::from_millis(5);

impl<K: Kernel, H: Host> Engine<K, H> {
    /// An engine that serves `listeners`.
    ///
    /// # Errors
    /// What [`Kernel::watch`] says of the listeners.
    pub fn new(
        settings: Settings,
        mut kernel: K,
        host: H,
        listeners: Vec<Listener<K::Descriptor>>,
    ) -> Result<Self, Failure> {
        for (place, listener) in (0..).zip(&listeners) {
            kernel.watch(&listener.socket, Token::Listener(place), Interest::Readable)?;
        }
        let now = kernel.now();
        Ok(Self {
            cache: Cache::new(&settings, now),
            unread: Unread::new(settings.unread_limit),
            kernel,
            host,
            listeners,
            peers: Peers::new(),
            phase: Phase::Serving,
            end: None,
            finish_by: now,
            succession: None,
            asker: None,
            deadlines: BinaryHeap::new(),
            again: BTreeSet::new(),
            later: BTreeSet::new(),
            retry_at: None,
            arrivals: Arrivals::new(
                settings
                    .expects_entries
                    .then(|| now + client::ENTRIES_PATIENCE),
            ),
            full: false,
            waiting: VecDeque::new(),
            idle_since: Some(now),
            statistics_at: settings
                .statistics_interval
                .and_then(|interval| now.checked_add(interval)),
            events: Vec::new(),
            buffer: vec![0; client::READ_BYTES],
            most_bytes: 0,
            trim_at: None,
            woke: None,
            answered: 0,
            settings,
        })
    }

    /// Serves until there is a reason to end, and parts from all clients.
    ///
    /// # Errors
    /// What [`Kernel::poll`] says.
    pub fn serve(&mut self) -> Result<End, Failure> {
        loop {
            if let Phase::Finished(end) = self.pass()? {
                return Ok(end);
            }
        }
    }

    /// Serves one client only, who is connected already, until what it sent at once is answered.
    ///
    /// # Errors
    /// What [`Kernel::poll`] says.
    pub fn serve_only(
        &mut self,
        input: K::Descriptor,
        output: K::Descriptor,
    ) -> Result<(), Failure> {
        let now = self.kernel.now();
        let client = Client::new(input, self.settings.announce, self.settings.request_timeout);
        self.admit(Peer::Client(client.with_output(output)), now);
        while self.peers.len() > 0 && !self.peers.all_answered() && self.end.is_none() {
            self.pass()?;
        }
        self.finish(End::Signal);
        Ok(())
    }

    /// Takes out what is cached and still of use, to be kept elsewhere: connections of one endpoint and
    /// bindings of one destination in their order. To be called when [`Engine::serve`] is over.
    pub fn take_entries(&mut self) -> Entries<Carried<K::Descriptor>> {
        let now = self.kernel.now();
        let (cache, mut pass) = self.cache_and_pass(now);
        cache.take_usable_entries(&mut pass)
    }

    /// Adds entries to what is cached, behind what is there, each with what is left of its time. What is of
    /// no use any more is dropped.
    pub fn put_entries(&mut self, entries: Entries<Carried<K::Descriptor>>) {
        let now = self.kernel.now();
        let (cache, mut pass) = self.cache_and_pass(now);
        cache.put_entries(&mut pass, entries);
    }

    /// Whether something would be lost if the process ended now.
    pub fn holds_anything(&self) -> bool {
        let counts = self.cache.counts();
        counts.connections > 0
            || counts.bindings > 0
            || self.cache.partings() > 0
            || self.cache.is_behind()
    }

    /// One round: waits for events, serves them, then does what is due. Says how far it has come.
    ///
    /// # Errors
    /// What [`Kernel::poll`] says.
    pub fn pass(&mut self) -> Result<Phase, Failure> {
        let before = self.kernel.now();
        if let Some(woke) = self.woke {
            let answered = std::mem::take(&mut self.answered);
            self.cache
                .was_busy(before.saturating_duration_since(woke), answered);
        }
        let timeout = self.timeout(before);
        self.events.clear();
        self.kernel.poll(timeout, &mut self.events)?;
        let now = self.kernel.now();
        self.woke = Some(now);
        self.host.is_alive(now);
        let events = std::mem::take(&mut self.events);
        for event in &events {
            self.dispatch(event, now);
        }
        for key in std::mem::take(&mut self.again) {
            // What the event said is forgotten: only reading until there is nothing finds the end.
            self.turn(key, now, true, true);
        }
        self.do_what_is_due(now);
        self.serve_postponed(now);
        // Clients of the process that takes over wake this one up as well.
        let mut events_of_ours = events
            .iter()
            .filter(|event| !matches!(event.token, Token::Listener(_)));
        let is_quiet = events_of_ours.next().is_none() && self.again.is_empty();
        self.give_memory_back(now, is_quiet);
        self.events = events;
        match self.phase {
            Phase::Serving => {
                if let Some(end) = self.end {
                    self.begin_to_finish(end, now);
                }
            }
            Phase::Finishing => {
                if (is_quiet && !self.peers.any_busy()) || self.finish_by <= now {
                    self.finish(self.end.unwrap_or(End::Signal));
                }
            }
            Phase::Leaving => self.go_on_leaving(now),
            Phase::Finished(_) | Phase::Left => {}
        }
        Ok(self.phase)
    }

    /// How much is cached.
    pub fn counts(&self) -> Counts {
        self.cache.counts()
    }

    /// How much there is and how often what happened.
    pub fn stats(&self) -> Stats {
        let surroundings = Surroundings {
            settings: &self.settings,
            clients: self.peers.len(),
            waiting: self.waiting.len(),
            listeners: self.listeners.len(),
        };
        self.cache.snapshot(self.woke, surroundings)
    }

    /// How many clients are connected.
    pub fn clients(&self) -> usize {
        self.peers.len()
    }

    /// The surroundings.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// The kernel.
    pub fn kernel(&mut self) -> &mut K {
        &mut self.kernel
    }

    fn dispatch(&mut self, event: &Event, now: Instant) {
        match event.token {
            Token::Listener(place) => self.accept(place, now, true),
            Token::Host(number) => {
                if let Some(end) = self.host.attend(number) {
                    self.end_with(end);
                }
            }
            Token::Peer(key) => self.turn(key, now, event.readable, event.ended),
            Token::Kept(key) => {
                let (cache, mut pass) = self.cache_and_pass(now);
                cache.attend(&mut pass, key);
            }
            Token::Parting(key) => {
                let mut pass = Pass {
                    now,
                    kernel: &mut self.kernel,
                    host: &mut self.host,
                };
                self.cache.attend_parting(&mut pass, key, &mut self.buffer);
            }
            // The pass goes on with it in any case.
            Token::Successor => {}
            Token::Asker => self.attend_asker(now),
        }
    }

    /// Has memory given back to the system when much was freed, in a quiet moment if there is one within a second.
    fn give_memory_back(&mut self, now: Instant, is_quiet: bool) {
        let bytes = self.cache.counts().bytes + self.peers.memory();
        self.most_bytes = self.most_bytes.max(bytes);
        if self.most_bytes - bytes < TRIMMED_BYTES {
            self.trim_at = None;
            return;
        }
        let trim_at = *self.trim_at.get_or_insert(now + PAUSE);
        if trim_at <= now && (is_quiet || trim_at + TRIM_PATIENCE <= now) {
            self.trim_at = None;
            self.most_bytes = bytes;
            self.host.much_was_freed();
        }
    }

    fn end_with(&mut self, end: End) {
        // There will be no successor any more, whatever was thought before.
        if self.end.is_none() || end == End::Signal {
            self.host.note(Note::Ending(end));
            self.end = Some(end);
            self.arrivals.are_over();
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            for key in std::mem::take(&mut self.later) {
                self.turn(key, now, true, true);
            }
            for place in 0..self.listeners.len() as u32 {
                self.accept(place, now, false);
            }
            self.attend_asker(now);
        }
        self.drop_late_peers(now);
        self.unread.look(&mut self.kernel, now);
        let (cache, mut pass) = self.cache_and_pass(now);
        cache.do_what_is_due(&mut pass);
        if self.phase != Phase::Serving {
            return;
        }
        if self.statistics_at.is_some_and(|at| at <= now) {
            self.tell_statistics(false, now);
        }
        if self.idle_at().is_some_and(|at| at <= now) {
            self.end_with(End::Idle);
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.again.is_empty() || self.cache.is_behind() || self.arrivals.are_behind() {
            return Some(Duration::ZERO);
        }
        let serving = self.phase == Phase::Serving;
        let deadline = self.deadlines.peek().map(|Reverse((due, _))| *due);
        let soonest = [
            deadline,
            self.cache.next_deadline(),
            self.unread.next_deadline(),
            self.retry_at,
            self.statistics_at.filter(|_| serving),
            self.idle_at().filter(|_| serving),
            self.succession.as_ref().map(Succession::deadline),
            (self.phase == Phase::Finishing).then(|| now + LAST_PASS),
            self.trim_at,
            self.arrivals.next_deadline(),
            self.host.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min();
        soonest.map(|at| at.saturating_duration_since(now))
    }

    /// Tries again, in so long, what could not be done now.
    fn retry_in(&mut self, pause: Duration, now: Instant) {
        let retry_at = now + pause;
        self.retry_at = Some(self.retry_at.map_or(retry_at, |at| at.min(retry_at)));
    }

    fn idle_at(&self) -> Option<Instant> {
        self.idle_since?.checked_add(self.settings.max_idle?)
    }

    fn tell_statistics(&mut self, last: bool, now: Instant) {
        let interval = self.cache.take_statistics();
        self.host.statistics(&interval, last);
        self.statistics_at = self
            .settings
            .statistics_interval
            .and_then(|interval| now.checked_add(interval));
    }

    /// The cache, and what its methods want of the rest.
    fn cache_and_pass(&mut self, now: Instant) -> (&mut Cache<K::Descriptor>, Pass<'_, K, H>) {
        let pass = Pass {
            now,
            kernel: &mut self.kernel,
            host: &mut self.host,
        };
        (&mut self.cache, pass)
    }
}
