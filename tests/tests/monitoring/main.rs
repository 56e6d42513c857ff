//! `scachectl exporter`, read by the real Prometheus and shown by a real browser.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

mod cache;
mod exporter;
mod files;
#[cfg(feature = "system")]
mod page;
#[cfg(feature = "system")]
mod prometheus;
