//! `make bench`: see `scache_benches`.

use std::process::ExitCode;

use scache_benches::{Arguments, run};

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args_os())
        .map_err(|error| error.to_string())
        .and_then(|arguments| run(&arguments).map_err(|error| error.to_string()));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench: {message}");
            ExitCode::FAILURE
        }
    }
}
