//! What `top` knows and how it is looked at. It draws nothing, asks nobody and reads no clock.

use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use scache_client::administration::{DestinationEntry, EventEntry, Stats};

use super::feed::{Look, News};
use crate::labels::shown;
use crate::purge;
use crate::stats::Share;

/// Looks that are remembered for the graph.
const HISTORY: usize = 600;

/// Events that are remembered.
const EVENTS: usize = 500;

/// All of it.
#[derive(Debug)]
pub(super) struct Model {
    /// The socket.
    pub(super) name: String,
    pub(super) interval: Duration,
    pub(super) stats: Stats,
    /// Why the cache does not answer, while it does not.
    pub(super) gone: Option<String>,
    /// While something is looked at, nothing moves.
    pub(super) is_paused: bool,
    /// Hit rates in per cent, oldest first; `None` where nothing was looked for.
    pub(super) hit_rates: VecDeque<Option<f64>>,
    /// What the last interval brought.
    pub(super) rates: Rates,
    /// What is shown of the destinations, in order.
    pub(super) shown: Vec<Destination>,
    /// Which of them are seen, set by who draws.
    pub(super) lines: usize,
    pub(super) sort: Sort,
    pub(super) filter: String,
    pub(super) mode: Mode,
    /// What came of the last thing that was done.
    pub(super) message: String,
    /// Newest first.
    pub(super) events: VecDeque<Event>,
    selected: Option<Box<[u8]>>,
    all: Vec<Destination>,
    last: Option<(Instant, Stats)>,
}

/// A destination that is asked for.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) entry: DestinationEntry,
    /// What people read.
    pub(super) label: String,
    /// Lookups a second in the last interval.
    pub(super) rate: f64,
}

/// Something that happened.
#[derive(Debug)]
pub(super) enum Event {
    /// This, then.
    Happened(SystemTime, EventEntry),
    /// So many events are missing here.
    Forgotten(u64),
}

/// What happened how often a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) requests: f64,
    pub(super) lookups: f64,
    pub(super) saves: f64,
    /// Connections that had to be let go of unused.
    pub(super) losses: f64,
    /// Of the lookups, in per cent.
    pub(super) hit_rate: Option<f64>,
    /// Connections taken, in those and the ones saved for the first time, in per cent.
    pub(super) reuse: Option<f64>,
}

/// What the destinations are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Rate,
    Hits,
    Misses,
    Cached,
    Name,
}

/// What the keys mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Looking,
    /// The filter is typed.
    Filtering,
    /// Whether this destination is to go.
    Confirming(Box<[u8]>),
    Help,
}

impl Model {
    /// Nothing known but this.
    pub(super) fn new(path: &Path, interval: Duration, stats: Stats) -> Self {
        Self {
            name: crate::labels::printable(&path.display().to_string()),
            interval,
            stats,
            gone: None,
            is_paused: false,
            hit_rates: VecDeque::new(),
            rates: Rates::default(),
            shown: Vec::new(),
            lines: 1,
            sort: Sort::default(),
            filter: String::new(),
            mode: Mode::default(),
            message: String::new(),
            events: VecDeque::new(),
            selected: None,
            all: Vec::new(),
            last: None,
        }
    }

    /// Takes in what the cache told.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Look(look) => {
                self.gone = None;
                if !self.is_paused {
                    self.look(*look, SystemTime::now());
                }
            }
            News::Gone(reason) => {
                self.gone = Some(reason);
                self.rates = Rates::default();
            }
            News::Purged(Ok(purged)) => self.message = purge::told(&purged),
            News::Purged(Err(reason)) => self.message = reason,
        }
    }

    fn look(&mut self, look: Look, now: SystemTime) {
        let elapsed = match &self.last {
            Some((at, before)) => {
                let elapsed = look.at.duration_since(*at);
                self.rates = Rates::between(before, &look.stats, elapsed);
                if self.hit_rates.len() == HISTORY {
                    self.hit_rates.pop_front();
                }
                self.hit_rates.push_back(self.rates.hit_rate);
                Some(elapsed)
            }
            None => None,
        };
        self.last = Some((look.at, look.stats.clone()));
        self.stats = look.stats;
        self.set_destinations(look.destinations, elapsed);
        if look.happened.forgotten > 0 {
            self.push(Event::Forgotten(look.happened.forgotten));
        }
        for entry in look.happened.entries {
            let moment = now.checked_sub(entry.ago).unwrap_or(now);
            self.push(Event::Happened(moment, entry));
        }
    }

    fn push(&mut self, event: Event) {
        self.events.push_front(event);
        self.events.truncate(EVENTS);
    }

    fn set_destinations(&mut self, entries: Vec<DestinationEntry>, elapsed: Option<Duration>) {
        let before: HashMap<Box<[u8]>, u64> = std::mem::take(&mut self.all)
            .into_iter()
            .map(|old| (old.entry.destination.clone(), old.entry.asked()))
            .collect();
        self.all = entries
            .into_iter()
            .map(|entry| {
                let earlier = before.get(&entry.destination).copied().unwrap_or(0);
                let more = entry.asked().saturating_sub(earlier);
                Destination {
                    label: shown(&entry.destination),
                    // What was there before this began has no rate yet.
                    rate: elapsed.map_or(0.0, |elapsed| per_second(more, elapsed)),
                    entry,
                }
            })
            .collect();
        self.arrange();
    }

    /// Picks out and sorts what is shown.
    pub(super) fn arrange(&mut self) {
        let filter = &self.filter;
        self.shown = self
            .all
            .iter()
            .filter(|destination| matches(&destination.label, filter))
            .cloned()
            .collect();
        let sort = self.sort;
        self.shown.sort_by(|one, other| {
            let order = match sort {
                Sort::Rate => other.rate.total_cmp(&one.rate),
                Sort::Hits => other.entry.hits.cmp(&one.entry.hits),
                Sort::Misses => other.entry.misses.cmp(&one.entry.misses),
                Sort::Cached => other.entry.cached.cmp(&one.entry.cached),
                Sort::Name => std::cmp::Ordering::Equal,
            };
            let then = other.entry.asked().cmp(&one.entry.asked());
            let order = match sort {
                Sort::Name => order,
                _ => order.then(then),
            };
            order.then_with(|| one.label.cmp(&other.label))
        });
    }

    /// The events that the filter lets through, newest first.
    pub(super) fn events(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().filter(|event| match event {
            Event::Happened(_, entry) => matches(&shown(&entry.label), &self.filter),
            Event::Forgotten(_) => true,
        })
    }

    /// Which line is selected, if any. It follows its destination.
    pub(super) fn selected(&self) -> Option<usize> {
        let selected = self.selected.as_deref()?;
        self.shown
            .iter()
            .position(|destination| &*destination.entry.destination == selected)
    }

    /// Selects what is so many lines further down, or up; the first if none was.
    pub(super) fn select(&mut self, lines: isize) {
        let last = self.shown.len().saturating_sub(1);
        let line = match self.selected() {
            Some(line) => line.saturating_add_signed(lines).min(last),
            None => 0,
        };
        let destination = self.shown.get(line);
        self.selected = destination.map(|destination| destination.entry.destination.clone());
    }

    /// How many there are, and how many of them are shown.
    pub(super) fn counts(&self) -> String {
        match self.filter.is_empty() {
            true => self.all.len().to_string(),
            false => format!(
                "{} of {} with \"{}\"",
                self.shown.len(),
                self.all.len(),
                self.filter
            ),
        }
    }
}

impl Rates {
    fn between(before: &Stats, now: &Stats, elapsed: Duration) -> Self {
        let lookups = Share::lookups(now).since(Share::lookups(before));
        let reuse = Share::reuse(now).since(Share::reuse(before));
        let more = |count: fn(&Stats) -> u64| {
            // Less than before: another process, which began anew.
            per_second(count(now).saturating_sub(count(before)), elapsed)
        };
        Self {
            requests: more(|stats| stats.requests),
            lookups: per_second(lookups.whole, elapsed),
            saves: more(|stats| stats.connections_saved),
            losses: more(|stats| {
                [
                    stats.connections_expired,
                    stats.evicted_connection_limit,
                    stats.evicted_endpoint_limit,
                    stats.evicted_byte_limit,
                    stats.evicted_descriptors,
                    stats.dropped_closed,
                    stats.dropped_reset,
                    stats.dropped_spoke,
                ]
                .into_iter()
                .fold(0, u64::saturating_add)
            }),
            hit_rate: lookups.per_cent(),
            reuse: reuse.per_cent(),
        }
    }
}

impl Sort {
    /// The next one.
    pub(super) fn next(self) -> Self {
        match self {
            Self::Rate => Self::Hits,
            Self::Hits => Self::Misses,
            Self::Misses => Self::Cached,
            Self::Cached => Self::Name,
            Self::Name => Self::Rate,
        }
    }

    /// What it is called.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Hits => "hits",
            Self::Misses => "misses",
            Self::Cached => "cached",
            Self::Name => "name",
        }
    }
}

/// Whether a label has this in it; with a `^` before it, whether it begins so.
fn matches(label: &str, filter: &str) -> bool {
    match filter.strip_prefix('^') {
        Some(prefix) => label.starts_with(prefix),
        None => label.contains(filter),
    }
}

fn per_second(times: u64, elapsed: Duration) -> f64 {
    times as f64 / elapsed.as_secs_f64().max(0.001)
}
