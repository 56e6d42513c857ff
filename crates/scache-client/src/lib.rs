//! Reuse connections across processes.
//!
//! A shared connection cache (`scached`, Postfix's `scache`, ours or the stock one) keeps open connections of programs
//! that come and go. A connection that is open already costs no handshake, no greeting, no login.
//!
//! - [`Client`] leaves connections there and takes them out.
//! - [`Pool`] does both around a piece of work, and goes on without the cache when that is away.
//! - `tokio::Client` and `tokio::Pool` are the same as futures (feature `tokio`).
//!
//! An **endpoint** is where connections lead, by whatever name a program gives it; it has any number of connections.
//! A **destination** is what a program wants to reach; it is bound to endpoints. Names and **properties**, which come
//! back with what they were saved with, are bytes without NUL, 64 KiB at most. Connections are taken out oldest first,
//! each by one client; bindings stay. Both expire.
//!
//! ```no_run
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! use scache_client::{Client, Save};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cache = Client::new("/run/scache/scache.sock");
//! let (destination, endpoint) = (b"redis:cache.example.com", b"redis:[192.0.2.1]:6379");
//! let server = match cache.find(destination, &[endpoint])? {
//!     Some(through) => TcpStream::try_from(through.found)?,
//!     None => TcpStream::connect("192.0.2.1:6379")?,
//! };
//! // … use it; when the session is clean, leave it for the next process:
//! let save = Save::new(Duration::from_secs(30), destination, endpoint);
//! cache.save(&save, &server)?;
//! // From here on it is the cache's: this process must not use it any more.
//! drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! # What a cached connection has to be
//!
//! - A descriptor: what is in this process's memory (a TLS session, half a reply in a buffer) does not come along.
//! - Clean: every reply read, nothing under way, no state that the next one does not expect.
//! - Tried before it is trusted: its peer may have closed it a moment ago. If the first request over it fails,
//!   connect anew ([`Pool::checkout_checked`], [`Pool::checkout_fresh`]). (`scached` and our `scache` drop those that were
//!   closed or were spoken to; stock does not.)
//! - Within its peer's limits: many servers end a connection after so many requests or so much time
//!   ([`Pool::with_max_reuse`], [`Pool::with_max_age`]).
//!
//! # Whose cache it is
//!
//! Who listens at the socket gets the connections that are saved, and decides which ones are found. A path that a user
//! has named says whom that user trusts. A program that chooses the path itself uses [`Trust::OwnOrRoot`], or
//! [`Trust::Service`] for a directory that was made for the service ([`Client::with_trust`]).
//!
//! # After fork(2)
//!
//! Clients and pools may be used in a child process, in the parent, or in both: each process connects to the cache for
//! itself. A [`Checkout`] belongs to the process that made it. The other one has a copy of its descriptor, which
//! [`Checkout::release`] closes there without putting the connection back, as dropping it does: what is cached must have
//! no other user. What tokio adds to that is said in the module `tokio`.
//!
//! # What this crate does not do
//!
//! It opens no connections but those to the cache, does not know what a connection's peer expects, starts no threads,
//! and has no `unsafe`.

pub mod administration;
mod client;
mod error;
mod exchange;
mod found;
mod operation;
mod pool;
mod properties;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use client::Client;
pub use error::Error;
pub use found::{Found, FoundThrough};
pub use operation::{Save, Saved};
pub use pool::{Checkout, CheckoutError, Counters, Pool, Released};
pub use properties::Properties;

pub use scache_proto::ValueError;
pub use scache_proto::client::ProtocolError;
pub use scache_proto::reply::History;
pub use scache_sys::places::PlaceError;
pub use scache_sys::trust::{Distrust, Trust};

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
