//! `scachectl`, against all caches that it may meet.

mod caches;
mod look;
mod schemas;
mod top;
mod watch;
mod wrong;
