//! Connections that goodbye was said to: they wait for the answer, and not for long.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::{Failure, Interest, Kernel, Key, Token};

/// Connections that goodbye was said to.
#[derive(Debug)]
pub(crate) struct Partings<D> {
    waiting: Slab<Parting<D>>,
    deadlines: BTreeSet<(Instant, Key)>,
    generation: u32,
    limit: usize,
    patience: Duration,
    given_up: u64,
}

#[derive(Debug)]
struct Parting<D> {
    generation: u32,
    deadline: Instant,
    connection: D,
}

/// How many are closed in one go because their time is over.
const CLOSED_AT_ONCE: usize = 64;

/// How often an answer is read from before its end is not waited for any more.
const READS: usize = 16;

impl<D> Partings<D> {
    pub(crate) fn new(limit: usize, patience: Duration) -> Self {
        Self {
            waiting: Slab::new(),
            deadlines: BTreeSet::new(),
            generation: 0,
            limit: limit.max(1),
            patience,
            given_up: 0,
        }
    }

    /// Waits for the answer of a connection that goodbye was said to. `watched`: events of it come already.
    pub(crate) fn insert<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        now: Instant,
        connection: D,
        watched: bool,
    ) {
        while self.waiting.len() >= self.limit && self.close_first(kernel) {}
        self.generation = self.generation.wrapping_add(1);
        let place = self.waiting.vacant_entry();
        let key = Key {
            slot: place.key() as u32,
            generation: self.generation,
        };
        let token = Token::Parting(key);
        // Without events there is still the deadline.
        let _ = if watched {
            kernel.watch_for(&connection, token, Interest::Readable)
        } else {
            kernel.watch(&connection, token, Interest::Readable)
        };
        let deadline = now + self.patience;
        place.insert(Parting {
            generation: self.generation,
            deadline,
            connection,
        });
        self.deadlines.insert((deadline, key));
    }

    /// Something can be read. Whether that was the answer.
    pub(crate) fn turn<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        key: Key,
        buffer: &mut [u8],
    ) -> bool {
        let Some(Parting { connection, .. }) = self.find(key) else {
            return false;
        };
        let mut answered = false;
        for _ in 0..READS {
            match kernel.receive(connection, buffer) {
                Ok((0, _)) => {
                    answered = true;
                    break;
                }
                // What is left unread would make a reset of the close.
                Ok((bytes, _)) => answered |= buffer[..bytes].contains(&b'\n'),
                Err(Failure::WouldBlock) if !answered => return false,
                Err(_) => break,
            }
        }
        self.close(kernel, key);
        self.given_up += u64::from(!answered);
        answered
    }

    /// Closes the connection that is the first to be given up. Whether there was one.
    pub(crate) fn close_first<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K) -> bool {
        let first = self.deadlines.first().copied();
        if let Some((_, key)) = first {
            self.close(kernel, key);
            self.given_up += 1;
        }
        first.is_some()
    }

    /// Closes those that have waited long enough, as many as others may be kept waiting for.
    pub(crate) fn expire<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K, now: Instant) {
        for _ in 0..CLOSED_AT_ONCE {
            if self.next_deadline().is_none_or(|deadline| deadline > now) {
                return;
            }
            self.close_first(kernel);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many were closed before they had answered.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// From now on all may wait, for nobody needs their room, but not for longer than `patience`.
    pub(crate) fn hurry(&mut self, now: Instant, patience: Duration) {
        self.limit = usize::MAX;
        self.patience = self.patience.min(patience);
        let latest = now + patience;
        for (_, key) in self.deadlines.split_off(&(latest, Key::FIRST)) {
            self.waiting[key.slot as usize].deadline = latest;
            self.deadlines.insert((latest, key));
        }
    }

    /// Waits for answers to further goodbyes as it did before [`Partings::hurry`].
    pub(crate) fn relax(&mut self, limit: usize, patience: Duration) {
        self.limit = limit.max(1);
        self.patience = patience;
    }

    fn find(&self, key: Key) -> Option<&Parting<D>> {
        self.waiting
            .get(key.slot as usize)
            .filter(|parting| parting.generation == key.generation)
    }

    fn close<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K, key: Key) {
        if self.find(key).is_some() {
            let parting = self.waiting.remove(key.slot as usize);
            self.deadlines.remove(&(parting.deadline, key));
            kernel.unwatch(&parting.connection);
        }
    }
}
