//! What is said on the wire between a connection cache and its clients.
//!
//! This crate performs no I/O, reads no clock and owns no descriptor: sessions are state machines that
//! are fed bytes and handles, and are polled for what to do and what to send.
//!
//! - [`attr`]: lists of named values, the only thing that is ever said besides descriptors.
//! - [`request`] and [`reply`]: what the lists mean.
//! - [`administration`], [`stats`] and [`entries`]: requests about the cache itself, and what they are answered.
//! - [`server`] and [`client`]: the two ends of a connection, with the dance a descriptor needs.

pub mod administration;
pub mod attr;
pub mod client;
pub mod entries;
pub mod limits;
pub mod reply;
pub mod request;
pub mod server;
pub mod stats;

mod attached;
mod label;
mod outgoing;

pub use attached::Descriptors;
pub use label::{Label, Property, Text, Ttl, ValueError};
pub use reply::Status;
pub use request::Request;
