//! Debian's tools that judge what is installed: readers of manual pages, systemd's that read units, and AppArmor's that
//! reads profiles. They are unpacked below target/ and never installed.
//!
//! `SCACHE_MANUAL_ROOT`, `SCACHE_SYSTEMD_ROOT` and `SCACHE_APPARMOR_ROOT` name directories with the unpacked packages to
//! use instead.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::debian::Packages;

const MANUAL: Packages = Packages {
    directory: "manual-tools",
    variable: "SCACHE_MANUAL_ROOT",
    names: &["mandoc", "man-db", "groff-base"],
    programs: &[
        "usr/bin/mandoc",
        "usr/bin/man",
        "usr/bin/groff",
        "usr/bin/preconv",
    ],
    libraries: &["usr/lib/man-db"],
};

const SYSTEMD: Packages = Packages {
    directory: "systemd-tools",
    variable: "SCACHE_SYSTEMD_ROOT",
    names: &["systemd", "libsystemd-shared"],
    programs: &["usr/bin/systemd-analyze", "usr/bin/systemd-sysusers"],
    libraries: &[
        "usr/lib/x86_64-linux-gnu/systemd",
        "usr/lib/aarch64-linux-gnu/systemd",
    ],
};

const APPARMOR: Packages = Packages {
    directory: "apparmor-tools",
    variable: "SCACHE_APPARMOR_ROOT",
    names: &["apparmor", "apparmor-profiles"],
    programs: &["sbin/apparmor_parser"],
    libraries: &[],
};

/// apparmor_parser(8), which loads nothing into the kernel, and knows Debian's abstractions and no file of this machine.
///
/// # Panics
/// With what to do, when it can be neither found nor fetched.
#[must_use]
pub fn apparmor_parser() -> Command {
    let root = apparmor_root();
    // From Debian 13 on it is in /usr.
    let program = ["sbin", "usr/sbin"].map(|place| root.join(place).join("apparmor_parser"));
    let program = program.iter().find(|path| path.is_file());
    let mut command = Command::new(program.expect("it was looked for"));
    command
        .args(["--skip-kernel-load", "--skip-cache", "--base"])
        .arg(root.join("etc/apparmor.d"))
        .env("LD_LIBRARY_PATH", APPARMOR.library_path(root));
    command
}

/// The directory in which AppArmor's packages are unpacked.
#[must_use]
pub fn apparmor_root() -> &'static PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| APPARMOR.locate())
}

/// mandoc(1), man(1) or groff(1), which find each other and no file of this machine's configuration.
///
/// # Panics
/// With what to do, when they can be neither found nor fetched.
#[must_use]
pub fn manual(name: &str) -> Command {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| MANUAL.locate());
    let programs = root.join("usr/bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let groff = newest(root.join("usr/share/groff"));
    let mut command = Command::new(programs.join(name));
    command
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("LD_LIBRARY_PATH", MANUAL.library_path(root))
        .env("GROFF_FONT_PATH", groff.join("font"))
        .env("GROFF_TMAC_PATH", groff.join("tmac"))
        .env("GROFF_BIN_PATH", &programs)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("MANPATH");
    if name == "man" {
        command.arg("-C").arg(root.join("etc/manpath.config"));
    }
    command
}

/// One of systemd's programs that need no systemd to run.
///
/// # Panics
/// With what to do, when they can be neither found nor fetched.
#[must_use]
pub fn systemd(name: &str) -> Command {
    let root = systemd_root();
    // Debian 12 has some of them in /bin.
    let program = ["usr/bin", "bin"].map(|directory| root.join(directory).join(name));
    let program = program.iter().find(|path| path.is_file());
    let program = program.unwrap_or_else(|| panic!("there is no {name} in {}", root.display()));
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", SYSTEMD.library_path(root));
    command
}

/// The directory with the units that systemd brings.
#[must_use]
pub fn systemd_units() -> PathBuf {
    systemd_root().join("lib/systemd/system")
}

/// The directory in which they are unpacked.
#[must_use]
pub fn systemd_root() -> &'static PathBuf {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| SYSTEMD.locate())
}

/// groff keeps its macros in a directory that is named after its version.
fn newest(directory: PathBuf) -> PathBuf {
    let mut versions: Vec<PathBuf> = std::fs::read_dir(&directory)
        .expect("groff's files are there")
        .map(|entry| entry.expect("a directory").path())
        .filter(|path| path.join("tmac").is_dir() && !path.is_symlink())
        .collect();
    versions.sort();
    versions.pop().expect("groff's macros are there")
}
