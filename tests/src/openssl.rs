//! Debian's openssl(1), unpacked below target/ and never installed.
//!
//! `SCACHE_OPENSSL_ROOT` names a directory with the unpacked package to use instead.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::debian::Packages;

const OPENSSL: Packages = Packages {
    directory: "openssl-stock",
    variable: "SCACHE_OPENSSL_ROOT",
    names: &["openssl"],
    programs: &["usr/bin/openssl"],
    libraries: &[],
};

/// A command to be completed with arguments.
///
/// # Panics
/// With what to do, when the program can be neither found nor fetched.
#[must_use]
pub fn openssl() -> Command {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    let root = ROOT.get_or_init(|| OPENSSL.locate());
    let mut command = Command::new(root.join("usr/bin/openssl"));
    command
        .env("LD_LIBRARY_PATH", OPENSSL.library_path(root))
        .env("OPENSSL_CONF", root.join("etc/ssl/openssl.cnf"));
    command
}
