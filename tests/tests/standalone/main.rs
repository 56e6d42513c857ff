//! `scached` as a user meets it.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

mod daemon;
mod log;
mod manager;
mod options;
mod places;
mod races;
mod service;
mod signals;
mod systemd;
mod takeover;
