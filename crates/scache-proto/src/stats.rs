//! What a cache counts, told by a [`crate::administration::Administration::Stats`].
//!
//! One table: its names are those on the wire, in JSON and, with a prefix, in what monitoring reads.

use crate::attr::{Attributes, List};

/// Whether a number only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// How often something happened since the start.
    Counter,
    /// How much there is of something now, or can be.
    Gauge,
}

/// One of the numbers of [`Stats`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Its name on the wire.
    pub name: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// What it counts, in a sentence.
    pub help: &'static str,
    read: fn(&Stats) -> u64,
    place: fn(&mut Stats) -> &mut u64,
}

/// One of the distributions of [`Stats`].
#[derive(Clone, Copy, Debug)]
pub struct Distribution {
    /// Its name on the wire, which ends in the unit if there is one.
    pub name: &'static str,
    /// What it is of, in a sentence.
    pub help: &'static str,
    /// The upper ends of its buckets but the last, which has none.
    pub bounds: &'static [u64],
    read: fn(&Stats) -> &Histogram,
    place: fn(&mut Stats) -> &mut Histogram,
}

macro_rules! stats {
    (
        $($kind:ident $field:ident $help:literal)*
        ;
        $(Histogram $histogram:ident $bounds:ident $about:literal)*
    ) => {
        /// All that a cache counts, since it started.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Stats {
            /// The version of the program; empty if it does not say.
            pub version: String,
            $(#[doc = $help] pub $field: u64,)*
            $(#[doc = $about] pub $histogram: Histogram,)*
        }

        impl Default for Stats {
            fn default() -> Self {
                Self {
                    version: String::new(),
                    $($field: 0,)*
                    $($histogram: Histogram::new($bounds),)*
                }
            }
        }

        impl Stats {
            /// The numbers, in the order in which they are told.
            pub const FIELDS: &[Field] = &[$(Field {
                name: stringify!($field),
                kind: Kind::$kind,
                help: $help,
                read: |stats| stats.$field,
                place: |stats| &mut stats.$field,
            },)*];

            /// The distributions, told behind the numbers.
            pub const DISTRIBUTIONS: &[Distribution] = &[$(Distribution {
                name: stringify!($histogram),
                help: $about,
                bounds: $bounds,
                read: |stats| &stats.$histogram,
                place: |stats| &mut stats.$histogram,
            },)*];
        }
    };
}

const VERSION: &str = "version";

/// Microseconds, from what a request takes alone to what somebody would notice.
const MICROSECONDS: &[u64] = &[
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 50_000, 200_000,
];
const TIMES: &[u64] = &[1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1_000];
const SECONDS: &[u64] = &[1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600];

stats! {
    Gauge uptime_seconds "Seconds since the process started."
    Gauge draining "1 while nothing new is cached, else 0."
    Counter requests "Requests answered, refused ones included."

    Counter destination_hits "Connections found by destination."
    Counter destination_misses "Destinations without a connection."
    Counter endpoint_hits "Connections found by endpoint, not counting those found by destination."
    Counter endpoint_misses "Endpoints without a connection, likewise."

    Gauge connections "Connections cached now."
    Gauge connections_most "The most connections there were at once."
    Gauge connection_limit "Connections cached at most."
    Gauge bindings "Bindings of destinations to endpoints now."
    Gauge binding_limit "Bindings at most."
    Gauge destinations "Destinations with a binding now."
    Gauge endpoints "Endpoints with a connection now."
    Gauge ttl_limit_seconds "The longest that anything stays cached, in seconds."
    Gauge reuse_limit "How often a connection is taken at most; 0 is no limit."
    Gauge lifetime_limit_seconds "How old a connection may become, in seconds; 0 is no limit."
    Gauge max_idle_seconds "Seconds without clients after which the process ends; 0 is never."
    Gauge name_bytes "Bytes of all names and properties now."
    Gauge name_byte_limit "Bytes of all names and properties at most."

    Counter connections_saved "Connections saved."
    Counter connections_new "Connections saved for the first time, as far as is known: neither taken before nor handed over by another process."
    Counter saves_ttl_cut "Connections saved with a longer time to live than is granted: it was cut to the limit."
    Counter connections_put_back "Connections taken whose client went before it had them: cached again."
    Counter bindings_saved "Bindings saved that were not there."
    Counter bindings_renewed "Bindings saved that were there: their time was renewed."

    Counter connections_expired "Connections whose time was over."
    Counter bindings_expired "Bindings whose time was over."
    Counter evicted_connection_limit "Connections that made room because the cache was full."
    Counter evicted_endpoint_limit "Connections that made room because their endpoint had its share."
    Counter evicted_byte_limit "Connections that made room because of the length of names and properties."
    Counter evicted_descriptors "Connections that made room because the process or the system had no descriptors left."
    Counter bindings_evicted "Bindings that made room for others."
    Counter dropped_closed "Idle connections that their peers had closed."
    Counter dropped_reset "Idle connections that their peers had reset."
    Counter dropped_spoke "Idle connections whose peers had said something."
    Counter connections_purged "Connections that were purged."
    Counter bindings_purged "Bindings that were purged."
    Counter connections_drained "Connections that were saved and not kept, because the cache is drained."
    Counter connections_retired "Connections that were saved and not kept, because they were taken too often or are too old."
    Counter connections_cleared "Connections closed at the end of the process."

    Counter goodbyes_said "Goodbyes written to connections before they are closed."
    Counter goodbyes_answered "Goodbyes that were answered, with a line or with the end."
    Counter goodbyes_unanswered "Goodbyes without an answer: given up waiting for, or the connection was reset."
    Gauge partings "Connections that wait for the answer to a goodbye now."

    Counter saves_refused_no_descriptor "Saves refused because no descriptor came, or several."
    Counter saves_refused_truncated "Descriptors of saves lost because there was no number left for them."
    Counter saves_refused_own_connection "Saves refused because the connection led to this cache."
    Counter requests_refused_malformed "Requests refused because an attribute was missing or wrong."
    Counter requests_refused_unknown "Requests refused because there is no such request."

    Gauge clients "Clients connected now."
    Gauge clients_most "The most clients there were at once."
    Gauge client_limit "Clients at most."
    Counter clients_accepted "Clients that connected."
    Counter clients_refused_user "Clients sent away because their user may not connect."
    Counter clients_refused_full "Clients sent away because all slots were taken for long and too many waited."
    Counter clients_closed_idle "Idle clients closed because others needed their slots."
    Counter clients_dropped_late "Clients dropped because a request was not complete in time."
    Counter clients_dropped_too_long "Clients dropped because a request was too long."
    Counter clients_dropped_stray_descriptor "Clients dropped because a descriptor came where none belongs."
    Counter clients_dropped_memory "Clients dropped because all together held too much memory, and they the most."
    Counter clients_dropped_not_reading "Clients dropped because they did not read their replies."

    Counter connections_handed_over "Connections handed over to the next process."
    Counter bindings_handed_over "Bindings handed over to the next process."

    Gauge descriptors "Descriptors of connections, clients, goodbyes and listeners now."
    Gauge descriptor_limit "Descriptors at most; 0 if there is no limit."
    ;
    Histogram service_microseconds MICROSECONDS "How long requests took, from when they were seen until all that were seen with them were answered."
    Histogram lag_microseconds MICROSECONDS "How long the loop was busy at a time: whoever came meanwhile waited."
    Histogram taken_times TIMES "How often a connection that was taken had been taken until then, this time included."
    Histogram taken_age_seconds SECONDS "How old a connection that was taken was, since it was first saved."
}

impl Stats {
    /// Writes all of them.
    pub fn encode(&self, attributes: &mut Attributes) {
        attributes.push(VERSION, self.version.as_bytes());
        for field in Self::FIELDS {
            attributes.number(field.name, (field.read)(self));
        }
        for distribution in Self::DISTRIBUTIONS {
            let text = (distribution.read)(self).to_string();
            attributes.push(distribution.name, text.as_bytes());
        }
    }

    /// Reads what is known of a list. What another version tells besides is passed over, and what it does not
    /// tell is 0.
    pub fn parse(list: List<'_>) -> Self {
        let mut stats = Self::default();
        for (name, value) in list {
            let field = Self::FIELDS
                .iter()
                .find(|field| field.name.as_bytes() == name);
            let distribution = Self::DISTRIBUTIONS
                .iter()
                .find(|distribution| distribution.name.as_bytes() == name);
            let Ok(value) = std::str::from_utf8(value) else {
                continue;
            };
            if name == VERSION.as_bytes() {
                stats.version = value.to_owned();
            } else if let (Some(field), Ok(number)) = (field, value.parse()) {
                *(field.place)(&mut stats) = number;
            } else if let (Some(distribution), Some(histogram)) =
                (distribution, Histogram::parse(value))
            {
                *(distribution.place)(&mut stats) = histogram;
            }
        }
        stats
    }

    /// One of [`Stats::FIELDS`].
    pub fn value(&self, field: &Field) -> u64 {
        (field.read)(self)
    }

    /// One of [`Stats::DISTRIBUTIONS`].
    pub fn histogram(&self, distribution: &Distribution) -> &Histogram {
        (distribution.read)(self)
    }
}

/// How often values were how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    /// Of each bucket the upper end, which belongs to it, and how many values. The last has no end.
    pub buckets: Vec<(Option<u64>, u64)>,
    /// All values together.
    pub sum: u64,
}

impl Histogram {
    /// Without values.
    pub fn new(bounds: &[u64]) -> Self {
        let bounds = bounds.iter().copied().map(Some).chain([None]);
        Self {
            buckets: bounds.map(|bound| (bound, 0)).collect(),
            sum: 0,
        }
    }

    /// Counts a value that was seen so many times.
    pub fn observe(&mut self, value: u64, times: u64) {
        let bucket = self
            .buckets
            .iter_mut()
            .find(|(bound, _)| bound.is_none_or(|bound| value <= bound));
        if let Some((_, count)) = bucket {
            *count = count.saturating_add(times);
        }
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        // What another process told may be anything.
        let counts = self.buckets.iter().map(|(_, count)| *count);
        counts.fold(0, u64::saturating_add)
    }

    /// The upper end of the bucket below which this share of the values lies, from 0 to 1; `None` if there are
    /// none, or if it is in the last.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.buckets.iter().find(|(_, count)| {
            seen = count.saturating_add(seen);
            seen >= wanted
        });
        bucket.and_then(|(bound, _)| *bound)
    }

    /// Reads what [`Histogram`] writes: `10=3 20=0 inf=1 sum=57`. `None` if it is not like that: ends that grow,
    /// the last bucket, and the sum.
    fn parse(text: &str) -> Option<Self> {
        let (buckets, sum) = text.rsplit_once(" sum=")?;
        let mut histogram = Self {
            buckets: Vec::new(),
            sum: sum.parse().ok()?,
        };
        for bucket in buckets.split(' ') {
            let (bound, count) = bucket.split_once('=')?;
            let bound = match bound {
                "inf" => None,
                bound => Some(bound.parse().ok()?),
            };
            let grows = match (histogram.buckets.last(), bound) {
                (Some((None, _)), _) => false,
                (Some((Some(before), _)), Some(bound)) => *before < bound,
                (Some(_) | None, _) => true,
            };
            if !grows {
                return None;
            }
            histogram.buckets.push((bound, count.parse().ok()?));
        }
        matches!(histogram.buckets.last(), Some((None, _))).then_some(histogram)
    }
}

impl std::fmt::Display for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (bound, count) in &self.buckets {
            match bound {
                Some(bound) => write!(f, "{bound}={count} ")?,
                None => write!(f, "inf={count} ")?,
            }
        }
        write!(f, "sum={}", self.sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let mut stats = Stats {
            version: "1.2.3".to_owned(),
            ..Stats::default()
        };
        for (number, field) in (1..).zip(Stats::FIELDS) {
            *(field.place)(&mut stats) = number;
        }
        stats.service_microseconds.observe(11, 3);
        stats.taken_times.observe(u64::MAX, 1);
        let mut attributes = Attributes::default();
        stats.encode(&mut attributes);
        assert_eq!(Stats::parse(attributes.list()), stats);
    }

    #[test]
    fn what_is_unknown_or_no_number_is_passed_over() {
        let mut attributes = Attributes::default();
        attributes.push("later", b"7");
        attributes.push("requests", b"many");
        for no_distribution in [
            "10=1 x",
            "10=1 inf=2",
            "10=1 sum=3",
            "10=1 10=1 inf=0 sum=3",
            "inf=0 10=1 sum=3",
            " sum=3",
            "",
        ] {
            attributes.push("lag_microseconds", no_distribution.as_bytes());
        }
        attributes.push("connections", b"5");
        let stats = Stats {
            connections: 5,
            ..Stats::default()
        };
        assert_eq!(Stats::parse(attributes.list()), stats);
    }

    #[test]
    fn a_value_belongs_to_the_bucket_whose_end_it_is() {
        let mut histogram = Histogram::new(&[10, 20]);
        for value in [0, 10, 11, 20, 21] {
            histogram.observe(value, 1);
        }
        assert_eq!(histogram.to_string(), "10=2 20=2 inf=1 sum=62");
        assert_eq!(histogram.count(), 5);
        for (share, end) in [
            (0.0, Some(10)),
            (0.4, Some(10)),
            (0.5, Some(20)),
            (1.0, None),
        ] {
            assert_eq!(histogram.quantile(share), end, "{share}");
        }
        assert_eq!(Histogram::new(&[1]).quantile(0.5), None);
    }

    #[test]
    fn no_number_of_values_is_too_many() {
        let mut attributes = Attributes::default();
        let text = format!("10={0} inf={0} sum={0}", u64::MAX);
        attributes.push("lag_microseconds", text.as_bytes());
        let mut lag = Stats::parse(attributes.list()).lag_microseconds;
        lag.observe(1, 1);
        assert_eq!((lag.count(), lag.sum), (u64::MAX, u64::MAX));
        assert_eq!(lag.quantile(1.0), Some(10));
    }
}
