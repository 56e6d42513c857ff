//! What is said on the wire between a connection cache and its clients.
//!
//! This crate performs no I/O, reads no clock and owns no descriptor: sessions are state machines that
//! are fed bytes and handles, and are polled for what to do and what to send.

pub mod limits;

mod label;

pub use label::{Label, Property, Ttl, ValueError};
