//! What a connection cache remembers: destinations, endpoints, connections, and until when.
//!
//! This crate performs no I/O and reads no clock. A connection is a handle `H` of any type, the time is a
//! parameter that never goes back. What the store lets go of it gives back ([`Store::poll_released`]):
//! how a connection is closed is not known here.
//!
//! Nothing costs more for there being many entries, but for the logarithm that a heap takes. What is gone
//! through has a limit: [`Store::find_destination`] and [`Store::save_destination`] go through the bindings of their
//! own destination ([`Limits::bindings_per_destination`]), and a save that exceeds
//! [`Limits::connections_per_endpoint`] through the connections of its own endpoint. What a call would have to do for
//! many entries, as when thousands expire at one instant, it does for some of them ([`Store::expire`]); [`Store::steps`]
//! counts.

mod busiest;
mod deadlines;
pub mod list;
mod names;
mod store;
mod types;

pub use store::Store;
pub use types::{
    BindingView, Bound, ConnectionId, ConnectionView, Counts, DestinationView, Entries,
    FoundThrough, Limits, Order, Reason, Released, Statistics, Taken, Tally,
};
