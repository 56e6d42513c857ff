//! How often what happened, since the start.

use scache_store::Reason;

/// How often what happened, since the start. Nothing is ever set back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections released because their time was over.
    pub expired: u64,
    /// Connections that made room for others.
    pub evicted: u64,
    /// Connections released when everything was.
    pub cleared: u64,
    /// Connections that their peers had closed.
    pub closed: u64,
    /// Connections that their peers had reset.
    pub reset: u64,
    /// Connections whose peers spoke while they were idle.
    pub spoke: u64,
    /// Goodbyes written.
    pub goodbyes_said: u64,
    /// Goodbyes that were answered, with a line or with the end.
    pub goodbyes_answered: u64,
    /// Descriptors lost on the way in for want of a number.
    pub truncated: u64,
    /// Clients dropped for what they did or did not do.
    pub clients_dropped: u64,
    /// Connections taken over by the next process.
    pub connections_handed_over: u64,
    /// Bindings taken over by the next process.
    pub bindings_handed_over: u64,
}

impl Counters {
    pub(crate) fn released(&mut self, reason: Reason) {
        let counter = match reason {
            Reason::Expired => &mut self.expired,
            Reason::Evicted => &mut self.evicted,
            Reason::Cleared | Reason::Purged | Reason::Drained => &mut self.cleared,
            Reason::Closed => &mut self.closed,
            Reason::Reset => &mut self.reset,
            Reason::Spoke => &mut self.spoke,
        };
        *counter += 1;
    }
}
