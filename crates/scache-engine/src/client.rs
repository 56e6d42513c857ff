//! One connected client: its socket and its session.

use std::time::{Duration, Instant};

use scache_proto::server::{Answer, Event, Refusal, Session, Unfinished};
use scache_proto::{Descriptors, Request, Ttl, limits};

use crate::cache::{Cache, HandedOut, Pass, Surroundings};
use crate::{Complaint, Failure, Host, Kernel, Note};

/// Room for one read.
pub(crate) const READ_BYTES: usize = 64 * 1024;

/// How often one client is read from before others have their turn.
const READS_PER_TURN: usize = 16;

/// How many requests of one client are carried out before others have their turn.
pub(crate) const REQUESTS_PER_TURN: usize = 256;

/// How many others a request about the cache counts for: it may take a hundred times as long.
const ADMINISTRATION: usize = 100;

/// How long a find waits for what another process hands over, or is expected to.
pub(crate) const ENTRIES_PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Client<D> {
    socket: D,
    /// Where replies go if not to the socket.
    output: Option<D>,
    session: Session<D, HandedOut<D>>,
    served: bool,
    awaits_writable: bool,
    /// Not all that it asked for was carried out.
    is_behind: bool,
    /// Its end was read.
    ended: bool,
    /// Something was read from it or written to it since [`Client::take_active`].
    is_active: bool,
    /// When the request under way was put off first.
    postponed_at: Option<Instant>,
    /// Its last save told its time to live to the millisecond, as a process does that hands over its cache.
    hands_over: bool,
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
    /// When the kernel may have room again.
    Later,
    /// Never: it is gone, or has to go.
    Close,
}

/// Whether a find may wait (longer) that was put off at this time, if it was.
fn may_wait(postponed_at: Option<Instant>, now: Instant) -> bool {
    postponed_at.is_none_or(|at| now < at + ENTRIES_PATIENCE)
}

/// What a turn works with.
pub(crate) struct Turn<'a, 'b, K: Kernel, H> {
    pub(crate) pass: &'a mut Pass<'b, K, H>,
    pub(crate) cache: &'a mut Cache<K::Descriptor>,
    pub(crate) surroundings: Surroundings<'a>,
    /// [`READ_BYTES`] of room, which clients share.
    pub(crate) buffer: &'a mut [u8],
    /// How many requests may still be carried out, [`REQUESTS_PER_TURN`] at first.
    pub(crate) requests: usize,
    /// A client may take over: nobody is doing so, and there is a listening socket to give.
    pub(crate) may_yield: bool,
    /// A process hands over its cache, or is about to: finds wait for what is missing.
    pub(crate) awaits_entries: bool,
    /// The client takes over: it is to get the listening socket behind its reply.
    pub(crate) takes_over: bool,
    /// Something was saved as a process does that hands over its cache.
    pub(crate) is_handed_over: bool,
    /// How many requests were answered.
    pub(crate) answered: u64,
}

/// How far what the session has to say was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    All,
    /// As much as others may be kept waiting for.
    Enough,
    /// All but a find that waits for what another process may bring.
    Postponed,
    /// The session cannot go on.
    Broken,
}

impl<D> Client<D> {
    pub(crate) fn new(socket: D, announce: bool, request_timeout: Duration) -> Self {
        Self {
            socket,
            output: None,
            session: Session::new(announce, request_timeout),
            served: false,
            awaits_writable: false,
            is_behind: false,
            ended: false,
            is_active: false,
            postponed_at: None,
            hands_over: false,
        }
    }

    /// Sends replies there instead of to where requests come from.
    pub(crate) fn with_output(self, output: D) -> Self {
        Self {
            output: Some(output),
            ..self
        }
    }

    /// Reads, answers and writes what is possible without waiting. `ended`: the client may have said that
    /// it will send nothing more, so that no event will tell.
    pub(crate) fn turn<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        turn: &mut Turn<'_, '_, K, H>,
        ended: bool,
    ) -> Next {
        // More is read only when that is done, so that it cannot pile up, and before the end is seen.
        if self.is_behind || self.session.awaits_reader() || self.session.is_postponed() {
            let next = self.answer(turn);
            if !self.may_be_read_from(next) {
                return next;
            }
        }
        for _ in 0..READS_PER_TURN {
            let (bytes, descriptors) = match turn.pass.kernel.receive(&self.socket, turn.buffer) {
                Ok((0, _)) => {
                    self.ended = true;
                    return Next::Close;
                }
                Ok(received) => received,
                Err(Failure::WouldBlock) => return self.answer(turn),
                Err(Failure::Exhausted | Failure::TooManyInFlight) => return Next::Later,
                Err(Failure::Unsupported | Failure::Lost) => return Next::Close,
            };
            self.is_active = true;
            if matches!(descriptors, Descriptors::Truncated) {
                turn.pass.host.complain(turn.pass.now, Complaint::Truncated);
                turn.cache.stats_mut().saves_refused_truncated += 1;
                turn.cache.make_room(turn.pass);
            }
            // A read that left room has drained the socket, unless a descriptor cut it short. Another
            // event will come for what arrives later: no second read is needed to be told so.
            let drained = bytes < turn.buffer.len() && matches!(descriptors, Descriptors::None);
            self.session
                .handle_input(turn.pass.now, &turn.buffer[..bytes], descriptors);
            let next = self.answer(turn);
            if !self.may_be_read_from(next) || (drained && !ended) {
                return next;
            }
        }
        Next::Again
    }

    /// Returns whether there is room for more of what the client says. What a client says that has to read first stays in
    /// its socket; that it can be read is reported when events are asked for anew.
    fn may_be_read_from(&self, next: Next) -> bool {
        matches!(next, Next::Readable | Next::Writable)
            && !self.session.awaits_reader()
            && !self.session.is_postponed()
    }

    /// Answers and writes what is possible without waiting.
    pub(crate) fn answer<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        turn: &mut Turn<'_, '_, K, H>,
    ) -> Next {
        loop {
            let carried = self.carry_out(turn);
            match (self.write(turn), carried) {
                (_, Carried::Broken) => return Next::Close,
                (Ok(true), _) => {}
                (Ok(false), Carried::All) if self.session.awaits_reader() => {
                    if turn.pass.kernel.has_unread(self.output()) {
                        self.session.handle_unread(turn.pass.now);
                        // An output of its own is waited for by poll(2), which would report it as writable at once.
                        return match self.output {
                            None => Next::Writable,
                            Some(_) => Next::Later,
                        };
                    }
                    self.session.handle_read(turn.pass.now);
                }
                (Ok(false), Carried::All | Carried::Postponed) => return Next::Readable,
                (Ok(false), Carried::Enough) => return Next::Again,
                (Err(failure @ (Failure::WouldBlock | Failure::Exhausted)), _) => {
                    // Whoever is to blame: what the client says meanwhile must not pile up.
                    self.session.handle_blocked();
                    return match self.carry_out(turn) {
                        Carried::All | Carried::Postponed if failure == Failure::WouldBlock => {
                            Next::Writable
                        }
                        Carried::All | Carried::Postponed => Next::Later,
                        Carried::Enough => Next::Again,
                        Carried::Broken => Next::Close,
                    };
                }
                (Err(_), _) => return Next::Close,
            }
        }
    }

    /// When the client has to have gone on.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.session.deadline()
    }

    /// Returns how many hand-outs were written to it since it was last known to have read everything.
    pub(crate) fn unread(&self) -> usize {
        self.session.unread()
    }

    /// Lets so many hand-outs be on their way to it, as far as the protocol allows.
    pub(crate) fn limit_unread(&mut self, most: usize) {
        self.session.limit_unread(most.min(limits::DESCRIPTORS));
    }

    /// Asks the kernel whether it has read everything, if it is between two requests; others are asked about in their own
    /// turn.
    pub(crate) fn look_at_unread<K: Kernel<Descriptor = D>>(
        &mut self,
        kernel: &mut K,
        now: Instant,
    ) {
        let is_idle = self.session.deadline().is_none();
        if is_idle && self.session.unread() > 0 && !kernel.has_unread(self.output()) {
            self.session.handle_read(now);
        }
    }

    /// Whether it ever had an answer.
    pub(crate) fn served(&self) -> bool {
        self.served
    }

    /// Returns whether it is between two requests, with nothing left to do for it.
    pub(crate) fn is_idle(&self) -> bool {
        self.session.is_idle() && !self.is_behind
    }

    /// Returns how many bytes of memory its session takes.
    pub(crate) fn memory(&self) -> usize {
        self.session.memory()
    }

    /// Returns whether something was read from it or written to it since this was last asked.
    pub(crate) fn take_active(&mut self) -> bool {
        std::mem::take(&mut self.is_active)
    }

    /// Returns until when the request under way may be put off, if it is.
    pub(crate) fn postponed_until(&self) -> Option<Instant> {
        let at = self.postponed_at.filter(|_| self.session.is_postponed())?;
        Some(at + ENTRIES_PATIENCE)
    }

    /// Returns whether it may be another process that hands over its cache.
    pub(crate) fn hands_over(&self) -> bool {
        self.hands_over
    }

    /// Whether it had an answer, and all of it, and is between two requests.
    pub(crate) fn is_answered(&self) -> bool {
        self.served && !self.awaits_writable && self.session.deadline().is_none()
    }

    /// Takes note whether an event is wanted when the client has read. Whether that was so before.
    pub(crate) fn set_awaits_writable(&mut self, wanted: bool) -> bool {
        std::mem::replace(&mut self.awaits_writable, wanted) == wanted
    }

    /// Parts from the client, and returns the socket that its replies went to. What it was to be given and did not get
    /// stays cached.
    pub(crate) fn close<K: Kernel<Descriptor = D>, H: Host>(
        self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
    ) -> D {
        give_back(self.session, pass, cache);
        self.output.unwrap_or(self.socket)
    }

    /// Whether everything that it was to be told is written.
    pub(crate) fn is_told(&self) -> bool {
        self.session.poll_transmit().is_none()
    }

    /// Ends the session as [`Client::close`] does, and keeps the socket.
    pub(crate) fn into_socket<K: Kernel<Descriptor = D>, H: Host>(
        self,
        pass: &mut Pass<'_, K, H>,
        cache: &mut Cache<D>,
    ) -> D {
        give_back(self.session, pass, cache);
        self.socket
    }

    /// Whether everything that it ever said was read.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }

    pub(crate) fn socket(&self) -> &D {
        &self.socket
    }

    /// Where its replies go.
    pub(crate) fn output(&self) -> &D {
        self.output.as_ref().unwrap_or(&self.socket)
    }

    /// Carries out what the session has to say.
    fn carry_out<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        turn: &mut Turn<'_, '_, K, H>,
    ) -> Carried {
        self.is_behind = false;
        while turn.requests > 0 {
            let Some(event) = self.session.poll_event() else {
                return Carried::All;
            };
            turn.requests -= 1;
            let before = turn.cache.work();
            let answer = match event {
                Event::Save(request, descriptor) => {
                    turn.pass.host.note(Note::Request(&request));
                    self.hands_over = turn.note_hand_over(&request);
                    let request = turn.since_now(request);
                    turn.cache.save(turn.pass, request, descriptor)
                }
                Event::Request(request)
                    if turn.awaits_entries
                        && may_wait(self.postponed_at, turn.pass.now)
                        && turn.cache.lacks(turn.pass, &request) =>
                {
                    self.postponed_at.get_or_insert(turn.pass.now);
                    self.session.postpone();
                    return Carried::Postponed;
                }
                Event::Request(request) => {
                    self.postponed_at = None;
                    turn.pass.host.note(Note::Request(&request));
                    self.hands_over = turn.note_hand_over(&request);
                    turn.carry_out(request, &self.socket)
                }
                Event::Refused(refusal) => {
                    turn.refuse(refusal);
                    self.served = true;
                    continue;
                }
                Event::Declined(handed_out) => {
                    turn.pass
                        .host
                        .complain(turn.pass.now, Complaint::CannotSend);
                    turn.cache.put_back(turn.pass, handed_out);
                    continue;
                }
                Event::Delivered(handed_out) => {
                    drop(handed_out);
                    continue;
                }
                Event::Broken(fault) => {
                    turn.pass.host.complain(turn.pass.now, fault.into());
                    turn.cache.client_dropped(turn.pass.now, fault.into());
                    return Carried::Broken;
                }
            };
            let others = turn.cache.work().others(before);
            turn.requests = turn.requests.saturating_sub(others);
            let answer = match answer {
                // Once status 0 is said there is no way back, and smtp(8) gives up on the cache when it fails twice.
                Answer::Found(handed_out)
                    if !self.session.is_inline() && turn.cache.cannot_pass(turn.pass.now) =>
                {
                    turn.cache.put_back(turn.pass, handed_out);
                    Answer::Failed
                }
                answer => answer,
            };
            self.session.reply(answer);
            self.served = true;
            turn.answered += 1;
        }
        self.is_behind = true;
        Carried::Enough
    }

    /// Looks at the connection that is to be written next, if it had to wait, and gives it up if it is of no use any more.
    /// An inline client is told that nothing was found. Another one was told status 0 before, so it gets a connection that
    /// is closed: smtp(8) takes that for one that its peer has closed meanwhile, and connects anew. Not to send any would
    /// count as a failure of the cache, of which smtp(8) stands two.
    fn look_again<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        turn: &mut Turn<'_, '_, K, H>,
    ) -> Result<(), Failure> {
        while let Some(handed_out) = self.session.next_hand_out() {
            let (kernel, now) = (&mut *turn.pass.kernel, turn.pass.now);
            let Some(reason) = turn.cache.look_again(kernel, now, handed_out) else {
                break;
            };
            if let Some(handed_out) = self.session.withdraw_next() {
                turn.cache.give_up(turn.pass, handed_out, reason);
            } else if let Some(handed_out) = self.session.next_hand_out() {
                // Without one the client is hung up on.
                let stand_in = turn.pass.kernel.closed_connection();
                let stand_in = stand_in.map_err(|_| Failure::Lost)?;
                turn.cache
                    .give_up_for(turn.pass, handed_out, stand_in, reason);
            }
        }
        Ok(())
    }

    /// Writes once. `false`: there is nothing to write.
    fn write<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        turn: &mut Turn<'_, '_, K, H>,
    ) -> Result<bool, Failure> {
        self.look_again(turn)?;
        let Some(transmit) = self.session.poll_transmit() else {
            return Ok(false);
        };
        let pass = &mut turn.pass;
        let descriptor = transmit.descriptor.map(HandedOut::descriptor);
        let written = pass.kernel.send(self.output(), transmit.bytes, descriptor);
        match written {
            Err(Failure::TooManyInFlight) => {
                pass.host.complain(pass.now, Complaint::TooManyInFlight);
                turn.cache.passing_failed(pass.now);
                let mut was_withdrawn = false;
                // The last first: so each gets back to where it was.
                while let Some(handed_out) = self.session.withdraw_last() {
                    turn.cache.put_back(pass, handed_out);
                    was_withdrawn = true;
                }
                // In the stock protocol status 0 was said: all that is left is to hang up. The client tries once more.
                return was_withdrawn.then_some(true).ok_or(Failure::Lost);
            }
            Err(Failure::Unsupported | Failure::Exhausted) if descriptor.is_some() => {
                pass.host.complain(pass.now, Complaint::CannotSend);
            }
            _ => {}
        }
        self.session.handle_written(written?);
        self.is_active = true;
        Ok(true)
    }
}

/// Ends a session. What its client was to be given and did not get stays cached.
fn give_back<K: Kernel, H: Host>(
    session: Session<K::Descriptor, HandedOut<K::Descriptor>>,
    pass: &mut Pass<'_, K, H>,
    cache: &mut Cache<K::Descriptor>,
) {
    for left in session.close() {
        match left {
            Unfinished::Unsent(handed_out) => cache.put_back(pass, handed_out),
            // The client may have it. It must not have two owners, so ours is closed, without a word.
            Unfinished::Sent(handed_out) => drop(handed_out),
        }
    }
}

impl<K: Kernel, H: Host> Turn<'_, '_, K, H> {
    /// Carries out a request of a client that brings no connection.
    fn carry_out(
        &mut self,
        request: Request<'_>,
        client: &K::Descriptor,
    ) -> Answer<HandedOut<K::Descriptor>> {
        match request {
            Request::TakeOver if self.may_take_over(client) => {
                self.takes_over = true;
                // Nothing may come between the reply and the listening socket.
                self.requests = 0;
                Answer::Done
            }
            Request::TakeOver => Answer::Failed,
            Request::Administer(administration) => {
                // Takes as long as many others.
                self.requests = self.requests.saturating_sub(ADMINISTRATION);
                let may = !administration.needs_privilege()
                    || self.is_privileged(client, Complaint::MayNotAdminister);
                if !may {
                    return Answer::Failed;
                }
                self.cache
                    .administer(self.pass, administration, self.surroundings)
            }
            request => {
                let request = self.since_now(request);
                self.cache.answer(self.pass, request)
            }
        }
    }

    /// A request whose time to live counts from the beginning of the pass. Who tells it to the millisecond hands over
    /// what may not expire before its time, and may have told it after that.
    fn since_now<'r>(&mut self, request: Request<'r>) -> Request<'r> {
        if !request.ttl().is_some_and(Ttl::is_precise) {
            return request;
        }
        let now = self.pass.kernel.now();
        request.with_more_time(now.saturating_duration_since(self.pass.now))
    }

    /// Takes note whether a request is one of a process that hands over its cache, and returns it.
    fn note_hand_over(&mut self, request: &Request<'_>) -> bool {
        let hands_over = request.ttl().is_some_and(Ttl::is_precise);
        self.is_handed_over |= hands_over;
        hands_over
    }

    /// Takes note of a request that was refused already.
    fn refuse(&mut self, refusal: Refusal) {
        self.pass.host.complain(self.pass.now, refusal.into());
        let stats = self.cache.stats_mut();
        *match refusal {
            Refusal::Malformed => &mut stats.requests_refused_malformed,
            Refusal::Unknown => &mut stats.requests_refused_unknown,
            Refusal::NoDescriptor => &mut stats.saves_refused_no_descriptor,
        } += 1;
        self.answered += 1;
    }

    /// Whether this process hands over and ends because this client asked for it.
    fn may_take_over(&mut self, client: &K::Descriptor) -> bool {
        let may = self.is_privileged(client, Complaint::MayNotTakeOver);
        // A client that is gone by now takes nothing over.
        let waits = !matches!(
            self.pass.kernel.peek(client, &mut [0]),
            Ok(0) | Err(Failure::Lost)
        );
        may && waits
            && self.surroundings.settings.hand_over
            && self.may_yield
            && self.pass.host.may_yield()
    }

    /// Whether this client may do what changes the service for everybody; what is to be said if not.
    fn is_privileged(&mut self, client: &K::Descriptor, otherwise: Complaint) -> bool {
        let user = self.pass.kernel.user(client);
        let may = user.is_some_and(|user| self.surroundings.settings.is_privileged(user));
        if !may {
            self.pass.host.complain(self.pass.now, otherwise);
        }
        may
    }
}
