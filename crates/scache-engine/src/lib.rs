//! What a connection cache daemon does, without a kernel.
//!
//! This crate performs no I/O and reads no clock: all it can do is ask a [`Kernel`], whose calls never wait,
//! and tell a [`Host`]. So nothing in it can hold the daemon up, and the same code runs on Linux and in a
//! simulation on virtual time.
//!
//! - [`Engine`]: the loop, a pass at a time: clients in, requests carried out, what is due done.
//! - `cache`: the store with descriptors in it, watched while they idle, looked at before they are handed
//!   out, said goodbye to when they go.
//! - `succession`: handing everything over to the next process.

mod cache;
mod client;
mod engine;
mod entries;
mod handoff;
mod host;
mod kernel;
mod partings;
mod peers;
mod settings;
mod succession;
mod token;
mod unread;

pub use cache::Carried;
pub use engine::{Departure, Engine, Listener, Phase, Transport};
pub use host::{Complaint, End, Host, Note};
pub use kernel::{Event, Failure, Interest, Kernel, Recognised};
pub use scache_proto::stats::Stats;
pub use settings::{DescriptorBudget, Goodbyes, Settings};
pub use token::{Key, Token};
