//! `scachectl exporter`, read by the real Prometheus and shown by a real browser.

mod cache;
mod exporter;
mod files;
mod page;
mod prometheus;
