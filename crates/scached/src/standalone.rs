//! On its own: a socket of its own, options instead of main.cf, standard error instead of a log.

mod options;
mod socket;

use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use scache_engine::{Engine, Transport};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::failed;
use crate::host::Host;
use crate::kernel::{self, Epoll, Linux};
use crate::log::{Log, Target};
use options::Options;
use socket::Socket;

/// Runs the program `scached`. Errors are said on standard error.
pub fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scached: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), String> {
    let descriptors = scache_sys::descriptors::raise_limit()
        .map_err(failed("cannot raise the limit on descriptors"))?;
    scache_sys::local_time::load_time_zone();
    let path = options.socket_path();
    let socket = Socket::bind(&path, options.mode).map_err(|error| error.to_string())?;
    let listener = socket
        .listener()
        .and_then(|socket| kernel::listener(socket, Transport::Unix))
        .map_err(failed("cannot listen"))?;
    let log = Log::new("scached", Target::None)
        .with_stderr(true)
        .with_verbose(options.verbose);
    let settings = options.settings(descriptors);
    let listeners = vec![listener];
    let mut kernel = Linux::new(Epoll::new().map_err(failed("cannot start"))?, &listeners);
    let log = Rc::new(log);
    let mut host = Host::new(Rc::clone(&log));
    host.end_on(&[SIGINT, SIGTERM], &mut kernel)
        .map_err(failed("cannot handle signals"))?;
    let mut engine =
        Engine::new(settings, kernel, host, listeners).map_err(failed("cannot start"))?;
    log.screen(&options.first_screen(&path));
    engine.serve().map_err(failed("the event loop failed"))?;
    engine.leave().map_err(failed("the event loop failed"))?;
    Ok(())
}
