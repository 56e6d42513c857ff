//! What a service manager passed when it started this program: sockets to listen on, and what the process
//! before this one left in the descriptor store.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use scache_sys::descriptors::adopt;
use scache_sys::sockets;

use super::descriptor_store;

/// What was passed.
#[derive(Debug, Default)]
pub(super) struct Passed {
    /// Sockets to listen on.
    pub(super) listeners: Vec<OwnedFd>,
    /// From the descriptor store, each with its name.
    pub(super) stored: Vec<(String, OwnedFd)>,
}

impl Passed {
    /// Adopts what was passed. To be called before anything is opened.
    ///
    /// # Errors
    /// In words, if it is not there or of no use.
    pub(super) fn adopt() -> Result<Self, String> {
        let unusable = |error: io::Error| {
            format!("LISTEN_FDS, LISTEN_FDNAMES: {error}: let the service manager set them")
        };
        let mut passed = Self::default();
        for (number, name) in sd_notify::listen_fds_with_names().map_err(unusable)? {
            let descriptor = adopt(number).map_err(unusable)?;
            if descriptor_store::is_ours(&name) {
                passed.stored.push((name, descriptor));
            } else if sockets::listens(descriptor.as_fd()) {
                passed.listeners.push(descriptor);
            } else {
                return Err(format!(
                    "descriptor {number} (\"{name}\") is not a UNIX stream socket that listens: give the socket \
                     unit a path for ListenStream= and leave Accept= at no"
                ));
            }
        }
        Ok(passed)
    }
}
