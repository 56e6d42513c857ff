//! A `scached` that runs.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use tempfile::TempDir;

use crate::fake_master::built;

/// A `scached`, its standard error in a pipe. It ends with this value, killed with all that it has.
#[derive(Debug)]
pub struct Scached {
    child: Child,
    path: PathBuf,
    /// Kept, so that it has somewhere to write to.
    screen: Option<BufReader<ChildStderr>>,
    /// Where its socket is, if that is to go with it.
    directory: Option<TempDir>,
}

impl Scached {
    /// Started at this path with these options, and listening.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn start(path: &Path, arguments: &[&str]) -> Self {
        let (child, screen) = run(path, arguments);
        Self {
            child,
            path: path.to_owned(),
            screen: Some(screen),
            directory: None,
        }
    }

    /// The same in a directory of its own, which every user may look into.
    ///
    /// # Panics
    /// Likewise.
    #[must_use]
    pub fn for_all_users(arguments: &[&str]) -> Self {
        let directory = TempDir::with_prefix("scached-").expect("a directory");
        let all = Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).expect("set the mode");
        let mut scached = Self::start(&directory.path().join("socket"), arguments);
        scached.directory = Some(directory);
        scached
    }

    /// Starts one as an ordinary user that may have so many descriptors, where that user can reach it.
    ///
    /// # Panics
    /// When it does not listen; this needs root.
    #[must_use]
    pub fn of_user(user: u32, descriptors: u64, arguments: &[&str]) -> Self {
        let directory = TempDir::with_prefix("scached-").expect("a directory");
        let all = Permissions::from_mode(0o755);
        std::fs::set_permissions(directory.path(), all).expect("set the mode");
        std::os::unix::fs::chown(directory.path(), Some(user), Some(user)).expect("be root");
        // The build's directory may be closed to that user.
        let program = directory.path().join("scached");
        std::fs::copy(built("scached"), &program).expect("copy the program");
        let path = directory.path().join("socket");
        let mut scached = Self::run_as(user, descriptors, &program, &path, arguments);
        scached.directory = Some(directory);
        scached
    }

    /// Starts another one as the same user, beside this one and at the same path.
    ///
    /// # Panics
    /// When it does not listen.
    #[must_use]
    pub fn beside(&self, user: u32, descriptors: u64, arguments: &[&str]) -> Self {
        let program = self.path.with_file_name("scached");
        Self::run_as(user, descriptors, &program, &self.path, arguments)
    }

    fn run_as(
        user: u32,
        descriptors: u64,
        program: &Path,
        path: &Path,
        arguments: &[&str],
    ) -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\""])
            .arg(descriptors.to_string())
            .arg(program)
            .current_dir("/")
            .uid(user)
            .gid(user);
        let (child, screen) = listening(command, path, arguments);
        Self {
            child,
            path: path.to_owned(),
            screen: Some(screen),
            directory: None,
        }
    }

    /// Starts it once more where it was, after its end.
    ///
    /// # Panics
    /// Likewise.
    pub fn start_again(&mut self, arguments: &[&str]) {
        let (child, screen) = run(&self.path, arguments);
        (self.child, self.screen) = (child, Some(screen));
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The process.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the other end of its standard error.
    pub fn close_screen(&mut self) {
        self.screen = None;
    }
}

impl Drop for Scached {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn run(path: &Path, arguments: &[&str]) -> (Child, BufReader<ChildStderr>) {
    listening(Command::new(built("scached")), path, arguments)
}

fn listening(
    mut command: Command,
    path: &Path,
    arguments: &[&str],
) -> (Child, BufReader<ChildStderr>) {
    let mut child = command
        .arg("--socket")
        .arg(path)
        .args(arguments)
        .stderr(Stdio::piped())
        .spawn()
        .expect("scached");
    let mut screen = BufReader::new(child.stderr.take().expect("its standard error"));
    let mut line = String::new();
    screen.read_line(&mut line).expect("a line");
    assert!(line.contains("listening"), "{line}");
    (child, screen)
}
