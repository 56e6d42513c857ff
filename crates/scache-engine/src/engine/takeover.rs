//! Another process takes over: it gets the listening socket, and then what is cached.
//!
//! Both processes have the socket from then on, so clients are never refused; this one accepts nobody any more.
//! The connection over which the other process asked stays open on both sides until this one has nothing left.
//! When it ends before that, the other process is gone, whatever it was doing: this one serves again, with
//! everything that it had not handed over.

use std::time::Instant;

use super::{Engine, PAUSE, Phase};
use crate::peers::Peer;
use crate::{End, Failure, Host, Interest, Kernel, Note, Token};

/// The byte that the listening socket rides on.
const RIDDEN: &[u8] = b"\0";

/// How often the connection of who asked is read from at most, to find its end.
const READS: usize = 16;

impl<K: Kernel, H: Host> Engine<K, H> {
    /// Whether another process has the listening socket, and has not gone since.
    pub fn has_yielded(&self) -> bool {
        self.asker.is_some()
    }

    /// Gives the listening socket to a client that was promised it.
    pub(super) fn yield_to(&mut self, key: crate::Key, now: Instant) {
        let ([listener], Some(Peer::Client(client))) = (&self.listeners[..], self.peers.find(key))
        else {
            return;
        };
        // Whoever does not read one reply at once is not about to serve clients.
        let is_sent = client.is_told()
            && self
                .kernel
                .send(client.output(), RIDDEN, Some(&listener.socket))
                .is_ok();
        if !is_sent {
            self.part(key, now);
            return;
        }
        let Some(Peer::Client(client)) = self.peers.remove(key) else {
            return;
        };
        self.unread.changed(client.unread(), 0);
        let (cache, mut pass) = self.cache_and_pass(now);
        let socket = client.into_socket(&mut pass, cache);
        // It is watched already, so this cannot fail for want of memory or places.
        let _ = self
            .kernel
            .watch_for(&socket, Token::Asker, Interest::Readable);
        self.asker = Some(socket);
        self.end_with(End::Succession);
    }

    /// Serves again if the process that was to take over is gone.
    pub(super) fn attend_asker(&mut self, now: Instant) {
        if !self.asker_is_gone(now) {
            return;
        }
        self.let_go_of_asker();
        if self.end != Some(End::Succession) {
            // This process ends all the same.
            self.stop_listening();
            return;
        }
        self.cache.expect_more(&self.settings);
        if let Some(succession) = self.succession.take() {
            let (cache, mut pass) = self.cache_and_pass(now);
            let entries = succession.into_entries(&mut pass);
            cache.restore(&mut pass, entries);
        }
        self.end = None;
        self.phase = Phase::Serving;
        if self.peers.len() == 0 {
            self.idle_since = Some(now);
        }
        self.host.note(Note::Resumed);
        // The events of those who connected meanwhile were passed over.
        self.accept(0, now, false);
    }

    pub(super) fn let_go_of_asker(&mut self) {
        if let Some(asker) = self.asker.take() {
            self.hang_up_socket(&asker, false);
        }
    }

    fn asker_is_gone(&mut self, now: Instant) -> bool {
        let Some(asker) = &self.asker else {
            return false;
        };
        for _ in 0..READS {
            match self.kernel.receive(asker, &mut self.buffer) {
                Ok((0, _)) | Err(Failure::Lost | Failure::Unsupported) => return true,
                // It has nothing to say.
                Ok(_) => {}
                Err(Failure::WouldBlock) => return false,
                Err(Failure::Exhausted | Failure::TooManyInFlight) => break,
            }
        }
        self.retry_in(PAUSE, now);
        false
    }
}
