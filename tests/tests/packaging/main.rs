//! What is installed and shipped: files, pages, units, packages, and that none of it says what is not so.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

#[cfg(feature = "system")]
mod apparmor;
#[cfg(feature = "system")]
mod booted;
mod examples;
mod installation;
mod packages;
mod pages;
mod repository;
mod scachectl_pages;
mod translation;
#[cfg(feature = "system")]
mod units;
