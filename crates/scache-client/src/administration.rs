//! A cache seen from outside: what it counts, what is in it, what happens; to purge and to drain it.
//!
//! For `scachectl` and other programs that look after a cache. Stock scache knows none of it
//! ([`Error::Unsupported`]). Reading needs nothing but the socket; to purge and to drain is for root and the user
//! of the daemon ([`Error::Refused`]).
//!
//! What is large is told a page at a time: nobody else's request waits longer for that.

pub use scache_proto::administration::{Listed, Names, Page, Purged};
pub use scache_proto::entries::{
    BindingEntry, ConnectionEntry, DestinationEntry, EventEntry, Happening, SettingEntry,
};
pub use scache_proto::stats::{Distribution, Field, Histogram, Kind, Stats};
pub use scache_proto::{Label, Property};

use scache_proto::administration::{Administration, Entry};

use crate::exchange::Answer;
use crate::operation::Operation;
use crate::{Client, Error, ProtocolError};

impl Client {
    /// All that the cache counts.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn stats(&mut self) -> Result<Stats, Error> {
        stats(self.perform(&STATS, None)?)
    }

    /// Cached connections whose endpoint's label begins with `prefix`, from 0 or [`Page::next`] on. A page may be
    /// empty and yet not the last.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn connections(
        &mut self,
        prefix: &[u8],
        from: u64,
    ) -> Result<Page<ConnectionEntry>, Error> {
        part(
            from,
            self.perform(&list(Listed::Connections, prefix, from)?, None)?,
        )
    }

    /// Bindings whose destination's label begins with `prefix`, likewise.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn bindings(&mut self, prefix: &[u8], from: u64) -> Result<Page<BindingEntry>, Error> {
        part(
            from,
            self.perform(&list(Listed::Bindings, prefix, from)?, None)?,
        )
    }

    /// The busiest destinations, a thousand of them, whose label begins with `prefix`, likewise. In no order.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn destinations(
        &mut self,
        prefix: &[u8],
        from: u64,
    ) -> Result<Page<DestinationEntry>, Error> {
        part(
            from,
            self.perform(&list(Listed::Destinations, prefix, from)?, None)?,
        )
    }

    /// The settings in use whose name begins with `prefix`, with where each comes from, likewise.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn settings(&mut self, prefix: &[u8], from: u64) -> Result<Page<SettingEntry>, Error> {
        part(
            from,
            self.perform(&list(Listed::Settings, prefix, from)?, None)?,
        )
    }

    /// What happened from this number on, oldest first. The cache remembers nothing before it is asked for the
    /// first time, and stops ten seconds after it was asked last; the numbers of events that it forgot because
    /// there were too many are missing. [`Page::next`] is always there: ask for it the next time.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn events(&mut self, from: u64) -> Result<Page<EventEntry>, Error> {
        page(self.perform(&events(from), None)?)
    }

    /// Lets go of connections and bindings of these names, with a goodbye, from 0 or [`Purged::next`] on.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn purge(&mut self, names: Names<'_>, from: u64) -> Result<Purged, Error> {
        purged(from, self.perform(&purge(names, from), None)?)
    }

    /// Whether the cache keeps nothing new from now on: what is saved is closed with a goodbye, what is there can
    /// still be found until it expires.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn drain(&mut self, on: bool) -> Result<(), Error> {
        report(self.perform(&drain(on), None)?).map(|_| ())
    }
}

pub(crate) const STATS: Operation<'static> = Operation::Administer(Administration::Stats);

pub(crate) fn list(what: Listed, prefix: &[u8], from: u64) -> Result<Operation<'_>, Error> {
    let prefix = Property::new(prefix)?;
    Ok(Operation::Administer(Administration::List {
        what,
        prefix,
        from,
    }))
}

pub(crate) fn events(from: u64) -> Operation<'static> {
    Operation::Administer(Administration::Events { from })
}

pub(crate) fn purge(names: Names<'_>, from: u64) -> Operation<'_> {
    Operation::Administer(Administration::Purge { names, from })
}

pub(crate) fn drain(on: bool) -> Operation<'static> {
    Operation::Administer(Administration::Drain { on })
}

pub(crate) fn stats(answer: Answer) -> Result<Stats, Error> {
    Ok(Stats::parse(report(answer)?.list()))
}

pub(crate) fn page<T: Entry>(answer: Answer) -> Result<Page<T>, Error> {
    Ok(Page::parse(report(answer)?.list()))
}

/// A page of many.
pub(crate) fn part<T: Entry>(from: u64, answer: Answer) -> Result<Page<T>, Error> {
    let page: Page<T> = page(answer)?;
    goes_on(from, page.next)?;
    Ok(page)
}

pub(crate) fn purged(from: u64, answer: Answer) -> Result<Purged, Error> {
    let purged = Purged::parse(report(answer)?.list());
    goes_on(from, purged.next)?;
    Ok(purged)
}

/// Who asks until there is nothing more must not be kept asking for ever.
fn goes_on(from: u64, next: Option<u64>) -> Result<(), Error> {
    match next {
        Some(next) if next <= from => Err(Error::Protocol(ProtocolError)),
        _ => Ok(()),
    }
}

pub(crate) fn report(answer: Answer) -> Result<scache_proto::attr::Attributes, Error> {
    match answer {
        Answer::Report(report) => Ok(report),
        Answer::Refused(scache_proto::Status::Malformed) => Err(Error::Unsupported),
        Answer::Refused(_) | Answer::Done(_) | Answer::Found { .. } => Err(Error::Refused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scache_proto::attr::Attributes;

    #[test]
    fn a_part_that_leads_nowhere_is_an_error() {
        for (from, next, is_sound) in [
            (0, None, true),
            (0, Some("1"), true),
            (0, Some("0"), false),
            (7, Some("7"), false),
            (7, Some("6"), false),
            (7, Some("8"), true),
        ] {
            let mut report = Attributes::default();
            if let Some(next) = next {
                report.push("next", next.as_bytes());
            }
            let answer = || Answer::Report(report.clone());
            let listed = part::<ConnectionEntry>(from, answer());
            assert_eq!(listed.is_ok(), is_sound, "{from} {next:?}");
            assert_eq!(purged(from, answer()).is_ok(), is_sound, "{from} {next:?}");
        }
    }
}
