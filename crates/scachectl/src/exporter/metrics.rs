//! What Prometheus reads: each number of the cache under a name, with labels and a unit, by its conventions.
//!
//! A table says what becomes of which number; what a number means is said where it is counted, by
//! [`Stats::FIELDS`].

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use scache_client::administration::{
    DestinationEntry, Distribution, Field, Histogram, Kind, Stats,
};

use super::names::readable;

/// How what is counted is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text, 0.0.4, which everybody reads.
    Text,
}

impl Format {
    /// The one that suits a scraper that accepts this.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    /// For `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_client::encoding::prometheus_text::CONTENT_TYPE,
        }
    }
}

/// Everything that a scrape tells.
#[derive(Clone, Debug, Default)]
pub(super) struct Scrape {
    /// What the cache counts; `None` if it does not say.
    pub(super) stats: Option<Stats>,
    /// Destinations that are told one by one.
    pub(super) destinations: Vec<DestinationEntry>,
}

impl Scrape {
    /// The text of it.
    ///
    /// # Errors
    /// None, as long as text can be written into memory.
    pub(super) fn text(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        match format {
            Format::OpenMetrics => {
                prometheus_client::encoding::text::encode(&mut text, &registry)?;
            }
            Format::Text => {
                prometheus_client::encoding::prometheus_text::encode(&mut text, &registry)?;
            }
        }
        Ok(text)
    }
}

const PREFIX: &str = "scache";

const UP: (&str, &str) = (
    "up",
    "1 if the cache told what it counts, else 0: then there is nothing else.",
);
const BUILD: (&str, &str) = ("exporter_build", "The version of this exporter.");
const DESTINATION_LOOKUPS: (&str, &str) = (
    "destination_lookups",
    "Of the busiest destinations (--destinations): what was asked for.",
);
const DESTINATION_CONNECTIONS: (&str, &str) = (
    "destination_connections",
    "Of the busiest destinations (--destinations): connections that a request would go through now.",
);

/// What shares a name.
struct Family {
    name: &'static str,
    unit: Option<Base>,
    series: Series,
}

enum Series {
    /// One of [`Stats::FIELDS`], which says what it is.
    One(&'static str),
    /// Some that add up to something.
    Several {
        help: &'static str,
        labels: &'static [&'static str],
        /// Values of the labels, and the field that is told under them.
        fields: &'static [(&'static [&'static str], &'static str)],
    },
}

/// Units of Prometheus.
#[derive(Clone, Copy)]
enum Base {
    Seconds,
    Bytes,
}

impl Base {
    fn unit(self) -> Unit {
        match self {
            Self::Seconds => Unit::Seconds,
            Self::Bytes => Unit::Bytes,
        }
    }
}

const fn one(name: &'static str, field: &'static str) -> Family {
    Family {
        name,
        unit: None,
        series: Series::One(field),
    }
}

const fn several(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    fields: &'static [(&'static [&'static str], &'static str)],
) -> Family {
    Family {
        name,
        unit: None,
        series: Series::Several {
            help,
            labels,
            fields,
        },
    }
}

impl Family {
    const fn measured_in(self, base: Base) -> Self {
        Self {
            unit: Some(base),
            ..self
        }
    }

    fn help(&self) -> &'static str {
        match self.series {
            Series::One(NO_LIMIT_IF_0) => "Descriptors at most; +Inf if there is no limit.",
            Series::One(name) => field(name).map_or("", |field| field.help),
            Series::Several { help, .. } => help,
        }
    }

    fn labels(&self) -> &'static [&'static str] {
        match self.series {
            Series::One(_) => &[],
            Series::Several { labels, .. } => labels,
        }
    }

    /// Values of the labels, and what is told under them.
    fn fields(&self) -> Vec<(&'static [&'static str], &'static Field)> {
        let names = match self.series {
            Series::One(name) => vec![(&[][..], name)],
            Series::Several { fields, .. } => fields.to_vec(),
        };
        names
            .into_iter()
            .filter_map(|(values, name)| Some((values, field(name)?)))
            .collect()
    }

    fn kind(&self) -> Kind {
        let fields = self.fields();
        fields.first().map_or(Kind::Gauge, |(_, field)| field.kind)
    }
}

fn field(name: &str) -> Option<&'static Field> {
    Stats::FIELDS.iter().find(|field| field.name == name)
}

/// Told as what it means, so that a share of it can be reckoned.
const NO_LIMIT_IF_0: &str = "descriptor_limit";

const FAMILIES: &[Family] = &[
    one("uptime", "uptime_seconds").measured_in(Base::Seconds),
    one("draining", "draining"),
    one("requests", "requests"),
    several(
        "requests_refused",
        "Requests refused.",
        &["reason"],
        &[
            (&["malformed"], "requests_refused_malformed"),
            (&["unknown"], "requests_refused_unknown"),
        ],
    ),
    several(
        "lookups",
        "What was asked for. An endpoint is counted only if no destination led to it.",
        &["by", "result"],
        &[
            (&["destination", "hit"], "destination_hits"),
            (&["destination", "miss"], "destination_misses"),
            (&["endpoint", "hit"], "endpoint_hits"),
            (&["endpoint", "miss"], "endpoint_misses"),
        ],
    ),
    one("connections", "connections"),
    one("connections_highest", "connections_most"),
    one("connections_limit", "connection_limit"),
    one("bindings", "bindings"),
    one("bindings_limit", "binding_limit"),
    one("destinations", "destinations"),
    one("endpoints", "endpoints"),
    one("names", "name_bytes").measured_in(Base::Bytes),
    one("names_limit", "name_byte_limit").measured_in(Base::Bytes),
    one("connections_saved", "connections_saved"),
    one("connections_put_back", "connections_put_back"),
    several(
        "saves_refused",
        "Saves refused.",
        &["reason"],
        &[
            (&["no_descriptor"], "saves_refused_no_descriptor"),
            (&["truncated"], "saves_refused_truncated"),
            (&["own_connection"], "saves_refused_own_connection"),
        ],
    ),
    several(
        "connections_released",
        "Connections that were let go of without being taken. Evicted: they made room; dropped: their peers had closed, reset them or spoken.",
        &["reason"],
        &[
            (&["expired"], "connections_expired"),
            (&["evicted_connection_limit"], "evicted_connection_limit"),
            (&["evicted_endpoint_limit"], "evicted_endpoint_limit"),
            (&["evicted_byte_limit"], "evicted_byte_limit"),
            (&["evicted_descriptors"], "evicted_descriptors"),
            (&["dropped_closed"], "dropped_closed"),
            (&["dropped_reset"], "dropped_reset"),
            (&["dropped_spoke"], "dropped_spoke"),
            (&["purged"], "connections_purged"),
            (&["drained"], "connections_drained"),
            (&["cleared"], "connections_cleared"),
        ],
    ),
    several(
        "bindings_saved",
        "Bindings saved: new ones, and ones that were there.",
        &["result"],
        &[
            (&["new"], "bindings_saved"),
            (&["renewed"], "bindings_renewed"),
        ],
    ),
    several(
        "bindings_released",
        "Bindings that were let go of.",
        &["reason"],
        &[
            (&["expired"], "bindings_expired"),
            (&["evicted"], "bindings_evicted"),
            (&["purged"], "bindings_purged"),
        ],
    ),
    several(
        "handed_over",
        "What was given to the next process.",
        &["what"],
        &[
            (&["connection"], "connections_handed_over"),
            (&["binding"], "bindings_handed_over"),
        ],
    ),
    one("goodbyes_said", "goodbyes_said"),
    several(
        "goodbyes_finished",
        "Goodbyes that were answered, with a line or with the end, or that were given up waiting for.",
        &["result"],
        &[
            (&["answered"], "goodbyes_answered"),
            (&["unanswered"], "goodbyes_unanswered"),
        ],
    ),
    one("partings", "partings"),
    one("clients", "clients"),
    one("clients_highest", "clients_most"),
    one("clients_limit", "client_limit"),
    one("clients_accepted", "clients_accepted"),
    several(
        "clients_dropped",
        "Clients sent away because their user may not connect, or dropped for what they did.",
        &["reason"],
        &[
            (&["user"], "clients_refused_user"),
            (&["late"], "clients_dropped_late"),
            (&["too_long"], "clients_dropped_too_long"),
            (&["stray_descriptor"], "clients_dropped_stray_descriptor"),
            (&["not_reading"], "clients_dropped_not_reading"),
        ],
    ),
    one("descriptors", "descriptors"),
    one("descriptors_limit", NO_LIMIT_IF_0),
];

/// A distribution: its name on the wire, its name here, and how many of its units are one of the base unit.
const DISTRIBUTIONS: &[(&str, &str, Option<Base>, f64)] = &[
    (
        "service_microseconds",
        "request_duration",
        Some(Base::Seconds),
        1e6,
    ),
    ("lag_microseconds", "loop_busy", Some(Base::Seconds), 1e6),
    ("taken_times", "connection_uses", None, 1.0),
    (
        "taken_age_seconds",
        "connection_age",
        Some(Base::Seconds),
        1.0,
    ),
];

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (name, help) = UP;
        encoder
            .encode_descriptor(name, help, None, MetricType::Gauge)?
            .encode_gauge(&u64::from(self.stats.is_some()))?;
        let (name, help) = BUILD;
        encoder
            .encode_descriptor(name, help, None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])?;
        let Some(stats) = &self.stats else {
            return Ok(());
        };
        for family in FAMILIES {
            encode_family(&mut encoder, family, stats)?;
        }
        for (name, as_name, base, scale) in DISTRIBUTIONS {
            let distribution = Stats::DISTRIBUTIONS
                .iter()
                .find(|known| known.name == *name);
            if let Some(distribution) = distribution {
                encode_distribution(&mut encoder, distribution, as_name, *base, *scale, stats)?;
            }
        }
        if !self.destinations.is_empty() {
            encode_destinations(&mut encoder, &self.destinations)?;
        }
        Ok(())
    }
}

fn encode_family(
    encoder: &mut DescriptorEncoder<'_>,
    family: &Family,
    stats: &Stats,
) -> fmt::Result {
    let unit = family.unit.map(Base::unit);
    let kind = match family.kind() {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
    };
    let help = family.help();
    let mut metric = encoder.encode_descriptor(family.name, help, unit.as_ref(), kind)?;
    for (values, field) in family.fields() {
        let labels: Vec<(&str, &str)> = family
            .labels()
            .iter()
            .copied()
            .zip(values.iter().copied())
            .collect();
        let labels = labels.as_slice();
        let value = stats.value(field);
        match field.kind {
            Kind::Counter => encode_counter(&mut metric.encode_family(&labels)?, value)?,
            // No limit is more than anything, and nothing of it is used.
            Kind::Gauge if field.name == NO_LIMIT_IF_0 && value == 0 => {
                metric
                    .encode_family(&labels)?
                    .encode_gauge(&f64::INFINITY)?;
            }
            Kind::Gauge => metric.encode_family(&labels)?.encode_gauge(&value)?,
        }
    }
    Ok(())
}

fn encode_counter(metric: &mut MetricEncoder<'_>, value: u64) -> fmt::Result {
    metric.encode_counter(&value, None::<&Exemplar<NoLabelSet, u64>>)
}

fn encode_distribution(
    encoder: &mut DescriptorEncoder<'_>,
    distribution: &Distribution,
    name: &str,
    base: Option<Base>,
    scale: f64,
    stats: &Stats,
) -> fmt::Result {
    let unit = base.map(Base::unit);
    let histogram: &Histogram = stats.histogram(distribution);
    let buckets: Vec<(f64, u64)> = histogram
        .buckets
        .iter()
        .map(|(bound, count)| {
            let end = bound.map_or(f64::INFINITY, |bound| bound as f64 / scale);
            (end, *count)
        })
        .collect();
    encoder
        .encode_descriptor(
            name,
            distribution.help,
            unit.as_ref(),
            MetricType::Histogram,
        )?
        .encode_histogram(
            histogram.sum as f64 / scale,
            histogram.count(),
            &buckets,
            None::<&std::collections::HashMap<usize, Exemplar<NoLabelSet, f64>>>,
        )
}

/// Names that read the same are added up: a series that is told twice would spoil the whole scrape, and what
/// destinations are called is up to clients.
fn encode_destinations(
    encoder: &mut DescriptorEncoder<'_>,
    destinations: &[DestinationEntry],
) -> fmt::Result {
    let mut by_name: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    for entry in destinations {
        let sums = by_name.entry(readable(&entry.destination)).or_default();
        for (sum, value) in sums
            .iter_mut()
            .zip([entry.hits, entry.misses, entry.cached])
        {
            *sum = sum.saturating_add(value);
        }
    }
    let (name, help) = DESTINATION_LOOKUPS;
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (destination, [hits, misses, _]) in &by_name {
        for (result, value) in [("hit", hits), ("miss", misses)] {
            let labels = [("destination", destination.as_str()), ("result", result)];
            encode_counter(&mut metric.encode_family(&labels)?, *value)?;
        }
    }
    let (name, help) = DESTINATION_CONNECTIONS;
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (destination, [_, _, cached]) in &by_name {
        let labels = [("destination", destination.as_str())];
        metric.encode_family(&labels)?.encode_gauge(cached)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
