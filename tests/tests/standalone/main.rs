//! `scached` as a user meets it.

mod daemon;
mod log;
mod options;
mod service;
