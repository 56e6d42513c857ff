//! What is done about connections that leave the cache other than by being taken: a goodbye, and its answer.

use std::time::Duration;

use scache_store::{Reason, Released};

use super::journal::happening;
use super::{Cache, Kept, Pass};
use crate::{Failure, Host, Kernel, Key, Note, Settings};

/// How much is remembered of what a peer said, in bytes.
const SAID_BYTES: usize = 200;

impl<D> Cache<D> {
    /// How many connections are parted from in one go: thousands may expire in one moment.
    pub(super) const PARTINGS_AT_ONCE: usize = 64;

    /// Something can be read from a connection that goodbye was said to.
    pub(crate) fn attend_parting<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        key: Key,
        buffer: &mut [u8],
    ) {
        let answered = self.partings.turn(pass.kernel, key, buffer);
        self.stats.goodbyes_answered += u64::from(answered);
    }

    /// Gives a descriptor back to the system, now: of a connection that was said goodbye to, or else of
    /// the one that is the soonest to expire, which is told but not waited for. Whether there was one.
    pub(crate) fn make_room<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> bool {
        if self.partings.close_first(pass.kernel) {
            return true;
        }
        if !self.store.evict() {
            return false;
        }
        self.settle(pass);
        self.partings.close_first(pass.kernel);
        true
    }

    /// Says goodbye to everything that is cached, and waits for no answer longer than for `patience`.
    pub(crate) fn clear<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        patience: Duration,
    ) {
        self.partings.hurry(pass.now, patience);
        self.store.clear();
        self.settle(pass);
    }

    /// Waits for answers again as the settings say: [`Cache::clear`] was not the end.
    pub(crate) fn expect_more(&mut self, settings: &Settings) {
        self.partings
            .relax(settings.parting_limit, settings.goodbye_timeout);
    }

    /// Does what is to be done about a connection that left the store.
    pub(crate) fn part<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        released: Released<Kept<D>>,
    ) {
        let Released {
            handle: mut kept,
            endpoint,
            reason,
        } = released;
        self.count_released(reason);
        let mut said = [0; SAID_BYTES];
        let length = match reason {
            // It is still there to be read.
            Reason::Spoke => pass.kernel.peek(&kept.descriptor, &mut said).unwrap_or(0),
            _ => 0,
        };
        self.journal
            .record(pass.now, happening(reason), &endpoint, &said[..length]);
        pass.host.note(Note::Released {
            endpoint: &endpoint,
            reason,
            said: &said[..length],
        });
        let is_dead = matches!(reason, Reason::Closed | Reason::Reset | Reason::Spoke);
        if is_dead || !self.say_goodbye(pass.kernel, &endpoint, &kept.descriptor) {
            self.unwatch(pass.kernel, &mut kept);
            return;
        }
        self.stats.goodbyes_said += 1;
        self.partings
            .insert(pass.kernel, pass.now, kept.descriptor, kept.watched);
    }

    /// Does what is to be done about what the store let go of, as far as one client may be kept waiting for it.
    pub(super) fn settle<K: Kernel<Descriptor = D>, H: Host>(&mut self, pass: &mut Pass<'_, K, H>) {
        for _ in 0..Self::PARTINGS_AT_ONCE {
            let Some(released) = self.store.poll_released() else {
                return;
            };
            self.part(pass, released);
        }
    }

    fn count_released(&mut self, reason: Reason) {
        let counter = match reason {
            Reason::Expired => &mut self.stats.connections_expired,
            // The store counts them, and what for.
            Reason::Evicted => return,
            Reason::Purged => &mut self.stats.connections_purged,
            Reason::Drained => &mut self.stats.connections_drained,
            Reason::Retired => &mut self.stats.connections_retired,
            Reason::Cleared => &mut self.stats.connections_cleared,
            Reason::Closed => &mut self.stats.dropped_closed,
            Reason::Reset => &mut self.stats.dropped_reset,
            Reason::Spoke => &mut self.stats.dropped_spoke,
        };
        *counter += 1;
    }

    /// Whether there was something to say, and the peer could be told.
    fn say_goodbye<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        endpoint: &[u8],
        connection: &D,
    ) -> bool {
        let Some(line) = self.goodbyes.of(endpoint) else {
            return false;
        };
        let mut scratch = [0; 1];
        // Who has closed, or spoke out of turn, is not talked to.
        if kernel.peek(connection, &mut scratch) != Err(Failure::WouldBlock) {
            return false;
        }
        self.line.clear();
        self.line.extend_from_slice(line);
        self.line.extend_from_slice(b"\r\n");
        kernel.send(connection, &self.line, None) == Ok(self.line.len())
    }
}
