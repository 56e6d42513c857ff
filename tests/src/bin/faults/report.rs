//! What is printed, and what was promised.

use std::process::ExitCode;
use std::time::Duration;

/// The promises that were broken so far.
#[derive(Debug)]
pub struct Report {
    broken: Vec<String>,
    judges_times: bool,
}

impl Report {
    /// `judges_times`: promises about times count. A short run among other tests proves nothing about them.
    pub fn new(judges_times: bool) -> Self {
        Self {
            broken: Vec::new(),
            judges_times,
        }
    }

    /// A heading.
    pub fn part(&self, heading: &str) {
        println!("\n{heading}\n");
    }

    /// A row of a table.
    pub fn row(&self, name: &str, text: &str) {
        println!("    {name:<22} {text}");
    }

    /// A promise of ours, and whether it was kept.
    pub fn promise(&mut self, promise: &str, kept: bool) {
        let verdict = if kept { "kept" } else { "BROKEN" };
        println!("    {verdict:<7} {promise}");
        if !kept {
            self.broken.push(promise.to_owned());
        }
    }

    /// A promise about times, which a machine that does other things as well may break.
    pub fn timed_promise(&mut self, promise: &str, kept: bool) {
        if self.judges_times {
            self.promise(promise, kept);
        } else {
            println!("    {:<7} {promise}", "-");
        }
    }

    /// The end, for whoever started this.
    pub fn conclude(self) -> ExitCode {
        if self.broken.is_empty() {
            println!("\nAll promises were kept.");
            return ExitCode::SUCCESS;
        }
        println!("\n{} promises were broken:", self.broken.len());
        for promise in &self.broken {
            println!("    {promise}");
        }
        ExitCode::FAILURE
    }
}

/// Times, in order.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Puts them in order.
    pub fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self(times)
    }

    /// The time that so many of a thousand do not exceed.
    pub fn per_mille(&self, per_mille: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        let index = (self.0.len() * per_mille / 1_000).min(last);
        self.0.get(index).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let microseconds = |per_mille| self.per_mille(per_mille).as_secs_f64() * 1e6;
        write!(
            out,
            "p50 {:>6.0} µs  p99 {:>6.0} µs",
            microseconds(500),
            microseconds(990)
        )
    }
}

/// A part of a whole, in percent.
pub fn percent(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        return 100.0;
    }
    part as f64 * 100.0 / whole as f64
}
