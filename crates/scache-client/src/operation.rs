//! What a program asks of its cache, checked before anything is said.

use std::fmt;
use std::time::Duration;

use scache_proto::administration::Administration;
use scache_proto::limits::{ENDPOINTS, LIST_BYTES};
use scache_proto::{Label, Property, Text, Ttl};

use crate::Error;

/// Room for names of attributes and NULs in a request.
const AROUND_VALUES: usize = 256;

/// One of the calls of a client.
#[derive(Debug)]
pub(crate) enum Operation<'a> {
    SaveEndpoint {
        ttl: Ttl,
        endpoint: Label<'a>,
        property: Property<'a>,
    },
    SaveDestination {
        ttl: Ttl,
        destination: Label<'a>,
        property: Property<'a>,
        endpoint: Label<'a>,
    },
    FindEndpoint {
        endpoint: Label<'a>,
    },
    FindDestination {
        destination: Label<'a>,
    },
    Save {
        ttl: Ttl,
        destination: Label<'a>,
        destination_property: Property<'a>,
        endpoint: Label<'a>,
        property: Property<'a>,
    },
    Find {
        destination: Label<'a>,
        endpoints: Vec<Label<'a>>,
        /// Not by the destination alone where the protocol does not say the endpoint then.
        says_endpoint: bool,
    },
    Administer(Administration<'a>),
}

/// A connection to be saved for a destination: under which names, with what, for how long.
///
/// ```
/// # use std::time::Duration;
/// # use scache_client::Save;
/// let save = Save {
///     property: b"tls_level=none",
///     ..Save::new(
///         Duration::from_secs(30),
///         b"redis:cache.example.com",
///         b"redis:[192.0.2.1]:6379",
///     )
/// };
/// # assert!(save.destination_property.is_empty());
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Save<'a> {
    /// How long both the binding and the connection may stay, rounded up to whole seconds: from one second to
    /// some 68 years. The server has a limit of its own.
    pub ttl: Duration,
    /// The destination: what a program wants to reach.
    pub destination: &'a [u8],
    /// Comes back when the connection is found by the destination.
    pub destination_property: &'a [u8],
    /// The endpoint: where the connection leads.
    pub endpoint: &'a [u8],
    /// Comes back with the connection.
    pub property: &'a [u8],
}

/// Answer of the cache to something that it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    pub(crate) ttl: Option<Duration>,
}

impl Saved {
    /// How long it stays in the cache, if nobody takes it and it need not make room for others: what was asked for, or
    /// the limit of the cache if that is less. Zero: see [`Saved::is_kept`]. `None` if the cache does not say, as the
    /// stock program.
    #[must_use]
    pub fn ttl(self) -> Option<Duration> {
        self.ttl
    }

    /// Whether the cache keeps it, as far as it says. If not, because it is drained or because of a limit of its own, it
    /// has said goodbye to the connection and closed it.
    #[must_use]
    pub fn is_kept(self) -> bool {
        self.ttl != Some(Duration::ZERO)
    }
}

impl<'a> Save<'a> {
    /// Without properties.
    #[must_use]
    pub const fn new(ttl: Duration, destination: &'a [u8], endpoint: &'a [u8]) -> Self {
        Self {
            ttl,
            destination,
            destination_property: b"",
            endpoint,
            property: b"",
        }
    }
}

impl fmt::Debug for Save<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Save")
            .field("ttl", &self.ttl)
            .field("destination", &Text(self.destination))
            .field("destination_property", &Text(self.destination_property))
            .field("endpoint", &Text(self.endpoint))
            .field("property", &Text(self.property))
            .finish()
    }
}

impl<'a> Operation<'a> {
    pub(crate) fn save_endpoint(
        ttl: Duration,
        endpoint: &'a [u8],
        property: &'a [u8],
    ) -> Result<Self, Error> {
        Ok(Self::SaveEndpoint {
            ttl: whole_seconds(ttl)?,
            endpoint: Label::new(endpoint)?,
            property: Property::new(property)?,
        })
    }

    pub(crate) fn save_destination(
        ttl: Duration,
        destination: &'a [u8],
        property: &'a [u8],
        endpoint: &'a [u8],
    ) -> Result<Self, Error> {
        Ok(Self::SaveDestination {
            ttl: whole_seconds(ttl)?,
            destination: Label::new(destination)?,
            property: Property::new(property)?,
            endpoint: Label::new(endpoint)?,
        })
    }

    pub(crate) fn find_endpoint(endpoint: &'a [u8]) -> Result<Self, Error> {
        Ok(Self::FindEndpoint {
            endpoint: Label::new(endpoint)?,
        })
    }

    pub(crate) fn find_destination(destination: &'a [u8]) -> Result<Self, Error> {
        Ok(Self::FindDestination {
            destination: Label::new(destination)?,
        })
    }

    pub(crate) fn save(save: &Save<'a>) -> Result<Self, Error> {
        Ok(Self::Save {
            ttl: whole_seconds(save.ttl)?,
            destination: Label::new(save.destination)?,
            destination_property: Property::new(save.destination_property)?,
            endpoint: Label::new(save.endpoint)?,
            property: Property::new(save.property)?,
        })
    }

    pub(crate) fn find(
        destination: &'a [u8],
        endpoints: &'a [impl AsRef<[u8]>],
        says_endpoint: bool,
    ) -> Result<Self, Error> {
        Ok(Self::Find {
            destination: Label::new(destination)?,
            endpoints: endpoints
                .iter()
                .map(|endpoint| Label::new(endpoint.as_ref()))
                .collect::<Result<_, _>>()?,
            says_endpoint,
        })
    }
}

/// Whether values fit one request together.
pub(crate) fn fits<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> bool {
    let bytes: usize = values.into_iter().map(<[u8]>::len).sum();
    bytes + AROUND_VALUES <= LIST_BYTES
}

/// Endpoints, as many as fit one request beside a destination; at least one portion, if an empty one.
pub(crate) fn portions<'e, 'a>(
    destination: Label<'a>,
    endpoints: &'e [Label<'a>],
) -> impl Iterator<Item = &'e [Label<'a>]> + use<'e, 'a> {
    let mut rest = Some(endpoints);
    std::iter::from_fn(move || {
        let left = rest?;
        let mut bytes = AROUND_VALUES + destination.as_bytes().len();
        let count = left
            .iter()
            .take(ENDPOINTS)
            .take_while(|endpoint| {
                bytes += "label".len() + 2 + endpoint.as_bytes().len();
                bytes <= LIST_BYTES
            })
            .count();
        let (portion, others) = left.split_at(count);
        rest = (!others.is_empty()).then_some(others);
        Some(portion)
    })
}

fn whole_seconds(ttl: Duration) -> Result<Ttl, Error> {
    let rounded_up = ttl
        .as_secs()
        .saturating_add(u64::from(ttl.subsec_nanos() > 0));
    let seconds = u32::try_from(rounded_up).unwrap_or(u32::MAX);
    Ok(Ttl::from_secs(seconds)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use scache_proto::limits::VALUE_BYTES;

    #[test]
    fn a_time_to_live_is_rounded_up_and_has_limits() {
        for (ttl, seconds) in [
            (Duration::ZERO, None),
            (Duration::from_nanos(1), Some(1)),
            (Duration::from_millis(1001), Some(2)),
            (
                Duration::from_secs(u64::from(Ttl::MAX_SECONDS)),
                Some(Ttl::MAX_SECONDS),
            ),
            (Duration::from_secs(u64::from(Ttl::MAX_SECONDS) + 1), None),
            (Duration::MAX, None),
        ] {
            assert_eq!(
                whole_seconds(ttl).ok().map(Ttl::as_secs),
                seconds,
                "{ttl:?}"
            );
        }
    }

    #[test]
    fn endpoints_are_asked_for_in_portions_that_fit_a_request() {
        let long = vec![b'x'; VALUE_BYTES];
        let sizes = |destination, endpoint: &[u8], count| {
            let endpoints = vec![Label::new(endpoint).unwrap(); count];
            portions(Label::new(destination).unwrap(), &endpoints)
                .map(<[_]>::len)
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(b"d", b"e", 0), [0]);
        assert_eq!(sizes(b"d", b"e", 64), [64]);
        assert_eq!(sizes(b"d", b"e", 65), [64, 1]);
        assert_eq!(sizes(&long, &long, 5), [2, 2, 1]);
    }
}
