//! `scachectl` as its users meet it: the real program, at the real servers.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

mod bench;
mod caches;
mod connect;
mod examples;
mod look;
#[cfg(feature = "system")]
mod postfix;
mod schemas;
#[cfg(feature = "system")]
mod top;
#[cfg(feature = "system")]
mod trust;
mod watch;
mod wrong;
