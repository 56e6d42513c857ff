//! Descriptors that ride on bytes, and which byte they belong to.

use std::collections::VecDeque;

/// The descriptors that came with one read.
///
/// The kernel ends a read behind the first message that carried descriptors, so one read brings the
/// descriptors of one message at most, and its last byte belongs to that message.
#[derive(Debug)]
pub enum Descriptors<D> {
    /// Bytes only.
    None,
    /// Exactly one: what the protocol asks for.
    One(D),
    /// Several. The receiver has closed them.
    Several,
    /// Some that the kernel had no number for. The receiver has closed those that came.
    Truncated,
}

/// Descriptors that wait for the session to reach their byte.
#[derive(Debug)]
pub(crate) struct Attached<D> {
    received: u64,
    waiting: VecDeque<Waiting<D>>,
}

#[derive(Debug)]
struct Waiting<D> {
    /// Positions in the stream, counted from its first byte.
    first: u64,
    end: u64,
    descriptor: Option<D>,
}

impl<D> Attached<D> {
    pub(crate) fn new() -> Self {
        Self {
            received: 0,
            waiting: VecDeque::new(),
        }
    }

    /// Takes note of a read of `bytes` bytes.
    pub(crate) fn received(&mut self, bytes: usize, descriptors: Descriptors<D>) {
        let first = self.received;
        self.received += bytes as u64;
        let descriptor = match descriptors {
            Descriptors::None => return,
            Descriptors::One(descriptor) => Some(descriptor),
            Descriptors::Several | Descriptors::Truncated => None,
        };
        self.waiting.push_back(Waiting {
            first,
            end: self.received,
            descriptor,
        });
    }

    /// The descriptor that came with the byte at `position`, if exactly one did.
    pub(crate) fn take(&mut self, position: u64) -> Option<D> {
        if self.came_with(position) {
            self.waiting.pop_front()?.descriptor
        } else {
            None
        }
    }

    /// Whether the first that waits came with the byte at `position`.
    pub(crate) fn came_with(&self, position: u64) -> bool {
        self.waiting
            .front()
            .is_some_and(|front| (front.first..front.end).contains(&position))
    }

    /// How many reads brought descriptors that nobody took.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether a descriptor came with a byte before `position` and nobody took it.
    pub(crate) fn stray(&self, position: u64) -> bool {
        self.waiting
            .front()
            .is_some_and(|waiting| waiting.end <= position)
    }
}
