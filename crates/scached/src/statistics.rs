//! The statistics lines, which log parsers match whole.

use std::fmt;
use std::time::SystemTime;

use scache_store::Statistics;
use scache_sys::local_time::LocalTime;

use crate::log::Log;

/// Logs the lines of an interval that began at `since`.
pub(crate) fn log(log: &Log, since: SystemTime, interval: &Statistics) {
    for line in lines(since, interval) {
        log.info(line);
    }
}

/// The lines of an interval: none if nothing happened in it.
fn lines(since: SystemTime, interval: &Statistics) -> Vec<String> {
    let mut lines = Vec::new();
    lines.extend(lookups(
        "domain",
        interval.destination_hits,
        interval.destination_misses,
    ));
    lines.extend(lookups(
        "address",
        interval.endpoint_hits,
        interval.endpoint_misses,
    ));
    let (domains, addresses, connections) = (
        interval.most_destinations,
        interval.most_endpoints,
        interval.most_connections,
    );
    if domains > 0 || addresses > 0 || connections > 0 {
        lines.push(format!(
            "statistics: max simultaneous domains={domains} addresses={addresses} connection={connections}"
        ));
    }
    if !lines.is_empty() {
        let since = LocalTime::from(since);
        lines.insert(0, format!("statistics: start interval {since}"));
    }
    lines
}

fn lookups(what: impl fmt::Display, hits: u64, misses: u64) -> Option<String> {
    let all = hits + misses;
    (all > 0).then(|| {
        let success = hits * 100 / all;
        format!("statistics: {what} lookup hits={hits} miss={misses} success={success}%")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_thing_that_happened() {
        let since = SystemTime::now();
        let start = format!("statistics: start interval {}", LocalTime::from(since));
        let all = Statistics {
            destination_hits: 51,
            destination_misses: 9,
            endpoint_hits: 4,
            endpoint_misses: 5,
            most_destinations: 1,
            most_endpoints: 1,
            most_connections: 5,
        };
        assert_eq!(
            lines(since, &all),
            [
                &start,
                "statistics: domain lookup hits=51 miss=9 success=85%",
                "statistics: address lookup hits=4 miss=5 success=44%",
                "statistics: max simultaneous domains=1 addresses=1 connection=5",
            ]
        );
        let misses = Statistics {
            endpoint_misses: 3,
            ..Statistics::default()
        };
        assert_eq!(
            lines(since, &misses),
            [
                &start,
                "statistics: address lookup hits=0 miss=3 success=0%",
            ]
        );
        assert!(lines(since, &Statistics::default()).is_empty());
    }
}
