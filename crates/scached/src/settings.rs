//! What can be set, whichever program reads it from wherever.

use std::time::Duration;

/// The settings of a [`crate::server::Server`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest anything stays cached, whatever a client asks for.
    pub ttl_limit: Duration,
    /// How often statistics are logged; `None` is never.
    pub statistics_interval: Option<Duration>,
    /// How long without clients until the process ends; `None` is never.
    pub max_idle: Option<Duration>,
    /// How long a request may take from its first byte to its last.
    pub request_timeout: Duration,
    /// Say the name of the protocol to a client that connects (clients before Postfix 3.6 must not
    /// hear it).
    pub announce: bool,
    /// Connections cached at most.
    pub connection_limit: usize,
    /// Connections cached at most for one endpoint; 0 is no limit.
    pub endpoint_limit: usize,
    /// Bindings of destinations to endpoints at most.
    pub binding_limit: usize,
}

/// Where nothing else is said: a complete request within ten seconds of its first byte.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Where nothing else is said: as many bindings.
pub const BINDING_LIMIT: usize = 100_000;

/// Descriptors that are not for cached connections: clients, listeners, logs.
const RESERVED_DESCRIPTORS: u64 = 64;

/// How many connections may be cached when a process may have so many descriptors: what a reserve and
/// room for clients leave, at least one.
pub fn connection_limit(descriptors: Option<u64>) -> usize {
    let descriptors = descriptors.unwrap_or(u64::MAX);
    let left = descriptors.saturating_sub(RESERVED_DESCRIPTORS) / 4 * 3;
    usize::try_from(left.max(1)).unwrap_or(usize::MAX)
}
