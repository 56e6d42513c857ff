//! The connections of an HTTP server: how many there may be, how long each may take, and which one is closed when
//! another one needs its place.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// What is allowed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once.
    pub(super) connections: usize,
    /// How long the head of a request may take: the first one from the connect on, others from their first byte on.
    pub(super) head: Duration,
    /// How long a connection may wait between two requests.
    pub(super) quiet: Duration,
    /// How long an answer may take until all of it is written.
    pub(super) answer: Duration,
    /// How long an answer may be left unread before its connection makes room for another one.
    pub(super) unread: Duration,
}

/// When nobody can be closed it is tried again after this time.
const RETRY: Duration = Duration::from_millis(100);

/// All connections, the oldest first.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Limits,
    all: RefCell<Vec<Rc<Activity>>>,
    /// Told when one ends.
    ended: Notify,
}

/// What a connection does, seen from its socket and from the service.
#[derive(Debug)]
pub(super) struct Activity {
    limits: Limits,
    phase: Cell<Phase>,
    /// When the phase began.
    since: Cell<Instant>,
    /// Whether it has been answered at all.
    served: Cell<bool>,
    /// Since when the other end has not read what there is to be written.
    blocked: Cell<Option<Instant>>,
    order: Cell<Order>,
    /// The task that has to follow the order.
    waker: RefCell<Option<Waker>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No byte of a request has come.
    Waiting,
    /// Some bytes have, and the head is not complete.
    Head,
    /// The answer is being made.
    Asking,
    /// The answer is being written.
    Answering,
}

/// What a connection is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    None,
    /// End behind the answer that is under way.
    Finish,
    /// End now, unless a request has come meanwhile.
    Close,
}

/// The place of a connection among the others. It is free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Rc<Connections>,
    activity: Rc<Activity>,
}

impl Connections {
    pub(super) fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self {
            limits,
            all: RefCell::default(),
            ended: Notify::new(),
        })
    }

    /// A place for a connection. If all are taken the connection that has been idle the longest is closed for it.
    ///
    /// One whose answer is being made is never closed. While there are only such, the oldest one is told to end behind
    /// its answer.
    pub(super) async fn place(self: &Rc<Self>) -> Place {
        while self.all.borrow().len() >= self.limits.connections {
            let ended = self.ended.notified();
            self.make_room();
            // It may be another one's turn then, if this one takes its time.
            let _ = timeout(RETRY, ended).await;
        }
        let activity = Rc::new(Activity::new(self.limits));
        self.all.borrow_mut().push(Rc::clone(&activity));
        Place {
            connections: Rc::clone(self),
            activity,
        }
    }

    fn make_room(&self) {
        let all = self.all.borrow();
        let idle = all.iter().filter(|activity| activity.is_idle());
        let stuck = all.iter().filter(|activity| activity.is_stuck());
        let going_on = |activity: &&Rc<Activity>| activity.order.get() == Order::None;
        if let Some(longest) = idle.min_by_key(|activity| activity.since.get()) {
            longest.command(Order::Close);
        } else if let Some(longest) = stuck.min_by_key(|activity| activity.blocked.get()) {
            longest.command(Order::Close);
        } else if let Some(oldest) = all.iter().find(going_on) {
            oldest.command(Order::Finish);
        }
    }
}

impl Place {
    pub(super) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.connections.all.borrow_mut();
        all.retain(|activity| !Rc::ptr_eq(activity, &self.activity));
        self.connections.ended.notify_waiters();
    }
}

impl Activity {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            phase: Cell::new(Phase::Waiting),
            since: Cell::new(Instant::now()),
            served: Cell::new(false),
            blocked: Cell::new(None),
            order: Cell::new(Order::None),
            waker: RefCell::default(),
        }
    }

    /// The head of a request is complete.
    pub(super) fn asked(&self) {
        self.enter(Phase::Asking);
    }

    /// The answer is there, to be written.
    pub(super) fn answered(&self) {
        self.phase.set(Phase::Answering);
    }

    /// What the connection is told to do; `waker` is woken when that changes.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        self.waker.borrow_mut().replace(waker.clone());
        self.order.get()
    }

    /// When it has to have gone on.
    pub(super) fn deadline(&self) -> Instant {
        let Limits {
            head,
            quiet,
            answer,
            ..
        } = self.limits;
        let since = self.since.get();
        let deadline = match self.phase.get() {
            Phase::Waiting if self.served.get() => since + quiet,
            Phase::Waiting | Phase::Head => since + head,
            Phase::Asking | Phase::Answering => since + answer,
        };
        match self.blocked.get() {
            Some(blocked) => deadline.min(blocked + answer),
            None => deadline,
        }
    }

    /// Whether it is to end now.
    pub(super) fn is_to_close(&self) -> bool {
        self.order.get() == Order::Close && (self.is_idle() || self.is_stuck())
    }

    fn is_idle(&self) -> bool {
        matches!(self.phase.get(), Phase::Waiting | Phase::Head)
    }

    /// Whether the other end has not read for so long that it can be closed for somebody else.
    fn is_stuck(&self) -> bool {
        let blocked = self.blocked.get();
        blocked.is_some_and(|blocked| blocked.elapsed() >= self.limits.unread)
    }

    fn command(&self, order: Order) {
        self.order.set(order);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.since.set(Instant::now());
    }

    fn read(&self) {
        if self.phase.get() != Phase::Waiting {
            return;
        }
        if self.served.get() {
            self.enter(Phase::Head);
        } else {
            // Its time runs since it connected.
            self.phase.set(Phase::Head);
        }
    }

    fn not_written(&self) {
        if self.blocked.get().is_none() {
            self.blocked.set(Some(Instant::now()));
        }
    }

    fn all_written(&self) {
        self.blocked.set(None);
        if self.phase.get() == Phase::Answering {
            self.served.set(true);
            self.enter(Phase::Waiting);
        }
    }
}

/// A socket that tells its [`Activity`] what goes over it.
#[derive(Debug)]
pub(super) struct Watched {
    stream: TcpStream,
    activity: Rc<Activity>,
}

impl Watched {
    pub(super) fn new(stream: TcpStream, activity: Rc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.activity.read();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_pending() {
            self.activity.not_written();
        }
        written
    }

    /// Called by hyper when it has nothing left to write.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.activity.all_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
