//! `scachectl stats`: what a cache counts, as a table or as JSON.

mod summary;

use std::path::Path;
use std::process::ExitCode;

use scache_client::administration::{Histogram, Stats};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::cache::Cache;
use crate::failure::Failure;
use crate::output::{Output, Stop, finish};
use crate::socket::Socket;
use summary::summary;

pub(crate) use summary::Share;

/// Show counters since the cache started.
///
/// Reuse is the share of connections taken from the cache in those and the ones saved for the first time: under Postfix,
/// the share of deliveries over a cached connection. The hit rate is the share of lookups that found a connection; smtp(8)
/// asks by destination and then by each endpoint, and each of these counts.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One object in JSON, as docs/stats.schema.json describes it
    #[arg(long, conflicts_with_all = ["all", "explain"])]
    json: bool,

    /// Also what is 0
    #[arg(long)]
    all: bool,

    /// Say what each number is
    #[arg(long)]
    explain: bool,
}

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        let mut cache = Cache::new(socket);
        let stats = cache.ask(scache_client::Client::stats)?;
        finish(self.write(&stats, cache.path()))
    }

    fn write(&self, stats: &Stats, path: &Path) -> Result<Output, Stop> {
        let mut output = Output::new();
        if self.json {
            output.json(&Json(stats))?;
        } else {
            for line in summary(stats, path) {
                output.line(&line)?;
            }
            for line in self.table(stats) {
                output.line(&line)?;
            }
        }
        Ok(output)
    }

    fn table(&self, stats: &Stats) -> Vec<String> {
        let mut lines = Vec::new();
        let mut pending = None;
        for field in Stats::FIELDS {
            if let Some(title) = title(field.name) {
                pending = Some(title);
            }
            let value = stats.value(field);
            if value == 0 && !self.all {
                continue;
            }
            if let Some(title) = pending.take() {
                lines.extend([String::new(), title.to_owned()]);
            }
            let line = format!("  {:<32} {:>13}", field.name, value);
            lines.push(if self.explain {
                format!("{line}  {}", field.help)
            } else {
                line
            });
        }
        let mut has_title = false;
        for distribution in Stats::DISTRIBUTIONS {
            let histogram = stats.histogram(distribution);
            if histogram.count() == 0 && !self.all {
                continue;
            }
            if !std::mem::replace(&mut has_title, true) {
                lines.push(String::new());
                lines.push(format!(
                    "{:<34} {:>13} {:>10} {:>10} {:>10}",
                    "Distributions", "values", "mean", "median", "99th pct"
                ));
            }
            let line = format!(
                "  {:<32} {:>13} {:>10} {:>10} {:>10}",
                distribution.name,
                histogram.count(),
                mean(histogram),
                quantile(histogram, 0.5),
                quantile(histogram, 0.99),
            );
            lines.push(if self.explain {
                format!("{line}  {}", distribution.help)
            } else {
                line
            });
        }
        lines
    }
}

/// The heading above a field, if one begins there. Fields are told in groups already.
fn title(field: &str) -> Option<&'static str> {
    Some(match field {
        "uptime_seconds" => "Service",
        "destination_hits" => "Lookups",
        "connections" => "Cached",
        "connections_saved" => "Saved",
        "connections_expired" => "Removed",
        "goodbyes_said" => "Goodbyes",
        "saves_refused_no_descriptor" => "Refused",
        "clients" => "Clients",
        "connections_handed_over" => "Handed over",
        "descriptors" => "Descriptors",
        _ => return None,
    })
}

/// The end of the bucket in which a share of the values ends.
pub(crate) fn quantile(histogram: &Histogram, share: f64) -> String {
    match (
        histogram.quantile(share),
        histogram.buckets.iter().rev().nth(1),
    ) {
        _ if histogram.count() == 0 => "-".to_owned(),
        (Some(end), _) => format!("≤ {end}"),
        (None, Some((Some(last), _))) => format!("> {last}"),
        (None, _) => "?".to_owned(),
    }
}

fn mean(histogram: &Histogram) -> String {
    match histogram.count() {
        0 => "-".to_owned(),
        count => format!("{:.1}", histogram.sum as f64 / count as f64),
    }
}

/// All of it, under the names that it has on the wire.
struct Json<'a>(&'a Stats);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let length = 1 + Stats::FIELDS.len() + Stats::DISTRIBUTIONS.len();
        let mut map = serializer.serialize_map(Some(length))?;
        map.serialize_entry("version", &self.0.version)?;
        for field in Stats::FIELDS {
            map.serialize_entry(field.name, &self.0.value(field))?;
        }
        for distribution in Stats::DISTRIBUTIONS {
            let histogram = self.0.histogram(distribution);
            map.serialize_entry(distribution.name, &JsonHistogram(histogram))?;
        }
        map.end()
    }
}

struct JsonHistogram<'a>(&'a Histogram);

impl Serialize for JsonHistogram<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(serde::Serialize)]
        struct Bucket {
            up_to: Option<u64>,
            count: u64,
        }
        let buckets = self.0.buckets.iter();
        let buckets: Vec<Bucket> = buckets
            .map(|&(up_to, count)| Bucket { up_to, count })
            .collect();
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("buckets", &buckets)?;
        map.serialize_entry("count", &self.0.count())?;
        map.serialize_entry("sum", &self.0.sum)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy() -> Stats {
        let mut stats = Stats {
            destination_hits: 3,
            destination_misses: 1,
            connections: 2,
            ..Stats::default()
        };
        stats.service_microseconds.observe(15, 99);
        stats.service_microseconds.observe(1_000_000, 1);
        stats
    }

    fn table(all: bool) -> String {
        let arguments = Arguments {
            json: false,
            all,
            explain: false,
        };
        arguments.table(&busy()).join("\n")
    }

    #[test]
    fn what_is_zero_is_left_out_unless_asked_for() {
        let (some, all) = (table(false), table(true));
        for name in ["destination_hits", "connections ", "service_microseconds"] {
            assert!(some.contains(name), "{some}");
        }
        assert!(
            !some.contains("draining") && !some.contains("Refused"),
            "{some}"
        );
        let names = Stats::FIELDS.iter().map(|field| field.name);
        for name in names.chain(Stats::DISTRIBUTIONS.iter().map(|field| field.name)) {
            assert!(all.contains(name), "{name}: {all}");
        }
    }

    #[test]
    fn each_group_has_its_title_once() {
        let titles: Vec<&str> = Stats::FIELDS
            .iter()
            .filter_map(|field| title(field.name))
            .collect();
        assert_eq!(titles.len(), 10, "a field that begins a group was renamed");
        assert!(title(Stats::FIELDS[0].name).is_some());
    }

    #[test]
    fn the_summary_says_rates_and_times() {
        let lines = summary(&busy(), Path::new("/run/s")).join("\n");
        for part in ["75.0 % of 4", "median ≤ 20 µs, 99th percentile ≤ 20 µs"] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        assert_eq!(quantile(&busy().service_microseconds, 1.0), "> 200000");
        assert_eq!(quantile(&busy().taken_times, 1.0), "-");
    }

    #[test]
    fn numbers_can_be_copied() {
        let stats = Stats {
            requests: 1_234_567,
            ..Stats::default()
        };
        let arguments = Arguments {
            json: false,
            all: false,
            explain: false,
        };
        let lines = arguments.table(&stats).join("\n");
        assert!(lines.contains(" 1234567"), "{lines}");
    }
}
