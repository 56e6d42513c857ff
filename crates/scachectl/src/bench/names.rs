//! What the load is made of: names and properties of the length of Postfix's, and what is asked with them.

use std::time::{Duration, SystemTime};

use scache_proto::request::{Labels, Request};
use scache_proto::{Label, Property, Ttl, ValueError};

/// How long what is saved may stay, if the cache allows it. Also how long bindings outlive the benchmark:
/// they cannot be taken out.
pub(super) const TTL_SECONDS: u32 = 30;

/// How the cache is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// As scache(8) always did: three messages for each connection that goes over.
    Stock,
    /// Descriptors ride on requests and replies.
    Inline,
}

impl Wire {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Inline => "inline",
        }
    }
}

/// The names that all clients use together. No other program has them, be it another benchmark.
#[derive(Clone, Debug)]
pub(super) struct NameSpace {
    prefix: String,
    destinations: usize,
    endpoints: usize,
}

/// A destination and an endpoint of it, and what is saved with them.
#[derive(Clone, Debug)]
pub(super) struct Names {
    destination: Vec<u8>,
    destination_property: Vec<u8>,
    endpoint: Vec<u8>,
    property: Vec<u8>,
}

impl NameSpace {
    pub(super) fn new(destinations: usize, endpoints: usize) -> Self {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(Duration::ZERO, |since| since);
        Self {
            prefix: format!(
                "scachectl-bench\n{}.{}",
                std::process::id(),
                now.subsec_nanos()
            ),
            destinations,
            endpoints,
        }
    }

    /// The names of the client of this number.
    ///
    /// Of two names for one, the fewer are shared: either each destination has endpoints of its own, or each
    /// endpoint has destinations of its own. Otherwise a client could find nothing although it has saved
    /// something, because somebody else took it by another name.
    pub(super) fn of_client(&self, client: usize) -> Names {
        let (destination, endpoint) = if self.endpoints >= self.destinations {
            let endpoint = client % self.endpoints;
            (endpoint % self.destinations, endpoint)
        } else {
            let destination = client % self.destinations;
            (destination, destination % self.endpoints)
        };
        self.names(destination, endpoint)
    }

    /// Names for every endpoint that so many clients use, each endpoint once.
    pub(super) fn endpoints(&self, clients: usize) -> impl Iterator<Item = Names> + use<'_> {
        (0..self.endpoints.min(clients)).map(|endpoint| self.names(0, endpoint))
    }

    fn names(&self, destination: usize, endpoint: usize) -> Names {
        let prefix = &self.prefix;
        let domain = format!("d{destination}.example.com");
        let address = format!("10.{}.{}.25", endpoint / 250 % 250, endpoint % 250);
        Names {
            destination: format!("{prefix}\n{domain}\n").into(),
            destination_property: format!(
                "destination={domain}\nhost_name=mx.{domain}\nhost_addr={address}\nfeatures=4096\n"
            )
            .into(),
            endpoint: format!("{prefix}\n{address}\n{endpoint}\n").into(),
            property: b"tls_level=0\nreuse_count=7\nfeatures=34695\nexpire_time=1795562111\n"
                .into(),
        }
    }
}

impl Names {
    /// Saves the binding and the connection.
    pub(super) fn save(&self) -> Result<Request<'_>, ValueError> {
        Ok(Request::Save {
            ttl: Ttl::from_secs(TTL_SECONDS)?,
            destination: Label::new(&self.destination)?,
            destination_property: Property::new(&self.destination_property)?,
            endpoint: Label::new(&self.endpoint)?,
            property: Property::new(&self.property)?,
        })
    }

    /// The first half of a save in the stock protocol.
    pub(super) fn save_destination(&self) -> Result<Request<'_>, ValueError> {
        Ok(Request::SaveDestination {
            ttl: Ttl::from_secs(TTL_SECONDS)?,
            destination: Label::new(&self.destination)?,
            property: Property::new(&self.destination_property)?,
            endpoint: Label::new(&self.endpoint)?,
        })
    }

    /// The second half.
    pub(super) fn save_endpoint(&self) -> Result<Request<'_>, ValueError> {
        Ok(Request::SaveEndpoint {
            ttl: Ttl::from_secs(TTL_SECONDS)?,
            endpoint: Label::new(&self.endpoint)?,
            property: Property::new(&self.property)?,
            history: None,
        })
    }

    /// Takes a connection by the destination.
    pub(super) fn find(&self, wire: Wire) -> Result<Request<'_>, ValueError> {
        let destination = Label::new(&self.destination)?;
        match (wire, Labels::new(&[])) {
            (Wire::Inline, Some(endpoints)) => Ok(Request::Find {
                destination,
                endpoints,
            }),
            _ => Ok(Request::FindDestination { destination }),
        }
    }

    /// Takes a connection by the endpoint.
    pub(super) fn find_endpoint(&self) -> Result<Request<'_>, ValueError> {
        Ok(Request::FindEndpoint {
            endpoint: Label::new(&self.endpoint)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_scarcer_name_decides_about_the_other() {
        for (destinations, endpoints) in [(1, 1), (2, 3), (3, 2), (5, 5), (1, 4), (4, 1)] {
            let space = NameSpace::new(destinations, endpoints);
            let used: BTreeSet<_> = (0..60)
                .map(|client| space.of_client(client))
                .map(|names| (names.destination, names.endpoint))
                .collect();
            let count = |all: BTreeSet<&Vec<u8>>| all.len();
            assert_eq!(count(used.iter().map(|(d, _)| d).collect()), destinations);
            assert_eq!(count(used.iter().map(|(_, e)| e).collect()), endpoints);
            assert_eq!(used.len(), destinations.max(endpoints));
        }
    }

    #[test]
    fn every_endpoint_in_use_is_swept_once() {
        for (endpoints, clients) in [(3, 10), (10, 3)] {
            let space = NameSpace::new(2, endpoints);
            let swept: Vec<_> = space
                .endpoints(clients)
                .map(|names| names.endpoint)
                .collect();
            let used: BTreeSet<_> = (0..clients)
                .map(|client| space.of_client(client).endpoint)
                .collect();
            assert_eq!(swept.len(), used.len());
            assert_eq!(swept.into_iter().collect::<BTreeSet<_>>(), used);
        }
    }
}
