//! Asks the cache at intervals, in a thread of its own, and tells what it learned.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread;
use std::time::{Duration, Instant};

use scache_client::administration::{DestinationEntry, Label, Purged, Stats};
use scache_client::{Client, Error};

use crate::cache::{self, Cache};
use crate::events::{Cursor, Happened};
use crate::failure::{Failure, Status};
use crate::purge;

/// What the cache told.
#[derive(Debug)]
pub(super) enum News {
    /// What it counts, what is busy and what happened, as of this moment.
    Look(Box<Look>),
    /// It does not answer any more, for this reason. It is asked again.
    Gone(String),
    /// What came of a purge.
    Purged(Result<Purged, String>),
}

/// One look at the cache.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) stats: Stats,
    pub(super) destinations: Vec<DestinationEntry>,
    pub(super) happened: Happened,
}

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// A destination and its connections are to go.
    Purge(Box<[u8]>),
    /// To be asked so often from now on.
    Interval(Duration),
}

/// The thread that asks, seen from the one that draws.
#[derive(Debug)]
pub(super) struct Feed {
    wishes: Sender<Wish>,
    news: Receiver<News>,
}

impl Feed {
    /// Begins to ask. It ends when the feed is dropped.
    pub(super) fn start(cache: Cache, interval: Duration) -> Self {
        let (wishes, to_do) = channel();
        let (tell, news) = channel();
        thread::spawn(move || ask(cache, interval, &to_do, &tell));
        Self { wishes, news }
    }

    /// Asks for something. What comes of it is told.
    pub(super) fn ask(&self, wish: Wish) {
        // A thread that has ended is seen by `news`.
        let _ = self.wishes.send(wish);
    }

    /// What was told since it was asked last.
    pub(super) fn news(&self) -> Result<Vec<News>, Failure> {
        let mut all = Vec::new();
        loop {
            match self.news.try_recv() {
                Ok(news) => all.push(news),
                Err(TryRecvError::Empty) => return Ok(all),
                Err(TryRecvError::Disconnected) => {
                    return Err(Failure::new(
                        Status::Software,
                        "the part of top that asks the cache has ended: this is a fault of scachectl",
                    ));
                }
            }
        }
    }
}

/// What the cache remembers of events is taken in so many pages at a time at most: a cache in which more happens
/// is not followed in everything.
const EVENT_PAGES: usize = 16;

fn ask(mut cache: Cache, mut interval: Duration, to_do: &Receiver<Wish>, tell: &Sender<News>) {
    let mut cursor = Cursor::default();
    let mut next = Instant::now();
    loop {
        match to_do.recv_timeout(next.saturating_duration_since(Instant::now())) {
            Ok(Wish::Interval(wanted)) => {
                interval = wanted;
                next = next.min(Instant::now() + interval);
                continue;
            }
            Ok(Wish::Purge(destination)) => {
                let purged = cache.ask(|client| {
                    let destination = Label::new(&destination)?;
                    purge::destination_of(client, destination)
                });
                let purged = purged.map_err(|failure| failure.to_string());
                if tell.send(News::Purged(purged)).is_err() {
                    return;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let news = match cache.ask(|client| look(client, &mut cursor)) {
            Ok(look) => News::Look(Box::new(look)),
            Err(failure) => News::Gone(failure.to_string()),
        };
        if tell.send(news).is_err() {
            return;
        }
        next = Instant::now() + interval;
    }
}

fn look(client: &mut Client, cursor: &mut Cursor) -> Result<Look, Error> {
    let stats = client.stats()?;
    let destinations = cache::all(|from| client.destinations(b"", from))?;
    let mut happened = Happened::default();
    for _ in 0..EVENT_PAGES {
        let more = cursor.read(client)?;
        let is_all = more.entries.is_empty();
        happened.forgotten += more.forgotten;
        happened.entries.extend(more.entries);
        if is_all {
            break;
        }
    }
    Ok(Look {
        at: Instant::now(),
        stats,
        destinations,
        happened,
    })
}
