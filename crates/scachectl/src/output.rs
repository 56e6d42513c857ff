//! Lines on standard output, and its end: who reads only some of them (`| head`) is no reason to complain.

use std::io::{self, BufWriter, StdoutLock, Write};
use std::process::ExitCode;

use serde::Serialize;

use crate::failure::{Failure, Status};
use crate::labels::json_escaped;

/// Standard output, written in large pieces.
#[derive(Debug)]
pub(crate) struct Output(BufWriter<StdoutLock<'static>>);

/// Why a command writes no more.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody reads it any more.
    ReaderGone,
    /// Something else went wrong.
    Failed(Failure),
}

impl Output {
    pub(crate) fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Stop> {
        writeln!(self.0, "{line}").map_err(Stop::from)
    }

    /// Writes a value on a line of its own.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<(), Stop> {
        let json = serde_json::to_string(value);
        let json = json.map_err(|error| Stop::from(io::Error::from(error)))?;
        self.line(&json_escaped(json))
    }

    /// Writes lines that have their ends.
    pub(crate) fn text(&mut self, text: &str) -> Result<(), Stop> {
        self.0.write_all(text.as_bytes()).map_err(Stop::from)
    }

    /// Lets the reader have what was written until now.
    pub(crate) fn flush(&mut self) -> Result<(), Stop> {
        self.0.flush().map_err(Stop::from)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(Failure::new(
                Status::InputOutput,
                format!("cannot write to standard output: {error}"),
            )),
        }
    }
}

/// Writes everything that a command has to say.
pub(crate) fn write(text: &str) -> Result<(), Failure> {
    let mut output = Output::new();
    finish(output.text(text).map(|()| output)).map(|_| ())
}

/// How a command ends that wrote something. What was not flushed yet is.
pub(crate) fn finish(result: Result<Output, Stop>) -> Result<ExitCode, Failure> {
    match result.and_then(|mut output| output.flush()) {
        Ok(()) | Err(Stop::ReaderGone) => Ok(ExitCode::SUCCESS),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}
