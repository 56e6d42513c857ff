//! From names to numbers.
//!
//! The hash is keyed with a secret of the process and a name is compared whole, so nobody can make names
//! collide, and a collision would confuse nobody.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use crate::store::give_back;

/// Records by name, numbered.
#[derive(Debug)]
pub(crate) struct Names<T> {
    records: Slab<(Box<[u8]>, T)>,
    index: HashTable<u32>,
    hasher: RandomState,
    /// Of all names together.
    bytes: usize,
}

impl<T: Default> Names<T> {
    pub(crate) fn new() -> Self {
        Self {
            records: Slab::new(),
            index: HashTable::new(),
            hasher: RandomState::new(),
            bytes: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// How many bytes all names have together.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns a hash of some bytes, which nobody outside can foretell.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u32 {
        self.hasher.hash_one(bytes) as u32
    }

    /// All numbers there are now.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        self.records.iter().map(|(slot, _)| slot as u32).collect()
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        let found = self
            .index
            .find(hash, |slot| &*self.records[*slot as usize].0 == name);
        found.copied()
    }

    /// The number of a name, which is new if it has none.
    pub(crate) fn number(&mut self, name: &[u8]) -> u32 {
        if let Some(slot) = self.find(name) {
            return slot;
        }
        self.bytes += name.len();
        let slot = self.records.insert((name.into(), T::default())) as u32;
        let (records, hasher) = (&self.records, &self.hasher);
        self.index
            .insert_unique(hasher.hash_one(name), slot, |slot| {
                hasher.hash_one(&*records[*slot as usize].0)
            });
        slot
    }

    pub(crate) fn forget(&mut self, slot: u32) {
        let (name, _) = self.records.remove(slot as usize);
        self.bytes -= name.len();
        let hash = self.hasher.hash_one(&*name);
        if let Ok(entry) = self.index.find_entry(hash, |other| *other == slot) {
            entry.remove();
        }
        give_back(&mut self.records);
        if self.records.is_empty() {
            self.index.shrink_to(1024, |_| 0);
        }
    }

    /// Whether a number is that of a name now.
    pub(crate) fn contains(&self, slot: u32) -> bool {
        self.records.contains(slot as usize)
    }

    pub(crate) fn name(&self, slot: u32) -> &[u8] {
        &self.records[slot as usize].0
    }

    pub(crate) fn record(&self, slot: u32) -> &T {
        &self.records[slot as usize].1
    }

    pub(crate) fn record_mut(&mut self, slot: u32) -> &mut T {
        &mut self.records[slot as usize].1
    }
}
