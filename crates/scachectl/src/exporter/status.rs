//! What the page asks for each second: `/status.json`.
//!
//! It is made for the page and changes with it. `scachectl stats --json` is for others.

use scache_client::administration::{Histogram, Stats};
use serde_json::{Map, Value, json};

use super::names::readable;
use super::source::Source;

/// So many destinations are shown.
const DESTINATIONS: usize = 15;

/// What a page has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The time of the last sample.
    sample: u64,
    /// The number of the last event.
    event: u64,
}

impl Known {
    /// Reads `sample=1700000000000&event=17`. What is missing or makes no sense is 0: then everything is told.
    pub(super) fn parse(query: &str) -> Self {
        let number = |wanted: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(name, _)| *name == wanted)
                .and_then(|(_, value)| value.parse().ok())
                .unwrap_or_default()
        };
        Self {
            sample: number("sample"),
            event: number("event"),
        }
    }
}

/// The answer to a page.
pub(super) async fn status(source: &mut Source, known: Known) -> Value {
    let reading = source.stats().await;
    let mut status = json!({
        "exporter": env!("CARGO_PKG_VERSION"),
        "started": source.started(),
        "socket": source.socket().display().to_string(),
        "at": reading.at,
    });
    match &reading.stats {
        Err(reason) => status["away"] = json!(reason),
        Ok(stats) => {
            status["stats"] = numbers(stats);
            status["destinations"] = source
                .busiest()
                .await
                .iter()
                .take(DESTINATIONS)
                .map(|entry| {
                    json!({
                        "name": readable(&entry.destination),
                        "hits": entry.hits,
                        "misses": entry.misses,
                        "cached": entry.cached,
                    })
                })
                .collect();
            status["events"] = source
                .events_since(known.event)
                .await
                .map(|event| {
                    json!({
                        "number": event.number,
                        "at": event.at,
                        "what": event.entry.what.map(|what| what.name()),
                        "name": readable(&event.entry.label),
                        "text": readable(event.entry.text.as_bytes()),
                    })
                })
                .collect();
        }
    }
    status["samples"] = source
        .samples_since(known.sample)
        .map(|sample| {
            json!([
                sample.at,
                sample.hits,
                sample.misses,
                sample.saved,
                sample.connections,
                sample.clients
            ])
        })
        .collect();
    status
}

/// Under the names that they have on the wire.
fn numbers(stats: &Stats) -> Value {
    let fields = Stats::FIELDS
        .iter()
        .map(|field| (field.name, json!(stats.value(field))));
    let distributions = Stats::DISTRIBUTIONS.iter().map(|distribution| {
        let Histogram { buckets, sum } = stats.histogram(distribution);
        let value = json!({ "buckets": buckets, "sum": sum });
        (distribution.name, value)
    });
    let members: Map<String, Value> = fields
        .chain(distributions)
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_it_has() {
        for (query, sample, event) in [
            ("sample=12&event=3", 12, 3),
            ("event=3", 0, 3),
            ("sample=-1&event=x", 0, 0),
            ("", 0, 0),
        ] {
            assert_eq!(Known::parse(query), Known { sample, event }, "{query}");
        }
    }

    #[test]
    fn every_number_is_told() {
        let mut stats = Stats {
            clients: 3,
            ..Stats::default()
        };
        stats.taken_times.observe(2, 1);
        let told = numbers(&stats);
        assert_eq!(told["clients"], 3);
        assert_eq!(told["taken_times"]["buckets"][1], json!([2, 1]));
        let count = Stats::FIELDS.len() + Stats::DISTRIBUTIONS.len();
        assert_eq!(told.as_object().map(Map::len), Some(count));
    }
}
