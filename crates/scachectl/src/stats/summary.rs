//! The head of `scachectl stats`: what an operator wants to know first, and what to set if something is cut off.

use std::path::Path;
use std::time::Duration;

use scache_client::administration::Stats;

use super::{mean, quantile};
use crate::figures::{per_cent, time};
use crate::labels::printable;

/// Returns the lines above the table.
pub(super) fn summary(stats: &Stats, path: &Path) -> Vec<String> {
    let state = match stats.draining {
        0 => "",
        _ => ", draining: it caches nothing new (`scachectl drain --off` ends it)",
    };
    let (lookups, reuse) = (Share::lookups(stats), Share::reuse(stats));
    let mut lines = vec![
        format!(
            "scache {} at {}: up {}{state}",
            printable(&stats.version),
            path.display(),
            time(Duration::from_secs(stats.uptime_seconds))
        ),
        format!(
            "reuse         {reuse} of {} uses of a connection ({} taken from the cache, {} saved for the first time)",
            reuse.whole, reuse.part, stats.connections_new
        ),
        format!(
            "hit rate      {lookups} of {} lookups (by destination {}, by endpoint {})",
            lookups.whole,
            Share::of(stats.destination_hits, stats.destination_misses),
            Share::of(stats.endpoint_hits, stats.endpoint_misses),
        ),
        format!("service time  {}", service_time(stats)),
        format!(
            "uses          {} reuses, on average the {}th of their connection",
            stats.taken_times.count(),
            mean(&stats.taken_times)
        ),
        format!(
            "room          {} of {} connections, {} of {} clients",
            stats.connections, stats.connection_limit, stats.clients, stats.client_limit
        ),
        format!(
            "removed       {} expired, {} evicted, {} ended by their peers, {} retired",
            stats.connections_expired,
            evicted(stats),
            ended_by_peers(stats),
            stats.connections_retired
        ),
        format!(
            "refused       {} saves, {} requests, {} clients",
            saves_refused(stats),
            sum(&[
                stats.requests_refused_malformed,
                stats.requests_refused_unknown
            ]),
            clients_dropped(stats)
        ),
        format!(
            "ttl limit     {}s, which cut {} saves",
            stats.ttl_limit_seconds, stats.saves_ttl_cut
        ),
    ];
    lines.extend(
        advice(stats)
            .iter()
            .map(|line| format!("              {line}")),
    );
    lines
}

/// What to set if connections are kept for less time than their clients ask for.
fn advice(stats: &Stats) -> Vec<String> {
    let (ttl, idle) = (stats.ttl_limit_seconds, stats.max_idle_seconds);
    let mut lines = Vec::new();
    if stats.saves_ttl_cut > 0 {
        lines.push(TTL_ADVICE.to_owned());
    }
    if (1..ttl).contains(&idle) {
        lines.push(format!(
            "without a client everything is closed after {idle}s: max_idle is less than the ttl limit (in master.cf: \
             -o max_idle={ttl}s; scached: --max-idle)"
        ));
    }
    lines
}

/// What to do about times to live that were cut.
const TTL_ADVICE: &str =
    "clients ask for more: set connection_cache_ttl_limit in main.cf, or --ttl-limit of scached";

/// How long requests took, in words.
fn service_time(stats: &Stats) -> String {
    let times = &stats.service_microseconds;
    match times.count() {
        0 => "-".to_owned(),
        _ => format!(
            "median {} µs, 99th percentile {} µs",
            quantile(times, 0.5),
            quantile(times, 0.99)
        ),
    }
}

fn evicted(stats: &Stats) -> u64 {
    sum(&[
        stats.evicted_connection_limit,
        stats.evicted_endpoint_limit,
        stats.evicted_byte_limit,
        stats.evicted_descriptors,
    ])
}

fn ended_by_peers(stats: &Stats) -> u64 {
    sum(&[
        stats.dropped_closed,
        stats.dropped_reset,
        stats.dropped_spoke,
    ])
}

fn saves_refused(stats: &Stats) -> u64 {
    sum(&[
        stats.saves_refused_no_descriptor,
        stats.saves_refused_truncated,
        stats.saves_refused_own_connection,
    ])
}

/// Clients that were sent away or dropped; not those that were idle and made room.
fn clients_dropped(stats: &Stats) -> u64 {
    sum(&[
        stats.clients_refused_user,
        stats.clients_refused_full,
        stats.clients_dropped_late,
        stats.clients_dropped_too_long,
        stats.clients_dropped_stray_descriptor,
        stats.clients_dropped_memory,
        stats.clients_dropped_not_reading,
    ])
}

/// Adds up what another process told, which may be anything.
fn sum(numbers: &[u64]) -> u64 {
    numbers
        .iter()
        .fold(0, |sum, number| sum.saturating_add(*number))
}

/// A part of a whole, both counted. Shown in per cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) part: u64,
    pub(crate) whole: u64,
}

impl Share {
    /// The share of one number in the sum of two.
    pub(crate) fn of(part: u64, rest: u64) -> Self {
        Self {
            part,
            whole: part.saturating_add(rest),
        }
    }

    /// The hit rate: lookups that found a connection, in all lookups. A client that asks by destination and then by
    /// endpoint looks twice.
    pub(crate) fn lookups(stats: &Stats) -> Self {
        let misses = sum(&[stats.destination_misses, stats.endpoint_misses]);
        Self::of(taken(stats), misses)
    }

    /// The reuse: connections taken from the cache, in those and the ones saved for the first time. For smtp(8) that is
    /// the share of deliveries over a cached connection, as far as the connections of the others were saved at all.
    pub(crate) fn reuse(stats: &Stats) -> Self {
        Self::of(taken(stats), stats.connections_new)
    }

    /// Returns what came since an earlier look; nothing if that was at another process.
    pub(crate) fn since(self, earlier: Self) -> Self {
        match (
            self.part.checked_sub(earlier.part),
            self.whole.checked_sub(earlier.whole),
        ) {
            (Some(part), Some(whole)) => Self { part, whole },
            _ => Self::default(),
        }
    }

    /// Returns the share in per cent; `None` of nothing.
    pub(crate) fn per_cent(self) -> Option<f64> {
        (self.whole > 0).then(|| 100.0 * self.part as f64 / self.whole as f64)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&per_cent(self.part, self.whole))
    }
}

fn taken(stats: &Stats) -> u64 {
    sum(&[stats.destination_hits, stats.endpoint_hits])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(stats: &Stats) -> String {
        summary(stats, Path::new("/run/s")).join("\n")
    }

    #[test]
    fn the_reuse_of_postfix_is_not_halved_by_its_second_lookup() {
        // 200 mails over 5 connections: smtp(8) asks by destination, which never hits, and then by endpoint.
        let stats = Stats {
            destination_misses: 200,
            endpoint_hits: 195,
            endpoint_misses: 5,
            connections_new: 5,
            connections_saved: 200,
            ..Stats::default()
        };
        let text = told(&stats);
        assert!(text.contains("reuse         97.5 % of 200 uses"), "{text}");
        assert!(
            text.contains("hit rate      48.8 % of 400 lookups"),
            "{text}"
        );
    }

    #[test]
    fn limits_that_take_something_away_say_what_to_set() {
        let mut stats = Stats {
            ttl_limit_seconds: 300,
            ..Stats::default()
        };
        let text = told(&stats);
        assert!(
            text.contains("ttl limit     300s, which cut 0 saves"),
            "{text}"
        );
        assert!(!text.contains("connection_cache_ttl_limit"), "{text}");
        assert!(!text.contains("max_idle"), "{text}");
        stats.saves_ttl_cut = 1_234_567;
        stats.max_idle_seconds = 100;
        let text = told(&stats);
        for part in [
            "which cut 1234567 saves",
            "set connection_cache_ttl_limit in main.cf, or --ttl-limit of scached",
            "closed after 100s",
            "-o max_idle=300s",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn removed_and_refused_are_told_by_kind() {
        let stats = Stats {
            connections_expired: 1,
            evicted_endpoint_limit: 2,
            evicted_descriptors: 1,
            dropped_spoke: 4,
            connections_retired: 5,
            saves_refused_truncated: 6,
            requests_refused_unknown: 7,
            clients_dropped_late: 8,
            clients_closed_idle: 100,
            ..Stats::default()
        };
        let text = told(&stats);
        for part in [
            "removed       1 expired, 3 evicted, 4 ended by their peers, 5 retired",
            "refused       6 saves, 7 requests, 8 clients",
            "service time  -",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn another_process_counts_from_the_beginning() {
        let (few, many) = (Share::of(1, 1), Share::of(4, 5));
        assert_eq!(many.since(few), Share::of(3, 4));
        assert_eq!(few.since(many), Share::default());
    }
}
