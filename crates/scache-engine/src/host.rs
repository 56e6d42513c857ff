//! What the engine tells its surroundings: log, master(8), service manager, signals.

use std::fmt;
use std::time::Instant;

use scache_proto::Request;
use scache_proto::server::{Fault, Refusal};
use scache_store::{Reason, Statistics};

/// The surroundings. No call waits.
pub trait Host {
    /// Something is wrong with a client or with the kernel. To be logged, but not for each time.
    fn complain(&mut self, now: Instant, complaint: Complaint);

    /// Something happened that only the curious want to know.
    fn note(&mut self, note: Note<'_>);

    /// An interval of the statistics is over. `last`: all clients are gone, so this may take its time.
    fn statistics(&mut self, interval: &Statistics, last: bool);

    /// A request was answered.
    fn served(&mut self);

    /// Something of the host's is readable ([`crate::Token::Host`]). Whether the end has come.
    fn attend(&mut self, number: u32) -> Option<End>;

    /// Much memory was freed, and nobody waits: it can be given back to the system, which may take a few milliseconds.
    fn much_was_freed(&mut self) {}

    /// The loop goes on.
    fn is_alive(&mut self, now: Instant);

    /// Whether another process may take over the listening socket now. Not if it belongs to a service manager or to
    /// master(8), and not while this process is taking over itself.
    fn may_yield(&mut self) -> bool {
        false
    }

    /// When [`Host::is_alive`] has to be called again at the latest; `None` is whenever the loop goes on.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}

/// Why the engine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Nobody was connected for as long as [`crate::Settings::max_idle`] allows.
    Idle,
    /// There will be another process: master(8) closed the status channel, or somebody takes over.
    Succession,
    /// There will be none: a signal asked for the end.
    Signal,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Complaint {
    /// A request was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A client was dropped for what it sent.
    #[error(transparent)]
    Fault(#[from] Fault),
    /// A client was dropped for what it did not send.
    #[error("request not completed in time")]
    Timeout,
    /// A descriptor could not be sent.
    #[error("cannot send file descriptor")]
    CannotSend,
    /// A descriptor could not be sent because too many others were not read.
    #[error(
        "cannot send file descriptor: too many of this user's are unread (find the program that does not read, or raise the limit on open files); the connection stays cached"
    )]
    TooManyInFlight,
    /// A descriptor was lost on its way here, because there was no number left for it.
    #[error("out of file descriptors: a connection to be saved was lost, another one makes room")]
    Truncated,
    /// A client wanted to save its own connection to this cache.
    #[error("refused to save a connection to this cache")]
    OwnConnection,
    /// A connection handed on over a pass socket did not come.
    #[error("cannot receive the connection that was to be handed on")]
    HandOff,
    /// accept(2) failed.
    #[error("cannot accept connection")]
    Accept,
    /// All slots of clients are taken, by clients none of which is idle.
    #[error(
        "too many clients: further ones wait (connection_cache_client_limit, or the limit on file descriptors)"
    )]
    ClientLimit,
    /// Clients that were accepted to see who they are found no place to wait.
    #[error(
        "too many clients wait: the user with the most of them loses some (connection_cache_client_limit, or the limit on file descriptors)"
    )]
    TooManyWait,
    /// A client was dropped that held the most memory, when all together held too much.
    #[error(
        "clients hold too much memory in requests that are not complete and replies that are not read: the one with the most is dropped"
    )]
    Memory,
    /// A client was dropped that had not been idle for as long as a request may take, for another one.
    #[error("client takes too long to read its replies while others wait for its slot")]
    KeepsSlot,
    /// Somebody connected who may not.
    #[error("client is not one of the allowed users")]
    NotAllowed,
    /// Somebody asked to take over who may not.
    #[error("client may not take over: only root and the user of this process may")]
    MayNotTakeOver,
    /// Somebody asked to purge or to drain who may not.
    #[error("client may not purge or drain: only root and the user of this process may")]
    MayNotAdminister,
    /// The successor did not take everything.
    #[error("hand-over failed: the rest of the cache is closed")]
    HandOver,
}

/// What happened. Displayed as a line of text.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// A client came.
    Connected,
    /// A client went, or was sent away.
    Disconnected,
    /// A request, to be carried out.
    Request(&'a Request<'a>),
    /// A connection left the cache other than by being taken.
    Released {
        /// The endpoint it was saved under.
        endpoint: &'a [u8],
        /// Why.
        reason: Reason,
        /// What its peer said, if that is why; not all of it.
        said: &'a [u8],
    },
    /// As many connections may be unread by clients as the settings allow: those between two requests are asked about.
    UnreadLimit,
    /// Entries were handed over to the next process.
    HandedOver {
        /// How many connections.
        connections: usize,
        /// How many bindings.
        bindings: usize,
    },
    /// The end has come.
    Ending(End),
    /// The process that was to take over is gone, so this one goes on.
    Resumed,
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected => f.write_str("connection established"),
            Self::Disconnected => f.write_str("connection closed"),
            Self::Request(request) => write!(f, "{request:?}"),
            Self::Released {
                endpoint,
                reason,
                said,
            } => {
                let (endpoint, reason) = (endpoint.escape_ascii(), name(*reason));
                write!(f, "connection dropped: {reason}, endpoint \"{endpoint}\"")?;
                if !said.is_empty() {
                    write!(f, ", peer said \"{}\"", said.escape_ascii())?;
                }
                Ok(())
            }
            Self::UnreadLimit => {
                f.write_str("connections that clients do not read: as many as there may be")
            }
            Self::HandedOver {
                connections,
                bindings,
            } => write!(
                f,
                "handed over {connections} connections and {bindings} bindings"
            ),
            Self::Ending(End::Idle) => f.write_str("idle timeout -- exiting"),
            Self::Ending(End::Succession) => f.write_str("master disconnect -- exiting"),
            Self::Ending(End::Signal) => f.write_str("signal -- exiting"),
            Self::Resumed => f.write_str("the process that took over is gone -- serving again"),
        }
    }
}

/// A reason in the log's words.
fn name(reason: Reason) -> &'static str {
    match reason {
        Reason::Expired => "expired",
        Reason::Evicted => "evicted",
        Reason::Cleared => "cleared",
        Reason::Purged => "purged",
        Reason::Drained => "not kept",
        Reason::Retired => "taken too often or too old",
        Reason::Closed => "closed by peer",
        Reason::Reset => "reset by peer",
        Reason::Spoke => "spoke out of turn",
    }
}
