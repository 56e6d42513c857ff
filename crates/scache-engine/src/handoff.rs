//! A connection that another process accepted, on its way to us: the `pass` transport.
//!
//! The process that hands on connects, sends one byte with the descriptor, then a list of attributes
//! (who the client is, which means nothing to a cache), and leaves.

use std::time::{Duration, Instant};

use scache_proto::Descriptors;
use scache_proto::attr::Framer;

use crate::{Failure, Kernel};

#[derive(Debug)]
pub(crate) struct HandOff<D> {
    socket: D,
    framer: Framer,
    connection: Option<D>,
    deadline: Option<Instant>,
}

/// How far a hand-off has come.
#[derive(Debug)]
pub(crate) enum Progress<D> {
    /// More is to come.
    Pending,
    /// The connection of a new client.
    Complete(D),
    /// It will not come.
    Failed,
}

impl<D> HandOff<D> {
    pub(crate) fn new(socket: D, now: Instant, timeout: Duration) -> Self {
        Self {
            socket,
            framer: Framer::default(),
            connection: None,
            deadline: now.checked_add(timeout),
        }
    }

    /// Reads what is there without waiting.
    pub(crate) fn turn<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        buffer: &mut [u8],
    ) -> Progress<D> {
        loop {
            match kernel.receive(&self.socket, buffer) {
                Ok((0, _)) => return Progress::Failed,
                Ok((bytes, descriptors)) => {
                    self.framer.extend(&buffer[..bytes]);
                    match (descriptors, &self.connection) {
                        (Descriptors::None, _) => {}
                        (Descriptors::One(connection), None) => {
                            self.connection = Some(connection);
                            self.framer.next_byte();
                        }
                        _ => return Progress::Failed,
                    }
                }
                Err(Failure::WouldBlock) => return Progress::Pending,
                Err(_) => return Progress::Failed,
            }
            if self.connection.is_none() {
                return Progress::Failed;
            }
            match self.framer.advance() {
                Ok(true) => {
                    return self
                        .connection
                        .take()
                        .map_or(Progress::Failed, Progress::Complete);
                }
                Ok(false) => {}
                Err(_) => return Progress::Failed,
            }
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns how many bytes of memory it takes for what was said.
    pub(crate) fn memory(&self) -> usize {
        self.framer.memory()
    }

    pub(crate) fn socket(&self) -> &D {
        &self.socket
    }
}
