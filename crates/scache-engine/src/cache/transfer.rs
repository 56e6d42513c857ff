//! Everything that is cached, out in one go and in again: for the next process, or from the one before.

use scache_store::{Entries, Reason, Released, Taken};

use super::{Cache, Carried, Kept, Pass};
use crate::{Host, Kernel, entries};

impl<D> Cache<D> {
    /// Takes everything out, to be given to somebody else.
    pub(crate) fn take_entries(&mut self) -> Entries<Kept<D>> {
        self.unwatched.clear();
        self.store.take_entries()
    }

    /// The same, without what is of no use any more.
    pub(crate) fn take_usable_entries<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> Entries<Carried<D>> {
        let entries = self.take_entries();
        let mut usable = Entries {
            connections: Vec::with_capacity(entries.connections.len()),
            bindings: entries.bindings,
        };
        for mut taken in entries.connections {
            match self.is_usable(pass.kernel, &mut taken.handle) {
                Ok(()) => usable.connections.push(Taken {
                    handle: Carried {
                        history: self.history(pass.now, &taken.handle),
                        descriptor: taken.handle.descriptor,
                    },
                    endpoint: taken.endpoint,
                    property: taken.property,
                    deadline: taken.deadline,
                }),
                Err(reason) => self.part(pass, Released::of(taken, reason)),
            }
        }
        usable
    }

    /// Saves everything of these that is of use, each with what is left of its time.
    pub(crate) fn put_entries<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        entries: Entries<Carried<D>>,
    ) {
        for taken in entries.connections {
            let history = taken.handle.history;
            let mut kept = Kept::new(taken.handle.descriptor);
            let unusable = self.is_usable(pass.kernel, &mut kept).err();
            let request = entries::save_connection(
                &taken.endpoint,
                &taken.property,
                history,
                taken.deadline,
                pass.now,
            );
            match (unusable, request) {
                (None, Ok(request)) => {
                    self.save(pass, request, kept.descriptor);
                }
                (unusable, _) => self.part(
                    pass,
                    Released {
                        handle: kept,
                        endpoint: taken.endpoint,
                        reason: unusable.unwrap_or(Reason::Expired),
                    },
                ),
            }
        }
        for bound in &entries.bindings {
            if let Ok(request) = entries::save_binding(bound, pass.now) {
                self.answer(pass, request);
            }
        }
        self.settle(pass);
    }

    /// Caches again what [`Cache::take_entries`] took out, as it was there. What has expired since gets its goodbye.
    pub(crate) fn restore<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        entries: Entries<Kept<D>>,
    ) {
        for mut taken in entries.connections {
            self.unwatch(pass.kernel, &mut taken.handle);
            if let Some(id) = self.store.restore_connection(pass.now, taken) {
                self.watch_later(pass.now, id);
            }
        }
        for bound in &entries.bindings {
            self.store.restore_binding(pass.now, bound);
        }
        self.settle(pass);
    }
}
