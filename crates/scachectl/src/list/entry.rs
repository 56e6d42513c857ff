//! Each kind of entry as a line for people and as an object for programs.

use std::cmp::Ordering;
use std::time::Duration;

use scache_client::administration::{BindingEntry, ConnectionEntry, DestinationEntry, Page};
use scache_client::{Client, Error};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::Sort;
use crate::figures::time;
use crate::labels::{self, printable, shown};

/// A kind of entry.
pub(crate) trait Listed: Sized {
    /// What stands above the lines. Labels come last, as they have no width.
    const HEADER: &str;

    /// What it can be sorted by.
    const SORTS: &[Sort];

    /// Asks for some of them.
    fn page(client: &mut Client, prefix: &[u8], from: u64) -> Result<Page<Self>, Error>;

    /// One, for people.
    fn line(&self) -> String;

    /// Its place among others, by one of [`Listed::SORTS`].
    fn compare(&self, other: &Self, sort: Sort) -> Ordering;

    /// One, for programs: the names are those on the wire.
    fn json(&self) -> Json<'_, Self> {
        Json(self)
    }

    /// Writes its attributes.
    fn attributes<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error>;
}

/// An entry to be written as an object.
pub(crate) struct Json<'a, T>(&'a T);

impl<T: Listed> Serialize for Json<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.0.attributes(&mut map)?;
        map.end()
    }
}

impl Listed for ConnectionEntry {
    const HEADER: &str = "   AGE   LEFT  TAKEN  PEER                   ENDPOINT";
    const SORTS: &[Sort] = &[Sort::Label, Sort::Age, Sort::Left, Sort::Taken, Sort::Peer];

    fn page(client: &mut Client, prefix: &[u8], from: u64) -> Result<Page<Self>, Error> {
        client.connections(prefix, from)
    }

    fn line(&self) -> String {
        let peer = if self.peer.is_empty() {
            "-".to_owned()
        } else {
            printable(&self.peer)
        };
        format!(
            "{:>6} {:>6} {:>6}  {peer:<21}  {}",
            time(self.age),
            time(self.left),
            self.taken,
            shown(&self.endpoint)
        )
    }

    fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        match sort {
            Sort::Age => other.age.cmp(&self.age),
            Sort::Left => self.left.cmp(&other.left),
            Sort::Taken => other.taken.cmp(&self.taken),
            Sort::Peer => self.peer.cmp(&other.peer),
            _ => self.endpoint.cmp(&other.endpoint),
        }
    }

    fn attributes<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        labels::serialize(map, "label", &self.endpoint)?;
        map.serialize_entry("age_ms", &milliseconds(self.age))?;
        map.serialize_entry("ttl_ms", &milliseconds(self.left))?;
        map.serialize_entry("taken", &self.taken)?;
        map.serialize_entry("peer", &self.peer)
    }
}

impl Listed for BindingEntry {
    const HEADER: &str = "  LEFT  DESTINATION -> ENDPOINT";
    const SORTS: &[Sort] = &[Sort::Label, Sort::Left];

    fn page(client: &mut Client, prefix: &[u8], from: u64) -> Result<Page<Self>, Error> {
        client.bindings(prefix, from)
    }

    fn line(&self) -> String {
        format!(
            "{:>6}  {} -> {}",
            time(self.left),
            shown(&self.destination),
            shown(&self.endpoint)
        )
    }

    fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        match sort {
            Sort::Left => self.left.cmp(&other.left),
            _ => (&self.destination, &self.endpoint).cmp(&(&other.destination, &other.endpoint)),
        }
    }

    fn attributes<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        labels::serialize(map, "label", &self.destination)?;
        labels::serialize(map, "endpoint", &self.endpoint)?;
        map.serialize_entry("ttl_ms", &milliseconds(self.left))
    }
}

impl Listed for DestinationEntry {
    const HEADER: &str = "    HITS   MISSES  CACHED  DESTINATION";
    const SORTS: &[Sort] = &[
        Sort::Label,
        Sort::Hits,
        Sort::Misses,
        Sort::Asked,
        Sort::Cached,
    ];

    fn page(client: &mut Client, prefix: &[u8], from: u64) -> Result<Page<Self>, Error> {
        client.destinations(prefix, from)
    }

    fn line(&self) -> String {
        format!(
            "{:>8} {:>8} {:>7}  {}",
            self.hits,
            self.misses,
            self.cached,
            shown(&self.destination)
        )
    }

    fn compare(&self, other: &Self, sort: Sort) -> Ordering {
        match sort {
            Sort::Hits => other.hits.cmp(&self.hits),
            Sort::Misses => other.misses.cmp(&self.misses),
            Sort::Asked => other.asked().cmp(&self.asked()),
            Sort::Cached => other.cached.cmp(&self.cached),
            _ => self.destination.cmp(&other.destination),
        }
    }

    fn attributes<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        labels::serialize(map, "label", &self.destination)?;
        map.serialize_entry("hits", &self.hits)?;
        map.serialize_entry("misses", &self.misses)?;
        map.serialize_entry("cached", &self.cached)
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
