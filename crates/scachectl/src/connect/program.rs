//! The program: started with the connection as descriptors 6 and 7, and waited for.

use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use super::descriptor_failure;
use crate::failure::{Failure, Status};

/// The program reads from the first and writes to the second.
const NUMBERS: [i32; 2] = [6, 7];

/// Signals that go on to the program, which would have got them if it had been started in this one's place.
const FORWARDED: [(i32, Signal); 6] = [
    (SIGHUP, Signal::HUP),
    (SIGINT, Signal::INT),
    (SIGQUIT, Signal::QUIT),
    (SIGTERM, Signal::TERM),
    (SIGUSR1, Signal::USR1),
    (SIGUSR2, Signal::USR2),
];

pub(super) struct Program {
    name: OsString,
    command: Command,
}

impl Program {
    /// A program with its arguments, that will have a copy of the connection.
    pub(super) fn new(words: &[OsString], connection: &OwnedFd) -> Result<Self, Failure> {
        let Some((name, arguments)) = words.split_first() else {
            return Err(Failure::new(Status::Usage, "there is no program to run"));
        };
        let mut mappings = Vec::with_capacity(NUMBERS.len());
        for child_fd in NUMBERS {
            let parent_fd = connection
                .try_clone()
                .map_err(|error| descriptor_failure(&error))?;
            mappings.push(FdMapping {
                parent_fd,
                child_fd,
            });
        }
        let mut command = Command::new(name);
        command.args(arguments);
        command
            .fd_mappings(mappings)
            .map_err(|error| descriptor_failure(&io::Error::other(error)))?;
        Ok(Self {
            name: name.clone(),
            command,
        })
    }

    pub(super) fn set(&mut self, name: &str, value: impl AsRef<OsStr>) {
        self.command.env(name, value);
    }

    pub(super) fn unset(&mut self, name: &OsStr) {
        self.command.env_remove(name);
    }

    /// Runs it to its end, and says its exit status; 128 and the signal if it was killed.
    pub(super) fn run(mut self) -> Result<u8, Failure> {
        // Before it is started: a signal that comes in between goes on to it all the same.
        let mut signals = Signals::new(FORWARDED.map(|(number, _)| number)).map_err(|error| {
            Failure::new(Status::System, format!("cannot wait for signals: {error}"))
        })?;
        let mut child = self
            .command
            .spawn()
            .map_err(|error| self.not_started(&error))?;
        // It holds copies of the connection.
        drop(self.command);
        // Not by its number, which may be somebody else's when it has ended.
        let process = pidfd_open(Pid::from_child(&child), PidfdFlags::empty());
        let handle = signals.handle();
        let at_terminal = is_at_terminal();
        let status = std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in signals.forever() {
                    let signal = FORWARDED.iter().find(|(known, _)| *known == number);
                    // What is typed goes to every process of the terminal, so it has those already.
                    let typed = at_terminal && matches!(number, SIGINT | SIGQUIT);
                    if let (Some((_, signal)), Ok(process), false) = (signal, &process, typed) {
                        let _ = pidfd_send_signal(process, *signal);
                    }
                }
            });
            let status = child.wait();
            handle.close();
            status
        });
        let status = status.map_err(|error| {
            Failure::new(
                Status::System,
                format!("cannot wait for {}: {error}", self.name.display()),
            )
        })?;
        Ok(code(status))
    }

    fn not_started(&self, error: &io::Error) -> Failure {
        let name = self.name.display();
        match error.kind() {
            io::ErrorKind::NotFound => Failure::new(
                Status::NoInput,
                format!("there is no program {name}: give its path, or see to PATH"),
            ),
            io::ErrorKind::PermissionDenied => Failure::new(
                Status::NoPermission,
                format!("not allowed to run {name}: is it executable?"),
            ),
            _ => Failure::new(Status::System, format!("cannot run {name}: {error}")),
        }
    }
}

/// Whether somebody may type Ctrl-C.
fn is_at_terminal() -> bool {
    io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal()
}

fn code(status: ExitStatus) -> u8 {
    let number = status.code().or_else(|| Some(128 + status.signal()?));
    number
        .and_then(|number| u8::try_from(number).ok())
        .unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_the_programs_or_tells_of_a_signal() {
        for (raw, expected) in [(0, 0), (1 << 8, 1), (255 << 8, 255), (9, 137), (15, 143)] {
            assert_eq!(code(ExitStatus::from_raw(raw)), expected, "{raw:#x}");
        }
    }
}
