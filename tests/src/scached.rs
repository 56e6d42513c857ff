//! A `scached` that runs.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
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
    let mut child = Command::new(built("scached"))
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
