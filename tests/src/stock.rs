//! Debian's Postfix, unpacked below target/ and never installed.
//!
//! `SCACHE_STOCK_ROOT` names a directory with an unpacked package to use instead.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::debian::Packages;
use crate::fake_master::Program;

/// An unpacked package.
#[derive(Clone, Debug)]
pub struct Stock {
    root: PathBuf,
}

const POSTFIX: Packages = Packages {
    directory: "postfix-stock",
    variable: "SCACHE_STOCK_ROOT",
    names: &["postfix"],
    programs: &[
        "usr/lib/postfix/sbin/scache",
        "usr/lib/postfix/sbin/master",
        "usr/lib/postfix/sbin/smtp",
        "usr/lib/postfix/sbin/tlsproxy",
        "usr/lib/postfix/sbin/smtpd",
    ],
    libraries: &["usr/lib/postfix"],
};

impl Stock {
    /// The package, which is fetched if it is not there yet.
    ///
    /// # Panics
    /// With what to do, when it can be neither found nor fetched.
    pub fn locate() -> &'static Self {
        static STOCK: OnceLock<Stock> = OnceLock::new();
        STOCK.get_or_init(|| Self {
            root: POSTFIX.locate(),
        })
    }

    /// A program of the package's daemon directory.
    pub fn daemon(&self, name: &str) -> PathBuf {
        self.root.join("usr/lib/postfix/sbin").join(name)
    }

    /// A program that an administrator calls.
    pub fn command(&self, name: &str) -> PathBuf {
        self.root.join("usr/sbin").join(name)
    }

    /// Where the package is unpacked.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The version of this Postfix, as `3.7.11`.
    ///
    /// # Panics
    /// When postconf(1) does not say it.
    pub fn version(&self) -> &'static str {
        static VERSION: OnceLock<String> = OnceLock::new();
        VERSION.get_or_init(|| {
            let output = Command::new(self.command("postconf"))
                .args(["-dh", "mail_version"])
                .env("LD_LIBRARY_PATH", self.library_path())
                .output()
                .expect("postconf");
            let version = String::from_utf8(output.stdout).expect("a version");
            version.trim().to_owned()
        })
    }

    /// Whether it is of this version or a later one.
    ///
    /// # Panics
    /// When postconf(1) says no version.
    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.version().split(['.', '-']).map(|number| {
            let number: Result<u32, _> = number.parse();
            number.unwrap_or_else(|_| panic!("{} is no version", self.version()))
        });
        (numbers.next(), numbers.next()) >= (Some(major), Some(minor))
    }

    /// What its programs need as `LD_LIBRARY_PATH`.
    pub fn library_path(&self) -> String {
        POSTFIX.library_path(&self.root)
    }
}

/// Whether clients of the tested Postfix wait for the name of the protocol, as those of 3.6 and later do. Tests without
/// a Postfix have such clients.
#[must_use]
pub fn announces() -> bool {
    !cfg!(feature = "system") || Stock::locate().is_at_least(3, 6)
}

/// What main.cf says because of the version: the newest level that it knows, and that ours does not announce the protocol
/// to clients that do not know that.
pub(crate) fn compatibility(program: &Program) -> String {
    let level = if announces() { "3.6" } else { "2" };
    let mut lines = format!("compatibility_level = {level}\n");
    if !announces() && program.path() != Stock::locate().daemon("scache") {
        lines.push_str("connection_cache_announce = no\n");
    }
    lines
}
