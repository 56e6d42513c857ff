//! Debian's Postfix, unpacked below target/ and never installed.
//!
//! The package is fetched with apt-get(8), with the libraries that this machine lacks. `SCACHE_STOCK_ROOT`
//! names a directory with an unpacked package to use instead.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};

/// An unpacked package.
#[derive(Clone, Debug)]
pub struct Stock {
    root: PathBuf,
}

/// Programs whose libraries have to be there.
const PROGRAMS: [&str; 5] = ["scache", "master", "smtp", "tlsproxy", "smtpd"];

impl Stock {
    /// The package, which is fetched if it is not there yet.
    ///
    /// # Panics
    /// With what to do, when it can be neither found nor fetched.
    pub fn locate() -> &'static Self {
        static STOCK: OnceLock<Stock> = OnceLock::new();
        STOCK.get_or_init(|| match std::env::var_os("SCACHE_STOCK_ROOT") {
            Some(root) => Self::at(PathBuf::from(root)),
            None => Self::below_target(),
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
        let system = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        [self.root.join("usr/lib/postfix"), self.root.join(system)]
            .map(|directory| directory.display().to_string())
            .join(":")
    }

    fn at(root: PathBuf) -> Self {
        let stock = Self { root };
        let scache = stock.daemon("scache");
        assert!(
            scache.is_file(),
            "there is no {}: unpack Debian's package there (`dpkg-deb -x postfix_*.deb {}`), or unset SCACHE_STOCK_ROOT",
            scache.display(),
            stock.root.display()
        );
        stock
    }

    fn below_target() -> Self {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        std::fs::create_dir_all(&target).expect("target/ can be made");
        let target = target.canonicalize().expect("target/ is there");
        // Test programs run side by side: one of them fetches, the others wait for it.
        let lock = File::create(target.join("postfix-stock.lock")).expect("target/ can be written");
        flock(&lock, FlockOperation::LockExclusive).expect("the lock is had in the end");
        let stock = Self {
            root: target.join("postfix-stock"),
        };
        let complete = stock.root.join("complete");
        if !complete.is_file() {
            stock.fetch();
            File::create(complete).expect("target/ can be written");
        }
        stock
    }

    fn fetch(&self) {
        let packages = self.root.join("packages");
        std::fs::create_dir_all(&packages).expect("target/ can be written");
        if !download(&packages, &["postfix"]) {
            run(Command::new("apt-get").args(["-qq", "update"]));
            assert!(
                download(&packages, &["postfix"]),
                "cannot fetch Debian's package postfix (`apt-get download postfix` failed): the tests compare with it. \
                 They need Debian, root and a package mirror; or unpack the package by hand and name the directory in SCACHE_STOCK_ROOT"
            );
        }
        self.unpack(&packages);
        let missing = self.missing_libraries();
        if !missing.is_empty() {
            let libraries = depended_on();
            let names: Vec<&str> = libraries.iter().map(String::as_str).collect();
            download(&packages, &names);
            self.unpack(&packages);
        }
        let missing = self.missing_libraries();
        assert!(
            missing.is_empty(),
            "Postfix lacks shared libraries on this machine: {missing:?}; install them with apt-get"
        );
    }

    fn unpack(&self, packages: &Path) {
        for entry in std::fs::read_dir(packages).expect("packages were fetched") {
            let package = entry.expect("packages can be listed").path();
            let unpacked = run(Command::new("dpkg-deb")
                .arg("-x")
                .arg(&package)
                .arg(&self.root));
            assert!(unpacked, "cannot unpack {}", package.display());
        }
    }

    fn missing_libraries(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for program in PROGRAMS {
            let output = Command::new("ldd")
                .arg(self.daemon(program))
                .env("LD_LIBRARY_PATH", self.library_path())
                .output()
                .expect("ldd can be run");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lacks = text.lines().filter(|line| line.contains("not found"));
            missing.extend(lacks.map(|line| format!("{program}: {}", line.trim())));
        }
        missing
    }
}

/// The libraries the package depends on, and those that these do.
fn depended_on() -> Vec<String> {
    let output = Command::new("apt-cache")
        .args(["depends", "--recurse", "--no-recommends", "--no-suggests"])
        .args(["--no-conflicts", "--no-breaks", "--no-replaces", "postfix"])
        .output()
        .expect("apt-cache can be run");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<String> = text
        .lines()
        .filter(|line| line.starts_with("lib") && !line.starts_with("libc6"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

fn download(directory: &Path, packages: &[&str]) -> bool {
    run(Command::new("apt-get")
        .args(["-qq", "download"])
        .args(packages)
        .current_dir(directory))
}

fn run(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}
