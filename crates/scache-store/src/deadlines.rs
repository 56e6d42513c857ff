//! Which entry of a slab expires next: a heap of four children, whose entries know their place in it.

use slab::Slab;

/// What can expire.
pub(crate) trait Expiring {
    /// Where the entry stands in the heap.
    fn place(&mut self) -> &mut u32;
}

/// The deadlines of all entries of one slab, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: Vec<Item>,
}

/// A deadline and whose it is, in twelve bytes.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(4))]
struct Item {
    deadline: u64,
    slot: u32,
}

const CHILDREN: usize = 4;

impl Deadlines {
    /// The soonest deadline and whose it is.
    pub(crate) fn soonest(&self) -> Option<(u64, u32)> {
        self.heap.first().map(|item| (item.deadline, item.slot))
    }

    /// The one with the soonest deadline, if that is not after `now`.
    pub(crate) fn overdue(&self, now: u64) -> Option<u32> {
        let (deadline, slot) = self.soonest()?;
        (deadline <= now).then_some(slot)
    }

    /// The deadline at a place.
    pub(crate) fn of(&self, place: u32) -> u64 {
        self.heap[place as usize].deadline
    }

    pub(crate) fn insert<T: Expiring>(&mut self, entries: &mut Slab<T>, deadline: u64, slot: u32) {
        self.heap.push(Item { deadline, slot });
        self.rise(entries, self.heap.len() - 1);
    }

    pub(crate) fn remove<T: Expiring>(&mut self, entries: &mut Slab<T>, slot: u32) {
        let place = *entries[slot as usize].place() as usize;
        let Some(last) = self.heap.pop() else {
            return;
        };
        if place < self.heap.len() {
            self.heap[place] = last;
            self.settle(entries, place);
        }
        if self.heap.capacity() > 64 && self.heap.len() < self.heap.capacity() / 4 {
            self.heap.shrink_to(self.heap.capacity() / 2);
        }
    }

    pub(crate) fn change<T: Expiring>(&mut self, entries: &mut Slab<T>, deadline: u64, slot: u32) {
        let place = *entries[slot as usize].place() as usize;
        self.heap[place].deadline = deadline;
        self.settle(entries, place);
    }

    fn settle<T: Expiring>(&mut self, entries: &mut Slab<T>, place: usize) {
        if !self.rise(entries, place) {
            self.sink(entries, place);
        }
    }

    /// Moves an item up to where it belongs. Whether it moved.
    fn rise<T: Expiring>(&mut self, entries: &mut Slab<T>, from: usize) -> bool {
        let item = self.heap[from];
        let mut place = from;
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent].deadline <= item.deadline {
                break;
            }
            self.put(entries, place, self.heap[parent]);
            place = parent;
        }
        self.put(entries, place, item);
        place != from
    }

    fn sink<T: Expiring>(&mut self, entries: &mut Slab<T>, from: usize) {
        let item = self.heap[from];
        let mut place = from;
        loop {
            let children =
                place * CHILDREN + 1..(place * CHILDREN + 1 + CHILDREN).min(self.heap.len());
            let Some(child) = children.min_by_key(|child| self.heap[*child].deadline) else {
                break;
            };
            if self.heap[child].deadline >= item.deadline {
                break;
            }
            self.put(entries, place, self.heap[child]);
            place = child;
        }
        self.put(entries, place, item);
    }

    fn put<T: Expiring>(&mut self, entries: &mut Slab<T>, place: usize, item: Item) {
        self.heap[place] = item;
        *entries[item.slot as usize].place() = place as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Entry(u32);

    impl Expiring for Entry {
        fn place(&mut self) -> &mut u32 {
            &mut self.0
        }
    }

    #[test]
    fn the_soonest_comes_first_whatever_was_removed_or_changed() {
        let mut entries = Slab::new();
        let mut deadlines = Deadlines::default();
        for number in 0..100u64 {
            let slot = entries.insert(Entry(0)) as u32;
            deadlines.insert(&mut entries, number * 37 % 101, slot);
        }
        for slot in (0..100).step_by(3) {
            deadlines.remove(&mut entries, slot);
            entries.remove(slot as usize);
        }
        for slot in (1..100).step_by(3) {
            deadlines.change(&mut entries, u64::from(slot) * 53 % 97, slot);
        }
        let mut order = Vec::new();
        while let Some((deadline, slot)) = deadlines.soonest() {
            deadlines.remove(&mut entries, slot);
            entries.remove(slot as usize);
            order.push(deadline);
        }
        assert_eq!(order.len(), 66);
        assert!(order.is_sorted());
    }
}
