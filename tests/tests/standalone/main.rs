//! `scached` as a user meets it.

mod daemon;
mod log;
mod manager;
mod options;
mod service;
mod systemd;
mod takeover;
