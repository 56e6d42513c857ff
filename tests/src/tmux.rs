//! Debian's tmux(1), unpacked below target/ and never installed: a terminal whose keys are pressed and whose screen
//! is read by a test.
//!
//! `SCACHE_TMUX_ROOT` names a directory with the unpacked package to use instead.

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::debian::Packages;
use crate::wire::DEADLINE;

const TMUX: Packages = Packages {
    directory: "tmux-stock",
    variable: "SCACHE_TMUX_ROOT",
    names: &["tmux"],
    programs: &["usr/bin/tmux"],
    libraries: &[],
};

/// A terminal with a shell in it.
#[derive(Debug)]
pub struct Tmux {
    server: Child,
    directory: TempDir,
}

impl Tmux {
    /// A terminal of this size.
    ///
    /// # Panics
    /// With what to do, when tmux can be neither found nor fetched; when it does not start.
    #[must_use]
    pub fn start(columns: u16, lines: u16) -> Self {
        let directory = TempDir::with_prefix("scache-tmux-").expect("a directory");
        // It ends with the thread that started it, also when that is killed, and what runs in it with it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]);
        let server = tmux(command.arg(program()), &directory)
            .arg("-D")
            .stdin(Stdio::null())
            // It complains that it has no terminal of its own.
            .stderr(Stdio::null())
            .spawn()
            .expect("setpriv, of util-linux");
        let terminal = Self { server, directory };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let deadline = Instant::now() + DEADLINE;
        loop {
            let output = terminal.run(&[
                "new-session",
                "-d",
                "-x",
                &columns,
                "-y",
                &lines,
                "-e",
                "LC_ALL=C.UTF-8",
                "sh",
            ]);
            if output.status.success() {
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(Instant::now() < deadline, "tmux does not start: {said}");
            sleep(Duration::from_millis(20));
        }
        terminal.wait_for("a prompt", |screen| !screen.trim().is_empty());
        terminal
    }

    /// Types a line at the shell.
    pub fn type_line(&self, line: &str) {
        self.expect(&["send-keys", "-l", line]);
        self.press(&["Enter"]);
    }

    /// Presses keys, by tmux's names for them.
    pub fn press(&self, keys: &[&str]) {
        self.expect(&[&["send-keys"], keys].concat());
    }

    /// Clears the screen.
    pub fn clear(&self) {
        self.expect(&["send-keys", "-R", "Enter"]);
        self.wait_for("a prompt", |screen| !screen.trim().is_empty());
    }

    /// Changes the size.
    pub fn resize(&self, columns: u16, lines: u16) {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        self.expect(&["resize-window", "-x", &columns, "-y", &lines]);
    }

    /// What is on the screen.
    #[must_use]
    pub fn screen(&self) -> String {
        self.expect(&["capture-pane", "-p"])
    }

    /// What tmux knows of it, by the names of its formats.
    #[must_use]
    pub fn tell(&self, format: &str) -> String {
        let text = self.expect(&["display-message", "-p", format]);
        text.trim_end().to_owned()
    }

    /// Waits for the screen to be as it should.
    ///
    /// # Panics
    /// With the screen, when it does not become so.
    pub fn wait_for(&self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what} is not there:\n{screen}");
            sleep(Duration::from_millis(20));
        }
    }

    fn expect(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(program());
        // Otherwise it would start a server by itself, of which nobody here knows, if ours is not there yet.
        tmux(&mut command, &self.directory)
            .arg("-N")
            .args(arguments)
            .output()
            .expect("tmux")
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // What runs in it is told to end by its terminal.
        let _ = self.run(&["kill-server"]);
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn root() -> &'static PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| TMUX.locate())
}

fn program() -> PathBuf {
    root().join("usr/bin/tmux")
}

/// With a socket of its own and nobody's settings.
fn tmux<'a>(command: &'a mut Command, directory: &TempDir) -> &'a mut Command {
    command
        .args(["-u", "-f", "/dev/null", "-S"])
        .arg(directory.path().join("socket"))
        .env("LD_LIBRARY_PATH", TMUX.library_path(root()))
        .env("LC_ALL", "C.UTF-8")
        .env_remove("TMUX")
}
