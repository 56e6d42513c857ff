//! On its own: a socket of its own, options instead of main.cf, standard error instead of a log.

mod options;
mod socket;
mod values;

use std::process::ExitCode;
use std::rc::Rc;

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
    match Options::from_command_line().and_then(|options| run(&options)) {
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
    let socket = Socket::bind(&path, options.socket_mode()).map_err(|error| error.to_string())?;
    let listener = socket
        .listener()
        .and_then(|socket| kernel::listener(socket, Transport::Unix))
        .map_err(failed("cannot listen"))?;
    let log = Log::new("scached", Target::None)
        .with_stderr(true)
        .with_verbose(options.verbose);
    let (settings, warnings) = options.settings(descriptors);
    for warning in warnings {
        log.warning(warning);
    }
    let ttl = settings.ttl_limit.as_secs();
    let listeners = vec![listener];
    let mut kernel = Linux::new(Epoll::new().map_err(failed("cannot start"))?, &listeners);
    let log = Rc::new(log);
    let mut host = Host::new(Rc::clone(&log));
    host.end_on(&[SIGINT, SIGTERM], &mut kernel)
        .map_err(failed("cannot handle signals"))?;
    let mut engine =
        Engine::new(settings, kernel, host, listeners).map_err(failed("cannot start"))?;
    log.screen(&first_screen(&path, ttl));
    engine.serve().map_err(failed("the event loop failed"))?;
    engine.leave().map_err(failed("the event loop failed"))?;
    Ok(())
}

/// What somebody sees who starts the program for the first time.
fn first_screen(path: &std::path::Path, ttl: u64) -> String {
    let path = path.display();
    format!(
        "scached {version}: listening on {path}
Connections stay cached for {ttl} s at most (--ttl-limit).
To see that it answers:  printf 'request\\0find_endp\\0label\\0x\\0\\0' | nc -N -U {path} | tr '\\0' ' '
To use it from Rust:     the crate scache-client; from elsewhere: docs/PROTOCOL.md
To end it:               Ctrl-C
",
        version = env!("CARGO_PKG_VERSION"),
    )
}
