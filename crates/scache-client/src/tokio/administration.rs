//! [`crate::administration`] as futures.

use super::Client;
use crate::Error;
use crate::administration::{
    BindingEntry, ConnectionEntry, DestinationEntry, EventEntry, Listed, Names, Page, Purged,
    STATS, SettingEntry, Stats, drain, events, list, page, part, purge, purged, report, stats,
};

impl Client {
    /// [`crate::Client::stats`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn stats(&mut self) -> Result<Stats, Error> {
        stats(self.perform(&STATS, None).await?)
    }

    /// [`crate::Client::connections`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn connections(
        &mut self,
        prefix: &[u8],
        from: u64,
    ) -> Result<Page<ConnectionEntry>, Error> {
        let operation = list(Listed::Connections, prefix, from)?;
        part(from, self.perform(&operation, None).await?)
    }

    /// [`crate::Client::bindings`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn bindings(
        &mut self,
        prefix: &[u8],
        from: u64,
    ) -> Result<Page<BindingEntry>, Error> {
        let operation = list(Listed::Bindings, prefix, from)?;
        part(from, self.perform(&operation, None).await?)
    }

    /// [`crate::Client::destinations`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn destinations(
        &mut self,
        prefix: &[u8],
        from: u64,
    ) -> Result<Page<DestinationEntry>, Error> {
        let operation = list(Listed::Destinations, prefix, from)?;
        part(from, self.perform(&operation, None).await?)
    }

    /// [`crate::Client::settings`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn settings(
        &mut self,
        prefix: &[u8],
        from: u64,
    ) -> Result<Page<SettingEntry>, Error> {
        let operation = list(Listed::Settings, prefix, from)?;
        part(from, self.perform(&operation, None).await?)
    }

    /// [`crate::Client::events`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn events(&mut self, from: u64) -> Result<Page<EventEntry>, Error> {
        page(self.perform(&events(from), None).await?)
    }

    /// [`crate::Client::purge`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn purge(&mut self, names: Names<'_>, from: u64) -> Result<Purged, Error> {
        purged(from, self.perform(&purge(names, from), None).await?)
    }

    /// [`crate::Client::drain`].
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn drain(&mut self, on: bool) -> Result<(), Error> {
        report(self.perform(&drain(on), None).await?).map(|_| ())
    }
}
