//! What a process that leaves has to tell the next one, and what becomes of the rest.

use std::time::{Duration, Instant};

use scache_engine::Failure;
use scache_store::Reason;

use crate::model::{Bound, Entry};
use crate::oracle::RELIEF;
use crate::trace::{Asked, Got};
use crate::wire::{Found, Meaning, meaning, next_list};
use crate::world::Fd;

/// How long a successor may take for each step, and one that asked to take over.
const PATIENCE: Duration = Duration::from_secs(1);
const PATIENCE_WITH_ASKER: Duration = Duration::from_secs(10);

/// How long it may take for everything.
const LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Leaving {
    pub socket: Option<Fd>,
    connections: Vec<Entry>,
    bindings: Vec<Bound>,
    current: Option<Current>,
    /// What is still to be written of a request.
    to_say: Vec<u8>,
    /// What the successor said and is no whole reply yet.
    heard: Vec<u8>,
    /// When the successor last went on.
    progress_at: Instant,
    began_at: Instant,
    /// The successor was asked whether it takes descriptors with their requests.
    asked: bool,
    /// It does.
    inline: bool,
    /// It said something.
    pub was_answered: bool,
    connect_by: Option<Instant>,
    retry_by: Option<Instant>,
    /// The successor is gone, or makes no sense.
    is_lost: bool,
    failed: bool,
    /// Who asked for it may be gone, which would be why the successor is. Then nothing is to be given up.
    pub waits_for_asker: bool,
    /// The successor is gone, and it is not known yet why.
    is_broken_off: bool,
    /// The host wants no hand-over any more.
    pub is_called_off: bool,
    watch: bool,
    /// Connections and bindings.
    pub taken_over: (usize, usize),
}

/// What the successor was told of.
#[derive(Debug)]
enum Current {
    Question,
    Connection { entry: Entry, sent: bool },
    Binding(Bound),
}

impl Leaving {
    pub fn new(connections: Vec<Entry>, bindings: Vec<Bound>, now: Instant, watch: bool) -> Self {
        Self {
            socket: None,
            connections,
            bindings,
            current: None,
            to_say: Vec::new(),
            heard: Vec::new(),
            progress_at: now,
            began_at: now,
            asked: false,
            inline: false,
            was_answered: false,
            connect_by: None,
            retry_by: None,
            is_lost: false,
            failed: false,
            waits_for_asker: false,
            is_broken_off: false,
            is_called_off: false,
            watch,
            taken_over: (0, 0),
        }
    }

    /// When it has to go on or to give up.
    pub fn deadline(&self) -> Option<Instant> {
        let is_over = self.socket.is_none() && self.connections.is_empty() && !self.is_broken_off;
        let give_up_at = Some(self.give_up_at()).filter(|_| !is_over);
        [give_up_at, self.connect_by, self.retry_by]
            .into_iter()
            .flatten()
            .min()
    }

    fn give_up_at(&self) -> Instant {
        let patience = if self.waits_for_asker {
            PATIENCE_WITH_ASKER
        } else {
            PATIENCE
        };
        (self.progress_at + patience).min(self.began_at + LONGEST)
    }

    pub fn descriptors(&self) -> usize {
        let current = matches!(self.current, Some(Current::Connection { .. }));
        self.connections.len() + usize::from(current) + usize::from(self.socket.is_some())
    }

    pub fn has_failed(&self, now: Instant) -> bool {
        self.failed || self.may_fail(now)
    }

    pub fn connected(&mut self, now: Instant, result: Result<Fd, Failure>) {
        assert!(self.socket.is_none(), "connected twice");
        self.connect_by = None;
        match result {
            Ok(fd) => self.socket = Some(fd),
            Err(Failure::WouldBlock | Failure::Exhausted | Failure::TooManyInFlight) => {
                self.connect_by = Some((now + RELIEF).min(self.give_up_at()));
            }
            Err(Failure::Lost | Failure::Unsupported) => self.is_lost = true,
        }
    }

    /// The socket cannot be watched: another try.
    pub fn disconnected(&mut self) {
        self.socket = None;
    }

    /// Something is written to the successor. `judge` finds out what is wrong with a connection, `history` what is known
    /// of one.
    pub fn sent(
        &mut self,
        now: Instant,
        bytes: &[u8],
        passed: Option<Fd>,
        result: Result<usize, Failure>,
        judge: impl Fn(Fd) -> Option<Reason>,
        history: impl Fn(Fd) -> Option<(u64, u64)>,
    ) {
        self.retry_by = None;
        let written = match result {
            Ok(written) => written,
            Err(Failure::WouldBlock) => 0,
            Err(Failure::Exhausted) => {
                self.retry_by = Some((now + RELIEF).min(self.give_up_at()));
                0
            }
            // The successor cannot help it.
            Err(Failure::TooManyInFlight) => {
                self.progress_at = now;
                self.retry_by = Some((now + RELIEF).min(self.give_up_at()));
                0
            }
            Err(_) => {
                self.is_lost = true;
                0
            }
        };
        if let Some(passed) = passed.filter(|_| !self.inline) {
            let Some(Current::Connection { entry, sent }) = &mut self.current else {
                panic!("a connection is passed without a request");
            };
            assert_eq!((entry.fd, bytes), (passed, &b"\0"[..]), "the wrong one");
            assert!(!*sent, "passed twice");
            *sent = written > 0;
            return;
        }
        if self.current.is_none() {
            self.begin(now, bytes, judge, history);
            self.to_say = bytes.to_vec();
        }
        assert_eq!(bytes, self.to_say, "not the rest of the request");
        let rider = match &mut self.current {
            Some(Current::Connection { entry, sent }) if self.inline && !*sent => {
                *sent = written > 0;
                Some(entry.fd)
            }
            _ => None,
        };
        assert_eq!(passed, rider, "not the connection that belongs to it");
        self.to_say.drain(..written);
    }

    /// A request begins: it is known whole when its first byte is offered.
    fn begin(
        &mut self,
        now: Instant,
        bytes: &[u8],
        judge: impl Fn(Fd) -> Option<Reason>,
        history: impl Fn(Fd) -> Option<(u64, u64)>,
    ) {
        let Found::List(attributes, length) = next_list(bytes) else {
            panic!("no request: {}", bytes.escape_ascii());
        };
        assert_eq!(length, bytes.len());
        let Meaning::Request(asked) = meaning(&attributes, false) else {
            panic!("no request: {}", bytes.escape_ascii());
        };
        // Rounded up to what the successor understands.
        let inline = self.inline;
        let is_left = |deadline: Instant, ttl: Duration| {
            let unit = if inline { 1 } else { 1000 };
            let left = (deadline - now).as_nanos().div_ceil(unit * 1_000_000);
            assert_eq!(ttl.as_millis(), left * unit, "not the time that is left");
            let is_precise = attributes.iter().any(|(name, _)| name == b"ttl_ms");
            assert_eq!(is_precise, ttl.subsec_millis() > 0, "said more than needed");
        };
        let is_first = !std::mem::replace(&mut self.asked, true);
        assert_eq!(is_first, asked == Asked::Inline, "asked out of turn");
        self.current = Some(match asked {
            Asked::Inline => Current::Question,
            Asked::SaveEndpoint {
                ttl,
                endpoint,
                property,
                history: told,
            } => {
                let mut entries = self.connections.iter();
                let at = entries.position(|entry| entry.endpoint == endpoint);
                let entry = self.connections.remove(at.expect("not cached"));
                assert_eq!(entry.property, property, "not the oldest");
                let history = history(entry.fd).filter(|_| inline);
                assert_eq!(told, history, "not its past");
                is_left(entry.deadline, ttl);
                assert!(!self.watch || judge(entry.fd).is_none(), "it is dead");
                Current::Connection { entry, sent: false }
            }
            Asked::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                assert!(self.connections.is_empty(), "connections come first");
                self.bindings.retain(|bound| bound.deadline > now);
                let mut bindings = self.bindings.iter();
                let at = bindings.position(|bound| bound.destination == destination);
                let bound = self.bindings.remove(at.expect("not cached"));
                let said = (&bound.property, &bound.endpoint);
                assert_eq!(said, (&property, &endpoint));
                is_left(bound.deadline, ttl);
                Current::Binding(bound)
            }
            other => panic!("{other:?} hands nothing over"),
        });
    }

    /// Something was read from the successor. Who is not wanted there is let go of, and whom the
    /// successor took is to be closed.
    pub fn received(
        &mut self,
        now: Instant,
        result: &Result<(Vec<u8>, Got), Failure>,
    ) -> (Vec<(Entry, Reason)>, Vec<Fd>) {
        self.retry_by = None;
        let (mut released, mut doomed) = (Vec::new(), Vec::new());
        match result {
            Ok((bytes, _)) if bytes.is_empty() => self.is_lost = true,
            Ok((bytes, got)) => {
                self.heard.extend_from_slice(bytes);
                self.was_answered = true;
                if let Got::One(fd) = got {
                    // Nothing that it says comes with a descriptor.
                    doomed.push(*fd);
                }
            }
            Err(Failure::WouldBlock) => {}
            Err(Failure::Exhausted) => {
                self.retry_by = Some((now + RELIEF).min(self.give_up_at()));
            }
            Err(_) => self.is_lost = true,
        }
        while let Found::List(attributes, length) = next_list(&self.heard) {
            self.heard.drain(..length);
            match attributes
                .first()
                .map(|(name, value)| (&name[..], &value[..]))
            {
                Some((b"protocol", b"connection_cache_protocol")) => {}
                Some((b"dummy", _)) if self.awaits_dummy() => {}
                Some((b"status", status @ (b"0" | b"1" | b"2"))) => {
                    let Some(current) = self.current.take() else {
                        self.is_lost = true;
                        break;
                    };
                    match current {
                        Current::Question => self.inline = status == b"0",
                        Current::Connection { entry, sent: true } => {
                            self.taken_over.0 += usize::from(status == b"0");
                            doomed.push(entry.fd);
                        }
                        // Done, before it had anything.
                        Current::Connection { entry, .. } if status == b"0" => {
                            self.current = Some(Current::Connection { entry, sent: false });
                            self.is_lost = true;
                            break;
                        }
                        Current::Connection { entry, .. } => {
                            released.push((entry, Reason::Cleared))
                        }
                        Current::Binding(_) => self.taken_over.1 += usize::from(status == b"0"),
                    }
                    self.progress_at = now;
                }
                _ => {
                    self.is_lost = true;
                    break;
                }
            }
        }
        if let Found::TooLong = next_list(&self.heard) {
            self.is_lost = true;
        }
        (released, doomed)
    }

    fn awaits_dummy(&self) -> bool {
        !self.inline && matches!(&self.current, Some(Current::Connection { sent: false, .. }))
    }

    fn may_fail(&self, now: Instant) -> bool {
        let is_lost = self.is_lost && !self.waits_for_asker;
        is_lost || self.is_called_off || self.give_up_at() <= now
    }

    /// Whether the connection to the successor is closed only to wait for the news that who asked is gone.
    pub fn is_broken_off(&self, now: Instant) -> bool {
        self.is_lost && !self.may_fail(now)
    }

    /// It is closed for that. What the successor may have is to be closed, too.
    pub fn break_off(&mut self) -> Vec<Fd> {
        self.is_broken_off = true;
        self.retry_by = None;
        let mut doomed: Vec<Fd> = self.socket.take().into_iter().collect();
        match self.current.take() {
            Some(Current::Connection { entry, sent: true }) => doomed.push(entry.fd),
            Some(Current::Connection { entry, .. }) => self.connections.insert(0, entry),
            Some(Current::Binding(bound)) => self.bindings.insert(0, bound),
            Some(Current::Question) | None => {}
        }
        doomed
    }

    /// What was not handed over.
    pub fn into_rest(self) -> (Vec<Entry>, Vec<Bound>) {
        (self.connections, self.bindings)
    }

    /// One that waits for its turn is let go of, or all are. Whether that is right.
    pub fn let_go(
        &mut self,
        now: Instant,
        fd: Fd,
        reason: Reason,
        judge: impl Fn() -> Option<Reason>,
    ) -> Option<Entry> {
        let at = self.connections.iter().position(|entry| entry.fd == fd)?;
        let entry = self.connections.remove(at);
        match reason {
            Reason::Expired => assert!(entry.deadline <= now, "not expired"),
            Reason::Cleared => {
                assert!(self.socket.is_none(), "the successor is still there");
                assert!(self.may_fail(now), "the successor has still time");
                self.failed = true;
                self.connect_by = None;
            }
            Reason::Evicted => panic!("nobody needs room"),
            reason => assert_eq!(judge(), Some(reason), "not dead"),
        }
        Some(entry)
    }

    /// All that is left to do is to wait for the answers to goodbyes.
    pub fn end(&mut self) {
        assert_eq!(self.descriptors(), 0, "something is left");
        self.is_broken_off = false;
        self.bindings.clear();
        self.connect_by = None;
        self.retry_by = None;
    }

    /// The connection to the successor is closed: everything was handed over, or something went wrong.
    pub fn close(&mut self, now: Instant) -> (Vec<(Entry, Reason)>, Vec<Fd>) {
        self.bindings.retain(|bound| bound.deadline > now);
        let is_complete =
            self.connections.is_empty() && self.bindings.is_empty() && self.current.is_none();
        assert!(is_complete || self.may_fail(now), "it gives up too early");
        self.failed |= !is_complete;
        self.retry_by = None;
        let mut released: Vec<_> = std::mem::take(&mut self.connections)
            .into_iter()
            .map(|entry| (entry, Reason::Cleared))
            .collect();
        let mut doomed: Vec<Fd> = self.socket.take().into_iter().collect();
        match self.current.take() {
            // The successor may have it.
            Some(Current::Connection { entry, sent: true }) => doomed.push(entry.fd),
            Some(Current::Connection { entry, .. }) => released.push((entry, Reason::Cleared)),
            Some(Current::Question | Current::Binding(_)) | None => {}
        }
        (released, doomed)
    }
}
