//! Connections between the decision to hand them out and the client's read.
//!
//! A descriptor that was written and not read is in flight: the kernel counts those of one user over all processes, and
//! refuses to pass any more when there are as many as a process may have open. Only the kernel knows whether a client has
//! read, so the session counts what it wrote and has its owner ask when that could be too much.

use std::time::Instant;

use super::{Event, Fault, HandOut, Session, State};
use crate::{Status, limits, reply};

impl<D, T: HandOut> Session<D, T> {
    /// Whether the client asked for inline descriptors.
    pub fn is_inline(&self) -> bool {
        self.inline
    }

    /// How many hand-outs were written since the client was last known to have read everything.
    pub fn unread(&self) -> usize {
        self.unread
    }

    /// Lets so many hand-outs be on their way to the client, one at least; at first these are
    /// [`limits::DESCRIPTORS`]. A client that was found to have to read first has to read everything all the same.
    pub fn limit_unread(&mut self, most: usize) {
        self.most_unread = most.max(1);
    }

    /// Whether the client asks for more and may have to read first: [`Session::handle_read`] or
    /// [`Session::handle_unread`] is to be called, and nothing more to be read from the client before it has read.
    pub fn awaits_reader(&self) -> bool {
        !self.broken
            && matches!(self.state, State::Idle)
            && self.out.waiting() == 0
            && self.has_to_read()
            && !self.framer.is_empty()
    }

    /// Takes note that the client has read everything that was written.
    pub fn handle_read(&mut self, now: Instant) {
        self.unread = 0;
        if self.reader_awaited.take().is_some() {
            // The request that waited could not be completed before.
            self.request_began = (!self.framer.is_empty()).then_some(now);
        }
    }

    /// Takes note that the client has not read everything. It has the time of a request to do so, from the first time on
    /// that this is seen.
    pub fn handle_unread(&mut self, now: Instant) {
        self.reader_awaited.get_or_insert(now);
    }

    /// Returns the connection of the next [`Session::poll_transmit`], if there is one: the last chance to look at it.
    pub fn next_hand_out(&mut self) -> Option<&mut T> {
        self.out.first_mut().map(|rider| &mut rider.connection)
    }

    /// Takes that connection back, and tells an inline client instead that nothing was found. `None` if there is none, or
    /// if the client was told status 0 before, as in the stock protocol.
    pub fn withdraw_next(&mut self) -> Option<T> {
        self.next_hand_out()?;
        self.withdraw(0)
    }

    /// Takes back the connection that was found last of those that are to be written, otherwise likewise.
    pub fn withdraw_last(&mut self) -> Option<T> {
        self.withdraw(self.out.riding().checked_sub(1)?)
    }

    /// Returns whether as many hand-outs may be on their way as may be.
    pub(super) fn has_to_read(&self) -> bool {
        self.reader_awaited.is_some() || self.out.riding() + self.unread >= self.most_unread
    }

    /// Descriptors are to be taken by the client first. What it says meanwhile is kept unread, so there is a
    /// limit to it.
    pub(super) fn await_reader(&mut self) -> Option<Event<'static, D, T>> {
        let is_too_far_ahead = self.framer.waiting() > limits::AHEAD_BYTES
            || self.attached.waiting() > limits::AHEAD_DESCRIPTORS;
        (self.blocked && is_too_far_ahead).then(|| self.broken(Fault::NotReading))
    }

    fn withdraw(&mut self, place: usize) -> Option<T> {
        let (kind, length) = self.out.waiting_descriptor(place)?.reply?;
        let mut refusal = Vec::new();
        reply::encode_refusal(&mut refusal, Status::Failed, kind);
        // A reply whose descriptor was not written was not written either.
        let rider = self.out.replace(place, length, &refusal)?;
        self.end_request();
        Some(rider.connection)
    }
}
