//! The files of the repository, and programs that are run on them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use scache_tests::fake_master::built;

/// A path from the top of the repository.
pub fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

pub fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory whose names end so, in order.
pub fn files(directory: &Path, end: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_file() && path.to_str().is_some_and(&end))
        .collect();
    files.sort();
    files
}

/// The manual pages that are written by hand: those in English, or those in Japanese.
pub fn pages(directory: &str) -> Vec<PathBuf> {
    let pages = files(&path(directory), |name| {
        name.ends_with(".1") || name.ends_with(".5") || name.ends_with(".8")
    });
    assert!(pages.len() >= 3, "{directory}: {pages:?}");
    pages
}

/// The directory with what is made of the definition of the options: made once, for this test program.
pub fn generated() -> &'static Path {
    static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        // Beside the programs, where `make install` expects it.
        let directory = built("scached").with_file_name("pages");
        quiet(Command::new(built("examples/pages")).arg(&directory));
        directory
    })
}

/// Runs something that has to succeed without a complaint, and says what it said.
pub fn quiet(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && complained.is_empty(),
        "{command:?}: {said}{complained}"
    );
    said
}
