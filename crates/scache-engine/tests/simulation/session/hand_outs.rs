//! Connections that a client has not read, and those that it does not get after all.

use std::time::Instant;

use super::{Session, State};
use crate::model::Entry;
use crate::wire::{Found, list, next_list};

impl Session {
    /// Whether it asks for more and may have as many hand-outs on their way as it may.
    pub fn is_held_up(&self) -> bool {
        let is_idle = matches!(self.state, State::Idle) && !self.broken;
        is_idle && self.has_to_read() && !self.input.is_empty()
    }

    /// Once it was found to have to read first it has to read everything.
    pub(super) fn has_to_read(&self) -> bool {
        self.reader_awaited.is_some() || self.riders.len() + self.unread >= self.most_unread
    }

    /// Whether it has to read what it was handed out before more is done for it.
    pub fn awaits_reader(&self) -> bool {
        self.is_held_up() && self.is_answered()
    }

    /// The client was seen to have read everything, or not.
    pub fn seen(&mut self, now: Instant, has_unread: bool) {
        if has_unread {
            if self.awaits_reader() {
                self.reader_awaited.get_or_insert(now);
            }
            return;
        }
        self.unread = 0;
        if self.reader_awaited.take().is_some() {
            self.began = (!self.input.is_empty()).then_some(now);
        }
    }

    /// From when on the client is waited for.
    pub fn waited_since(&self) -> Option<Instant> {
        self.reader_awaited.or(self.began)
    }

    /// One of the connections that are to be written is not handed out.
    pub fn withdraw(&mut self, place: usize) -> Option<Entry> {
        let (at, entry) = self.riders.remove(place)?;
        let Found::List(attributes, length) = next_list(&self.out[at..]) else {
            panic!("a connection is found without a reply");
        };
        let is_refused = |name: &[u8]| name == b"label" || name == b"property";
        let rest: Vec<_> = attributes[1..]
            .iter()
            .filter(|(name, _)| is_refused(name))
            .map(|(name, _)| (&name[..], &b""[..]))
            .collect();
        let refusal = list(&[&[(&b"status"[..], &b"2"[..])], &rest[..]].concat());
        let riders = self.riders.iter_mut().map(|(place, _)| place);
        let unseen = self.unseen.iter_mut().map(|(place, _)| place);
        for place in riders.chain(unseen).filter(|place| **place > at) {
            *place = *place + refusal.len() - length;
        }
        self.out.splice(at..at + length, refusal);
        self.end_request();
        Some(entry)
    }
}
