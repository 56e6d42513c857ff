//! postconf(1): where it is, and what it says when it does not do what it is asked for.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::{Failure, Status};

/// Where it is when PATH has it not: a user's PATH often lacks the administrator's directories.
const BESIDE_PATH: [&str; 2] = ["/usr/sbin/postconf", "/usr/local/sbin/postconf"];

/// The program.
#[derive(Clone, Debug)]
pub(super) struct Postconf(PathBuf);

impl Postconf {
    /// The first in PATH, or else where it usually is.
    pub(super) fn find() -> Result<Self, Failure> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .map(|directory| directory.join("postconf"))
            .chain(BESIDE_PATH.map(PathBuf::from))
            .find(|program| program.is_file())
            .map(Self)
            .ok_or_else(|| {
                Failure::new(
                    Status::Unavailable,
                    "postconf not found: install Postfix, or add the directory of its commands to PATH",
                )
            })
    }

    /// Runs postconf for the configuration in a directory and returns its output. Values have any bytes.
    pub(super) fn run(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Vec<u8>, Failure> {
        let mut command = Command::new(&self.0);
        command.arg("-c").arg(directory).args(arguments);
        self.said(&mut command, Status::Configuration)
    }

    /// The configuration directory that it takes by itself.
    pub(super) fn default_directory(&self) -> Result<PathBuf, Failure> {
        // The environment's is the one. postconf of Postfix 3.10 forgets it while main.cf is not a second old.
        if let Some(directory) = std::env::var_os("MAIL_CONFIG").filter(|value| !value.is_empty()) {
            return Ok(directory.into());
        }
        let mut command = Command::new(&self.0);
        command.args(["-xh", "config_directory"]);
        self.said(&mut command, Status::NoInput)
            .map(|line| OsStr::from_bytes(line.trim_ascii()).into())
            .map_err(|failure| failure.and("name the directory of main.cf with --config-dir"))
    }

    fn said(&self, command: &mut Command, otherwise: Status) -> Result<Vec<u8>, Failure> {
        let output = command
            .stdin(Stdio::null())
            .output()
            .map_err(|error| cannot_run(&self.0, &error))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Failure::new(
            otherwise,
            format!("postconf failed: {}", last_line(&output.stderr)),
        ))
    }
}

/// A command that is not there, or is not for this machine.
pub(super) fn cannot_run(program: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Status::Unavailable,
        format!("cannot run {}: {error}", program.display()),
    )
}

/// The last thing that a command said, without its own name.
pub(super) fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said).into_owned();
    let line = text.trim_end().lines().next_back().unwrap_or_default();
    let line = line.rsplit_once("fatal: ").map_or(line, |(_, said)| said);
    if line.is_empty() {
        "it does not say why".to_owned()
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::last_line;

    #[test]
    fn of_what_a_command_says_the_end_counts() {
        assert_eq!(
            last_line(b"postconf: warning: x\npostconf: fatal: open it: no\n"),
            "open it: no"
        );
        assert_eq!(last_line(b""), "it does not say why");
    }
}
