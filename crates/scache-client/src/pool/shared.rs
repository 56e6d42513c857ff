//! What blocking and asynchronous pools have in common.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use scache_sys::generation::Generation;
use scache_sys::sockets::{self, Until};

use super::Counters;
use super::checkout::{Checkout, Released, Reused};
use super::circuit::{Circuit, Failure, Permit};
use crate::{Client, Error, Found, FoundThrough, Properties, Saved, Trust};

/// How long requests of one checkout or release may take together, unless a pool is told otherwise. A connection that is
/// not cached costs less than a cache that does not answer.
const TIMEOUT: Duration = Duration::from_millis(500);

/// How long the cache is left alone when it has failed, unless a pool is told otherwise.
const REST: Duration = Duration::from_secs(1);

/// Clients that are kept for the next checkout or release.
const IDLE_CLIENTS: usize = 16;

/// How long a client is kept, unless a pool is told otherwise: as long as smtp(8) keeps its connection to scache(8)
/// (ipc_idle).
const IDLE_LIMIT: Duration = Duration::from_secs(5);

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
    pub(crate) limits: Limits,
    pub(crate) idle_limit: Duration,
    pub(crate) tell: Option<Tell>,
}

/// Up to when a connection is used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Its age since it was made.
    pub(crate) age: Duration,
    /// How often it may be taken from the cache.
    pub(crate) reuse: u32,
}

/// What one process knows. `T` is a client.
pub(crate) struct State<T> {
    /// The process. A child inherits this in whatever state it is, locks held by threads that it does not have
    /// included, so it never touches the rest.
    generation: Generation,
    /// What a child knows instead.
    child: OnceLock<Arc<State<T>>>,
    idle: Mutex<Idle<T>>,
    circuit: Mutex<Circuit>,
    tally: Tally,
}

/// Clients that nobody uses, the one that has been here the longest first.
struct Idle<T> {
    clients: VecDeque<(Instant, T)>,
    /// Whether a task closes those that stay.
    is_swept: bool,
}

#[derive(Debug, Default)]
struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
    stale: AtomicU64,
    rejected: AtomicU64,
    worn: AtomicU64,
    saved: AtomicU64,
    declined: AtomicU64,
    cache_errors: AtomicU64,
    unasked: AtomicU64,
}

/// What a find has brought.
pub(crate) enum Judged<C> {
    /// A connection as the program wants it, the endpoint that it was saved under, what is known of it.
    Usable(C, Box<[u8]>, Reused),
    /// Look for another one.
    Stale,
    Nothing,
}

/// A client whose next request may take so long.
pub(crate) trait Timed {
    fn set_timeout(&mut self, timeout: Duration);
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
                limits: Limits {
                    age: Duration::MAX,
                    reuse: u32::MAX,
                },
                idle_limit: IDLE_LIMIT,
                tell: None,
            },
            state: Arc::new(State::new()),
        }
    }

    /// The state of this process.
    fn state(&self) -> &Arc<State<T>> {
        let current = Generation::current();
        let mut state = &self.state;
        while state.generation != current {
            state = state.child.get_or_init(|| Arc::new(State::new()));
        }
        state
    }

    /// Returns a client and the permission to ask, unless the cache is left alone.
    pub(crate) fn client(&self) -> Option<(T, Permit)>
    where
        T: for<'s> From<&'s Settings>,
    {
        let state = self.state();
        let timeout = self.settings.timeout;
        let Some(permit) = state.circuit().permit(Instant::now(), timeout) else {
            count(&state.tally.unasked);
            return None;
        };
        state.close_idle(self.settings.idle_limit);
        // The one used last: the others can become old enough to be closed.
        let idle = state.idle().clients.pop_back();
        let client = idle.map_or_else(|| T::from(&self.settings), |(_, client)| client);
        Some((client, permit))
    }

    /// Keeps a client for the next one who asks. Returns the state if somebody has to close it when nobody asks, who is
    /// not there yet.
    pub(crate) fn put_back(&self, client: T) -> Option<&Arc<State<T>>> {
        let state = self.state();
        state.close_idle(self.settings.idle_limit);
        let mut idle = state.idle();
        if idle.clients.len() >= IDLE_CLIENTS || self.settings.idle_limit.is_zero() {
            // Closed when it is not locked any more.
            drop(idle);
            drop(client);
            return None;
        }
        idle.clients.push_back((Instant::now(), client));
        (!idle.is_swept).then_some(state)
    }

    /// Closes the clients that have been idle for as long as they may.
    pub(crate) fn close_idle(&self) {
        self.state().close_idle(self.settings.idle_limit);
    }

    /// Counts what a find has brought, but a connection that is [to be checked](Shared::checked), and makes a `C` of it if it is any good. `prepare` does what is to be done before.
    pub(crate) fn judge<C>(
        &self,
        permit: Permit,
        found: Result<Option<FoundThrough>, Error>,
        prepare: impl FnOnce(&Found) -> io::Result<()>,
    ) -> Judged<C>
    where
        C: TryFrom<Found>,
        C::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let state = self.state();
        let tally = &state.tally;
        if found.is_ok() {
            state.circuit().answered(permit);
        }
        match found {
            Ok(Some(FoundThrough {
                found,
                destination_property,
                endpoint: Some(endpoint),
            })) => {
                let limits = self.settings.limits;
                let history = found.history;
                if history
                    .is_some_and(|history| history.age > limits.age || history.taken > limits.reuse)
                {
                    count(&tally.worn);
                    return Judged::Stale;
                }
                let reused = Reused {
                    properties: Properties::received(destination_property, found.property.clone()),
                    history,
                };
                if usable(&found).and_then(|()| prepare(&found)).is_err() {
                    count(&tally.stale);
                    return Judged::Stale;
                }
                match C::try_from(found) {
                    Ok(connection) => Judged::Usable(connection, endpoint, reused),
                    Err(error) => {
                        count(&tally.stale);
                        self.tell(&Error::Unsuitable(error.into()));
                        Judged::Stale
                    }
                }
            }
            Ok(_) => {
                count(&tally.misses);
                Judged::Nothing
            }
            Err(error) => {
                self.failed(permit, &error);
                Judged::Nothing
            }
        }
    }

    /// Takes note of what the program's check said of what a find has brought.
    pub(crate) fn checked(&self, is_fit: bool) {
        let tally = &self.state().tally;
        count(if is_fit { &tally.hits } else { &tally.rejected });
    }

    /// Returns a client with the permission to save a connection that is released, and for how long, or what becomes of
    /// the connection otherwise.
    pub(crate) fn to_release<C, P>(
        &self,
        checkout: &Checkout<C, P>,
        ttl: Duration,
    ) -> Result<(T, Permit, Duration), Released>
    where
        T: for<'s> From<&'s Settings> + Timed,
    {
        if !checkout.is_own() {
            return Err(Released::Inherited);
        }
        let Some(ttl) = checkout.may_be_kept(self.settings.limits, ttl) else {
            count(&self.state().tally.worn);
            return Err(Released::Worn);
        };
        let (mut client, permit) = self.client().ok_or(Released::Unasked)?;
        client.set_timeout(self.settings.timeout);
        Ok((client, permit, ttl))
    }

    /// Takes note of what came of a save.
    pub(crate) fn note(&self, permit: Permit, saved: Result<Saved, Error>) -> Released {
        let saved = match saved {
            Ok(saved) => saved,
            Err(error) => {
                self.failed(permit, &error);
                return Released::Failed;
            }
        };
        let state = self.state();
        state.circuit().answered(permit);
        if !saved.is_kept() {
            count(&state.tally.declined);
            return Released::Declined;
        }
        count(&state.tally.saved);
        Released::Kept { ttl: saved.ttl() }
    }

    fn failed(&self, permit: Permit, error: &Error) {
        let state = self.state();
        count(&state.tally.cache_errors);
        let is_late = |error: &io::Error| error.kind() == io::ErrorKind::TimedOut;
        let failure = match error {
            Error::Unanswered(_) => Some(Failure::Timeout),
            Error::Connect { source, .. } if is_late(source) => Some(Failure::Timeout),
            Error::Lost(error) if is_late(error) => Some(Failure::Timeout),
            Error::Connect { .. } | Error::Untrusted { .. } | Error::Protocol(_) => {
                Some(Failure::Quick)
            }
            // The server went away, which says nothing about the next one, or it answered.
            Error::Lost(_)
            | Error::Value(_)
            | Error::Unsuitable(_)
            | Error::Refused
            | Error::Unsupported => None,
        };
        if let Some(failure) = failure {
            let rest = self.settings.rest;
            let now = Instant::now();
            state.circuit().failed(permit, now, rest, failure);
        }
        self.tell(error);
    }

    fn tell(&self, error: &Error) {
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
            idle: Mutex::new(Idle {
                clients: VecDeque::new(),
                is_swept: false,
            }),
            circuit: Mutex::default(),
            tally: Tally::default(),
        }
    }

    fn circuit(&self) -> MutexGuard<'_, Circuit> {
        self.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Idle<T>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close_idle(&self, limit: Duration) {
        let mut idle = self.idle();
        let is_old = |(since, _): &(Instant, T)| since.elapsed() >= limit;
        let old = idle.clients.iter().take_while(|one| is_old(one)).count();
        let old: Vec<_> = idle.clients.drain(..old).collect();
        // Closed when it is not locked any more.
        drop(idle);
        drop(old);
    }

    /// Closes the clients that have been idle since `then`. Whether others are left, for which the caller has to come
    /// again.
    #[cfg(feature = "tokio")]
    pub(crate) fn sweep(&self, then: Instant) -> bool {
        let mut idle = self.idle();
        let old = idle.clients.iter().take_while(|(since, _)| *since <= then);
        let old = old.count();
        let old: Vec<_> = idle.clients.drain(..old).collect();
        idle.is_swept = !idle.clients.is_empty();
        let is_swept = idle.is_swept;
        drop(idle);
        drop(old);
        is_swept
    }

    /// Whether a task closes the clients that stay. Returns what held before.
    #[cfg(feature = "tokio")]
    pub(crate) fn set_swept(&self, is_swept: bool) -> bool {
        std::mem::replace(&mut self.idle().is_swept, is_swept)
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
            .field("limits", &self.settings.limits)
            .field("idle_limit", &self.settings.idle_limit)
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
            rejected: read(&self.rejected),
            worn: read(&self.worn),
            saved: read(&self.saved),
            declined: read(&self.declined),
            cache_errors: read(&self.cache_errors),
            unasked: read(&self.unasked),
        }
    }
}

/// What can be read from is closed, or was told what nobody asked for.
fn usable(found: &Found) -> io::Result<()> {
    match sockets::wait(found.connection.as_fd(), Until::Readable, Duration::ZERO)? {
        true => Err(io::ErrorKind::ConnectionAborted.into()),
        false => Ok(()),
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
