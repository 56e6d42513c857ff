//! What is answered about the cache: counted, remembered and looked up beside the engine.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use scache_engine::{Complaint, Stats};
use scache_proto::administration::Listed;
use scache_proto::entries::Happening;
use scache_proto::server::{Fault, Refusal};
use scache_store::Reason;

use super::Oracle;
use super::report::{ANY, Numbers, Report, Told};
use crate::about::About;
use crate::model::{Entry, Tie, extract};
use crate::world::{Fd, World};

/// What is counted and remembered.
#[derive(Debug)]
pub struct Book {
    began: Instant,
    counted: BTreeMap<&'static str, u64>,
    evicted: u64,
    /// Requests that were answered in this pass: they are counted when it is over.
    answered: u64,
    taken: Vec<(u64, u64)>,
    /// By its place: of who, since when, which may be before the cache began, how often taken.
    lives: BTreeMap<u64, (u64, i64, u64)>,
    /// Destinations: how often something was found, and how often not.
    asked: BTreeMap<Vec<u8>, (u64, u64)>,
    /// Somebody listens for events until then.
    listens: Option<Instant>,
    events: VecDeque<(u64, Instant, Happening, Vec<u8>, String)>,
    next_event: u64,
    /// What is to be done when everything has left that is to leave first.
    pending: Option<Pending>,
}

#[derive(Debug)]
enum Pending {
    Event(Happening, Vec<u8>),
    Answer(Fd, About, (usize, usize)),
}

/// How many places there are for what is known of connections that are taken.
const LIVES: u64 = 2048;

/// How many events are remembered, and how long after somebody asked for them.
const EVENTS: usize = 4096;
const ATTENTION: Duration = Duration::from_secs(10);

/// How many destinations are remembered.
const DESTINATIONS: usize = 1000;

/// Places of bindings, for who purges.
const BINDINGS: u64 = 1 << 32;

/// Connections and bindings have places below this, as there are only a few.
const PLACES: u64 = 1000;

impl Book {
    pub fn new(now: Instant) -> Self {
        Self {
            began: now,
            counted: BTreeMap::new(),
            evicted: 0,
            answered: 0,
            taken: Vec::new(),
            lives: BTreeMap::new(),
            asked: BTreeMap::new(),
            listens: None,
            events: VecDeque::new(),
            next_event: 1,
            pending: None,
        }
    }

    pub fn count(&mut self, name: &'static str, times: u64) {
        assert!(Stats::FIELDS.iter().any(|field| field.name == name));
        *self.counted.entry(name).or_default() += times;
    }

    pub fn at_most(&mut self, name: &'static str, value: u64) {
        let most = self.counted.entry(name).or_default();
        *most = value.max(*most);
    }

    pub fn answered(&mut self) {
        self.answered += 1;
    }

    /// A pass begins.
    pub fn begin_pass(&mut self) {
        let answered = std::mem::take(&mut self.answered);
        self.count("requests", answered);
    }

    pub fn asked(&mut self, destination: &[u8], found: bool) {
        if destination.len() <= 1024 {
            let (hits, misses) = self.asked.entry(destination.to_vec()).or_default();
            *if found { hits } else { misses } += 1;
        }
    }

    /// A connection leaves. `room`: for want of descriptors.
    pub fn released(&mut self, reason: Reason, room: bool) {
        let name = match reason {
            Reason::Expired => "connections_expired",
            Reason::Evicted if room => "evicted_descriptors",
            Reason::Evicted => {
                self.evicted += 1;
                return;
            }
            Reason::Purged => "connections_purged",
            Reason::Drained => "connections_drained",
            Reason::Retired => "connections_retired",
            Reason::Cleared => "connections_cleared",
            Reason::Closed => "dropped_closed",
            Reason::Reset => "dropped_reset",
            Reason::Spoke => "dropped_spoke",
        };
        self.count(name, 1);
    }

    pub fn happens(&mut self, now: Instant, what: Happening, label: &[u8], text: &[u8]) {
        if self.listens.is_none_or(|until| until < now) {
            self.listens = None;
            self.events.clear();
            return;
        }
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        let label = label[..label.len().min(256)].to_vec();
        let text = text.escape_ascii().to_string();
        self.events
            .push_back((self.next_event, now, what, label, text));
        self.next_event += 1;
    }

    pub fn happens_later(&mut self, what: Happening, label: &[u8]) {
        self.pending = Some(Pending::Event(what, label.to_vec()));
    }

    fn milliseconds(&self, at: Instant) -> i64 {
        at.duration_since(self.began).as_millis() as i64
    }

    /// A connection of this identity is saved, with what its client tells of it.
    pub fn saved(&mut self, now: Instant, identity: u64, history: Option<(u64, u64)>) {
        let now = self.milliseconds(now);
        let life = self.lives.entry(identity % LIVES).or_default();
        if life.0 != identity {
            *life = (identity, now, 0);
        }
        if let Some((age, taken)) = history {
            life.1 = life.1.min(now - age as i64);
            life.2 = life.2.max(taken);
        }
    }

    /// It is taken. Its past may be forgotten.
    fn take(&mut self, now: Instant, identity: u64) {
        let now = self.milliseconds(now);
        let life = self.lives.get_mut(&(identity % LIVES));
        if let Some((_, began, times)) = life.filter(|life| life.0 == identity) {
            *times += 1;
            self.taken.push((*times, (now - *began) as u64 / 1000));
        }
    }

    /// How old it is and how often it was taken, if that is not forgotten.
    pub fn life(&self, now: Instant, identity: u64) -> Option<(u64, u64)> {
        let life = self.lives.get(&(identity % LIVES));
        let life = life.filter(|life| life.0 == identity);
        life.map(|(_, began, taken)| ((self.milliseconds(now) - began) as u64, *taken))
    }

    fn events_from(&self, now: Instant, from: u64) -> Vec<(u64, Told)> {
        let from = if from > self.next_event { 0 } else { from };
        let events = self.events.iter().filter(|event| event.0 >= from);
        events
            .map(|(number, at, what, label, text)| {
                let ago = now.duration_since(*at).as_millis();
                let mut told = vec![
                    (b"what".to_vec(), what.name().as_bytes().to_vec()),
                    (b"label".to_vec(), label.clone()),
                    (b"ago_ms".to_vec(), ago.to_string().into_bytes()),
                ];
                if !text.is_empty() {
                    told.push((b"text".to_vec(), text.clone().into_bytes()));
                }
                (*number, told)
            })
            .collect()
    }
}

impl Oracle {
    /// Somebody asks about the cache.
    pub(super) fn administer(&mut self, world: &World, fd: Fd, about: &About) {
        if let About::Purge { .. } | About::Drain { .. } = about {
            let user = world.user(world.former_socket(fd));
            if !user.is_some_and(|user| user == 0 || user == self.settings.own_user) {
                self.expected.push(Complaint::MayNotAdminister);
                self.peer(fd).session.reply(2, &[]);
                return;
            }
        }
        let expired = self.cache.expire(self.now);
        self.releases.expire(expired);
        let mut gone = (0, 0);
        match about {
            About::Purge { names, from } => {
                let all = *from == 0;
                let only_bindings = (PLACES..=BINDINGS).contains(from);
                if !all && !only_bindings && *from < BINDINGS + PLACES {
                    // Nobody outside knows what has which place. The model test of the store purges from any.
                    resume_unwind(Box::new(Tie));
                }
                let is_meant = |entry: &Entry| all && names.mean(&entry.endpoint);
                let purged: Vec<_> = extract(&mut self.cache.entries, is_meant)
                    .into_iter()
                    .map(|entry| (entry, Reason::Purged))
                    .collect();
                let bindings = &mut self.cache.bindings;
                let before = bindings.len();
                bindings.retain(|bound| {
                    let is_meant = names.mean(&bound.destination) || names.mean(&bound.endpoint);
                    !(is_meant && (all || only_bindings))
                });
                gone = (purged.len(), before - bindings.len());
                self.book.count("bindings_purged", gone.1 as u64);
                self.releases.push_all(purged);
            }
            About::Drain { on } => self.draining = *on,
            About::Stats | About::List { .. } | About::Events { .. } => {}
        }
        self.book.pending = Some(Pending::Answer(fd, about.clone(), gone));
    }

    /// Records the event or makes the answer that waits until all releases are complete.
    ///
    /// A release is complete when the goodbye is written and, if that makes one parting too many, the parting
    /// that is given up for it is closed: the answer counts it as unanswered.
    pub(super) fn conclude(&mut self, world: &World) {
        if !self.releases.is_empty() || self.surplus > 0 {
            return;
        }
        match self.book.pending.take() {
            Some(Pending::Event(what, label)) => self.book.happens(self.now, what, &label, b""),
            Some(Pending::Answer(fd, about, gone)) => {
                let report = self.report(world, &about, gone);
                self.peer(fd).session.report(report);
            }
            None => {}
        }
    }

    pub(super) fn taken(&mut self, world: &World, entry: &Entry) -> Option<(u64, u64)> {
        let identity = world.former_socket(entry.fd) as u64 + 1;
        self.book.take(self.now, identity);
        self.book.life(self.now, identity)
    }

    /// How long a connection may be kept that was just saved, if at all.
    pub(super) fn time_left(&self, identity: u64, ttl: Duration) -> Option<Duration> {
        let Some((age, taken)) = self.book.life(self.now, identity) else {
            return Some(ttl);
        };
        if self.settings.reuse_limit > 0 && taken >= self.settings.reuse_limit.into() {
            return None;
        }
        let Some(limit) = self.settings.lifetime_limit else {
            return Some(ttl);
        };
        let left = limit.checked_sub(Duration::from_millis(age))?;
        (!left.is_zero()).then(|| ttl.min(left))
    }

    /// The log is told of something that is counted.
    pub(super) fn count_complaint(&mut self, complaint: Complaint) {
        let name = match complaint {
            Complaint::Refused(refusal) => {
                self.book.answered();
                match refusal {
                    Refusal::Malformed => "requests_refused_malformed",
                    Refusal::Unknown => "requests_refused_unknown",
                    Refusal::NoDescriptor => "saves_refused_no_descriptor",
                }
            }
            Complaint::Truncated => "saves_refused_truncated",
            Complaint::OwnConnection => "saves_refused_own_connection",
            Complaint::NotAllowed => "clients_refused_user",
            Complaint::Timeout => "clients_dropped_late",
            Complaint::KeepsSlot => "clients_dropped_not_reading",
            Complaint::Fault(fault) => match fault {
                Fault::TooLong => "clients_dropped_too_long",
                Fault::StrayDescriptor => "clients_dropped_stray_descriptor",
                Fault::NotReading => "clients_dropped_not_reading",
            },
            _ => return,
        };
        self.book.count(name, 1);
        if let Complaint::Fault(_) | Complaint::Timeout | Complaint::KeepsSlot = complaint {
            let why = complaint.to_string();
            let what = Happening::ClientDropped;
            self.book.happens(self.now, what, b"", why.as_bytes());
        }
    }

    fn report(&mut self, world: &World, about: &About, gone: (usize, usize)) -> Report {
        match about {
            About::Stats => Report::Stats(Box::new(self.numbers())),
            About::List { what, prefix, from } => self.list(world, *what, prefix, *from),
            About::Events { from } => {
                self.book.listens = Some(self.now + ATTENTION);
                Report::Events {
                    events: self.book.events_from(self.now, *from),
                    next: self.book.next_event,
                }
            }
            About::Purge { .. } => Report::Purged {
                connections: gone.0,
                bindings: gone.1,
            },
            About::Drain { .. } => Report::Drained,
        }
    }

    fn list(&self, world: &World, what: Listed, prefix: &[u8], from: u64) -> Report {
        let number = |number: u64| number.to_string().into_bytes();
        let left = |deadline: Instant| number((deadline - self.now).as_millis() as u64);
        let (book, cache) = (&self.book, &self.cache);
        let entries: Vec<Told> = match what {
            Listed::Connections => cache
                .entries
                .iter()
                .filter(|entry| entry.endpoint.starts_with(prefix))
                .map(|entry| {
                    let socket = world.former_socket(entry.fd);
                    let life = book.life(self.now, socket as u64 + 1);
                    let age = life.map_or(ANY.to_vec(), |(age, _)| number(age));
                    let taken = life.map_or(0, |(_, taken)| taken);
                    vec![
                        (b"label".to_vec(), entry.endpoint.clone()),
                        (b"age_ms".to_vec(), age),
                        (b"ttl_ms".to_vec(), left(entry.deadline)),
                        (b"taken".to_vec(), number(taken)),
                        (b"peer".to_vec(), format!("socket {socket}").into_bytes()),
                    ]
                })
                .collect(),
            Listed::Bindings => cache
                .bindings
                .iter()
                .filter(|bound| bound.destination.starts_with(prefix))
                .map(|bound| {
                    vec![
                        (b"label".to_vec(), bound.destination.clone()),
                        (b"endpoint".to_vec(), bound.endpoint.clone()),
                        (b"ttl_ms".to_vec(), left(bound.deadline)),
                    ]
                })
                .collect(),
            Listed::Destinations => book
                .asked
                .iter()
                .filter(|(destination, _)| destination.starts_with(prefix))
                .map(|(destination, (hits, misses))| {
                    vec![
                        (b"label".to_vec(), destination.clone()),
                        (b"hits".to_vec(), number(*hits)),
                        (b"misses".to_vec(), number(*misses)),
                        (b"cached".to_vec(), number(cache.within_reach(destination))),
                    ]
                })
                .collect(),
            Listed::Settings => self
                .settings
                .described
                .iter()
                .filter(|setting| setting.name.as_bytes().starts_with(prefix))
                .map(|setting| {
                    vec![
                        (b"name".to_vec(), setting.name.clone().into_bytes()),
                        (b"value".to_vec(), setting.value.clone().into_bytes()),
                        (b"origin".to_vec(), setting.origin.clone().into_bytes()),
                    ]
                })
                .collect(),
        };
        let is_of_destinations = what == Listed::Destinations;
        Report::List {
            from,
            entries,
            has_pages: is_of_destinations || what == Listed::Settings,
            is_lossy: is_of_destinations && book.asked.len() > DESTINATIONS,
        }
    }

    /// What an engine says that it counted, before it leaves.
    pub fn assert_numbers(&self, stats: &Stats) {
        if self.leaving.is_none() {
            self.numbers().assert_same(stats);
        }
    }

    /// All that is counted, and how much there is.
    pub fn numbers(&self) -> Numbers {
        let (settings, cache) = (&self.settings, &self.cache);
        let mut known = self.book.counted.clone();
        let statistics = &cache.statistics;
        for (name, more) in [
            ("destination_hits", statistics.destination_hits),
            ("destination_misses", statistics.destination_misses),
            ("endpoint_hits", statistics.endpoint_hits),
            ("endpoint_misses", statistics.endpoint_misses),
            ("bindings_saved", cache.bound.saved),
            ("bindings_renewed", cache.bound.renewed),
            ("bindings_expired", cache.bound.expired),
            ("bindings_evicted", cache.bound.evicted),
        ] {
            *known.entry(name).or_default() += more;
        }
        let most = known.entry("connections_most").or_default();
        *most = (*most).max(statistics.most_connections as u64);
        let endpoints: BTreeSet<_> = cache.entries.iter().map(|entry| &entry.endpoint).collect();
        let destinations = cache.bindings.iter().map(|bound| &bound.destination);
        let (clients, waiting) = (self.served(), self.waiting());
        let listeners = usize::from(self.listener.is_some());
        let (connections, partings) = (cache.entries.len(), self.partings.len());
        for (name, number) in [
            ("connections", connections),
            ("connection_limit", settings.connection_limit),
            ("bindings", cache.bindings.len()),
            ("binding_limit", settings.binding_limit),
            ("destinations", destinations.collect::<BTreeSet<_>>().len()),
            ("endpoints", endpoints.len()),
            ("name_byte_limit", 256 << 20),
            ("partings", partings),
            ("clients", clients),
            ("client_limit", settings.client_limit),
            (
                "descriptors",
                connections + partings + clients + waiting + listeners,
            ),
            ("draining", usize::from(self.draining)),
        ] {
            known.insert(name, number as u64);
        }
        let uptime = self.now.duration_since(self.book.began).as_secs();
        known.insert("uptime_seconds", uptime);
        let seconds = |time: Option<Duration>| time.map_or(0, |time| time.as_secs());
        known.insert("ttl_limit_seconds", settings.ttl_limit.as_secs());
        known.insert("reuse_limit", settings.reuse_limit.into());
        known.insert("lifetime_limit_seconds", seconds(settings.lifetime_limit));
        known.insert("max_idle_seconds", seconds(settings.max_idle));
        known.insert("descriptor_limit", settings.descriptor_limit.unwrap_or(0));
        known.entry("requests").or_default();
        Numbers {
            known,
            evicted: self.book.evicted,
            taken: self.book.taken.clone(),
        }
    }
}
