//! What was measured: latencies in histograms, and what went wrong.

use std::io;
use std::time::Duration;

use hdrhistogram::Histogram;
use scache_proto::Status;

/// The longest latency that is told from a longer one, in nanoseconds.
const LONGEST: u64 = 3_600_000_000_000;

/// Latencies are known to one in a thousand.
const DIGITS: u8 = 3;

/// The operations. A save is complete when both binding and connection are saved, be it by two requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Save,
    Find,
}

/// What one thread, or all of them together, have seen.
pub(super) struct Tally {
    pub(super) save: Operations,
    pub(super) find: Operations,
    /// Finds that found nothing; they are among the finds.
    pub(super) misses: u64,
    /// Messages that were answered: two for a save in the stock protocol.
    pub(super) requests: u64,
    /// Clients that stopped because nothing went right any more.
    pub(super) gave_up: usize,
    /// The first thing that went wrong.
    pub(super) trouble: Option<String>,
}

/// Those of one kind.
pub(super) struct Operations {
    /// In nanoseconds.
    pub(super) latencies: Histogram<u64>,
    /// Not carried out; they are not among the latencies.
    pub(super) errors: u64,
}

impl Tally {
    /// # Errors
    /// In words; not with these limits.
    pub(super) fn new() -> Result<Self, String> {
        Ok(Self {
            save: Operations::new()?,
            find: Operations::new()?,
            misses: 0,
            requests: 0,
            gave_up: 0,
            trouble: None,
        })
    }

    pub(super) fn done(&mut self, kind: Kind, latency: Duration) {
        self.requests += 1;
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.of(kind).latencies.saturating_record(nanoseconds);
    }

    pub(super) fn missed(&mut self, latency: Duration) {
        self.misses += 1;
        self.done(Kind::Find, latency);
    }

    pub(super) fn failed(&mut self, kind: Kind, error: &io::Error) {
        self.of(kind).errors += 1;
        self.trouble.get_or_insert_with(|| explain(error));
    }

    pub(super) fn refused(&mut self, kind: Kind, status: Status) {
        self.of(kind).errors += 1;
        self.requests += 1;
        self.trouble.get_or_insert_with(|| match status {
            Status::Malformed => "the cache does not understand the request".to_owned(),
            Status::Done | Status::Failed => "the cache could not save a connection".to_owned(),
        });
    }

    pub(super) fn add(&mut self, other: Self) {
        for (mine, others) in [(&mut self.save, other.save), (&mut self.find, other.find)] {
            // Not with the same limits everywhere.
            let _ = mine.latencies.add(&others.latencies);
            mine.errors += others.errors;
        }
        self.misses += other.misses;
        self.requests += other.requests;
        self.gave_up += other.gave_up;
        self.trouble = self.trouble.take().or(other.trouble);
    }

    pub(super) fn operations(&self) -> u64 {
        self.save.latencies.len() + self.find.latencies.len()
    }

    pub(super) fn errors(&self) -> u64 {
        self.save.errors + self.find.errors
    }

    /// Saves and finds together.
    pub(super) fn all(&self) -> Operations {
        let mut latencies = self.save.latencies.clone();
        let _ = latencies.add(&self.find.latencies);
        Operations {
            latencies,
            errors: self.errors(),
        }
    }

    fn of(&mut self, kind: Kind) -> &mut Operations {
        match kind {
            Kind::Save => &mut self.save,
            Kind::Find => &mut self.find,
        }
    }
}

impl Operations {
    fn new() -> Result<Self, String> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, DIGITS);
        Ok(Self {
            latencies: latencies.map_err(|error| error.to_string())?,
            errors: 0,
        })
    }
}

/// A failure of a connection to the cache, in a few words.
pub(super) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut => "no answer in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "the cache closed the connection".to_owned(),
        io::ErrorKind::InvalidData => {
            "what answers does not speak the connection cache protocol".to_owned()
        }
        io::ErrorKind::Unsupported => {
            "the cache does not know inline descriptors any more".to_owned()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_saw_adds_up() {
        let mut all = Tally::new().unwrap();
        for thread in 1..=2 {
            let mut tally = Tally::new().unwrap();
            for _ in 0..thread {
                tally.done(Kind::Save, Duration::from_micros(10));
                tally.done(Kind::Find, Duration::from_micros(30));
                tally.missed(Duration::from_micros(20));
            }
            tally.failed(Kind::Find, &io::ErrorKind::TimedOut.into());
            tally.refused(Kind::Save, Status::Failed);
            all.add(tally);
        }
        assert_eq!((all.operations(), all.requests, all.misses), (9, 11, 3));
        assert_eq!((all.save.errors, all.find.errors, all.errors()), (2, 2, 4));
        assert_eq!(all.trouble.as_deref(), Some("no answer in time"));
        let together = all.all();
        assert_eq!((together.latencies.len(), together.errors), (9, 4));
        let half = together.latencies.value_at_quantile(0.5);
        assert!(half.abs_diff(20_000) <= 20, "{half}");
    }
}
