//! One connected client: its socket and its session.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use scache_proto::Descriptors;
use scache_proto::server::{Event, Session, Unfinished};
use scache_sys::passing::{self, Wait};

use crate::cache::{Cache, HandedOut};
use crate::log::{Complaint, Log};

/// Room for one read.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// How often one client is read from before others have their turn.
const READS_PER_TURN: usize = 16;

#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    /// Where replies go if not to the socket.
    output: Option<OwnedFd>,
    session: Session<OwnedFd, HandedOut>,
    served: bool,
    awaits_writable: bool,
}

/// When a client is to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When it says more.
    Readable,
    /// When it says more or reads what it was sent.
    Writable,
    /// After everybody else had a turn.
    Again,
    /// Never: it is gone, or has to go.
    Close,
}

/// What a turn works with.
pub(crate) struct Turn<'a> {
    pub(crate) now: Instant,
    pub(crate) cache: &'a mut Cache,
    pub(crate) log: &'a Log,
    /// [`READ_BYTES`] of room, which clients share.
    pub(crate) buffer: &'a mut [u8],
}

impl Client {
    pub(crate) fn new(socket: OwnedFd, announce: bool, request_timeout: Duration) -> Self {
        Self {
            socket,
            output: None,
            session: Session::new(announce, request_timeout),
            served: false,
            awaits_writable: false,
        }
    }

    /// Sends replies there instead of to where requests come from.
    pub(crate) fn with_output(self, output: OwnedFd) -> Self {
        Self {
            output: Some(output),
            ..self
        }
    }

    /// Reads, answers and writes what is possible without waiting. `ended`: the client may have said that
    /// it will send nothing more, so that no event will tell.
    pub(crate) fn turn(&mut self, turn: &mut Turn<'_>, ended: bool) -> Next {
        for _ in 0..READS_PER_TURN {
            let (bytes, descriptors) =
                match passing::receive(self.socket.as_fd(), turn.buffer, Wait::Never) {
                    Ok((0, _)) => return Next::Close,
                    Ok(received) => received,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return self.answer(turn);
                    }
                    Err(_) => return Next::Close,
                };
            // A read that left room has drained the socket, unless a descriptor cut it short. Another
            // event will come for what arrives later: no second read is needed to be told so.
            let drained = bytes < turn.buffer.len() && matches!(descriptors, Descriptors::None);
            self.session
                .handle_input(turn.now, &turn.buffer[..bytes], descriptors);
            let next = self.answer(turn);
            if next == Next::Close || (drained && !ended) {
                return next;
            }
        }
        Next::Again
    }

    /// Answers and writes what is possible without waiting.
    pub(crate) fn answer(&mut self, turn: &mut Turn<'_>) -> Next {
        loop {
            let sound = self.carry_out(turn);
            match self.write(turn) {
                Ok(true) if sound => {}
                Ok(false) if sound => return Next::Readable,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && sound => {
                    self.session.handle_blocked();
                    return if self.carry_out(turn) {
                        Next::Writable
                    } else {
                        Next::Close
                    };
                }
                _ => return Next::Close,
            }
        }
    }

    /// When the client has to have gone on.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    /// Whether it ever had an answer.
    pub(crate) fn served(&self) -> bool {
        self.served
    }

    /// Whether it is between two requests.
    pub(crate) fn is_idle(&self) -> bool {
        self.session.deadline().is_none()
    }

    /// Takes note whether an event is wanted when the client has read. Whether that was so before.
    pub(crate) fn set_awaits_writable(&mut self, wanted: bool) -> bool {
        std::mem::replace(&mut self.awaits_writable, wanted) == wanted
    }

    /// Parts from the client. What it was to be given and did not get stays cached.
    pub(crate) fn close(self, now: Instant, cache: &mut Cache) {
        match self.session.close() {
            Some(Unfinished::Unsent(handed_out)) => cache.put_back(now, handed_out),
            // The client may have it. It must not have two owners, so ours is closed.
            Some(Unfinished::Sent(_)) | None => {}
        }
    }

    pub(crate) fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// Carries out what the session has to say. Whether it can go on.
    fn carry_out(&mut self, turn: &mut Turn<'_>) -> bool {
        let Turn { cache, log, .. } = turn;
        let now = turn.now;
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::SaveEndpoint {
                    ttl,
                    endpoint,
                    property,
                    descriptor,
                } => {
                    log.verbose(format_args!(
                        "save_endp ttl={} label={endpoint:?}",
                        ttl.as_secs()
                    ));
                    let answer = cache.save(now, ttl, endpoint, property, descriptor);
                    self.session.reply(answer);
                    self.served = true;
                }
                Event::Request(request) => {
                    log.verbose(format_args!("{request:?}"));
                    let answer = cache.answer(now, request);
                    self.session.reply(answer);
                    self.served = true;
                }
                Event::Declined(handed_out) => {
                    log.complain(now, Complaint::CannotSend);
                    cache.put_back(now, handed_out);
                }
                Event::Delivered(handed_out) => drop(handed_out),
                Event::Refused(refusal) => {
                    log.complain(now, refusal.into());
                    self.served = true;
                }
                Event::Broken(fault) => {
                    log.complain(now, fault.into());
                    return false;
                }
            }
        }
        true
    }

    /// Writes once. `false`: there is nothing to write.
    fn write(&mut self, turn: &Turn<'_>) -> io::Result<bool> {
        let Some(transmit) = self.session.poll_transmit() else {
            return Ok(false);
        };
        let descriptor = transmit.descriptor.map(HandedOut::descriptor);
        let output = self.output.as_ref().unwrap_or(&self.socket);
        let written = passing::send(output.as_fd(), transmit.bytes, descriptor, Wait::Never);
        if let Err(error) = &written
            && descriptor.is_some()
            && !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::BrokenPipe
            )
        {
            turn.log.complain(turn.now, Complaint::CannotSend);
        }
        self.session.handle_written(written?);
        Ok(true)
    }
}
