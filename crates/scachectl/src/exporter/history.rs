//! What the cache counted in the last hours, as often as somebody asked, for the graphs of the page.

use std::collections::VecDeque;
use std::time::Duration;

use scache_client::administration::Stats;

/// Samples are this far from each other at least.
const APART: Duration = Duration::from_secs(2);

/// Two hours of a page that is open all the time.
const SAMPLES: usize = 3600;

/// Samples, oldest first.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Sample>);

/// A few numbers at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sample {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    /// Found, by destination or endpoint, since the start.
    pub(super) hits: u64,
    /// Not found, likewise.
    pub(super) misses: u64,
    /// Saved since the start.
    pub(super) saved: u64,
    /// Cached at that time.
    pub(super) connections: u64,
    /// Connected at that time.
    pub(super) clients: u64,
}

impl History {
    /// Adds a sample, unless it is too near to the last one.
    pub(super) fn add(&mut self, sample: Sample) {
        let apart = u64::try_from(APART.as_millis()).unwrap_or(u64::MAX);
        // A clock that was set back begins anew.
        let near = |last: &Sample| last.at <= sample.at && sample.at - last.at < apart;
        if self.0.back().is_some_and(near) {
            return;
        }
        if self.0.back().is_some_and(|last| last.at > sample.at) {
            self.0.clear();
        }
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// Those after this time.
    pub(super) fn since(&self, at: u64) -> impl Iterator<Item = &Sample> {
        self.0.iter().skip_while(move |sample| sample.at <= at)
    }
}

impl Sample {
    pub(super) fn new(at: u64, stats: &Stats) -> Self {
        Self {
            at,
            hits: stats.destination_hits + stats.endpoint_hits,
            misses: stats.destination_misses + stats.endpoint_misses,
            saved: stats.connections_saved,
            connections: stats.connections,
            clients: stats.clients,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at: u64) -> Sample {
        Sample::new(at, &Stats::default())
    }

    fn times(history: &History, since: u64) -> Vec<u64> {
        history.since(since).map(|sample| sample.at).collect()
    }

    #[test]
    fn samples_are_apart() {
        let mut history = History::default();
        for time in [10_000, 11_999, 12_000, 12_001, 15_000] {
            history.add(at(time));
        }
        assert_eq!(times(&history, 0), [10_000, 12_000, 15_000]);
        assert_eq!(times(&history, 12_000), [15_000]);
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew() {
        let mut history = History::default();
        history.add(at(10_000));
        history.add(at(5_000));
        assert_eq!(times(&history, 0), [5_000]);
    }

    #[test]
    fn there_are_so_many_and_no_more() {
        let mut history = History::default();
        for number in 1..=SAMPLES as u64 + 1 {
            history.add(at(number * 2000));
        }
        assert_eq!(history.0.len(), SAMPLES);
        assert_eq!(history.0.front().map(|sample| sample.at), Some(4000));
    }
}
