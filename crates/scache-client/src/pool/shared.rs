//! What blocking and asynchronous pools have in common.

use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use scache_sys::generation::Generation;
use scache_sys::sockets::{self, Until};

use super::{Counters, Properties};
use crate::client::TIMEOUT;
use crate::exchange::LONGEST;
use crate::{Client, Error, Found, FoundThrough, Trust};

/// How long the cache is left alone when it has failed, unless a pool is told otherwise.
const REST: Duration = Duration::from_secs(1);

/// Clients that are kept for the next checkout or release.
const IDLE_CLIENTS: usize = 16;

/// What the clones of a pool share, blocking or not.
pub(crate) struct Shared<T> {
    pub(crate) settings: Settings,
    state: Arc<State<T>>,
}

/// Who is told of errors.
pub(crate) type Tell = Arc<dyn Fn(&Error) + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) path: Arc<Path>,
    pub(crate) timeout: Duration,
    pub(crate) inline: bool,
    pub(crate) trust: Trust,
    pub(crate) rest: Duration,
    pub(crate) tell: Option<Tell>,
}

/// What one process knows. `T` is a client.
struct State<T> {
    /// The process. A child inherits this in whatever state it is, locks held by threads that it does not have
    /// included, so it never touches the rest.
    generation: Generation,
    /// What a child knows instead.
    child: OnceLock<Box<State<T>>>,
    idle: Mutex<Vec<T>>,
    /// Until then the cache is left alone.
    rest: Mutex<Option<Instant>>,
    tally: Tally,
}

#[derive(Debug, Default)]
struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
    saved: AtomicU64,
    cache_errors: AtomicU64,
    unasked: AtomicU64,
}

/// What a find has brought.
pub(crate) enum Judged<C> {
    /// A connection, the endpoint that it was saved under, what was saved with it.
    Usable(C, Box<[u8]>, Properties),
    /// Look for another one.
    Stale,
    Nothing,
}

impl From<&Settings> for Client {
    fn from(settings: &Settings) -> Self {
        let client = Self::new(&settings.path)
            .with_timeout(settings.timeout)
            .with_trust(settings.trust);
        if settings.inline {
            client
        } else {
            client.without_inline()
        }
    }
}

impl<T> Shared<T> {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            settings: Settings {
                path: path.into(),
                timeout: TIMEOUT,
                inline: true,
                trust: Trust::Named,
                rest: REST,
                tell: None,
            },
            state: Arc::new(State::new()),
        }
    }

    /// The state of this process.
    fn state(&self) -> &State<T> {
        let current = Generation::current();
        let mut state = &*self.state;
        while state.generation != current {
            state = state.child.get_or_init(|| Box::new(State::new()));
        }
        state
    }

    /// A client, unless the cache is left alone.
    pub(crate) fn client(&self) -> Option<T>
    where
        T: for<'s> From<&'s Settings>,
    {
        let state = self.state();
        let rest = *state.rest.lock().unwrap_or_else(PoisonError::into_inner);
        if rest.is_some_and(|until| Instant::now() < until) {
            count(&state.tally.unasked);
            return None;
        }
        let idle = state.idle().pop();
        Some(idle.unwrap_or_else(|| T::from(&self.settings)))
    }

    pub(crate) fn put_back(&self, client: T) {
        let mut idle = self.state().idle();
        if idle.len() < IDLE_CLIENTS {
            idle.push(client);
        }
    }

    /// Counts what a find has brought, and makes a `C` of it if it is any good.
    pub(crate) fn judge<C>(
        &self,
        found: Result<Option<FoundThrough>, Error>,
        make: impl FnOnce(Found) -> io::Result<C>,
    ) -> Judged<C> {
        let tally = &self.state().tally;
        match found {
            Ok(Some(FoundThrough {
                found,
                destination_property,
                endpoint: Some(endpoint),
            })) => {
                let properties = Properties {
                    destination: destination_property,
                    connection: found.property.clone(),
                };
                match usable(found).and_then(make) {
                    Ok(connection) => {
                        count(&tally.hits);
                        Judged::Usable(connection, endpoint, properties)
                    }
                    Err(_) => {
                        count(&tally.stale);
                        Judged::Stale
                    }
                }
            }
            Ok(_) => {
                count(&tally.misses);
                Judged::Nothing
            }
            Err(error) => {
                self.failed(&error);
                Judged::Nothing
            }
        }
    }

    /// Takes note of what came of a save.
    pub(crate) fn note(&self, saved: Result<(), Error>) -> bool {
        match saved {
            Ok(()) => {
                count(&self.state().tally.saved);
                true
            }
            Err(error) => {
                self.failed(&error);
                false
            }
        }
    }

    fn failed(&self, error: &Error) {
        let state = self.state();
        count(&state.tally.cache_errors);
        if matches!(
            error,
            Error::Connect { .. }
                | Error::Untrusted { .. }
                | Error::Unanswered(_)
                | Error::Protocol(_)
        ) {
            let until = Instant::now() + self.settings.rest.min(LONGEST);
            *state.rest.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
        }
        if let Some(tell) = &self.settings.tell {
            tell(error);
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.state().tally.counters()
    }
}

impl<T> State<T> {
    fn new() -> Self {
        Self {
            generation: Generation::current(),
            child: OnceLock::new(),
            idle: Mutex::new(Vec::new()),
            rest: Mutex::new(None),
            tally: Tally::default(),
        }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            state: Arc::clone(&self.state),
        }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.settings.path)
            .field("timeout", &self.settings.timeout)
            .field("inline", &self.settings.inline)
            .field("trust", &self.settings.trust)
            .field("rest", &self.settings.rest)
            .field("tally", &self.state().tally)
            .finish_non_exhaustive()
    }
}

impl Tally {
    fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            hits: read(&self.hits),
            misses: read(&self.misses),
            stale: read(&self.stale),
            saved: read(&self.saved),
            cache_errors: read(&self.cache_errors),
            unasked: read(&self.unasked),
        }
    }
}

/// What can be read from is closed, or was told what nobody asked for.
fn usable(found: Found) -> io::Result<Found> {
    match sockets::wait(found.connection.as_fd(), Until::Readable, Duration::ZERO)? {
        true => Err(io::ErrorKind::ConnectionAborted.into()),
        false => Ok(found),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
