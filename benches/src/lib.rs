//! `make bench`: the same work for stock scache(8), for ours, and for a loop that does next to nothing (`floor`).
//!
//! All of them are started as master(8) does it, in turn, and kept on one processor. The machine may be noisy, so
//! what counts is the median of ratios, each of two measurements that were made one after the other. Processor
//! time is the scheduler's own count of the server's.

mod arguments;
mod clients;
mod crowd;
mod delivery;
mod entries;
mod load;
mod looking;
mod near_empty;
mod page;
mod plot;
mod report;
mod samples;
mod scale;
mod server;
mod start;
mod system_calls;

use std::io;
use std::path::Path;

pub use arguments::{Arguments, UsageError};
pub use scale::Scale;

use report::Report;
use server::Processor;

/// A part of the whole: what it is called on the command line, and what it does.
type Part = (&'static str, fn(&Scale, &mut Report));

const PARTS: [Part; 8] = [
    ("near-empty", near_empty::run),
    ("calls", system_calls::run),
    ("start", start::run),
    ("clients", clients::run),
    ("crowd", crowd::run),
    ("entries", entries::run),
    ("delivery", delivery::run),
    ("looking", looking::run),
];

/// Measures, prints the table, and writes the page and its pictures if everything was measured.
///
/// # Errors
/// What writing them says.
///
/// # Panics
/// When a server does not do what it is asked.
pub fn run(arguments: &Arguments) -> io::Result<()> {
    Processor::last().keep_us_there();
    let mut report = Report::new(&arguments.scale);
    for (name, part) in PARTS {
        if arguments.asks_for(name) {
            eprintln!("{name} …");
            part(&arguments.scale, &mut report);
        }
    }
    if let Some(program) = arguments.before() {
        near_empty::compare(program, &arguments.scale, &mut report);
    }
    print!("{}", report.text());
    if let Some(directory) = arguments.page_directory() {
        write_page(&report, directory)?;
    }
    Ok(())
}

fn write_page(report: &Report, directory: &Path) -> io::Result<()> {
    let pictures = directory.join("benchmarks");
    std::fs::create_dir_all(&pictures)?;
    for picture in report.pictures() {
        picture.draw(&pictures)?;
    }
    std::fs::write(directory.join("benchmarks.md"), page::text(report))
}
