//! The loop: moves bytes, descriptors and time between the kernel, the sessions and the cache.
//!
//! Nothing in it waits but [`mio::Poll::poll`]. What a client wants is decided in its session, what is
//! cached in the store.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use crate::cache::Cache;
use crate::client::{self, Client, Next, Turn};
use crate::handoff::{HandOff, Progress};
use crate::log::{Complaint, Log};
use crate::peers::{Peer, Peers};
use crate::postfix::StatusChannel;
use crate::settings::Settings;
use crate::statistics;

pub use crate::listener::{Listener, Transport};

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody was connected for as long as [`Settings::max_idle`] allows.
    Idle,
    /// master(8) closed the status channel.
    MasterGone,
    /// A signal asked for it.
    Signal,
}

/// The daemon.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    log: Rc<Log>,
    poll: Poll,
    listeners: Vec<Listener>,
    master: Option<StatusChannel>,
    signals: Option<UnixStream>,
    peers: Peers,
    cache: Cache,
    /// For each peer at most one deadline, possibly one that it has kept since.
    deadlines: BinaryHeap<Reverse<(Instant, Token)>>,
    /// Peers whose turn was cut short.
    again: Vec<Token>,
    /// When to try again to accept, after it failed.
    accept_at: Option<Instant>,
    idle_since: Option<Instant>,
    statistics_at: Option<Instant>,
    interval_began: SystemTime,
    buffer: Vec<u8>,
}

const MASTER: Token = Token(FIRST_SPECIAL);
const SIGNALS: Token = Token(FIRST_SPECIAL + 1);
/// Tokens below are listeners, by their place.
const FIRST_SPECIAL: usize = crate::peers::FIRST_TOKEN - 2;

const EVENTS_PER_PASS: usize = 256;

/// How long accepting pauses after the kernel refused it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long requests under way may take when the end has come.
const LAST_REQUESTS: Duration = Duration::from_secs(1);

/// How long to wait for the next step of one of them.
const LAST_PASS: Duration = Duration::from_millis(5);

impl Server {
    /// A daemon that serves `listeners`.
    ///
    /// # Errors
    /// What epoll_create(2) and epoll_ctl(2) say, and `E2BIG` for more than a thousand listeners.
    pub fn new(settings: Settings, log: Rc<Log>, listeners: Vec<Listener>) -> io::Result<Self> {
        if listeners.len() > FIRST_SPECIAL {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::TOOBIG.raw_os_error(),
            ));
        }
        let now = Instant::now();
        let server = Self {
            cache: Cache::new(&settings, now),
            log,
            poll: Poll::new()?,
            listeners,
            master: None,
            signals: None,
            peers: Peers::default(),
            deadlines: BinaryHeap::new(),
            again: Vec::new(),
            accept_at: None,
            idle_since: Some(now),
            statistics_at: settings
                .statistics_interval
                .and_then(|interval| now.checked_add(interval)),
            interval_began: SystemTime::now(),
            buffer: vec![0; client::READ_BYTES],
            settings,
        };
        for (index, listener) in server.listeners.iter().enumerate() {
            server.register(listener.number(), Token(index))?;
        }
        Ok(server)
    }

    /// Reports to master(8), and ends with it.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn obey_master(&mut self, channel: StatusChannel) -> io::Result<()> {
        self.register(channel.number(), MASTER)?;
        self.master = Some(channel);
        Ok(())
    }

    /// Ends when one of these signals comes.
    ///
    /// # Errors
    /// What sigaction(2) and epoll_ctl(2) say.
    pub fn end_on(&mut self, signals: &[i32]) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        for signal in signals {
            signal_hook::low_level::pipe::register(*signal, theirs.try_clone()?)?;
        }
        self.register(ours.as_raw_fd(), SIGNALS)?;
        self.signals = Some(ours);
        Ok(())
    }

    /// Serves until there is a reason to end.
    ///
    /// # Errors
    /// What epoll_wait(2) says.
    pub fn run(&mut self) -> io::Result<End> {
        let mut events = Events::with_capacity(EVENTS_PER_PASS);
        let end = loop {
            let timeout = self.timeout(Instant::now());
            if let Some(end) = self.pass(&mut events, timeout)? {
                break end;
            }
        };
        // Who is in the middle of a request may finish it: a client counts a broken one as a failure, and a
        // closed idle connection as nothing.
        self.listeners.clear();
        let patience = Instant::now() + LAST_REQUESTS;
        while Instant::now() < patience {
            self.pass(&mut events, Some(LAST_PASS))?;
            if events.is_empty() && self.again.is_empty() && !self.peers.any_busy() {
                break;
            }
        }
        Ok(end)
    }

    /// Parts from all clients and logs what the last statistics are. Log lines may be waited for now.
    pub fn finish(mut self) {
        let now = Instant::now();
        for peer in self.peers.drain() {
            if let Peer::Client(client) = peer {
                client.close(now, &mut self.cache);
            }
        }
        self.log.begin_last_words();
        self.log_statistics();
        if self.log.dropped() > 0 {
            self.log.warning(format_args!(
                "{} log lines were lost: the log socket was full or missing",
                self.log.dropped()
            ));
        }
    }

    /// One round: waits for events, serves them, then does what is due.
    fn pass(&mut self, events: &mut Events, timeout: Option<Duration>) -> io::Result<Option<End>> {
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
            result => result?,
        }
        scache_sys::watchdog::pat();
        let now = Instant::now();
        let mut end = None;
        for event in events.iter() {
            match event.token() {
                MASTER => {
                    if self.master.as_ref().is_some_and(StatusChannel::ended) {
                        self.log.verbose("master disconnect -- exiting");
                        end = Some(End::MasterGone);
                    }
                }
                SIGNALS => end = Some(End::Signal),
                Token(index) if index < FIRST_SPECIAL => self.accept(index, now),
                token => {
                    self.turn(token, now, event.is_readable(), event.is_read_closed());
                }
            }
        }
        for token in std::mem::take(&mut self.again) {
            // What the event said is forgotten: only reading until there is nothing finds the end.
            self.turn(token, now, true, true);
        }
        Ok(end.or_else(|| self.do_what_is_due(now)))
    }

    fn do_what_is_due(&mut self, now: Instant) -> Option<End> {
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept_at = None;
            for index in 0..self.listeners.len() {
                self.accept(index, now);
            }
        }
        self.drop_late_peers(now);
        self.cache.expire(now);
        if self.statistics_at.is_some_and(|at| at <= now) {
            self.log_statistics();
            self.statistics_at = self
                .settings
                .statistics_interval
                .and_then(|interval| now.checked_add(interval));
        }
        let idle = self.idle_at().is_some_and(|at| at <= now);
        idle.then(|| {
            self.log.verbose("idle timeout -- exiting");
            End::Idle
        })
    }

    fn accept(&mut self, index: usize, now: Instant) {
        while let Some(listener) = self.listeners.get(index) {
            let transport = listener.transport();
            let accepted = listener.accept();
            match accepted {
                Ok(Some(socket)) => {
                    let peer = match transport {
                        Transport::Unix | Transport::Inet => self.client(socket),
                        Transport::Pass => {
                            Peer::HandOff(HandOff::new(socket, now, self.settings.request_timeout))
                        }
                    };
                    self.admit(peer, now);
                }
                Ok(None) => return,
                Err(_) => {
                    self.log.complain(now, Complaint::Accept);
                    self.accept_at = now.checked_add(ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn client(&self, socket: OwnedFd) -> Peer {
        Peer::Client(Client::new(
            socket,
            self.settings.announce,
            self.settings.request_timeout,
        ))
    }

    fn admit(&mut self, peer: Peer, now: Instant) {
        let number = peer.number();
        let token = self.peers.insert(peer);
        self.idle_since = None;
        self.log
            .verbose(format_args!("connection established fd {number}"));
        if self.register(number, token).is_err() {
            self.log.complain(now, Complaint::Accept);
            self.part(token, now);
            return;
        }
        // Says hello. What the client has sent by now makes an event.
        self.turn(token, now, false, false);
    }

    /// Lets one peer do what it can.
    fn turn(&mut self, token: Token, now: Instant, readable: bool, ended: bool) {
        let Some(peer) = self.peers.find(token) else {
            return;
        };
        let mut turn = Turn {
            now,
            cache: &mut self.cache,
            log: &self.log,
            buffer: &mut self.buffer,
        };
        let next = match peer {
            Peer::Client(client) if readable || ended => client.turn(&mut turn, ended),
            Peer::Client(client) => client.answer(&mut turn),
            Peer::HandOff(handoff) => match handoff.turn(turn.buffer) {
                Progress::Pending => Next::Readable,
                Progress::Complete(socket) => {
                    let client = self.client(socket);
                    self.part(token, now);
                    self.admit(client, now);
                    return;
                }
                Progress::Failed => {
                    self.log.complain(now, Complaint::HandOff);
                    Next::Close
                }
            },
        };
        if let Peer::Client(client) = peer
            && client.served()
            && let Some(master) = &mut self.master
        {
            master.served();
        }
        match next {
            Next::Close => self.part(token, now),
            Next::Again => self.again.push(token),
            Next::Readable | Next::Writable => {
                self.await_writable(token, next == Next::Writable);
                if let Some(deadline) = self.peers.deadline_to_queue(token) {
                    self.deadlines.push(Reverse((deadline, token)));
                }
            }
        }
    }

    /// Asks for an event when the client has read, or no longer.
    fn await_writable(&mut self, token: Token, wanted: bool) {
        let Some(Peer::Client(client)) = self.peers.find(token) else {
            return;
        };
        if client.set_awaits_writable(wanted) {
            return;
        }
        let interest = if wanted {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        };
        let number = client.number();
        // The descriptor is registered already: this cannot fail for want of memory or places.
        let _ = self
            .poll
            .registry()
            .reregister(&mut SourceFd(&number), token, interest);
    }

    fn part(&mut self, token: Token, now: Instant) {
        let Some(peer) = self.peers.remove(token) else {
            return;
        };
        let number = peer.number();
        self.log
            .verbose(format_args!("connection closed fd {number}"));
        // The other end of a handed-on connection is held by others: closing does not deregister it.
        let _ = self.poll.registry().deregister(&mut SourceFd(&number));
        if let Peer::Client(client) = peer {
            client.close(now, &mut self.cache);
        }
        if self.peers.is_empty() {
            self.idle_since = Some(now);
        }
    }

    /// Drops who has not gone on in time.
    fn drop_late_peers(&mut self, now: Instant) {
        while let Some(Reverse((due, token))) = self.deadlines.peek().copied()
            && due <= now
        {
            self.deadlines.pop();
            self.peers.unqueued(token);
            let deadline = self.peers.find(token).and_then(|peer| peer.deadline());
            if deadline.is_some_and(|deadline| deadline <= now) {
                self.log.complain(now, Complaint::Timeout);
                self.part(token, now);
            } else if let Some(deadline) = self.peers.deadline_to_queue(token) {
                self.deadlines.push(Reverse((deadline, token)));
            }
        }
    }

    fn timeout(&self, now: Instant) -> Option<Duration> {
        if !self.again.is_empty() {
            return Some(Duration::ZERO);
        }
        let deadline = self.deadlines.peek().map(|Reverse((due, _))| *due);
        [
            deadline,
            self.cache.next_deadline(),
            self.accept_at,
            self.statistics_at,
            self.idle_at(),
        ]
        .into_iter()
        .flatten()
        .min()
        .map(|at| at.saturating_duration_since(now))
    }

    fn idle_at(&self) -> Option<Instant> {
        self.idle_since?.checked_add(self.settings.max_idle?)
    }

    fn register(&self, number: RawFd, token: Token) -> io::Result<()> {
        self.poll
            .registry()
            .register(&mut SourceFd(&number), token, Interest::READABLE)
    }

    fn log_statistics(&mut self) {
        if self.settings.statistics_interval.is_none() {
            return;
        }
        let interval = self.cache.take_statistics();
        statistics::log(&self.log, self.interval_began, &interval);
        self.interval_began = SystemTime::now();
    }
}
