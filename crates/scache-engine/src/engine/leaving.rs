//! The end: requests under way are finished, what is cached goes to the next process or gets its goodbye.

use std::time::{Duration, Instant};

use super::arrivals::Arrivals;
use super::{Engine, Phase};
use crate::cache::Pass;
use crate::peers::Peer;
use crate::succession::{Progress, Succession};
use crate::{Complaint, End, Failure, Host, Kernel, Note};

/// How long requests under way may take when there will be another process.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// How long they may take when there will be none.
const LAST_REQUESTS_OF_ALL: Duration = Duration::from_millis(200);

/// How long answers to the last goodbyes are waited for, whatever may be waited for otherwise.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// How [`Engine::leave`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Departure {
    /// There is nothing left to do.
    Complete,
    /// The process that was to take over is gone. This one has its listening socket and what was not handed over yet,
    /// and goes on with [`Engine::serve`].
    Resumed,
}

impl<K: Kernel, H: Host> Engine<K, H> {
    /// Hands over what is cached, if there is a successor, and says goodbye to what is left. To be called
    /// when [`Engine::serve`] is over.
    ///
    /// # Errors
    /// What [`Kernel::poll`] says.
    pub fn leave(&mut self) -> Result<Departure, Failure> {
        self.begin_to_leave();
        loop {
            match self.phase {
                Phase::Left => return Ok(Departure::Complete),
                Phase::Serving => return Ok(Departure::Resumed),
                _ => self.pass()?,
            };
        }
    }

    /// The first step of [`Engine::leave`]; passes do the others.
    pub fn begin_to_leave(&mut self) {
        let now = self.kernel.now();
        self.phase = Phase::Leaving;
        let counts = self.cache.counts();
        let has_entries = counts.connections > 0 || counts.bindings > 0;
        // Who asked to take over is asked in any case whether it serves: until then it may still fail.
        let has_yielded = self.has_yielded();
        let is_wanted = has_entries || has_yielded;
        if self.end == Some(End::Succession) && self.settings.hand_over && is_wanted {
            let entries = self.cache.take_entries();
            self.succession = Some(Succession::new(entries, now, has_yielded));
        }
        let (cache, mut pass) = self.cache_and_pass(now);
        // Without a successor this is everything.
        cache.clear(&mut pass, LAST_ANSWERS);
        self.go_on_leaving(now);
    }

    /// Who is in the middle of a request may finish it: a client counts a broken one as a failure, and a
    /// closed idle connection as nothing.
    pub(super) fn begin_to_finish(&mut self, end: End, now: Instant) {
        self.phase = Phase::Finishing;
        let patience = match end {
            End::Succession => LAST_REQUESTS,
            End::Idle | End::Signal => LAST_REQUESTS_OF_ALL,
        };
        self.finish_by = now + patience;
        if !self.has_yielded() {
            self.stop_listening();
        }
        self.dismiss_waiting();
    }

    pub(super) fn finish(&mut self, end: End) {
        let now = self.kernel.now();
        self.arrivals = Arrivals::new(None);
        for peer in self.peers.drain() {
            self.hang_up(&peer);
            if let Peer::Client(client) = peer {
                let (cache, mut pass) = self.cache_and_pass(now);
                client.close(&mut pass, cache);
            }
        }
        self.unread.clear();
        self.tell_statistics(true, now);
        self.phase = Phase::Finished(end);
    }

    pub(super) fn go_on_leaving(&mut self, now: Instant) {
        if let Some(mut succession) = self.succession.take() {
            let mut pass = Pass {
                now,
                kernel: &mut self.kernel,
                host: &mut self.host,
            };
            let progress = match self.end {
                Some(End::Signal) => Progress::Failed,
                _ => succession.turn(&mut pass, &mut self.cache, &mut self.buffer),
            };
            let waits_for_asker = progress == Progress::Failed
                && self.end == Some(End::Succession)
                && self.asker.is_some()
                && succession.break_off(&mut pass);
            if progress == Progress::Pending || waits_for_asker {
                self.succession = Some(succession);
            } else {
                // Nobody there is no fault, unless somebody asked: Postfix was stopped.
                let is_expected = succession.has_answered() || self.asker.is_some();
                let failed = progress == Progress::Failed && is_expected;
                succession.give_up(&mut pass, &mut self.cache);
                self.tell_succession(failed, now);
            }
        }
        if self.succession.is_none() && self.cache.partings() == 0 && !self.cache.is_behind() {
            self.stop_listening();
            // Last, for it tells the process that took over that this one listens no more.
            self.let_go_of_asker();
            self.phase = Phase::Left;
        }
    }

    pub(super) fn stop_listening(&mut self) {
        for listener in self.listeners.drain(..) {
            self.kernel.unwatch(&listener.socket);
        }
    }

    fn tell_succession(&mut self, failed: bool, now: Instant) {
        let stats = self.cache.stats_mut();
        self.host.note(Note::HandedOver {
            connections: stats.connections_handed_over as usize,
            bindings: stats.bindings_handed_over as usize,
        });
        if failed && self.end != Some(End::Signal) {
            self.host.complain(now, Complaint::HandOver);
        }
    }
}
