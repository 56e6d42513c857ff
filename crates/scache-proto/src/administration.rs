//! Requests about the cache rather than of it: what it counts, what is in it, what happens; to purge and to
//! drain it. None is in the stock protocol.
//!
//! Each looks at a limited number of entries and says where to go on, so that nobody else waits long: who wants
//! everything asks until there is no [`Page::next`].

use crate::attr::{Attributes, List, ListWriter};
use crate::{Label, Property};

/// A request about the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Administration<'a> {
    /// Tell what is counted: [`crate::stats::Stats`].
    Stats,
    /// Tell what is cached, or the settings, from a place on.
    List {
        /// Entries of which kind.
        what: Listed,
        /// Only those whose label begins so.
        prefix: Property<'a>,
        /// Where to go on; 0 at first.
        from: u64,
    },
    /// Tell what has happened since, and remember what will happen for who asks again within ten seconds.
    Events {
        /// The number of the first event that was not told yet; 0 at first.
        from: u64,
    },
    /// Let go of what is cached under some names, from a place on. For root and the user of the daemon.
    Purge {
        /// Under which names.
        names: Names<'a>,
        /// Where to go on; 0 at first.
        from: u64,
    },
    /// Keep nothing new from now on, or begin to again. For root and the user of the daemon.
    Drain {
        /// Whether nothing new is kept.
        on: bool,
    },
}

/// What is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// Connections, by the label of their endpoint.
    Connections,
    /// Bindings, by the label of their destination.
    Bindings,
    /// The destinations that were asked for most, by their label.
    Destinations,
    /// The settings in use, by their name.
    Settings,
}

/// Names of destinations and endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names<'a> {
    /// This one.
    Is(Label<'a>),
    /// All that begin so.
    Begin(Property<'a>),
}

impl Names<'_> {
    /// Whether a name is one of them.
    pub fn contain(&self, name: &[u8]) -> bool {
        match self {
            Self::Is(label) => label.as_bytes() == name,
            Self::Begin(prefix) => name.starts_with(prefix.as_bytes()),
        }
    }

    /// The label or prefix that names are compared with.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Is(label) => label.as_bytes(),
            Self::Begin(prefix) => prefix.as_bytes(),
        }
    }
}

/// The kinds of these requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `stats`
    Stats,
    /// `list`
    List,
    /// `events`
    Events,
    /// `purge`
    Purge,
    /// `drain`
    Drain,
}

const WHAT: &[u8] = b"what";
const FROM: &[u8] = b"from";
const PREFIX: &[u8] = b"prefix";
const LABEL: &[u8] = b"label";
const ON: &[u8] = b"on";

impl<'a> Administration<'a> {
    /// Reads the attributes behind the name of the request.
    pub(crate) fn parse(kind: Kind, mut rest: List<'a>) -> Option<Self> {
        Some(match kind {
            Kind::Stats => Self::Stats,
            Kind::List => Self::List {
                what: Listed::parse(expect(&mut rest, WHAT)?)?,
                prefix: Property::new(expect(&mut rest, PREFIX)?).ok()?,
                from: number(expect(&mut rest, FROM)?)?,
            },
            Kind::Events => Self::Events {
                from: number(expect(&mut rest, FROM)?)?,
            },
            Kind::Purge => {
                let (name, value) = rest.next()?;
                let names = match name {
                    LABEL => Names::Is(Label::new(value).ok()?),
                    PREFIX => Names::Begin(Property::new(value).ok()?),
                    _ => return None,
                };
                let from = number(expect(&mut rest, FROM)?)?;
                Self::Purge { names, from }
            }
            Kind::Drain => Self::Drain {
                on: match expect(&mut rest, ON)? {
                    b"yes" => true,
                    b"no" => false,
                    _ => return None,
                },
            },
        })
    }

    /// Which of them it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Stats => Kind::Stats,
            Self::List { .. } => Kind::List,
            Self::Events { .. } => Kind::Events,
            Self::Purge { .. } => Kind::Purge,
            Self::Drain { .. } => Kind::Drain,
        }
    }

    /// Whether it changes the service for everybody.
    pub fn needs_privilege(&self) -> bool {
        matches!(self, Self::Purge { .. } | Self::Drain { .. })
    }

    pub(crate) fn encode<'b>(&self, list: ListWriter<'b>) -> ListWriter<'b> {
        let from =
            |list: ListWriter<'b>, from: &u64| list.attribute(FROM, from.to_string().as_bytes());
        match self {
            Self::Stats => list,
            Self::List {
                what,
                prefix,
                from: at,
            } => {
                let list = list
                    .attribute(WHAT, what.name())
                    .attribute(PREFIX, prefix.as_bytes());
                from(list, at)
            }
            Self::Events { from: at } => from(list, at),
            Self::Purge { names, from: at } => {
                let list = match names {
                    Names::Is(label) => list.attribute(LABEL, label.as_bytes()),
                    Names::Begin(prefix) => list.attribute(PREFIX, prefix.as_bytes()),
                };
                from(list, at)
            }
            Self::Drain { on } => list.attribute(ON, if *on { b"yes" } else { b"no" }),
        }
    }
}

impl Listed {
    fn name(self) -> &'static [u8] {
        match self {
            Self::Connections => b"connections",
            Self::Bindings => b"bindings",
            Self::Destinations => b"destinations",
            Self::Settings => b"settings",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        [
            Self::Connections,
            Self::Bindings,
            Self::Destinations,
            Self::Settings,
        ]
        .into_iter()
        .find(|listed| listed.name() == name)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 5] = [
        Self::Stats,
        Self::List,
        Self::Events,
        Self::Purge,
        Self::Drain,
    ];

    pub(crate) fn name(self) -> &'static [u8] {
        match self {
            Self::Stats => b"stats",
            Self::List => b"list",
            Self::Events => b"events",
            Self::Purge => b"purge",
            Self::Drain => b"drain",
        }
    }
}

/// A part of an answer: entries, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found in this part, possibly nothing.
    pub entries: Vec<T>,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

/// What an answer about several things consists of.
pub trait Entry: Sized {
    /// The number that tells it from the others.
    fn number(&self) -> u64;

    /// Writes what there is besides.
    fn encode(&self, attributes: &mut Attributes);

    /// An entry without anything besides its number.
    fn new(number: u64) -> Self;

    /// Takes over one attribute. What is not known is passed over.
    fn set(&mut self, name: &[u8], value: &[u8]);
}

const ENTRY: &str = "entry";
const NEXT: &str = "next";

/// Writes one entry of an answer.
pub fn encode_entry(attributes: &mut Attributes, entry: &impl Entry) {
    attributes.number(ENTRY, entry.number());
    entry.encode(attributes);
}

/// Writes where to go on.
pub fn encode_next(attributes: &mut Attributes, next: u64) {
    attributes.number(NEXT, next);
}

impl<T: Entry> Page<T> {
    /// Reads an answer.
    pub fn parse(list: List<'_>) -> Self {
        let mut page = Self {
            entries: Vec::new(),
            next: None,
        };
        for (name, value) in list {
            if name == NEXT.as_bytes() {
                page.next = number(value);
            } else if name == ENTRY.as_bytes() {
                page.entries.push(T::new(number(value).unwrap_or_default()));
            } else if let Some(entry) = page.entries.last_mut() {
                entry.set(name, value);
            }
        }
        page
    }
}

/// What one [`Administration::Purge`] let go of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Connections.
    pub connections: u64,
    /// Bindings.
    pub bindings: u64,
    /// Where to go on; `None` at the end.
    pub next: Option<u64>,
}

impl Purged {
    /// Writes it.
    pub fn encode(&self, attributes: &mut Attributes) {
        attributes.number("connections", self.connections);
        attributes.number("bindings", self.bindings);
        if let Some(next) = self.next {
            encode_next(attributes, next);
        }
    }

    /// Reads an answer.
    pub fn parse(list: List<'_>) -> Self {
        let mut purged = Self::default();
        for (name, value) in list {
            match name {
                b"connections" => purged.connections = number(value).unwrap_or_default(),
                b"bindings" => purged.bindings = number(value).unwrap_or_default(),
                b"next" => purged.next = number(value),
                _ => {}
            }
        }
        purged
    }
}

/// Decimal digits and nothing else.
pub(crate) fn number(digits: &[u8]) -> Option<u64> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn expect<'a>(rest: &mut List<'a>, wanted: &[u8]) -> Option<&'a [u8]> {
    let (name, value) = rest.next()?;
    (name == wanted).then_some(value)
}
