//! What is still to be written, and the bytes of it that descriptors ride on.

use std::collections::VecDeque;

/// What an idle session may keep allocated for it.
const KEPT_BYTES: usize = 1024;

/// A buffer of bytes to write, front to back. `T` stands for a descriptor.
#[derive(Debug)]
pub(crate) struct Outgoing<T> {
    bytes: Vec<u8>,
    written: usize,
    /// Where in `bytes` descriptors ride, and which.
    riding: VecDeque<(usize, T)>,
}

impl<T> Default for Outgoing<T> {
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            written: 0,
            riding: VecDeque::new(),
        }
    }
}

impl<T> Outgoing<T> {
    /// Where to add what is to be written.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Lets a descriptor ride on the byte that is added next.
    pub(crate) fn attach(&mut self, descriptor: T) {
        self.riding.push_back((self.bytes.len(), descriptor));
    }

    /// Lets a descriptor ride on a byte that was added: the one behind the first `at` of [`Outgoing::buffer`],
    /// behind those that have one.
    pub(crate) fn attach_at(&mut self, at: usize, descriptor: T) {
        self.riding.push_back((at, descriptor));
    }

    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// How many bytes of memory are allocated.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many descriptors wait.
    pub(crate) fn riding(&self) -> usize {
        self.riding.len()
    }

    /// What can be written at once, and the descriptor that rides on the first byte of it.
    pub(crate) fn next(&self) -> Option<(&[u8], Option<&T>)> {
        let mut riding = self.riding.iter().peekable();
        let descriptor = riding
            .next_if(|(at, _)| *at == self.written)
            .map(|(_, descriptor)| descriptor);
        let end = riding.peek().map_or(self.bytes.len(), |(at, _)| *at);
        (end > self.written).then(|| (&self.bytes[self.written..end], descriptor))
    }

    /// Returns the descriptor that rides on the first byte of [`Outgoing::next`].
    pub(crate) fn first_mut(&mut self) -> Option<&mut T> {
        let (at, descriptor) = self.riding.front_mut()?;
        (*at == self.written).then_some(descriptor)
    }

    /// Returns one of the descriptors that wait, by its place among them.
    pub(crate) fn waiting_descriptor(&self, place: usize) -> Option<&T> {
        self.riding.get(place).map(|(_, descriptor)| descriptor)
    }

    /// Takes a descriptor out by its place, and replaces the `length` bytes from the one on that it was to ride on.
    pub(crate) fn replace(&mut self, place: usize, length: usize, others: &[u8]) -> Option<T> {
        let (at, descriptor) = self.riding.remove(place)?;
        self.bytes.splice(at..at + length, others.iter().copied());
        for (behind, _) in self.riding.range_mut(place..) {
            *behind = *behind - length + others.len();
        }
        Some(descriptor)
    }

    /// Takes note that `bytes` bytes of [`Outgoing::next`] are written, and gives the descriptor out that
    /// went with the first.
    pub(crate) fn handle_written(&mut self, bytes: usize) -> Option<T> {
        let written = self.written;
        let rides = self.riding.front().is_some_and(|(at, _)| *at == written);
        let gone = if rides && bytes > 0 {
            self.riding.pop_front().map(|(_, descriptor)| descriptor)
        } else {
            None
        };
        self.written += bytes;
        if self.written == self.bytes.len() {
            self.written = 0;
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
        }
        gone
    }

    /// The descriptors that wait, first to last.
    pub(crate) fn into_riding(self) -> impl DoubleEndedIterator<Item = T> {
        self.riding.into_iter().map(|(_, descriptor)| descriptor)
    }
}
