//! What a client asks for.

use std::fmt;
use std::time::Duration;

use crate::administration::{self, Administration};
use crate::attr::{List, ListWriter};
use crate::reply::{self, AGE_MILLISECONDS, History, TAKEN};
use crate::{Label, Property, Ttl, limits};

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
        /// What is known of it, if it was cached elsewhere.
        history: Option<History>,
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
    /// From now on descriptors ride on the first byte of the request or reply that they belong to, and nothing
    /// else is said about them. Not in the stock protocol.
    Inline,
    /// From now on replies say more: how old a connection is that was found and how often it was taken
    /// ([`History`]), and how long something that was saved will be kept. Only after
    /// [`Request::Inline`], and only to a server that offers it in the reply to that.
    Details,
    /// Keep the connection that comes with it under the name of an endpoint, and remember that a destination
    /// can be reached through that. Only after [`Request::Inline`].
    Save {
        /// How long to keep both.
        ttl: Ttl,
        /// The destination.
        destination: Label<'a>,
        /// What to hand out with a connection found through this binding.
        destination_property: Property<'a>,
        /// The name of the endpoint.
        endpoint: Label<'a>,
        /// What to hand out with the connection.
        property: Property<'a>,
    },
    /// Take a connection of any endpoint that a destination is bound to, or else of the first of these endpoints
    /// that has one. Only after [`Request::Inline`].
    Find {
        /// The destination.
        destination: Label<'a>,
        /// Endpoints, in the order in which they are tried.
        endpoints: Labels<'a>,
    },
    /// Hand everything over to who listens at the socket's path now, and end. Not in the stock protocol.
    TakeOver,
    /// A request about the cache rather than of it. Not in the stock protocol.
    Administer(Administration<'a>),
}

/// Labels one after the other, [`limits::ENDPOINTS`] at most.
#[derive(Clone, Copy)]
pub struct Labels<'a>(LabelsOf<'a>);

#[derive(Clone, Copy)]
enum LabelsOf<'a> {
    /// As they were received, and looked at.
    List(List<'a>),
    /// As they are to be sent.
    Slice(&'a [Label<'a>]),
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
    /// `inline`
    Inline,
    /// `details`
    Details,
    /// `save`
    Save,
    /// `find`
    Find,
    /// `take_over`
    TakeOver,
    /// One of those about the cache.
    Administer(administration::Kind),
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
        let mut rest = list;
        let (_, name) = rest
            .find(|(name, _)| *name == REQUEST)
            .ok_or(RequestError::NoRequest)?;
        let kind = Kind::parse(name).ok_or(RequestError::Unknown)?;
        match kind {
            Kind::Find => Self::parse_find(rest),
            Kind::Administer(kind) => Administration::parse(kind, rest).map(Self::Administer),
            _ => Self::parse_rest(kind, rest),
        }
        .ok_or(RequestError::Malformed(kind))
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
                history: None,
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
            Kind::Save => Self::Save {
                ttl: ttl(next(TTL)?)?,
                destination: label(next(LABEL)?)?,
                destination_property: property(next(PROPERTY)?)?,
                endpoint: label(next(LABEL)?)?,
                property: property(next(PROPERTY)?)?,
            },
            Kind::Inline => Self::Inline,
            Kind::Details => Self::Details,
            Kind::TakeOver => Self::TakeOver,
            // Read from the list itself.
            Kind::Find | Kind::Administer(_) => return None,
        };
        // Of each the first one counts.
        let (mut milliseconds, mut age, mut taken) = (None, None, None);
        for (name, value) in rest {
            let known = match name {
                TTL_MILLISECONDS => &mut milliseconds,
                AGE_MILLISECONDS => &mut age,
                TAKEN => &mut taken,
                _ => continue,
            };
            known.get_or_insert(value);
        }
        if let (Some(ttl), Some(milliseconds)) = (request.ttl_mut(), milliseconds) {
            *ttl = ttl.refined(milliseconds);
        }
        if let Self::SaveEndpoint { history, .. } = &mut request {
            let [age, taken] = [age, taken].map(|digits| reply::parse_number(digits?));
            *history = History::of(age, taken);
        }
        Some(request)
    }

    fn parse_find(mut rest: List<'a>) -> Option<Self> {
        let (name, destination) = rest.next()?;
        let destination = Label::new(destination).ok().filter(|_| name == LABEL)?;
        let endpoints = Labels(LabelsOf::List(rest));
        // Each is tried, so there may not be any number of them.
        let sound = rest.all(|(name, _)| name == LABEL)
            && endpoints.into_iter().count() <= limits::ENDPOINTS;
        sound.then_some(Self::Find {
            destination,
            endpoints,
        })
    }

    /// Which of them it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::SaveEndpoint { .. } => Kind::SaveEndpoint,
            Self::FindEndpoint { .. } => Kind::FindEndpoint,
            Self::SaveDestination { .. } => Kind::SaveDestination,
            Self::FindDestination { .. } => Kind::FindDestination,
            Self::Inline => Kind::Inline,
            Self::Details => Kind::Details,
            Self::Save { .. } => Kind::Save,
            Self::Find { .. } => Kind::Find,
            Self::TakeOver => Kind::TakeOver,
            Self::Administer(administration) => Kind::Administer(administration.kind()),
        }
    }

    /// The same as stock understands it: without a history, its time to live rounded up to whole seconds.
    pub fn in_whole_seconds(mut self) -> Self {
        if let Self::SaveEndpoint { history, .. } = &mut self {
            *history = None;
        }
        if let Some(ttl) = self.ttl_mut() {
            *ttl = ttl.in_whole_seconds();
        }
        self
    }

    /// Its time to live, if it has one.
    pub fn ttl(mut self) -> Option<Ttl> {
        self.ttl_mut().copied()
    }

    /// The same with more time to live, rounded up to whole milliseconds.
    pub fn with_more_time(mut self, more: Duration) -> Self {
        if let Some(ttl) = self.ttl_mut() {
            *ttl = Ttl::from_remaining(Duration::from(*ttl) + more).unwrap_or(*ttl);
        }
        self
    }

    fn ttl_mut(&mut self) -> Option<&mut Ttl> {
        match self {
            Self::SaveEndpoint { ttl, .. }
            | Self::SaveDestination { ttl, .. }
            | Self::Save { ttl, .. } => Some(ttl),
            _ => None,
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
                history,
            } => {
                let list = list
                    .number(TTL, ttl.as_secs())
                    .attribute(LABEL, endpoint.as_bytes())
                    .attribute(PROPERTY, property.as_bytes());
                let list = with_milliseconds(list, *ttl);
                reply::with_history(list, *history)
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
            Self::Save {
                ttl,
                destination,
                destination_property,
                endpoint,
                property,
            } => {
                let list = list
                    .number(TTL, ttl.as_secs())
                    .attribute(LABEL, destination.as_bytes())
                    .attribute(PROPERTY, destination_property.as_bytes())
                    .attribute(LABEL, endpoint.as_bytes())
                    .attribute(PROPERTY, property.as_bytes());
                with_milliseconds(list, *ttl)
            }
            Self::Find {
                destination,
                endpoints,
            } => endpoints.into_iter().fold(
                list.attribute(LABEL, destination.as_bytes()),
                |list, endpoint| list.attribute(LABEL, endpoint.as_bytes()),
            ),
            Self::Administer(administration) => administration.encode(list),
            Self::Inline | Self::Details | Self::TakeOver => list,
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

impl<'a> Labels<'a> {
    /// Labels to be sent; `None` if there are more than [`limits::ENDPOINTS`].
    pub fn new(labels: &'a [Label<'a>]) -> Option<Self> {
        (labels.len() <= limits::ENDPOINTS).then_some(Self(LabelsOf::Slice(labels)))
    }
}

impl<'a> IntoIterator for Labels<'a> {
    type Item = Label<'a>;
    type IntoIter = LabelsIter<'a>;

    fn into_iter(self) -> LabelsIter<'a> {
        LabelsIter(self.0)
    }
}

/// Goes through [`Labels`].
#[derive(Clone)]
pub struct LabelsIter<'a>(LabelsOf<'a>);

impl<'a> Iterator for LabelsIter<'a> {
    type Item = Label<'a>;

    fn next(&mut self) -> Option<Label<'a>> {
        match &mut self.0 {
            // What is no label was refused before.
            LabelsOf::List(list) => list.find_map(|(_, value)| Label::new(value).ok()),
            LabelsOf::Slice(labels) => {
                let (first, rest) = labels.split_first()?;
                *labels = rest;
                Some(*first)
            }
        }
    }
}

impl PartialEq for Labels<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.into_iter().eq(*other)
    }
}

impl Eq for Labels<'_> {}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl Kind {
    fn name(self) -> &'static [u8] {
        match self {
            Self::SaveEndpoint => b"save_endp",
            Self::FindEndpoint => b"find_endp",
            Self::SaveDestination => b"save_dest",
            Self::FindDestination => b"find_dest",
            Self::Inline => b"inline",
            Self::Details => b"details",
            Self::Save => b"save",
            Self::Find => b"find",
            Self::TakeOver => b"take_over",
            Self::Administer(kind) => kind.name(),
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        [
            Self::SaveEndpoint,
            Self::FindEndpoint,
            Self::SaveDestination,
            Self::FindDestination,
            Self::Inline,
            Self::Details,
            Self::Save,
            Self::Find,
            Self::TakeOver,
        ]
        .into_iter()
        .chain(administration::Kind::ALL.map(Self::Administer))
        .find(|kind| kind.name() == name)
    }

    /// Whether a connection comes with it.
    pub(crate) fn brings_connection(self) -> bool {
        matches!(self, Self::SaveEndpoint | Self::Save)
    }

    /// Whether something is to be kept.
    pub(crate) fn is_save(self) -> bool {
        self.brings_connection() || self == Self::SaveDestination
    }

    /// Whether it is understood only after [`Kind::Inline`].
    pub(crate) fn is_inline_only(self) -> bool {
        matches!(self, Self::Details | Self::Save | Self::Find)
    }

    /// How many properties its reply carries, empty if it failed.
    pub(crate) fn properties(self) -> usize {
        match self {
            Self::SaveEndpoint
            | Self::SaveDestination
            | Self::Inline
            | Self::Details
            | Self::Save
            | Self::TakeOver
            | Self::Administer(_) => 0,
            Self::FindEndpoint => 1,
            Self::FindDestination | Self::Find => 2,
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
                history: None,
            },
            Request::FindEndpoint {
                endpoint: label(b""),
            },
            Request::TakeOver,
            Request::Inline,
            Request::Details,
            Request::Save {
                ttl,
                destination: label(b"d"),
                destination_property: property,
                endpoint: label(b"e"),
                property,
            },
            Request::Find {
                destination: label(b"d"),
                endpoints: Labels::new(&[label(b"e"), label(b""), label(b"f")]).unwrap(),
            },
            Request::Find {
                destination: label(b"d"),
                endpoints: Labels::new(&[]).unwrap(),
            },
            Request::SaveEndpoint {
                ttl: Ttl::from_remaining(std::time::Duration::from_millis(1234)).unwrap(),
                endpoint: label(b"e"),
                property,
                history: Some(History {
                    age: Duration::from_millis(1500),
                    taken: 3,
                }),
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
    fn as_many_endpoints_as_the_limit_are_tried_and_not_one_more() {
        for (count, taken) in [(limits::ENDPOINTS, true), (limits::ENDPOINTS + 1, false)] {
            let mut bytes = b"request\0find\0label\0d\0".to_vec();
            bytes.extend(b"label\0e\0".repeat(count));
            bytes.push(0);
            parse(&bytes, |parsed| {
                assert_eq!(parsed.is_ok(), taken, "{count}")
            });
        }
        let label = Label::new(b"e").unwrap();
        assert!(Labels::new(&[label; limits::ENDPOINTS + 1]).is_none());
    }

    #[test]
    fn attributes_around_a_request_are_passed_over() {
        parse(
            b"x\0y\0request\0find_endp\0label\0e\0more\0\0\0",
            |parsed| assert_eq!(parsed.map(|request| request.kind()), Ok(Kind::FindEndpoint)),
        );
    }
}
