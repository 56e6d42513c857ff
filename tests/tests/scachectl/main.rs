//! `scachectl` as its users meet it: the real program, at the real servers.

mod bench;
mod common;
mod connect;
mod examples;
mod postfix;
