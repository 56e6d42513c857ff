//! Reuse connections across processes.
//!
//! A shared connection cache (`scached`, Postfix's `scache`, ours or the stock one) keeps open
//! connections of programs that come and go. [`Client`] leaves connections there and takes them out:
//!
//! ```no_run
//! use std::net::TcpStream;
//! use std::time::Duration;
//!
//! use scache_client::Client;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut cache = Client::new("/run/scache/scache.sock");
//! let server = match cache.find_endpoint(b"redis:[127.0.0.1]:6379")? {
//!     Some(found) => TcpStream::from(found.connection),
//!     None => TcpStream::connect("127.0.0.1:6379")?,
//! };
//! // … use it; when the session is clean, leave it for the next process:
//! cache.save_endpoint(
//!     Duration::from_secs(30),
//!     b"redis:[127.0.0.1]:6379",
//!     b"",
//!     &server,
//! )?;
//! // From here on it is the cache's: this process must not use it any more.
//! drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! What this crate does not do: it opens no connections of its own (but the one to the cache), and it
//! does not know what a connection's peer expects. A connection that is handed out may have been closed
//! by its peer: try it, and connect anew if it fails.

mod client;
mod error;

pub use client::{Client, Found, FoundThrough};
pub use error::Error;

/// The example of the README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
