//! The entries of answers to [`crate::administration::Administration`]: what is cached, and what happened.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::Text;
use crate::administration::{Entry, number};
use crate::attr::Attributes;

/// A cached connection.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConnectionEntry {
    /// Its place: no two have the same at one time.
    pub number: u64,
    /// The endpoint it is saved under.
    pub endpoint: Box<[u8]>,
    /// Since it was first saved.
    pub age: Duration,
    /// Until it expires.
    pub left: Duration,
    /// How often it was taken and saved again.
    pub taken: u64,
    /// Where it leads, as text; empty if nobody knows.
    pub peer: String,
}

/// A binding of a destination to an endpoint.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct BindingEntry {
    /// Its place: no two have the same at one time.
    pub number: u64,
    /// The destination.
    pub destination: Box<[u8]>,
    /// The endpoint.
    pub endpoint: Box<[u8]>,
    /// Until it expires.
    pub left: Duration,
}

/// A destination that is asked for.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct DestinationEntry {
    /// Its place: no two have the same at one time.
    pub number: u64,
    /// The destination.
    pub destination: Box<[u8]>,
    /// How often a connection was found, since it is counted.
    pub hits: u64,
    /// How often none was.
    pub misses: u64,
    /// Connections that a find would go through now.
    pub cached: u64,
}

/// A setting of the cache.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingEntry {
    /// Its place in the list.
    pub number: u64,
    /// The name of the option or parameter.
    pub name: String,
    /// The value in use, as an administrator writes it.
    pub value: String,
    /// Where the value comes from, as `default` or `main.cf`.
    pub origin: String,
}

impl SettingEntry {
    /// Makes an entry. Its number is its place in the list, which the cache fills in.
    pub fn new(name: &str, value: impl Into<String>, origin: &str) -> Self {
        Self {
            number: 0,
            name: name.to_owned(),
            // No attribute can have NUL in it.
            value: value.into().replace('\0', "\u{fffd}"),
            origin: origin.to_owned(),
        }
    }
}

/// Something that happened.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EventEntry {
    /// Its number. They follow one another: a gap is what was forgotten before it was asked for.
    pub number: u64,
    /// What happened; `None` is something that another version knows.
    pub what: Option<Happening>,
    /// The endpoint, or of a [`Happening::Missed`] whatever was asked for; of a client nothing.
    pub label: Box<[u8]>,
    /// How long ago it was.
    pub ago: Duration,
    /// What a peer said, or why a client was dropped.
    pub text: String,
}

impl fmt::Debug for ConnectionEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionEntry")
            .field("number", &self.number)
            .field("endpoint", &Text(&self.endpoint))
            .field("age", &self.age)
            .field("left", &self.left)
            .field("taken", &self.taken)
            .field("peer", &self.peer)
            .finish()
    }
}

impl fmt::Debug for BindingEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BindingEntry")
            .field("number", &self.number)
            .field("destination", &Text(&self.destination))
            .field("endpoint", &Text(&self.endpoint))
            .field("left", &self.left)
            .finish()
    }
}

impl fmt::Debug for DestinationEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DestinationEntry")
            .field("number", &self.number)
            .field("destination", &Text(&self.destination))
            .field("hits", &self.hits)
            .field("misses", &self.misses)
            .field("cached", &self.cached)
            .finish()
    }
}

impl fmt::Debug for EventEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventEntry")
            .field("number", &self.number)
            .field("what", &self.what)
            .field("label", &Text(&self.label))
            .field("ago", &self.ago)
            .field("text", &self.text)
            .finish()
    }
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Happening {
    /// A connection was saved.
    Saved,
    /// A connection was taken.
    Taken,
    /// Nothing was found.
    Missed,
    /// A connection's time was over.
    Expired,
    /// A connection made room for others.
    Evicted,
    /// A connection was closed by its peer.
    Closed,
    /// A connection was reset by its peer.
    Reset,
    /// A connection's peer spoke out of turn.
    Spoke,
    /// A connection was purged.
    Purged,
    /// A connection was not kept, because the cache is drained.
    Drained,
    /// A connection was not kept: it was taken too often, or is too old.
    Retired,
    /// A connection was let go of at the end of the process.
    Cleared,
    /// A client was dropped.
    ClientDropped,
}

impl Happening {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Saved,
        Self::Taken,
        Self::Missed,
        Self::Expired,
        Self::Evicted,
        Self::Closed,
        Self::Reset,
        Self::Spoke,
        Self::Purged,
        Self::Drained,
        Self::Retired,
        Self::Cleared,
        Self::ClientDropped,
    ];

    /// Its name on the wire, and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Taken => "taken",
            Self::Missed => "missed",
            Self::Expired => "expired",
            Self::Evicted => "evicted",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Spoke => "spoke",
            Self::Purged => "purged",
            Self::Drained => "drained",
            Self::Retired => "retired",
            Self::Cleared => "cleared",
            Self::ClientDropped => "client_dropped",
        }
    }

    fn parse(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|happening| happening.name().as_bytes() == name)
    }
}

impl DestinationEntry {
    /// How often it was asked for.
    pub fn asked(&self) -> u64 {
        self.hits.saturating_add(self.misses)
    }
}

/// What is told of an entry behind its number: an attribute for each field, in this order, unless it says nothing.
macro_rules! entry {
    ($entry:ident { $($name:literal => $field:ident $(unless $says_nothing:ident)?,)* }) => {
        impl Entry for $entry {
            fn number(&self) -> u64 {
                self.number
            }

            fn encode(&self, attributes: &mut Attributes) {
                $(
                    let says_nothing = false $(|| self.$field.$says_nothing())?;
                    if !says_nothing {
                        attributes.push($name, &self.$field.tell());
                    }
                )*
            }

            fn new(number: u64) -> Self {
                Self {
                    number,
                    ..Self::default()
                }
            }

            fn set(&mut self, name: &[u8], value: &[u8]) {
                match std::str::from_utf8(name) {
                    $(Ok($name) => self.$field = Value::read(value),)*
                    _ => {}
                }
            }
        }
    };
}

entry!(ConnectionEntry {
    "label" => endpoint,
    "age_ms" => age,
    "ttl_ms" => left,
    "taken" => taken,
    "peer" => peer,
});

entry!(BindingEntry {
    "label" => destination,
    "endpoint" => endpoint,
    "ttl_ms" => left,
});

entry!(DestinationEntry {
    "label" => destination,
    "hits" => hits,
    "misses" => misses,
    "cached" => cached,
});

entry!(SettingEntry {
    "name" => name,
    "value" => value,
    "origin" => origin,
});

entry!(EventEntry {
    "what" => what unless is_none,
    "label" => label,
    "ago_ms" => ago,
    "text" => text unless is_empty,
});

/// What a field is as the value of an attribute.
trait Value {
    fn tell(&self) -> Cow<'_, [u8]>;

    /// What makes no sense is what it is by default.
    fn read(value: &[u8]) -> Self;
}

impl Value for Box<[u8]> {
    fn tell(&self) -> Cow<'_, [u8]> {
        (**self).into()
    }

    fn read(value: &[u8]) -> Self {
        value.into()
    }
}

impl Value for String {
    fn tell(&self) -> Cow<'_, [u8]> {
        self.as_bytes().into()
    }

    fn read(value: &[u8]) -> Self {
        Self::from_utf8_lossy(value).into_owned()
    }
}

impl Value for u64 {
    fn tell(&self) -> Cow<'_, [u8]> {
        self.to_string().into_bytes().into()
    }

    fn read(value: &[u8]) -> Self {
        number(value).unwrap_or_default()
    }
}

/// In milliseconds.
impl Value for Duration {
    fn tell(&self) -> Cow<'_, [u8]> {
        let milliseconds = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        milliseconds.to_string().into_bytes().into()
    }

    fn read(value: &[u8]) -> Self {
        Self::from_millis(Value::read(value))
    }
}

impl Value for Option<Happening> {
    fn tell(&self) -> Cow<'_, [u8]> {
        self.map_or("", Happening::name).as_bytes().into()
    }

    fn read(value: &[u8]) -> Self {
        Happening::parse(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::administration::{Page, encode_entry, encode_next};

    fn check<T: Entry + Clone + PartialEq + std::fmt::Debug>(entries: &[T]) {
        for next in [None, Some(7)] {
            let mut attributes = Attributes::default();
            for entry in entries {
                encode_entry(&mut attributes, entry);
            }
            if let Some(next) = next {
                encode_next(&mut attributes, next);
            }
            let page = Page {
                entries: entries.to_vec(),
                next,
            };
            assert_eq!(Page::parse(attributes.list()), page);
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        check::<EventEntry>(&[]);
        check(&[
            ConnectionEntry {
                number: 3,
                endpoint: b"smtp\n[192.0.2.1]:25\xff"[..].into(),
                age: Duration::from_millis(1),
                left: Duration::from_secs(2),
                taken: 4,
                peer: "192.0.2.1:25".into(),
            },
            ConnectionEntry::default(),
        ]);
        check(&[BindingEntry {
            number: 1,
            destination: b"d"[..].into(),
            endpoint: b"e"[..].into(),
            left: Duration::from_millis(1999),
        }]);
        check(&[DestinationEntry {
            number: 9,
            destination: b"d"[..].into(),
            hits: 1,
            misses: 2,
            cached: 3,
        }]);
        check(&[SettingEntry {
            number: 2,
            ..SettingEntry::new("ttl-limit", "5\u{fffd}s", "file")
        }]);
        assert_eq!(SettingEntry::new("n", "5\0s", "file").value, "5\u{fffd}s");
        check(&Happening::ALL.map(|what| EventEntry {
            number: 1,
            what: Some(what),
            label: b"e"[..].into(),
            ago: Duration::from_millis(5),
            text: "421 bye".into(),
        }));
    }
}
