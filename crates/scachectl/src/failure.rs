//! What ends the program: one line that says what to do, and a status of sysexits(3).

use std::fmt;
use std::process::ExitCode;

use crate::labels::printable;

/// Why a command was not carried out.
#[derive(Debug)]
pub(crate) struct Failure {
    status: Status,
    message: String,
}

/// The statuses of sysexits(3) that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    /// 64: the command line makes no sense, or cannot be followed here.
    Usage = 64,
    /// 65: what was given is not what it should be.
    Data = 65,
    /// 66: a file that is needed is not there.
    NoInput = 66,
    /// 69: nobody answers.
    Unavailable = 69,
    /// 70: a fault of this program.
    Software = 70,
    /// 71: the system has no room, or refuses.
    System = 71,
    /// 73: a file cannot be made.
    CannotCreate = 73,
    /// 74: reading or writing went wrong.
    InputOutput = 74,
    /// 75: it may work later.
    Temporary = 75,
    /// 76: the other end does not speak the protocol, or not this part of it.
    Protocol = 76,
    /// 77: not allowed.
    NoPermission = 77,
    /// 78: something is configured in a way that does not fit.
    Configuration = 78,
}

impl Failure {
    /// A failure with a line for the user: what is wrong, then what to do.
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// The same with more to say about it.
    pub(crate) fn and(self, more: impl fmt::Display) -> Self {
        Self {
            message: format!("{}; {more}", self.message),
            ..self
        }
    }

    /// Tells the user. The status to end with.
    pub(crate) fn report(&self) -> ExitCode {
        say(&self.message);
        ExitCode::from(self.status as u8)
    }
}

/// Writes a line to standard error. Names of files in it may be others' choice.
pub(crate) fn say(text: &str) {
    eprintln!("scachectl: {}", printable(text));
}

/// Tells what is wrong with the command line, or the help that was asked for. The status to end with.
pub(crate) fn of_command_line(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told that it could not be told.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(Status::Usage as u8)
    } else {
        ExitCode::SUCCESS
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
