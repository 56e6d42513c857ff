//! Lists whose links lie in the entries of a slab, so that an entry leaves its list at once.

use slab::Slab;

/// No entry.
pub(crate) const NONE: u32 = u32::MAX;

/// The two ends of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct List {
    pub(crate) first: u32,
    pub(crate) last: u32,
    length: u32,
}

/// An entry's neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    previous: u32,
    pub(crate) next: u32,
}

/// What can be in a list.
pub(crate) trait Linked {
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
    pub(crate) fn length(&self) -> usize {
        self.length as usize
    }

    pub(crate) fn push_back<T: Linked>(&mut self, entries: &mut Slab<T>, slot: u32) {
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

    pub(crate) fn push_front<T: Linked>(&mut self, entries: &mut Slab<T>, slot: u32) {
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

    pub(crate) fn unlink<T: Linked>(&mut self, entries: &mut Slab<T>, slot: u32) {
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
