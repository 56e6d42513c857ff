//! Tests of scache against the real Postfix, and what they need for it.
//!
//! The library is the equipment: the package, a stand-in for master(8), a client that can misbehave.
//! The tests themselves are in `tests/`.

pub mod chromium;
mod debian;
pub mod exchange;
pub mod fake_master;
pub mod hoard;
pub mod http;
pub mod instance;
pub mod maillog;
pub mod openssl;
pub mod planted;
pub mod port;
mod private_dev;
pub mod process;
pub mod prometheus;
pub mod races;
pub mod redis;
pub mod scached;
pub mod setups;
pub mod smtp_sink;
pub mod stock;
pub mod tmux;
pub mod tools;
pub mod waiting_close;
pub mod wire;

/// Panics with what to do, unless this is root: for tests that act as other users, or mount something.
///
/// # Panics
/// When this is not root.
pub fn needs_root() {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test needs root: run `make test` as root, or `make test-unit`, which goes without"
    );
}
