//! What happened lately, for as long as somebody wants to know.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use scache_proto::administration::encode_next;
use scache_proto::attr::Attributes;
use scache_proto::entries::{EventEntry, Happening};
use scache_store::Reason;

use super::portion::Portion;

/// What happened lately.
#[derive(Debug)]
pub(super) struct Journal {
    /// Nobody wants to know after this.
    until: Option<Instant>,
    events: VecDeque<(Instant, EventEntry)>,
    /// The number of the next event.
    next: u64,
}

impl Journal {
    /// How long it goes on after somebody has asked.
    const ATTENTION: Duration = Duration::from_secs(10);

    /// How many events are kept.
    const MOST: usize = 4096;

    /// How much of a label is kept.
    const LABEL_BYTES: usize = 256;

    /// How many events are told at once.
    const PAGE: usize = 256;

    pub(super) fn new() -> Self {
        Self {
            until: None,
            events: VecDeque::new(),
            next: 1,
        }
    }

    /// Takes note of something, if anybody wants to know.
    pub(super) fn record(&mut self, now: Instant, what: Happening, label: &[u8], text: &[u8]) {
        let Some(until) = self.until else {
            return;
        };
        if until < now {
            self.until = None;
            self.events = VecDeque::new();
            return;
        }
        if self.events.len() == Self::MOST {
            self.events.pop_front();
        }
        let event = EventEntry {
            number: self.next,
            what: Some(what),
            label: label[..label.len().min(Self::LABEL_BYTES)].into(),
            ago: Duration::ZERO,
            text: text.escape_ascii().to_string(),
        };
        self.events.push_back((now, event));
        self.next += 1;
    }

    /// Tells what happened from a number on, and goes on for a while.
    pub(super) fn tell(&mut self, now: Instant, from: u64, report: &mut Attributes) {
        self.until = now.checked_add(Self::ATTENTION);
        let first = self
            .events
            .front()
            .map_or(self.next, |(_, event)| event.number);
        // Who comes from a process before this one begins anew.
        let from = if from > self.next { 0 } else { from };
        let skipped = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
        let mut next = self.next;
        let mut portion = Portion::new(report, Self::PAGE);
        for (at, event) in self.events.iter().skip(skipped) {
            if portion.is_full() {
                next = event.number;
                break;
            }
            let event = EventEntry {
                ago: now.saturating_duration_since(*at),
                ..event.clone()
            };
            portion.tell(&event);
        }
        encode_next(report, next);
    }
}

/// What happened to a connection that was let go of for a reason.
pub(super) fn happening(reason: Reason) -> Happening {
    match reason {
        Reason::Expired => Happening::Expired,
        Reason::Evicted => Happening::Evicted,
        Reason::Purged => Happening::Purged,
        Reason::Drained => Happening::Drained,
        Reason::Retired => Happening::Retired,
        Reason::Cleared => Happening::Cleared,
        Reason::Closed => Happening::Closed,
        Reason::Reset => Happening::Reset,
        Reason::Spoke => Happening::Spoke,
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]
mod tests {
    use super::*;
    use scache_proto::administration::Page;
    use scache_proto::limits;

    fn tell(journal: &mut Journal, now: Instant, from: u64) -> (Vec<u64>, u64) {
        let mut report = Attributes::default();
        journal.tell(now, from, &mut report);
        let page = Page::<EventEntry>::parse(report.list());
        let numbers = page.entries.iter().map(|event| event.number).collect();
        (numbers, page.next.unwrap_or_default())
    }

    #[test]
    fn nothing_is_kept_until_somebody_asks_nor_long_after() {
        let mut journal = Journal::new();
        let now = Instant::now();
        journal.record(now, Happening::Saved, b"e", b"");
        assert_eq!(tell(&mut journal, now, 0), (vec![], 1));
        journal.record(now, Happening::Saved, b"e", b"");
        journal.record(now, Happening::Taken, b"e", b"");
        assert_eq!(tell(&mut journal, now, 1), (vec![1, 2], 3));
        assert_eq!(tell(&mut journal, now, 2), (vec![2], 3));
        assert_eq!(tell(&mut journal, now, 3), (vec![], 3));
        // From another process.
        assert_eq!(tell(&mut journal, now, 99), (vec![1, 2], 3));
        let later = now + Journal::ATTENTION + Duration::from_nanos(1);
        journal.record(later, Happening::Saved, b"e", b"");
        assert_eq!(tell(&mut journal, later, 0), (vec![], 3));
    }

    #[test]
    fn the_oldest_are_forgotten_and_a_page_ends() {
        let mut journal = Journal::new();
        let now = Instant::now();
        tell(&mut journal, now, 0);
        for _ in 0..Journal::MOST + 4 {
            journal.record(now, Happening::Saved, b"e", b"");
        }
        let label = vec![b'x'; 2 * Journal::LABEL_BYTES];
        journal.record(now, Happening::Saved, &label, b"");
        let last = journal.events.back().map(|(_, event)| event.label.len());
        assert_eq!(last, Some(Journal::LABEL_BYTES));
        let (numbers, next) = tell(&mut journal, now, 1);
        assert_eq!(numbers, (6..6 + Journal::PAGE as u64).collect::<Vec<_>>());
        assert_eq!(next, 6 + Journal::PAGE as u64);
    }

    #[test]
    fn a_page_of_the_longest_events_can_be_read() {
        let mut journal = Journal::new();
        let now = Instant::now();
        tell(&mut journal, now, 0);
        // Each byte takes four when it is told.
        let said = [0xff; 200];
        for _ in 0..Journal::PAGE {
            journal.record(now, Happening::Spoke, &[b'x'; Journal::LABEL_BYTES], &said);
        }
        let mut report = Attributes::default();
        journal.tell(now, 1, &mut report);
        assert!(report.bytes() < limits::LIST_BYTES / 2);
        let mut from = 1;
        let mut told = Vec::new();
        while from <= Journal::PAGE as u64 {
            let (numbers, next) = tell(&mut journal, now, from);
            told.extend(numbers);
            from = next;
        }
        assert_eq!(told, (1..=Journal::PAGE as u64).collect::<Vec<_>>());
    }
}
