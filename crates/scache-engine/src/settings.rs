//! What can be set, whichever program reads it from wherever, and what follows from the limit on
//! descriptors.

use std::time::Duration;

use scache_proto::entries::SettingEntry;
use scache_store::Order;

/// The settings of an [`crate::Engine`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest anything stays cached, whatever a client asks for.
    pub ttl_limit: Duration,
    /// How often a connection is taken at most; then it is closed instead of kept. 0 is no limit.
    pub reuse_limit: u32,
    /// How old a connection may become, as far as that is known; then it is closed instead of kept.
    pub lifetime_limit: Option<Duration>,
    /// How often statistics are told; `None` is never.
    pub statistics_interval: Option<Duration>,
    /// How long without clients until the end; `None` is never.
    pub max_idle: Option<Duration>,
    /// How long a request may take from its first byte to its last.
    pub request_timeout: Duration,
    /// Say the name of the protocol to a client that connects (clients before Postfix 3.6 must not
    /// hear it).
    pub announce: bool,
    /// Connections cached at most; the soonest to expire makes room.
    pub connection_limit: usize,
    /// Connections cached at most for one endpoint; 0 is no limit.
    pub endpoint_limit: usize,
    /// Bindings of destinations to endpoints at most; the soonest to expire makes room.
    pub binding_limit: usize,
    /// Clients at most; further ones wait until one leaves.
    pub client_limit: usize,
    /// Connections that were handed out and not read by their clients, in all; beyond that a client gets one only when it
    /// has read the one before.
    pub unread_limit: usize,
    /// Descriptors that the process may have, to be told to who asks; `None` is no limit.
    pub descriptor_limit: Option<u64>,
    /// Connections that goodbye was said to and that wait for the answer, at most.
    pub parting_limit: usize,
    /// Which connection of an endpoint is taken first.
    pub order: Order,
    /// Drop connections whose peer closed or spoke, and never hand one out.
    pub watch: bool,
    /// What is said before a connection is closed.
    pub goodbyes: Goodbyes,
    /// How long to wait for the answer to that.
    pub goodbye_timeout: Duration,
    /// Give what is cached to the next process at the end.
    pub hand_over: bool,
    /// Another process may be about to hand over its cache when this one starts: for a moment finds wait for what is
    /// missing.
    pub expects_entries: bool,
    /// Users whose clients are served; `None` is everybody who can connect.
    pub allowed_users: Option<Vec<u32>>,
    /// The user of this process, who may always connect and take over, as root may.
    pub own_user: u32,
    /// The settings under the names that the administrator knows, with where each comes from: told to who asks, and of
    /// no other effect.
    pub described: Vec<SettingEntry>,
}

impl Settings {
    /// Where nothing else is said: a complete request within ten seconds of its first byte.
    pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

    /// Where nothing else is said: as many bindings.
    pub const BINDING_LIMIT: usize = 100_000;

    /// Where nothing else is said: as long for the answer to a goodbye.
    pub const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);

    /// Whether this user's clients are served.
    pub(crate) fn allows(&self, user: Option<u32>) -> bool {
        let Some(allowed) = &self.allowed_users else {
            return true;
        };
        user.is_some_and(|user| self.is_privileged(user) || allowed.contains(&user))
    }

    /// Whether this user may do what changes the service for everybody.
    pub(crate) fn is_privileged(&self, user: u32) -> bool {
        user == 0 || user == self.own_user
    }
}

/// The line that is said before a connection is closed, by the endpoint it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Goodbyes {
    /// Where no prefix fits; nothing is said if it is empty.
    pub default: Vec<u8>,
    /// For endpoints whose label begins so; the longest prefix that fits counts.
    pub by_prefix: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Goodbyes {
    /// The same line for all endpoints.
    pub fn all(line: &[u8]) -> Self {
        Self {
            default: line.to_vec(),
            by_prefix: Vec::new(),
        }
    }

    /// The line for an endpoint, without its end; `None` if nothing is said.
    pub(crate) fn of(&self, endpoint: &[u8]) -> Option<&[u8]> {
        let line = self
            .by_prefix
            .iter()
            .filter(|(prefix, _)| endpoint.starts_with(prefix))
            .max_by_key(|(prefix, _)| prefix.len())
            .map_or(&self.default, |(_, line)| line);
        (!line.is_empty()).then_some(line)
    }
}

/// How the descriptors that a process may have are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DescriptorBudget {
    /// For cached connections.
    pub connections: usize,
    /// For clients.
    pub clients: usize,
    /// For connections that goodbye was said to.
    pub partings: usize,
    /// For connections in the sockets of clients that do not read. Those take none of ours, but the kernel allows for as
    /// many in flight as for open ones, of all processes of a user together.
    pub unread: usize,
}

impl DescriptorBudget {
    /// Listeners, log, status channel, poll, and what arrives without having been asked for.
    const RESERVE: u64 = 64;

    /// Divides what is left of `limit` (`None` is no limit) beside a reserve: ten sixteenths for connections,
    /// four for clients, one for goodbyes, one for what is on its way in or out; of each one at least.
    pub fn divide(limit: Option<u64>) -> Self {
        const MOST: u64 = 1 << 24;
        let limit = limit.unwrap_or(MOST).min(MOST);
        let left = limit - Self::RESERVE.min(limit / 4);
        let share = |sixteenths: u64| usize::try_from((left * sixteenths / 16).max(1)).unwrap_or(1);
        Self {
            connections: share(10),
            clients: share(4),
            partings: share(1),
            unread: share(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_says_the_goodbye() {
        let goodbyes = Goodbyes {
            default: b"QUIT".to_vec(),
            by_prefix: vec![
                (b"redis".to_vec(), Vec::new()),
                (b"redis:a".to_vec(), b"bye".to_vec()),
            ],
        };
        for (endpoint, line) in [
            (&b"smtp"[..], Some(&b"QUIT"[..])),
            (b"redis:b", None),
            (b"redis:a:1", Some(b"bye")),
            (b"", Some(b"QUIT")),
        ] {
            assert_eq!(goodbyes.of(endpoint), line, "{}", endpoint.escape_ascii());
        }
        assert_eq!(Goodbyes::default().of(b"smtp"), None);
    }

    #[test]
    fn all_shares_together_leave_a_reserve() {
        for limit in [8, 64, 256, 1024, 20_000, 1 << 20] {
            let shares = DescriptorBudget::divide(Some(limit));
            let used = shares.connections + shares.clients + shares.partings;
            assert!(used as u64 <= limit - limit / 16, "{limit}: {shares:?}");
        }
        assert!(DescriptorBudget::divide(Some(20_000)).connections > 10_000);
        assert!(DescriptorBudget::divide(None).connections > 1_000_000);
        assert_eq!(DescriptorBudget::divide(Some(0)).clients, 1);
    }
}
