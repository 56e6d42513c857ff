//! Connections that somebody else accepted: what becomes of those who hand them on.

use std::time::Instant;

use scache_engine::{Complaint, Failure};

use super::{Draining, Oracle};
use crate::trace::Got;
use crate::wire::{Found, next_list};
use crate::world::{Fd, World};

/// Somebody who is to hand a connection on.
#[derive(Debug)]
pub struct HandOff {
    said: Vec<u8>,
    connection: Option<Fd>,
    pub deadline: Instant,
    /// The kernel has no place for it.
    pub may_go: bool,
    outcome: Option<Outcome>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Complete,
    Failed,
}

impl HandOff {
    pub fn new(deadline: Instant) -> Self {
        Self {
            said: Vec::new(),
            connection: None,
            deadline,
            may_go: false,
            outcome: None,
        }
    }

    pub fn descriptors(&self) -> usize {
        1 + usize::from(self.connection.is_some())
    }

    /// A byte with a connection, then one list. Descriptors that do not belong there are returned.
    fn read(&mut self, result: &Result<(Vec<u8>, Got), Failure>) -> Option<Fd> {
        let (bytes, got) = match result {
            Ok((bytes, got)) if !bytes.is_empty() => (bytes, got),
            Err(Failure::WouldBlock) => return None,
            Ok(_) | Err(_) => {
                self.outcome = Some(Outcome::Failed);
                return None;
            }
        };
        self.said.extend_from_slice(bytes);
        match (got, self.connection) {
            (Got::None, Some(_)) => {}
            (Got::One(fd), None) => {
                self.connection = Some(*fd);
                self.said.remove(0);
            }
            (got, _) => {
                self.outcome = Some(Outcome::Failed);
                return match got {
                    Got::One(fd) => Some(*fd),
                    _ => None,
                };
            }
        }
        self.outcome = match next_list(&self.said) {
            Found::List(..) => Some(Outcome::Complete),
            Found::Incomplete => None,
            Found::TooLong => Some(Outcome::Failed),
        };
        None
    }
}

impl Oracle {
    pub(super) fn hand_off_received(&mut self, fd: Fd, result: &Result<(Vec<u8>, Got), Failure>) {
        self.finish_turn();
        let handoff = self.handoffs.get_mut(&fd).unwrap();
        assert!(
            handoff.outcome.is_none(),
            "it is read from though it is over"
        );
        let surplus = handoff.read(result);
        self.doomed.extend(surplus);
        if handoff.outcome == Some(Outcome::Failed) {
            self.expected.push(Complaint::HandOff);
        }
    }

    /// Who hands on is parted from, and the connection is a client if it came.
    pub(super) fn hand_off_is_over(&mut self, world: &World, fd: Fd) {
        self.finish_turn();
        let is_late = self.handoffs[&fd].deadline <= self.now && self.timeouts > 0;
        let finishes = self.finish_by().is_some_and(|at| at <= self.now);
        let handoff = self.handoffs.remove(&fd).unwrap();
        self.doomed.push(fd);
        self.drains = Some(Draining::new(fd));
        let complete = handoff.outcome == Some(Outcome::Complete);
        if let Some(connection) = handoff.connection.filter(|_| complete) {
            self.greet(world, connection);
            return;
        }
        self.doomed.extend(handoff.connection);
        if self.peers.is_empty() && self.handoffs.is_empty() {
            self.idle_since = Some(self.now);
        }
        if is_late {
            self.timeouts -= 1;
        } else {
            let is_over = handoff.outcome.is_some() || handoff.may_go;
            assert!(is_over || finishes, "{fd} is parted from without reason");
        }
    }
}
