//! The shared connection cache as a daemon.
//!
//! One process, one thread, one loop ([`server::Server`]) around the pure crates: sessions from
//! `scache-proto`, what is cached in `scache-store`. Two programs start it: `scache` under Postfix's
//! master(8) ([`postfix`]) and `scached` on its own ([`standalone`]).

pub mod log;
pub mod postfix;
pub mod server;
pub mod settings;
pub mod standalone;

mod cache;
mod client;
mod handoff;
mod listener;
mod peers;
mod statistics;

/// Makes a message of an error by saying what failed.
fn failed(what: &str) -> impl Fn(std::io::Error) -> String + '_ {
    move |error| format!("{what}: {error}")
}
