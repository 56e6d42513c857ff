//! `scached` as a user meets it.

mod daemon;
mod log;
mod service;
