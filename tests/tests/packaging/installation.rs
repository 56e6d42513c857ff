//! `make install` and `make uninstall`, into a directory of the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use scache_tests::fake_master::built;

use crate::repository::{self, quiet};

/// What has to be there at least, with its mode; below /usr/local unless it begins with a slash.
const FILES: &[(&str, u32)] = &[
    ("bin/scachectl", 0o755),
    ("sbin/scached", 0o755),
    ("lib/scache/scache", 0o755),
    ("share/man/man1/scachectl.1", 0o644),
    ("share/man/man5/scache.toml.5", 0o644),
    ("share/man/man8/scache.8", 0o644),
    ("share/man/man8/scached.8", 0o644),
    ("share/man/ja/man1/scachectl.1", 0o644),
    ("share/man/ja/man5/scache.toml.5", 0o644),
    ("share/man/ja/man8/scache.8", 0o644),
    ("share/man/ja/man8/scached.8", 0o644),
    ("share/bash-completion/completions/scachectl", 0o644),
    ("share/bash-completion/completions/scached", 0o644),
    ("share/zsh/site-functions/_scachectl", 0o644),
    ("share/zsh/site-functions/_scached", 0o644),
    ("share/fish/vendor_completions.d/scachectl.fish", 0o644),
    ("share/fish/vendor_completions.d/scached.fish", 0o644),
    ("lib/systemd/system/scached.service", 0o644),
    ("lib/systemd/system/scached.socket", 0o644),
    ("lib/tmpfiles.d/scache.conf", 0o644),
    ("lib/sysusers.d/scache.conf", 0o644),
    ("/etc/scache.toml", 0o644),
    ("include/scache.h", 0o644),
    ("lib/libscache.a", 0o644),
    ("lib/libscache.so", 0o755),
    ("lib/libscache.so.0", 0o755),
    (
        concat!("lib/libscache.so.", env!("CARGO_PKG_VERSION")),
        0o755,
    ),
    ("lib/pkgconfig/scache.pc", 0o644),
    ("share/doc/scache/LICENSE", 0o644),
    ("share/doc/scache/README.md", 0o644),
    ("share/doc/scache/README.ja.md", 0o644),
    ("share/doc/scache/CHANGELOG.md", 0o644),
    ("share/doc/scache/PROTOCOL.md", 0o644),
    ("share/doc/scache/reuse.c", 0o644),
];

/// Directories of which every file is installed somewhere.
const WHOLE: &[(&str, &str)] = &[
    ("docs", "share/doc/scache"),
    ("docs/benchmarks", "share/doc/scache/benchmarks"),
    ("pkg/apparmor", "share/scache/apparmor"),
    ("pkg/monitoring", "share/scache/monitoring"),
    ("pkg/systemd", "lib/systemd/system"),
];

/// Runs make with the programs that are built for the tests.
pub fn make(target: &str, settings: &[String]) {
    repository::generated();
    let programs = built("scached");
    let programs = programs.parent().expect("a directory");
    // The pages of a test go where make looks for them: beside the programs.
    quiet(
        Command::new("make")
            .args(["--silent", "--no-print-directory", target])
            .arg(format!("BUILD={}", programs.display()))
            .args(settings)
            .env_remove("MAKEFLAGS")
            .current_dir(repository::path("")),
    );
}

fn all_files(directory: &Path) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.is_symlink() {
            files.extend(all_files(&path));
        } else {
            files.insert(path);
        }
    }
    files
}

#[test]
fn what_is_installed_is_complete_runs_and_goes_again() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let settings = [format!("DESTDIR={}", root.display())];
    // Somebody else's, which has to stay.
    let other = root.join("usr/local/share/man/ja/man8/other.8");
    fs::create_dir_all(other.parent().expect("a directory")).expect("made");
    fs::write(&other, "").expect("written");
    make("install", &settings);

    let prefix = root.join("usr/local");
    let place = |name: &str| match name.strip_prefix('/') {
        Some(name) => root.join(name),
        None => prefix.join(name),
    };
    for (name, mode) in FILES {
        let metadata = fs::metadata(place(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(metadata.permissions().mode() & 0o7777, *mode, "{name}");
        assert!(metadata.len() > 0, "{name} is empty");
    }
    for (from, to) in WHOLE
        .iter()
        .filter(|(from, _)| repository::path(from).is_dir())
    {
        for file in repository::files(&repository::path(from), |_| true) {
            let name = file.file_name().expect("a name");
            assert!(
                place(to).join(name).is_file(),
                "{} is missing",
                file.display()
            );
        }
    }
    for page in repository::files(&repository::generated().join("man1"), |_| true) {
        let name = page.file_name().expect("a name");
        assert!(prefix.join("share/man/man1").join(name).is_file());
    }
    for program in ["bin/scachectl", "sbin/scached"] {
        let said = quiet(Command::new(prefix.join(program)).arg("--version"));
        assert!(
            said.contains(env!("CARGO_PKG_VERSION")),
            "{program}: {said}"
        );
    }
    let unit = fs::read_to_string(prefix.join("lib/systemd/system/scached.service"));
    let unit = unit.expect("the unit");
    assert!(unit.contains("ExecStart=/usr/local/sbin/scached --config /etc/scache.toml\n"));

    assert_eq!(broken_links(&place("share/doc/scache")), [""; 0]);
    for program in ["bin/scachectl", "lib/scache/scache", "lib/libscache.so"] {
        let sections = quiet(Command::new("readelf").arg("-SW").arg(place(program)));
        assert!(!sections.contains(".debug_info"), "{program} has symbols");
    }

    make("uninstall", &settings);
    assert_eq!(all_files(root), BTreeSet::from([other]));
}

/// The links of documents in this directory that lead to no file.
fn broken_links(directory: &Path) -> Vec<String> {
    let documents = repository::files(directory, |name| name.ends_with(".md"));
    assert!(documents.len() > 5, "{documents:?}");
    let mut broken = Vec::new();
    for document in documents {
        let text = fs::read_to_string(&document).expect("a document");
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().expect("a part");
            let path = link.split('#').next().expect("a part");
            if !link.contains("://") && !path.is_empty() && !directory.join(path).exists() {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    broken
}

#[test]
fn settings_of_the_administrator_survive() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = [format!("DESTDIR={}", directory.path().display())];
    let file = directory.path().join("etc/scache.toml");
    fs::create_dir_all(file.parent().expect("a directory")).expect("made");
    fs::write(&file, "ttl-limit = 5\n").expect("written");
    make("install", &settings);
    make("uninstall", &settings);
    let left = fs::read_to_string(file).expect("it is still there");
    assert_eq!(left, "ttl-limit = 5\n");
}

#[test]
fn a_c_program_finds_the_library_by_pkg_config() {
    let directory = tempfile::tempdir().expect("a directory");
    let prefix = directory.path().join("prefix");
    make(
        "install",
        &[
            format!("PREFIX={}", prefix.display()),
            format!("SYSCONFDIR={}/etc", prefix.display()),
        ],
    );
    let flags = pkg_config(&prefix, &["--cflags", "--libs"]);
    let static_flags = pkg_config(&prefix, &["--cflags", "--libs", "--static"]);
    for flag in ["-lscache", "-lpthread"] {
        assert!(
            static_flags.split(' ').any(|word| word == flag),
            "{static_flags}"
        );
    }
    let program = directory.path().join("reuse");
    quiet(
        Command::new("cc")
            .arg("-o")
            .arg(&program)
            .arg(repository::path("crates/scache-client-c/examples/reuse.c"))
            .args(flags.split_whitespace()),
    );
    // It is the library with this name that it asks for.
    let needed = quiet(
        Command::new("ldd")
            .arg(&program)
            .env("LD_LIBRARY_PATH", prefix.join("lib")),
    );
    assert!(needed.contains("libscache.so.0 => "), "{needed}");
    assert!(!needed.contains("not found"), "{needed}");
}

/// What pkg-config(1) would say of the installed file. Written out, since few machines have it: the file has
/// variables that refer to earlier ones, and fields.
fn pkg_config(prefix: &Path, wanted: &[&str]) -> String {
    let text = repository::read(&prefix.join("lib/pkgconfig/scache.pc"));
    let mut variables: Vec<(String, String)> = Vec::new();
    let mut said = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut line = line.to_owned();
        for (name, value) in &variables {
            line = line.replace(&format!("${{{name}}}"), value);
        }
        if let Some((field, value)) = line.split_once(": ") {
            let is_wanted = match field {
                "Cflags" => wanted.contains(&"--cflags"),
                "Libs" => wanted.contains(&"--libs"),
                "Libs.private" => wanted.contains(&"--static"),
                _ => false,
            };
            if is_wanted {
                said.push(value.to_owned());
            }
        } else {
            let (name, value) = line.split_once('=').expect("a variable");
            variables.push((name.to_owned(), value.to_owned()));
        }
    }
    said.join(" ")
}
