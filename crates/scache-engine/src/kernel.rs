//! All that the engine may ask of the outside.

use std::time::{Duration, Instant};

use scache_proto::Descriptors;

use crate::Token;

/// A kernel. No call waits but [`Kernel::poll`].
///
/// Interest is said once and events are edges: an event comes when something has become possible, and not
/// again before it was tried in vain. More events than that do no harm.
pub trait Kernel {
    /// A socket, or whatever a client saved. Dropping it closes it, without waiting. It must not be watched
    /// any more when it goes elsewhere.
    type Descriptor;

    /// What time it is. Never goes back.
    fn now(&mut self) -> Instant;

    /// Waits for events, for `timeout` at most, and appends them.
    ///
    /// # Errors
    /// Only what makes it useless to go on.
    fn poll(&mut self, timeout: Option<Duration>, events: &mut Vec<Event>) -> Result<(), Failure>;

    /// The next connection to a listening socket.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::WouldBlock`] when there is none.
    fn accept(&mut self, listener: &Self::Descriptor) -> Result<Self::Descriptor, Failure>;

    /// Connects to who listens now at the name where we listened.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::WouldBlock`] when too many wait there already.
    fn connect_to_successor(&mut self) -> Result<Self::Descriptor, Failure>;

    /// Reads bytes, and the descriptors of at most one message. 0 bytes is the end.
    ///
    /// # Errors
    /// See [`Failure`].
    fn receive(
        &mut self,
        from: &Self::Descriptor,
        buffer: &mut [u8],
    ) -> Result<(usize, Descriptors<Self::Descriptor>), Failure>;

    /// Writes bytes, the first of them with a descriptor if one is given. Says how many were written.
    ///
    /// # Errors
    /// See [`Failure`].
    fn send(
        &mut self,
        to: &Self::Descriptor,
        bytes: &[u8],
        passed: Option<&Self::Descriptor>,
    ) -> Result<usize, Failure>;

    /// Returns whether the other end has not read everything that was written. Only asked of sockets that descriptors were
    /// passed over; `false` where the kernel does not tell.
    fn has_unread(&mut self, to: &Self::Descriptor) -> bool;

    /// Lets nothing more come from a client; what has come can still be read.
    fn hear_no_more(&mut self, from: &Self::Descriptor);

    /// Lets nothing more go to a client, which reads the end behind what was written.
    fn say_no_more(&mut self, to: &Self::Descriptor);

    /// Looks at what could be read without taking it. 0 bytes is the end.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::WouldBlock`] when there is nothing.
    fn peek(&mut self, at: &Self::Descriptor, buffer: &mut [u8]) -> Result<usize, Failure>;

    /// Makes a connection whose other end is closed: reading from it is the end.
    ///
    /// # Errors
    /// See [`Failure`].
    fn closed_connection(&mut self) -> Result<Self::Descriptor, Failure>;

    /// What a connection is that somebody wants to save.
    fn recognise(&mut self, connection: &Self::Descriptor) -> Recognised;

    /// Where a connection leads, as text; empty where nobody knows.
    fn peer(&mut self, connection: &Self::Descriptor) -> String;

    /// The user who connected; `None` where nobody knows.
    fn user(&mut self, client: &Self::Descriptor) -> Option<u32>;

    /// Asks for events from now on.
    ///
    /// # Errors
    /// See [`Failure`]; [`Failure::Unsupported`] for what has none.
    fn watch(
        &mut self,
        what: &Self::Descriptor,
        token: Token,
        interest: Interest,
    ) -> Result<(), Failure>;

    /// Asks for other events, or under another token. An event that is due comes again.
    ///
    /// # Errors
    /// See [`Failure`].
    fn watch_for(
        &mut self,
        what: &Self::Descriptor,
        token: Token,
        interest: Interest,
    ) -> Result<(), Failure>;

    /// Asks for no more events.
    fn unwatch(&mut self, what: &Self::Descriptor);
}

/// What is known of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recognised {
    /// It is a connection to a socket of our own.
    pub leads_here: bool,
    /// A number that only this connection has, whoever holds it and as long as it lives; `None` where there is
    /// none. Never 0.
    pub identity: Option<u64>,
}

/// What to be told of. A closed peer is always told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something can be read.
    Readable,
    /// Something can be read or written.
    ReadableOrWritable,
}

/// Something became possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Where.
    pub token: Token,
    /// There may be something to read.
    pub readable: bool,
    /// The peer will send nothing more.
    pub ended: bool,
}

/// Why a call did not do what it was asked for: what the engine can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nothing now; an event will come.
    #[error("not now")]
    WouldBlock,
    /// No descriptors, no memory: it may work when there is room.
    #[error("out of descriptors or memory")]
    Exhausted,
    /// Too many descriptors that this user sent were not read by their receivers: none can be passed until some are.
    #[error("too many descriptors in flight")]
    TooManyInFlight,
    /// It cannot be done with a descriptor of this kind.
    #[error("not possible with this kind of descriptor")]
    Unsupported,
    /// The peer is gone, with an error.
    #[error("connection lost")]
    Lost,
}
