//! What Prometheus reads: each number of the cache under a name, with labels and a unit, by its conventions.
//!
//! [`families`] says what becomes of which number.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use scache_client::administration::{DestinationEntry, Distribution, Histogram, Kind, Stats};

use super::names::readable;

mod families;

use families::{Base, DISTRIBUTIONS, FAMILIES, Family, NO_LIMIT_IF_0};

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
