//! One client: it saves connections, takes as many out again, and waits for each answer, as programs do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use scache_proto::client::Outcome;
use scache_proto::{Request, Status};
use scache_sys::sockets::{self, Until};

use super::link::{Link, Written};
use super::names::{Names, Wire};
use super::tally::{Kind, Tally};
use crate::socket::Socket;

/// How long a client that lost the cache may take to find it again.
const RECONNECT: Duration = Duration::from_secs(1);

/// After so many failures, one after the other, a client gives up.
const FAILURES: u32 = 8;

pub(super) struct Client {
    link: Link,
    names: Names,
    wire: Wire,
    /// Connections per cycle.
    keep: usize,
    /// Those that are in hand.
    near: Vec<OwnedFd>,
    /// The other ends: whatever is cached has somebody at the other end, who says nothing.
    far: Vec<UnixStream>,
    step: Step,
    /// How many were saved and found in this cycle.
    saved: usize,
    found: usize,
    asked: Instant,
    failures: u32,
}

/// What the client waits for the answer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing.
    Idle,
    /// The first half of a save, in the stock protocol.
    Bind,
    Save,
    Find,
}

/// What is to become of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It waits for an answer.
    Waits(Written),
    /// It has a new connection to the cache and waits for an answer there.
    Reconnected(Written),
    /// It has nothing more to do.
    Ended,
}

impl Client {
    /// Connects, and makes sure that the cache serves this client.
    ///
    /// # Errors
    /// As [`Link::connect`] and [`Link::ask`].
    pub(super) fn connect(
        socket: &Socket,
        names: Names,
        wire: Wire,
        keep: usize,
        deadline: Instant,
    ) -> io::Result<Self> {
        let mut near = Vec::with_capacity(keep);
        let link = greet(socket, &names, wire, &mut near, deadline)?;
        let mut client = Self {
            link,
            names,
            wire,
            keep,
            near,
            far: Vec::with_capacity(keep),
            step: Step::Idle,
            saved: 0,
            found: 0,
            asked: Instant::now(),
            failures: 0,
        };
        for _ in 0..keep {
            client.make()?;
        }
        Ok(client)
    }

    /// Whether the cache has closed the connection, before there was anything to do.
    pub(super) fn is_hung_up(&self) -> bool {
        is_closed(self.link.as_fd())
    }

    /// Begins, or ends at once if there is nothing to do.
    pub(super) fn begin(
        &mut self,
        socket: &Socket,
        claim: &dyn Fn() -> bool,
        tally: &mut Tally,
    ) -> Turn {
        match self.next(claim, tally) {
            Ok(turn) => turn,
            Err(error) => self.failed(&error, socket, claim, tally),
        }
    }

    /// Goes on when something can be read or written. `claim` says whether there is another cycle to be done.
    pub(super) fn turn(
        &mut self,
        socket: &Socket,
        claim: &dyn Fn() -> bool,
        tally: &mut Tally,
    ) -> Turn {
        match self.go_on(claim, tally) {
            Ok(turn) => turn,
            Err(error) => self.failed(&error, socket, claim, tally),
        }
    }

    /// Whether it waits for longer than that.
    pub(super) fn is_overdue(&self, now: Instant, timeout: Duration) -> bool {
        self.step != Step::Idle && now.saturating_duration_since(self.asked) > timeout
    }

    /// Takes note of a failure, and starts anew with another connection to the cache.
    pub(super) fn failed(
        &mut self,
        error: &io::Error,
        socket: &Socket,
        claim: &dyn Fn() -> bool,
        tally: &mut Tally,
    ) -> Turn {
        tally.failed(self.kind(), error);
        if self.step == Step::Save {
            // It may be in the cache now.
            self.near.pop();
        }
        self.abandon();
        self.failures += 1;
        if self.failures >= FAILURES {
            tally.gave_up += 1;
            return Turn::Ended;
        }
        let deadline = Instant::now() + RECONNECT;
        let again =
            greet(socket, &self.names, self.wire, &mut self.near, deadline).and_then(|link| {
                self.link = link;
                self.next(claim, tally)
            });
        match again {
            Ok(Turn::Waits(written)) => Turn::Reconnected(written),
            Ok(turn) => turn,
            Err(error) => {
                tally.failed(self.kind(), &error);
                tally.gave_up += 1;
                Turn::Ended
            }
        }
    }

    /// Lets go of the other ends of connections that the cache has closed.
    pub(super) fn tidy(&mut self) {
        self.far.retain(|far| !is_closed(far.as_fd()));
    }

    fn go_on(&mut self, claim: &dyn Fn() -> bool, tally: &mut Tally) -> io::Result<Turn> {
        self.link.read()?;
        let mut written = self.write()?;
        while let Some(outcome) = self.link.outcome() {
            self.take_note(outcome, tally)?;
            match self.next(claim, tally)? {
                Turn::Waits(now) => written = now,
                turn => return Ok(turn),
            }
        }
        Ok(Turn::Waits(written))
    }

    fn take_note(
        &mut self,
        outcome: Outcome<impl Into<OwnedFd>>,
        tally: &mut Tally,
    ) -> io::Result<()> {
        match (self.step, outcome) {
            (Step::Bind, Outcome::Done) => tally.requests += 1,
            (Step::Save, Outcome::Done) => {
                // It belongs to the cache.
                self.near.pop();
                self.saved += 1;
                self.failures = 0;
                tally.done(Kind::Save, self.asked.elapsed());
            }
            (Step::Find, Outcome::Found { descriptor, .. }) => {
                self.near.push(descriptor.into());
                self.found += 1;
                self.failures = 0;
                tally.done(Kind::Find, self.asked.elapsed());
            }
            (Step::Find, Outcome::Refused(Status::Failed)) => {
                self.found += 1;
                tally.missed(self.asked.elapsed());
            }
            (step, Outcome::Refused(status)) => {
                tally.refused(self.kind(), status);
                self.failures += 1;
                if step == Step::Find {
                    self.found += 1;
                } else {
                    // What was not saved is not looked for.
                    self.abandon();
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(())
    }

    /// Asks for what comes next.
    fn next(&mut self, claim: &dyn Fn() -> bool, tally: &mut Tally) -> io::Result<Turn> {
        if self.failures >= FAILURES {
            tally.gave_up += 1;
            self.step = Step::Idle;
            return Ok(Turn::Ended);
        }
        if self.saved == self.keep && self.found == self.keep {
            self.abandon();
        }
        let begins = self.saved == 0 && self.step != Step::Bind;
        if begins && !claim() {
            self.step = Step::Idle;
            return Ok(Turn::Ended);
        }
        let (step, request) = match self.wire {
            _ if self.saved == self.keep => (Step::Find, self.names.find(self.wire)),
            Wire::Inline => (Step::Save, self.names.save()),
            Wire::Stock if self.step == Step::Bind => (Step::Save, self.names.save_endpoint()),
            Wire::Stock => (Step::Bind, self.names.save_destination()),
        };
        let request = request.map_err(io::Error::other)?;
        // The two halves of a save count as one operation.
        if self.step != Step::Bind {
            self.asked = Instant::now();
        }
        self.link.start(&request);
        self.step = step;
        if step == Step::Save && self.near.is_empty() {
            self.make()?;
        }
        Ok(Turn::Waits(self.write()?))
    }

    fn write(&mut self) -> io::Result<Written> {
        let connection: Option<BorrowedFd<'_>> = match self.step {
            Step::Save => self.near.last().map(OwnedFd::as_fd),
            _ => None,
        };
        self.link.write(connection)
    }

    /// Forgets how far this cycle has come.
    fn abandon(&mut self) {
        (self.saved, self.found, self.step) = (0, 0, Step::Idle);
    }

    fn kind(&self) -> Kind {
        match self.step {
            Step::Find => Kind::Find,
            Step::Idle | Step::Bind | Step::Save => Kind::Save,
        }
    }

    /// Makes a connection to be cached.
    fn make(&mut self) -> io::Result<()> {
        if self.far.len() >= self.keep {
            self.tidy();
        }
        let (near, far) = UnixStream::pair()?;
        self.near.push(near.into());
        self.far.push(far);
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }
}

/// Connects and has a first answer.
fn greet(
    socket: &Socket,
    names: &Names,
    wire: Wire,
    near: &mut Vec<OwnedFd>,
    deadline: Instant,
) -> io::Result<Link> {
    let mut link = Link::connect(socket, deadline)?;
    let request = match wire {
        Wire::Inline => Request::Inline,
        // Stock warns of what it does not know.
        Wire::Stock => names.find_endpoint().map_err(io::Error::other)?,
    };
    match link.ask(&request, deadline)? {
        Outcome::Found { descriptor, .. } => near.push(descriptor.into()),
        Outcome::Refused(_) if wire == Wire::Inline => {
            return Err(io::ErrorKind::Unsupported.into());
        }
        Outcome::Done | Outcome::Saved { .. } | Outcome::Report(_) | Outcome::Refused(_) => {}
    }
    Ok(link)
}

/// Whether the other end is closed. What may have been said before, as a goodbye, does not matter.
fn is_closed(socket: BorrowedFd<'_>) -> bool {
    !matches!(
        sockets::wait(socket, Until::Readable, Duration::ZERO),
        Ok(false)
    )
}
