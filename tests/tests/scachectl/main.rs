//! `scachectl` as its users meet it: the real program, at the real servers.

mod bench;
mod caches;
mod connect;
mod examples;
mod look;
mod postfix;
mod schemas;
mod top;
mod watch;
mod wrong;
