//! Ends what a test started, also when the test itself is killed: a shell that waits for the end of a pipe which
//! only the test holds open. Nothing but SIGKILL to the guardian itself, or a reboot, leaves something behind.

use std::io::{PipeWriter, pipe};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Takes process numbers from standard input until its end, kills these processes and what is in the process
/// groups that they lead, and removes the directory `$1`.
const GUARDIAN: &str = "\
    while read -r process; do processes=\"$processes $process\"; done; \
    for process in $processes; do kill -9 \"-$process\"; kill -9 \"$process\"; done; \
    rm -rf -- \"$1\"";

/// Says its process number on standard output, which is the guardian's pipe, and becomes `$@` with standard
/// output to the file `$0`. Who is killed before it has said so holds the pipe open: the guardian misses nobody.
const STARTER: &str = "echo $$; exec \"$@\" >\"$0\"";

/// A guardian at work.
#[derive(Debug)]
pub(super) struct Guardian {
    process: Child,
    line: Option<PipeWriter>,
}

impl Guardian {
    /// Starts one that removes this directory when it ends.
    pub(super) fn start(directory: &Path) -> Self {
        let (reader, line) = pipe().expect("a pipe");
        let process = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(directory)
            .stdin(reader)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A signal to the test's process group must not reach it.
            .process_group(0)
            .spawn()
            .expect("a guardian");
        Self {
            process,
            line: Some(line),
        }
    }

    /// A command that will be killed at the end, with standard output to a file. The child is not to be waited for
    /// before the guardian has ended: its number would be somebody else's by then.
    pub(super) fn command(&self, program: &Path, output: &Path) -> Command {
        let line = self.line.as_ref().expect("the guardian is there");
        let mut command = Command::new("sh");
        command
            .args(["-c", STARTER])
            .args([output, program])
            .stdin(Stdio::null())
            .stdout(line.try_clone().expect("a copy of the pipe"));
        command
    }

    /// Lets it do its work.
    pub(super) fn end(&mut self) {
        self.line = None;
        let _ = self.process.wait();
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        self.end();
    }
}
