//! As many entries as are told at once.

use scache_proto::administration::{Entry, encode_entry};
use scache_proto::attr::Attributes;

/// An answer that ends after so many entries, or when it is long enough: labels and texts that are long would make
/// a list that no client reads.
#[derive(Debug)]
pub(super) struct Portion<'a> {
    report: &'a mut Attributes,
    entries: usize,
}

impl<'a> Portion<'a> {
    /// How many bytes are enough.
    const BYTES: usize = 32 * 1024;

    /// With room for so many entries.
    pub(super) fn new(report: &'a mut Attributes, entries: usize) -> Self {
        Self { report, entries }
    }

    /// Whether nothing more is to be told.
    pub(super) fn is_full(&self) -> bool {
        self.entries == 0 || self.report.bytes() >= Self::BYTES
    }

    pub(super) fn tell(&mut self, entry: &impl Entry) {
        encode_entry(self.report, entry);
        self.entries = self.entries.saturating_sub(1);
    }
}
