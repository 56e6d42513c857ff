//! Lists whose links lie in the entries of a slab, so that an entry leaves its list at once.

use slab::Slab;

/// Stands for "no entry" in place of a slot.
pub const NONE: u32 = u32::MAX;

/// A list: the slots of its two ends, [`NONE`] if it is empty.
#[derive(Clone, Copy, Debug)]
pub struct List {
    /// Slot of the first entry.
    pub first: u32,
    /// Slot of the last entry.
    pub last: u32,
    length: u32,
}

/// The neighbours of an entry in its list.
#[derive(Clone, Copy, Debug)]
pub struct Links {
    previous: u32,
    /// Slot of the entry behind this one, [`NONE`] for the last.
    pub next: u32,
}

/// An entry of a slab that can be in one list at a time.
pub trait Linked {
    /// The links of the list that the entry is in.
    fn links(&mut self) -> &mut Links;
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            length: 0,
        }
    }
}

impl Default for Links {
    fn default() -> Self {
        Self {
            previous: NONE,
            next: NONE,
        }
    }
}

impl List {
    /// Returns how many entries the list has.
    pub fn length(&self) -> usize {
        self.length as usize
    }

    /// Adds an entry, which is in no list, behind the last.
    pub fn push_back<T: Linked>(&mut self, entries: &mut Slab<T>, slot: u32) {
        *entries[slot as usize].links() = Links {
            previous: self.last,
            next: NONE,
        };
        match self.last {
            NONE => self.first = slot,
            last => entries[last as usize].links().next = slot,
        }
        self.last = slot;
        self.length += 1;
    }

    /// Adds an entry, which is in no list, before the first.
    pub fn push_front<T: Linked>(&mut self, entries: &mut Slab<T>, slot: u32) {
        *entries[slot as usize].links() = Links {
            previous: NONE,
            next: self.first,
        };
        match self.first {
            NONE => self.last = slot,
            first => entries[first as usize].links().previous = slot,
        }
        self.first = slot;
        self.length += 1;
    }

    /// Removes an entry, which is in this list.
    pub fn unlink<T: Linked>(&mut self, entries: &mut Slab<T>, slot: u32) {
        let links = std::mem::take(entries[slot as usize].links());
        match links.previous {
            NONE => self.first = links.next,
            previous => entries[previous as usize].links().next = links.next,
        }
        match links.next {
            NONE => self.last = links.previous,
            next => entries[next as usize].links().previous = links.previous,
        }
        self.length -= 1;
    }
}
