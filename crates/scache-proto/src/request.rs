//! What a client asks for.

use crate::attr::{List, ListWriter};
use crate::{Label, Property, Ttl};

/// A request, without the descriptor that belongs to [`Request::SaveEndpoint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// Keep the connection that follows under the name of an endpoint.
    SaveEndpoint {
        /// How long to keep it.
        ttl: Ttl,
        /// The name to find it by.
        endpoint: Label<'a>,
        /// What to hand out with it.
        property: Property<'a>,
    },
    /// Take a connection of an endpoint out of the cache.
    FindEndpoint {
        /// The name it was saved under.
        endpoint: Label<'a>,
    },
    /// Remember that a destination can be reached through an endpoint.
    SaveDestination {
        /// How long to remember it.
        ttl: Ttl,
        /// The destination.
        destination: Label<'a>,
        /// What to hand out with a connection found through this binding.
        property: Property<'a>,
        /// The endpoint.
        endpoint: Label<'a>,
    },
    /// Take a connection of any endpoint that a destination is bound to.
    FindDestination {
        /// The destination.
        destination: Label<'a>,
    },
    /// Hand everything over to who listens at the socket's path now, and end. Not in the stock protocol.
    TakeOver,
}

/// The requests by name: what is left of one that could not be read, and what an answer needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `save_endp`
    SaveEndpoint,
    /// `find_endp`
    FindEndpoint,
    /// `save_dest`
    SaveDestination,
    /// `find_dest`
    FindDestination,
    /// `take_over`
    TakeOver,
}

/// Why a list is no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestError {
    /// It asks for nothing, which deserves no answer: an empty list, a dummy that comes late.
    NoRequest,
    /// It asks for something unknown.
    Unknown,
    /// An attribute is missing, misplaced or not what it should be.
    Malformed(Kind),
}

const REQUEST: &[u8] = b"request";
const TTL: &[u8] = b"ttl";
const LABEL: &[u8] = b"label";
const PROPERTY: &[u8] = b"property";
/// Behind the attributes that stock knows, where it passes it over.
const TTL_MILLISECONDS: &[u8] = b"ttl_ms";

impl<'a> Request<'a> {
    /// Reads a request. Attributes before `request` and behind the last known one are passed over.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub fn parse(list: List<'a>) -> Result<Self, RequestError> {
        let mut rest = list.skip_while(|(name, _)| *name != REQUEST);
        let (_, name) = rest.next().ok_or(RequestError::NoRequest)?;
        let kind = Kind::parse(name).ok_or(RequestError::Unknown)?;
        Self::parse_rest(kind, rest).ok_or(RequestError::Malformed(kind))
    }

    fn parse_rest(
        kind: Kind,
        mut rest: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Self> {
        let mut next = |wanted| {
            let (name, value) = rest.next()?;
            (name == wanted).then_some(value)
        };
        let ttl = |value| Ttl::parse(value).ok();
        let label = |value| Label::new(value).ok();
        let property = |value| Property::new(value).ok();
        let mut request = match kind {
            Kind::SaveEndpoint => Self::SaveEndpoint {
                ttl: ttl(next(TTL)?)?,
                endpoint: label(next(LABEL)?)?,
                property: property(next(PROPERTY)?)?,
            },
            Kind::FindEndpoint => Self::FindEndpoint {
                endpoint: label(next(LABEL)?)?,
            },
            Kind::SaveDestination => Self::SaveDestination {
                ttl: ttl(next(TTL)?)?,
                destination: label(next(LABEL)?)?,
                property: property(next(PROPERTY)?)?,
                endpoint: label(next(LABEL)?)?,
            },
            Kind::FindDestination => Self::FindDestination {
                destination: label(next(LABEL)?)?,
            },
            Kind::TakeOver => Self::TakeOver,
        };
        if let Self::SaveEndpoint { ttl, .. } | Self::SaveDestination { ttl, .. } = &mut request
            && let Some((_, digits)) = rest.find(|(name, _)| *name == TTL_MILLISECONDS)
        {
            *ttl = ttl.refined(digits);
        }
        Some(request)
    }

    /// Which of them it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::SaveEndpoint { .. } => Kind::SaveEndpoint,
            Self::FindEndpoint { .. } => Kind::FindEndpoint,
            Self::SaveDestination { .. } => Kind::SaveDestination,
            Self::FindDestination { .. } => Kind::FindDestination,
            Self::TakeOver => Kind::TakeOver,
        }
    }

    /// Writes the request at the end of `buffer`.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let list = ListWriter::new(buffer).attribute(REQUEST, self.kind().name());
        match self {
            Self::SaveEndpoint {
                ttl,
                endpoint,
                property,
            } => {
                let list = list
                    .number(TTL, ttl.as_secs())
                    .attribute(LABEL, endpoint.as_bytes())
                    .attribute(PROPERTY, property.as_bytes());
                with_milliseconds(list, *ttl)
            }
            Self::FindEndpoint { endpoint } => list.attribute(LABEL, endpoint.as_bytes()),
            Self::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => {
                let list = list
                    .number(TTL, ttl.as_secs())
                    .attribute(LABEL, destination.as_bytes())
                    .attribute(PROPERTY, property.as_bytes())
                    .attribute(LABEL, endpoint.as_bytes());
                with_milliseconds(list, *ttl)
            }
            Self::FindDestination { destination } => list.attribute(LABEL, destination.as_bytes()),
            Self::TakeOver => list,
        }
        .end();
    }
}

/// Adds the milliseconds of a time to live, if its seconds do not say it all.
fn with_milliseconds(list: ListWriter<'_>, ttl: Ttl) -> ListWriter<'_> {
    match ttl.fraction() {
        Some(milliseconds) => list.attribute(TTL_MILLISECONDS, milliseconds.to_string().as_bytes()),
        None => list,
    }
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::SaveEndpoint => b"save_endp",
            Self::FindEndpoint => b"find_endp",
            Self::SaveDestination => b"save_dest",
            Self::FindDestination => b"find_dest",
            Self::TakeOver => b"take_over",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        [
            Self::SaveEndpoint,
            Self::FindEndpoint,
            Self::SaveDestination,
            Self::FindDestination,
            Self::TakeOver,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }

    /// How many empty properties a refusal of this request carries.
    pub(crate) fn properties(self) -> usize {
        match self {
            Self::SaveEndpoint | Self::SaveDestination | Self::TakeOver => 0,
            Self::FindEndpoint => 1,
            Self::FindDestination => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attr::Framer;

    fn parse<T>(bytes: &[u8], check: impl FnOnce(Result<Request<'_>, RequestError>) -> T) -> T {
        let mut framer = Framer::default();
        framer.extend(bytes);
        assert_eq!(framer.advance(), Ok(true));
        check(Request::parse(framer.list()))
    }

    #[test]
    fn what_is_encoded_is_parsed_again() {
        let ttl = Ttl::from_secs(7).unwrap();
        let label = |bytes| Label::new(bytes).unwrap();
        let property = Property::new(b"p\xff\n").unwrap();
        for request in [
            Request::SaveEndpoint {
                ttl,
                endpoint: label(b"e"),
                property,
            },
            Request::FindEndpoint {
                endpoint: label(b""),
            },
            Request::TakeOver,
            Request::SaveEndpoint {
                ttl: Ttl::from_remaining(std::time::Duration::from_millis(1234)).unwrap(),
                endpoint: label(b"e"),
                property,
            },
            Request::SaveDestination {
                ttl,
                destination: label(b"d"),
                property,
                endpoint: label(b"e"),
            },
            Request::FindDestination {
                destination: label(b"d"),
            },
        ] {
            let mut bytes = Vec::new();
            request.encode(&mut bytes);
            parse(&bytes, |parsed| assert_eq!(parsed, Ok(request)));
        }
    }

    #[test]
    fn lists_that_are_no_request() {
        use Kind::*;
        use RequestError::*;
        for (bytes, error) in [
            (&b"\0"[..], NoRequest),
            (b"dummy\0\0\0", NoRequest),
            (b"request\0open\0\0", Unknown),
            (b"request\0\0\0", Unknown),
            (b"request\0find_endp\0\0", Malformed(FindEndpoint)),
            (
                b"request\0find_dest\0lable\0x\0\0",
                Malformed(FindDestination),
            ),
            (
                b"request\0save_endp\0ttl\0x\0label\0e\0property\0p\0\0",
                Malformed(SaveEndpoint),
            ),
            (
                b"request\0save_dest\0ttl\x001\0label\0d\0label\0e\0property\0p\0\0",
                Malformed(SaveDestination),
            ),
        ] {
            parse(bytes, |parsed| {
                assert_eq!(parsed, Err(error), "{}", bytes.escape_ascii())
            });
        }
    }

    #[test]
    fn attributes_around_a_request_are_passed_over() {
        parse(
            b"x\0y\0request\0find_endp\0label\0e\0more\0\0\0",
            |parsed| assert_eq!(parsed.map(|request| request.kind()), Ok(Kind::FindEndpoint)),
        );
    }
}
