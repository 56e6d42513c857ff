//! What happens in a cache, told in order and once.

use scache_client::administration::{EventEntry, Page};
use scache_client::{Client, Error};

/// How far one has read.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cursor {
    /// What to ask for next.
    from: u64,
    /// Whether anything was told yet: before that there is no gap.
    begun: bool,
}

/// What happened since it was asked last.
#[derive(Debug, Default)]
pub(crate) struct Happened {
    /// How many events before these the cache forgot.
    pub(crate) forgotten: u64,
    /// Oldest first.
    pub(crate) entries: Vec<EventEntry>,
}

impl Cursor {
    /// Asks once. What is left is told the next time.
    pub(crate) fn read(&mut self, client: &mut Client) -> Result<Happened, Error> {
        loop {
            let page = client.events(self.from)?;
            if let Some(happened) = self.take(page) {
                return Ok(happened);
            }
        }
    }

    /// What to ask for.
    pub(crate) fn from(&self) -> u64 {
        self.from
    }

    /// Takes over what was told. `None`: by another process, which counts from the beginning; ask again.
    pub(crate) fn take(&mut self, page: Page<EventEntry>) -> Option<Happened> {
        let next = page.next.unwrap_or(self.from);
        if next < self.from {
            *self = Self::default();
            return None;
        }
        let first = page.entries.first().map_or(next, |entry| entry.number);
        let forgotten = if self.begun {
            first.saturating_sub(self.from)
        } else {
            0
        };
        *self = Self {
            from: next,
            begun: true,
        };
        Some(Happened {
            forgotten,
            entries: page.entries,
        })
    }
}
