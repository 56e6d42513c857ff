//! The client library against all that it may meet: stock scache(8), ours under master(8), `scached`.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

mod asynchronous;
mod c;
mod cut;
mod examples;
mod outside;
mod pool;
mod restarts;
mod reuse;
mod servers;
mod stopped;
mod surface;
#[cfg(feature = "system")]
mod trust;
