//! The same scripts of requests played to the stock scache(8) and to ours, and the replies compared byte for byte.
//!
//! The stock program comes from an unpacked Debian package; nothing here trusts our own codec or client.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

mod about;
mod cache;
mod departures;
mod differences;
mod framing;
mod log;
mod script;
mod service;
