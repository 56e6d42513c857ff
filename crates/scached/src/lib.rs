//! The shared connection cache as a daemon.
//!
//! What it does is in `scache-engine`; here it gets a kernel ([`kernel`]), a log ([`log`]) and its
//! surroundings ([`host`]). Two programs start it: `scache` under Postfix's master(8) ([`postfix`]) and
//! `scached` on its own ([`standalone`]).

pub mod host;
pub mod kernel;
pub mod log;
pub mod postfix;
pub mod standalone;

mod statistics;

/// Makes a message of an error by saying what failed.
fn failed<E: std::fmt::Display>(what: &str) -> impl Fn(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}
