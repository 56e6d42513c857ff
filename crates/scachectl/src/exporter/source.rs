//! What the exporter knows of the cache, and when it asks.
//!
//! It asks only when it is asked itself, and who comes shortly after another one is told the same: so the cache
//! has a request for each scrape, and none when nobody looks.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use scache_client::Error;
use scache_client::administration::{DestinationEntry, EventEntry, Stats};
use scache_client::tokio::Client;

use super::history::{History, Sample};
use crate::cache;
use crate::events::Cursor;
use crate::socket::Socket;

/// Who comes within this time of another one gets what that one got.
const SHARED: Duration = Duration::from_millis(200);

/// Destinations and events take more requests, and only people look at them.
const SHARED_LISTS: Duration = Duration::from_millis(900);

/// How long the cache has for an answer: well below what Prometheus waits for.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How many parts of a list are asked for at most. A cache tells of a thousand destinations, and of as many events.
const PAGES: usize = 500;

/// How many events are remembered for pages that are opened.
const EVENTS: usize = 200;

/// A cache, and what it said.
#[derive(Debug)]
pub(super) struct Source {
    client: Client,
    socket: PathBuf,
    /// Tells this process from the one before, whose numbers mean nothing now.
    started: u64,
    read: Option<Reading>,
    history: History,
    lists_read: Option<Instant>,
    busiest: Vec<DestinationEntry>,
    events: VecDeque<Event>,
    /// How far its events were read.
    cursor: Cursor,
    /// How many events there were.
    event_count: u64,
}

/// What the cache counted at some time.
#[derive(Clone, Debug)]
pub(super) struct Reading {
    asked: Instant,
    /// Milliseconds since 1970.
    pub(super) at: u64,
    /// Or why it did not say.
    pub(super) stats: Result<Stats, String>,
}

/// Something that happened in the cache.
#[derive(Clone, Debug)]
pub(super) struct Event {
    /// One more than that of the one before.
    pub(super) number: u64,
    /// Milliseconds since 1970.
    pub(super) at: u64,
    /// What the cache said of it.
    pub(super) entry: EventEntry,
}

impl Source {
    /// The cache that listens there, or will.
    pub(super) fn new(socket: &Socket) -> Self {
        Self {
            client: Client::new(&socket.path)
                .with_timeout(TIMEOUT)
                .with_trust(socket.trust),
            socket: socket.path.clone(),
            started: now(),
            read: None,
            history: History::default(),
            lists_read: None,
            busiest: Vec::new(),
            events: VecDeque::new(),
            cursor: Cursor::default(),
            event_count: 0,
        }
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// What the cache counts now.
    pub(super) async fn stats(&mut self) -> Reading {
        if let Some(read) = &self.read
            && read.asked.elapsed() < SHARED
        {
            return read.clone();
        }
        let stats = self.client.stats().await;
        let read = Reading {
            // After the answer: who waited for it shares it, also if it took long.
            asked: Instant::now(),
            at: now(),
            stats: stats.map_err(|error| cache::with_source(&error)),
        };
        if let Ok(stats) = &read.stats {
            self.history.add(Sample::new(read.at, stats));
        }
        self.read = Some(read.clone());
        read
    }

    /// The destinations that are asked for most, busiest first. Empty if the cache does not say.
    pub(super) async fn busiest(&mut self) -> &[DestinationEntry] {
        self.read_lists().await;
        &self.busiest
    }

    /// What happened since this event.
    pub(super) async fn events_since(&mut self, number: u64) -> impl Iterator<Item = &Event> {
        self.read_lists().await;
        self.events
            .iter()
            .filter(move |event| event.number > number)
    }

    /// What was counted since then.
    pub(super) fn samples_since(&self, at: u64) -> impl Iterator<Item = &Sample> {
        self.history.since(at)
    }

    async fn read_lists(&mut self) {
        let fresh = |read: Instant| read.elapsed() < SHARED_LISTS;
        if self.lists_read.is_some_and(fresh) {
            return;
        }
        // What fails is shown empty: that the cache does not answer is said where its numbers are.
        self.busiest = self.read_busiest().await.unwrap_or_default();
        let _ = self.read_events().await;
        self.lists_read = Some(Instant::now());
    }

    async fn read_busiest(&mut self) -> Result<Vec<DestinationEntry>, Error> {
        let mut all = Vec::new();
        let mut from = 0;
        for _ in 0..PAGES {
            let page = self.client.destinations(b"", from).await?;
            all.extend(page.entries);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
        }
        all.sort_by(|a, b| {
            b.asked()
                .cmp(&a.asked())
                .then_with(|| a.destination.cmp(&b.destination))
        });
        Ok(all)
    }

    async fn read_events(&mut self) -> Result<(), Error> {
        for _ in 0..PAGES {
            let page = self.client.events(self.cursor.from()).await?;
            let Some(happened) = self.cursor.take(page) else {
                continue;
            };
            let ended = happened.entries.is_empty();
            let now = now();
            for entry in happened.entries {
                self.event_count += 1;
                let ago = u64::try_from(entry.ago.as_millis()).unwrap_or(u64::MAX);
                self.events.push_back(Event {
                    number: self.event_count,
                    at: now.saturating_sub(ago),
                    entry,
                });
            }
            let excess = self.events.len().saturating_sub(EVENTS);
            self.events.drain(..excess);
            if ended {
                break;
            }
        }
        Ok(())
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
