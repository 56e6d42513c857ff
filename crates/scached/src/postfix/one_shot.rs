//! `-S`: one client on standard input and output, until what it sent at once is answered.
//!
//! Standard input need not be a socket. Then no descriptor can come or go, but everything else works.

use std::io;
use std::rc::Rc;

use scache_engine::{Engine, Settings};
use scache_sys::descriptors::Descriptor;

use crate::host::Host;
use crate::kernel::{Linux, Poll};
use crate::log::Log;

/// Serves a request and those that came with it, then logs the statistics.
pub(super) fn serve(settings: &Settings, log: &Rc<Log>) -> io::Result<()> {
    let settings = Settings {
        announce: false,
        ..settings.clone()
    };
    let kernel = Linux::new(Poll::default(), &[]);
    let host = Host::new(Rc::clone(log)).with_statistics();
    let mut engine = Engine::new(settings, kernel, host, Vec::new()).map_err(io::Error::other)?;
    let input = rustix::stdio::stdin().try_clone_to_owned()?;
    let output = rustix::stdio::stdout().try_clone_to_owned()?;
    engine
        .serve_only(Descriptor::from(input), Descriptor::from(output))
        .and_then(|()| engine.leave())
        .map(|_| ())
        .map_err(io::Error::other)
}
