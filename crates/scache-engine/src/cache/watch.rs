//! Idle connections are watched, and looked at before they go anywhere.
//!
//! They are begun to be watched a batch at a time, every [`Cache::BATCH`]: a busy one is taken before that, and
//! looking at it then (which is done in any case) costs less than asking for events and asking for none again.
//! Nor is the batch's time short: a kernel that has to set its clock for each wait takes longer over that than
//! over everything else.

use std::time::{Duration, Instant};

use scache_store::{ConnectionId, Reason, Released};

use super::{Cache, HandedOut, Kept, Pass};
use crate::{Failure, Host, Interest, Kernel, Key, Token};

/// What looking at an idle connection shows.
enum Look {
    Alive,
    /// Nobody can tell: it is no connection.
    Unknown,
    Dead(Reason),
}

impl<D> Cache<D> {
    /// How long a connection may idle before it is watched.
    const BATCH: Duration = Duration::from_millis(50);

    /// How long a look at a connection that is handed out counts. The client's dummy comes much sooner, and costs no
    /// second look.
    const FRESH: Duration = Duration::from_millis(10);

    /// How many connections are begun to be watched in one go: each takes two system calls.
    const WATCHED_AT_ONCE: usize = 256;

    /// For how many connections of a batch memory is kept.
    const KEPT_UNWATCHED: usize = 1024;

    /// Something happened to an idle connection.
    pub(crate) fn attend<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        key: Key,
    ) {
        let id = ConnectionId {
            slot: key.slot,
            generation: key.generation,
        };
        let Some(kept) = self.store.connection(id) else {
            return;
        };
        match look(pass.kernel, &kept.descriptor) {
            Look::Alive => {}
            Look::Unknown => {
                kept.watched = false;
                pass.kernel.unwatch(&kept.descriptor);
            }
            Look::Dead(reason) => {
                self.store.let_go(id, reason);
                self.settle(pass);
            }
        }
    }

    /// Looks at a connection that is on its way to the next process. Whether it is of use.
    pub(crate) fn is_usable<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        kept: &mut Kept<D>,
    ) -> Result<(), Reason> {
        self.unwatch(kernel, kept);
        if self.watch {
            death(kernel, &kept.descriptor).map_or(Ok(()), Err)
        } else {
            Ok(())
        }
    }

    /// Looks again at a connection that is about to be sent, if it was not looked at just now: it may have waited for its
    /// client. Returns what is wrong with it, if anything.
    pub(crate) fn look_again<K: Kernel<Descriptor = D>>(
        &self,
        kernel: &mut K,
        now: Instant,
        handed_out: &mut HandedOut<D>,
    ) -> Option<Reason> {
        let is_fresh = now.saturating_duration_since(handed_out.looked_at) <= Self::FRESH;
        if is_fresh || handed_out.is_stand_in {
            return None;
        }
        handed_out.looked_at = now;
        if handed_out.taken.deadline <= now {
            return Some(Reason::Expired);
        }
        self.watch
            .then(|| death(kernel, handed_out.descriptor()))
            .flatten()
    }

    /// Parts from a connection that its client is not given after all.
    pub(crate) fn give_up<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        handed_out: HandedOut<D>,
        reason: Reason,
    ) {
        self.part(pass, Released::of(handed_out.taken, reason));
    }

    /// The same, for a client that was told of it: a closed connection takes its place.
    pub(crate) fn give_up_for<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        handed_out: &mut HandedOut<D>,
        stand_in: D,
        reason: Reason,
    ) {
        handed_out.is_stand_in = true;
        let handle = std::mem::replace(&mut handed_out.taken.handle, Kept::new(stand_in));
        let endpoint = handed_out.taken.endpoint.clone();
        self.part(
            pass,
            Released {
                handle,
                endpoint,
                reason,
            },
        );
    }

    pub(super) fn watch_later(&mut self, now: Instant, id: ConnectionId) {
        if self.watch {
            self.unwatched.push(id);
            self.watch_at.get_or_insert(now + Self::BATCH);
        }
    }

    pub(super) fn watch_batch<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) {
        let mut batch = std::mem::take(&mut self.unwatched);
        let (mut looked_at, mut done) = (0, 0);
        for id in &batch {
            if looked_at == Self::WATCHED_AT_ONCE {
                break;
            }
            done += 1;
            let Some(kept) = self.store.connection(*id) else {
                continue;
            };
            looked_at += 1;
            match look(pass.kernel, &kept.descriptor) {
                Look::Alive => {
                    let token = Token::Kept(key(*id));
                    // What the kernel has no room to watch is looked at when it is asked for.
                    kept.watched = pass
                        .kernel
                        .watch(&kept.descriptor, token, Interest::Readable)
                        .is_ok();
                }
                // Somebody's file system may be asked for the events of a file, and take its time.
                Look::Unknown => {}
                Look::Dead(reason) => {
                    self.store.let_go(*id, reason);
                }
            }
        }
        batch.drain(..done);
        batch.shrink_to(Self::KEPT_UNWATCHED);
        // Those left have idled for long enough as well: they are next.
        self.watch_at = (!batch.is_empty()).then_some(pass.now);
        self.unwatched = batch;
        self.settle(pass);
    }

    pub(super) fn unwatch<K: Kernel<Descriptor = D>>(&self, kernel: &mut K, kept: &mut Kept<D>) {
        if std::mem::take(&mut kept.watched) {
            kernel.unwatch(&kept.descriptor);
        }
    }
}

/// What is wrong with a connection that is to go to somebody, if anything.
pub(super) fn death<K: Kernel>(kernel: &mut K, connection: &K::Descriptor) -> Option<Reason> {
    match look(kernel, connection) {
        Look::Dead(reason) => Some(reason),
        Look::Alive | Look::Unknown => None,
    }
}

/// Looks at an idle connection.
fn look<K: Kernel>(kernel: &mut K, connection: &K::Descriptor) -> Look {
    match kernel.peek(connection, &mut [0]) {
        Ok(0) => Look::Dead(Reason::Closed),
        Ok(_) => Look::Dead(Reason::Spoke),
        // Out of memory says nothing about the connection.
        Err(Failure::WouldBlock | Failure::Exhausted | Failure::TooManyInFlight) => Look::Alive,
        Err(Failure::Unsupported) => Look::Unknown,
        Err(Failure::Lost) => Look::Dead(Reason::Reset),
    }
}

fn key(id: ConnectionId) -> Key {
    Key {
        slot: id.slot,
        generation: id.generation,
    }
}
