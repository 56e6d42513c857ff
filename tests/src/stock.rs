//! Debian's Postfix, unpacked below target/ and never installed.
//!
//! `SCACHE_STOCK_ROOT` names a directory with an unpacked package to use instead.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::debian::Packages;

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

    /// What its programs need as `LD_LIBRARY_PATH`.
    pub fn library_path(&self) -> String {
        POSTFIX.library_path(&self.root)
    }
}
