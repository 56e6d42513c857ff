//! Connections that goodbye was said to: they wait for the answer, and not for long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use slab::Slab;

use crate::{Failure, Interest, Kernel, Key, Token};

/// Connections that goodbye was said to.
#[derive(Debug)]
pub(crate) struct Partings<D> {
    /// Each with its generation.
    waiting: Slab<(u32, D)>,
    /// The first to be given up first: all wait for as long.
    deadlines: VecDeque<(Instant, Key)>,
    generation: u32,
    limit: usize,
    patience: Duration,
}

/// How often an answer is read from before its end is not waited for any more.
const READS: usize = 16;

impl<D> Partings<D> {
    pub(crate) fn new(limit: usize, patience: Duration) -> Self {
        Self {
            waiting: Slab::new(),
            deadlines: VecDeque::new(),
            generation: 0,
            limit: limit.max(1),
            patience,
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
        place.insert((self.generation, connection));
        self.deadlines.push_back((now + self.patience, key));
    }

    /// Something can be read. Whether that was the answer.
    pub(crate) fn turn<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        key: Key,
        buffer: &mut [u8],
    ) -> bool {
        let Some((_, connection)) = self
            .waiting
            .get(key.slot as usize)
            .filter(|(generation, _)| *generation == key.generation)
        else {
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
        answered
    }

    /// Closes the connection that has waited longest. Whether there was one.
    pub(crate) fn close_first<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K) -> bool {
        while let Some((_, key)) = self.deadlines.pop_front() {
            if self.close(kernel, key) {
                return true;
            }
        }
        false
    }

    /// Closes those that have waited long enough.
    pub(crate) fn expire<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K, now: Instant) {
        while let Some((deadline, key)) = self.deadlines.front().copied()
            && (deadline <= now || !self.is_waiting(key))
        {
            self.deadlines.pop_front();
            self.close(kernel, key);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// From now on all may wait, for nobody needs their room, but not for longer than `patience`.
    pub(crate) fn hurry(&mut self, now: Instant, patience: Duration) {
        self.limit = usize::MAX;
        self.patience = self.patience.min(patience);
        for (deadline, _) in &mut self.deadlines {
            *deadline = (*deadline).min(now + patience);
        }
    }

    fn is_waiting(&self, key: Key) -> bool {
        self.waiting
            .get(key.slot as usize)
            .is_some_and(|(generation, _)| *generation == key.generation)
    }

    fn close<K: Kernel<Descriptor = D>>(&mut self, kernel: &mut K, key: Key) -> bool {
        let waits = self.is_waiting(key);
        if waits {
            let (_, connection) = self.waiting.remove(key.slot as usize);
            kernel.unwatch(&connection);
        }
        waits
    }
}
