//! Handing everything over to the next process, as an ordinary client of it.
//!
//! One request at a time, inline if the successor knows that, else in the protocol of stock scache(8), which it
//! may be. Connections go first, those of
//! an endpoint in their order, then bindings. A successor that does not go on is given up; what it did not
//! take is said goodbye to.

use std::time::{Duration, Instant};
use std::vec;

use scache_proto::Request;
use scache_proto::client::{Outcome, Session};
use scache_store::{Bound, Entries, Reason, Released, Taken};

use crate::cache::{Cache, Kept, Pass};
use crate::client::READ_BYTES;
use crate::entries;
use crate::{Failure, Host, Interest, Kernel, Token};

#[derive(Debug)]
pub(crate) struct Succession<D> {
    /// Connected when there was room for it.
    socket: Option<D>,
    session: Session<D>,
    connections: vec::IntoIter<Taken<Kept<D>>>,
    bindings: vec::IntoIter<Bound>,
    current: Option<Current<D>>,
    /// The successor was asked how it wants to be spoken to.
    asked: bool,
    /// It said something.
    has_answered: bool,
    /// How long the successor may take for each step.
    patience: Duration,
    /// When to stop in any case.
    end_by: Instant,
    /// When to stop if the successor has not gone on by then.
    give_up_at: Instant,
    /// When to try again what no event will come for.
    retry_at: Option<Instant>,
    awaits_writable: bool,
    /// The connection to the successor is gone. What is left waits until it is known why.
    is_broken: bool,
}

/// What the successor was told of, and has not confirmed.
#[derive(Debug)]
enum Current<D> {
    /// Whether it takes a descriptor with its request, and milliseconds. Stock does not.
    Question,
    Connection {
        taken: Taken<Kept<D>>,
        /// The successor may have it.
        sent: bool,
    },
    Binding(Bound),
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More is to be done when an event comes or [`Succession::deadline`] is over.
    Pending,
    /// The successor has everything.
    Complete,
    /// It will not take any more.
    Failed,
}

/// How long a successor may take for each step: nobody knows whether it will ever come.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long one may take that asked to take over. It is there, for its end would be noticed, and may only be slow.
const PATIENCE_WITH_ASKER: Duration = Duration::from_secs(10);

/// How long a successor may take for all of it.
const LONGEST: Duration = Duration::from_secs(60);

/// How long until it is tried again to connect, when others wait there, and what the kernel had no room for.
const PAUSE: Duration = Duration::from_millis(10);

impl<D> Succession<D> {
    /// `was_asked_for`: the successor is known to be there.
    pub(crate) fn new(entries: Entries<Kept<D>>, now: Instant, was_asked_for: bool) -> Self {
        let patience = if was_asked_for {
            PATIENCE_WITH_ASKER
        } else {
            PATIENCE
        };
        Self {
            patience,
            socket: None,
            session: Session::default(),
            connections: entries.connections.into_iter(),
            bindings: entries.bindings.into_iter(),
            current: None,
            asked: false,
            has_answered: false,
            end_by: now + LONGEST,
            give_up_at: now + patience,
            retry_at: None,
            awaits_writable: false,
            is_broken: false,
        }
    }

    /// Does what can be done without waiting.
    pub(crate) fn turn<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
        buffer: &mut [u8],
    ) -> Progress {
        if self.give_up_at <= pass.now {
            return Progress::Failed;
        }
        if self.is_broken {
            return Progress::Pending;
        }
        self.retry_at = None;
        match self.exchange(pass, cache, buffer) {
            Ok(progress) => progress,
            Err(Failure::WouldBlock) if self.socket.is_some() => Progress::Pending,
            // That is nothing that the successor could change: it is given time until others have read.
            Err(Failure::TooManyInFlight) => {
                self.give_up_at = self.end_by.min(pass.now + self.patience);
                self.retry_at = pass.now.checked_add(PAUSE);
                Progress::Pending
            }
            Err(Failure::WouldBlock | Failure::Exhausted) => {
                self.retry_at = pass.now.checked_add(PAUSE);
                Progress::Pending
            }
            Err(Failure::Lost | Failure::Unsupported) => Progress::Failed,
        }
    }

    /// When to go on at the latest.
    pub(crate) fn deadline(&self) -> Instant {
        let retry_at = self.retry_at.unwrap_or(self.give_up_at);
        retry_at.min(self.give_up_at)
    }

    /// Whether there is a successor at all: connecting works also where nobody accepts.
    pub(crate) fn has_answered(&self) -> bool {
        self.has_answered
    }

    /// Takes note that the connection to the successor failed, and keeps what is left for as long as the successor might
    /// have taken. Whether there is time left.
    pub(crate) fn break_off<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> bool {
        if self.give_up_at <= pass.now {
            return false;
        }
        self.is_broken = true;
        self.retry_at = None;
        if let Some(socket) = self.socket.take() {
            pass.kernel.unwatch(&socket);
        }
        if matches!(self.current, Some(Current::Connection { sent: true, .. })) {
            // The successor may have been the owner: it is closed without a word.
            self.current = None;
        }
        true
    }

    /// Gives back what was not handed over.
    pub(crate) fn into_entries<K: Kernel<Descriptor = D>, H: Host>(
        mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> Entries<Kept<D>> {
        if let Some(socket) = &self.socket {
            pass.kernel.unwatch(socket);
        }
        let (connection, binding) = match self.current.take() {
            Some(Current::Connection { taken, sent: false }) => (Some(taken), None),
            Some(Current::Binding(bound)) => (None, Some(bound)),
            // Of a connection that was sent the successor may have been the owner: it is closed without a word.
            Some(Current::Connection { sent: true, .. } | Current::Question) | None => (None, None),
        };
        Entries {
            connections: connection.into_iter().chain(self.connections).collect(),
            bindings: binding.into_iter().chain(self.bindings).collect(),
        }
    }

    /// Says goodbye to what was not handed over.
    pub(crate) fn give_up<K: Kernel<Descriptor = D>, H: Host>(
        mut self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
    ) {
        if let Some(socket) = &self.socket {
            pass.kernel.unwatch(socket);
        }
        // Of a connection that was sent the successor may be the owner: it is closed without a word.
        if let Some(Current::Connection { taken, sent: false }) = self.current.take() {
            cache.part(pass, Released::of(taken, Reason::Cleared));
        }
        for taken in self.connections {
            cache.part(pass, Released::of(taken, Reason::Cleared));
        }
    }

    fn exchange<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
        buffer: &mut [u8],
    ) -> Result<Progress, Failure> {
        self.connect(pass)?;
        loop {
            if self.current.is_none() && !self.start_next(pass, cache) {
                return Ok(Progress::Complete);
            }
            self.transmit(pass)?;
            if let Some(outcome) = self.session.poll_outcome() {
                self.finish_current(pass, cache, &outcome);
                continue;
            }
            let Some(socket) = &self.socket else {
                return Ok(Progress::Pending);
            };
            let buffer = &mut buffer[..READ_BYTES];
            let (bytes, descriptors) = pass.kernel.receive(socket, buffer)?;
            if bytes == 0 {
                return Err(Failure::Lost);
            }
            self.has_answered = true;
            self.session
                .handle_input(&buffer[..bytes], descriptors)
                .map_err(|_| Failure::Lost)?;
        }
    }

    fn connect<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> Result<(), Failure> {
        if self.socket.is_some() {
            return Ok(());
        }
        let socket = pass.kernel.connect_to_successor()?;
        pass.kernel
            .watch(&socket, Token::Successor, Interest::Readable)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Writes what there is to write.
    fn transmit<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
    ) -> Result<(), Failure> {
        let Some(socket) = &self.socket else {
            return Ok(());
        };
        while let Some(transmit) = self.session.poll_transmit() {
            let passed = match &self.current {
                Some(Current::Connection { taken, .. }) if transmit.descriptor => {
                    Some(&taken.handle.descriptor)
                }
                _ => None,
            };
            let sends_descriptor = passed.is_some();
            let written = pass.kernel.send(socket, transmit.bytes, passed);
            let blocked = written == Err(Failure::WouldBlock);
            if blocked != self.awaits_writable {
                let interest = if blocked {
                    Interest::ReadableOrWritable
                } else {
                    Interest::Readable
                };
                pass.kernel.watch_for(socket, Token::Successor, interest)?;
                self.awaits_writable = blocked;
            }
            self.session.handle_written(written?);
            if let Some(Current::Connection { sent, .. }) = &mut self.current {
                *sent |= sends_descriptor;
            }
        }
        Ok(())
    }

    /// Tells the successor of the next entry that is still worth it. Whether there was one.
    fn start_next<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
    ) -> bool {
        if !std::mem::replace(&mut self.asked, true) {
            self.session.start(&Request::Inline);
            self.current = Some(Current::Question);
            return true;
        }
        for mut taken in self.connections.by_ref() {
            if let Err(reason) = cache.is_usable(pass.kernel, &mut taken.handle) {
                cache.part(pass, Released::of(taken, reason));
                continue;
            }
            let request = entries::save_connection(
                &taken.endpoint,
                &taken.property,
                cache.history(pass.now, &taken.handle),
                taken.deadline,
                pass.now,
            );
            match request {
                Ok(request) => {
                    self.session.start(&request);
                    self.current = Some(Current::Connection { taken, sent: false });
                    return true;
                }
                Err(_) => cache.part(pass, Released::of(taken, Reason::Expired)),
            }
        }
        for bound in self.bindings.by_ref() {
            if let Ok(request) = entries::save_binding(&bound, pass.now) {
                self.session.start(&request);
                self.current = Some(Current::Binding(bound));
                return true;
            }
        }
        false
    }

    fn finish_current<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
        outcome: &Outcome<D>,
    ) {
        self.give_up_at = self.end_by.min(pass.now + self.patience);
        let taken_over = matches!(outcome, Outcome::Done);
        match self.current.take() {
            Some(Current::Connection { .. }) if taken_over => {
                cache.stats_mut().connections_handed_over += 1;
            }
            // It was told that it is not wanted, so it is still ours.
            Some(Current::Connection { taken, sent: false }) => {
                cache.part(pass, Released::of(taken, Reason::Cleared));
            }
            Some(Current::Binding(_)) if taken_over => {
                cache.stats_mut().bindings_handed_over += 1;
            }
            _ => {}
        }
    }
}
