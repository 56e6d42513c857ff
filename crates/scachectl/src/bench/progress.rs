//! One line while it goes on, on standard error: over and over on a terminal, else one after the other.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use super::report::grouped;

pub(super) struct Progress {
    manner: Manner,
    began: Instant,
    /// When the last line was written, and how many operations it told of.
    last: (Instant, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    None,
    Overwrite,
    Lines,
}

impl Progress {
    /// Lines are written to what is no terminal only if that is `wanted`.
    pub(super) fn new(wanted: bool) -> Self {
        let manner = match (std::io::stderr().is_terminal(), wanted) {
            (true, _) => Manner::Overwrite,
            (false, true) => Manner::Lines,
            (false, false) => Manner::None,
        };
        let now = Instant::now();
        Self {
            manner,
            began: now,
            last: (now, 0),
        }
    }

    /// How long to wait before the next line.
    pub(super) fn interval(&self) -> Duration {
        match self.manner {
            Manner::Overwrite => Duration::from_millis(250),
            Manner::None | Manner::Lines => Duration::from_secs(1),
        }
    }

    pub(super) fn show(&mut self, operations: u64) {
        let now = Instant::now();
        let (before, known) = self.last;
        self.last = (now, operations);
        let elapsed = now.saturating_duration_since(before).as_secs_f64();
        let pace = operations.saturating_sub(known) as f64 / elapsed.max(0.001);
        let line = format!(
            "{:.1} s: {} operations, {} per second",
            now.saturating_duration_since(self.began).as_secs_f64(),
            grouped(operations),
            grouped(pace.round() as u64),
        );
        // That nobody can read it is no reason to stop.
        let mut stderr = std::io::stderr().lock();
        let _ = match self.manner {
            Manner::None => Ok(()),
            Manner::Overwrite => write!(stderr, "\r{line}\x1b[K"),
            Manner::Lines => writeln!(stderr, "{line}"),
        };
    }

    /// Takes the line away that was overwritten so far.
    pub(super) fn end(&self) {
        if self.manner == Manner::Overwrite {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
