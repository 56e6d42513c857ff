//! Requests about the cache, as they were understood, and as they are said.

use scache_proto::administration::{Administration, Listed, Names};
use scache_proto::{Label, Property, Request};

use crate::wire::number;

/// A request about the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    Stats,
    List {
        what: Listed,
        prefix: Vec<u8>,
        from: u64,
    },
    Events {
        from: u64,
    },
    Purge {
        names: Which,
        from: u64,
    },
    Drain {
        on: bool,
    },
}

/// Which names are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Is(Vec<u8>),
    Begin(Vec<u8>),
}

impl Which {
    pub fn mean(&self, name: &[u8]) -> bool {
        match self {
            Self::Is(label) => label == name,
            Self::Begin(prefix) => name.starts_with(prefix),
        }
    }
}

/// What can be listed, by its name.
const LISTED: [(&[u8], Listed); 4] = [
    (b"connections", Listed::Connections),
    (b"bindings", Listed::Bindings),
    (b"destinations", Listed::Destinations),
    (b"settings", Listed::Settings),
];

impl About {
    pub fn of(administration: Administration<'_>) -> Self {
        match administration {
            Administration::Stats => Self::Stats,
            Administration::List { what, prefix, from } => Self::List {
                what,
                prefix: prefix.as_bytes().to_vec(),
                from,
            },
            Administration::Events { from } => Self::Events { from },
            Administration::Purge { names, from } => Self::Purge {
                names: match names {
                    Names::Is(label) => Which::Is(label.as_bytes().to_vec()),
                    Names::Begin(prefix) => Which::Begin(prefix.as_bytes().to_vec()),
                },
                from,
            },
            Administration::Drain { on } => Self::Drain { on },
        }
    }

    pub fn request(&self) -> Request<'_> {
        Request::Administer(match self {
            Self::Stats => Administration::Stats,
            Self::List { what, prefix, from } => Administration::List {
                what: *what,
                prefix: Property::new(prefix).unwrap(),
                from: *from,
            },
            Self::Events { from } => Administration::Events { from: *from },
            Self::Purge { names, from } => Administration::Purge {
                names: match names {
                    Which::Is(label) => Names::Is(Label::new(label).unwrap()),
                    Which::Begin(prefix) => Names::Begin(Property::new(prefix).unwrap()),
                },
                from: *from,
            },
            Self::Drain { on } => Administration::Drain { on: *on },
        })
    }

    /// The attributes it is said with.
    pub fn attributes(&self) -> Vec<(&'static [u8], Vec<u8>)> {
        let from = |from: &u64| (&b"from"[..], from.to_string().into_bytes());
        let request = |name: &[u8]| (&b"request"[..], name.to_vec());
        match self {
            Self::Stats => vec![request(b"stats")],
            Self::List {
                what,
                prefix,
                from: at,
            } => {
                let (name, _) = LISTED.iter().find(|(_, other)| other == what).unwrap();
                vec![
                    request(b"list"),
                    (b"what", name.to_vec()),
                    (b"prefix", prefix.clone()),
                    from(at),
                ]
            }
            Self::Events { from: at } => vec![request(b"events"), from(at)],
            Self::Purge { names, from: at } => {
                let names: (&[u8], _) = match names {
                    Which::Is(label) => (b"label", label.clone()),
                    Which::Begin(prefix) => (b"prefix", prefix.clone()),
                };
                vec![request(b"purge"), names, from(at)]
            }
            Self::Drain { on } => {
                let on = if *on { &b"yes"[..] } else { b"no" };
                vec![request(b"drain"), (b"on", on.to_vec())]
            }
        }
    }

    /// What a request of this name means with these attributes behind it; `Some(None)` is malformed, `None` no
    /// request about the cache.
    pub fn meaning(name: &[u8], rest: &[(Vec<u8>, Vec<u8>)]) -> Option<Option<Self>> {
        let value = |index: usize, wanted: &[u8]| {
            let (name, value) = rest.get(index)?;
            (name == wanted).then_some(&value[..])
        };
        let from = |index: usize| number(value(index, b"from")?);
        let list = || {
            let what = value(0, b"what")?;
            let (_, what) = LISTED.iter().find(|(name, _)| *name == what)?;
            Some(Self::List {
                what: *what,
                prefix: value(1, b"prefix")?.to_vec(),
                from: from(2)?,
            })
        };
        let purge = || {
            let label = value(0, b"label").map(|label| Which::Is(label.to_vec()));
            let prefix = || value(0, b"prefix").map(|prefix| Which::Begin(prefix.to_vec()));
            Some(Self::Purge {
                names: label.or_else(prefix)?,
                from: from(1)?,
            })
        };
        let drain = || match value(0, b"on")? {
            b"yes" => Some(Self::Drain { on: true }),
            b"no" => Some(Self::Drain { on: false }),
            _ => None,
        };
        Some(match name {
            b"stats" => Some(Self::Stats),
            b"list" => list(),
            b"events" => from(0).map(|from| Self::Events { from }),
            b"purge" => purge(),
            b"drain" => drain(),
            _ => return None,
        })
    }

    /// The request for what is behind an answer, if there is more.
    pub fn further(&self, next: u64) -> Option<Self> {
        let mut further = self.clone();
        match &mut further {
            Self::List { from, .. } | Self::Events { from } | Self::Purge { from, .. } => {
                *from = next;
            }
            Self::Stats | Self::Drain { .. } => return None,
        }
        Some(further)
    }
}
