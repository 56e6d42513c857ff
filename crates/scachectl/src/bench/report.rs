//! What is told in the end: a table for people, JSON for programs.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::names::Wire;
use super::tally::{Operations, Tally};

/// What was measured, and of what. The names of the fields are those of the JSON: they do not change.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    socket: String,
    protocol: &'static str,
    clients: usize,
    threads: usize,
    destinations: usize,
    endpoints: usize,
    keep: usize,
    seconds: f64,
    /// Whether it ended because the user said so.
    interrupted: bool,
    requests: u64,
    requests_per_second: f64,
    misses: u64,
    errors: u64,
    all: Figures,
    save: Figures,
    find: Figures,
}

/// Of one kind of operation.
#[derive(Debug, Serialize)]
struct Figures {
    operations: u64,
    per_second: f64,
    errors: u64,
    latency_us: Latency,
}

/// In microseconds; all 0 if there was no operation.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

type FigureOf = fn(&Latency) -> f64;

/// What was to be measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) socket: &'a Path,
    pub(super) wire: Wire,
    pub(super) clients: usize,
    pub(super) threads: usize,
    pub(super) destinations: usize,
    pub(super) endpoints: usize,
    pub(super) keep: usize,
}

impl Report {
    pub(super) fn new(
        setting: &Setting<'_>,
        tally: &Tally,
        elapsed: Duration,
        interrupted: bool,
    ) -> Self {
        let figures = |operations: &Operations| Figures::new(operations, elapsed);
        Self {
            socket: setting.socket.display().to_string(),
            protocol: setting.wire.name(),
            clients: setting.clients,
            threads: setting.threads,
            destinations: setting.destinations,
            endpoints: setting.endpoints,
            keep: setting.keep,
            seconds: rounded(elapsed.as_secs_f64(), 3),
            interrupted,
            requests: tally.requests,
            requests_per_second: per_second(tally.requests, elapsed),
            misses: tally.misses,
            errors: tally.errors(),
            all: figures(&tally.all()),
            save: figures(&tally.save),
            find: figures(&tally.find),
        }
    }

    /// One line for each figure, one column for each kind of operation.
    pub(super) fn table(&self) -> String {
        let columns = [&self.save, &self.find, &self.all];
        let mut text = format!(
            "{}: {} protocol, {}, {}, {}, {} s{}\n\n",
            self.socket,
            self.protocol,
            counted(self.clients, "client"),
            counted(self.destinations, "destination"),
            counted(self.endpoints, "endpoint"),
            self.seconds,
            if self.interrupted {
                ", interrupted"
            } else {
                ""
            },
        );
        let mut row = |title: &str, values: [String; 3]| {
            let [save, find, all] = values;
            text.push_str(&format!("{title:<18}{save:>14}{find:>14}{all:>14}\n"));
        };
        row("", ["save", "find", "all"].map(str::to_owned));
        row("operations", columns.map(|kind| grouped(kind.operations)));
        row(
            "per second",
            columns.map(|kind| grouped(kind.per_second.round() as u64)),
        );
        let latencies: [(&str, FigureOf); 5] = [
            ("50 % within, µs", |latency| latency.p50),
            ("90 % within, µs", |latency| latency.p90),
            ("99 % within, µs", |latency| latency.p99),
            ("99.9 % within, µs", |latency| latency.p99_9),
            ("longest, µs", |latency| latency.max),
        ];
        for (title, of) in latencies {
            row(
                title,
                columns.map(|kind| format!("{:.1}", of(&kind.latency_us))),
            );
        }
        let misses = grouped(self.misses);
        row("misses", [String::new(), misses.clone(), misses]);
        row("errors", columns.map(|kind| grouped(kind.errors)));
        text
    }
}

impl Figures {
    fn new(operations: &Operations, elapsed: Duration) -> Self {
        let latencies = &operations.latencies;
        let micros = |nanoseconds: u64| rounded(nanoseconds as f64 / 1000.0, 1);
        let quantile = |quantile| micros(latencies.value_at_quantile(quantile));
        Self {
            operations: latencies.len(),
            per_second: per_second(latencies.len(), elapsed),
            errors: operations.errors,
            latency_us: Latency {
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p99_9: quantile(0.999),
                max: micros(latencies.max()),
            },
        }
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 {
        rounded(count as f64 / seconds, 1)
    } else {
        0.0
    }
}

fn rounded(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(count as u64))
}

/// A number with a comma after every three digits, from behind.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_stand_in_groups_of_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn nothing_measured_is_told_without_nonsense() {
        let setting = Setting {
            socket: Path::new("/socket"),
            wire: Wire::Stock,
            clients: 1,
            threads: 1,
            destinations: 1,
            endpoints: 2,
            keep: 1,
        };
        let tally = Tally::new().unwrap();
        let report = Report::new(&setting, &tally, Duration::ZERO, true);
        let table = report.table();
        assert!(table.starts_with(
            "/socket: stock protocol, 1 client, 1 destination, 2 endpoints, 0 s, interrupted\n"
        ));
        assert!(!table.contains("NaN"), "{table}");
    }
}
