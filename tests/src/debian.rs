//! Debian's packages, unpacked below target/ and never installed.
//!
//! They are fetched with apt-get(8), with the libraries that this machine lacks.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{FlockOperation, flock};

/// Packages, and what is needed of them.
#[derive(Debug)]
pub(crate) struct Packages {
    /// The directory below target/.
    pub(crate) directory: &'static str,
    /// The environment's name for a directory in which they are unpacked already.
    pub(crate) variable: &'static str,
    pub(crate) names: &'static [&'static str],
    /// Programs whose libraries have to be there, by their paths in the packages.
    pub(crate) programs: &'static [&'static str],
    /// Where the packages have libraries of their own, beside those of the system.
    pub(crate) libraries: &'static [&'static str],
}

impl Packages {
    /// Where they are unpacked. They are fetched if they are not there yet.
    ///
    /// # Panics
    /// With what to do, when they can be neither found nor fetched.
    pub(crate) fn locate(&self) -> PathBuf {
        match std::env::var_os(self.variable) {
            Some(root) => self.at(PathBuf::from(root)),
            None => self.below_target(),
        }
    }

    /// What their programs need as `LD_LIBRARY_PATH`, unpacked in `root`.
    pub(crate) fn library_path(&self, root: &Path) -> String {
        let system = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let directories = self.libraries.iter().copied().chain([system.as_str()]);
        let directories: Vec<String> = directories
            .map(|directory| root.join(directory).display().to_string())
            .collect();
        directories.join(":")
    }

    fn at(&self, root: PathBuf) -> PathBuf {
        let first = root.join(self.programs[0]);
        assert!(
            first.is_file(),
            "there is no {}: unpack Debian's packages {:?} there (`dpkg-deb -x PACKAGE.deb {}`), or unset {}",
            first.display(),
            self.names,
            root.display(),
            self.variable
        );
        root
    }

    fn below_target(&self) -> PathBuf {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        std::fs::create_dir_all(&target).expect("target/ can be made");
        let target = target.canonicalize().expect("target/ is there");
        // Test programs run side by side: one of them fetches, the others wait for it.
        let lock = target.join(format!("{}.lock", self.directory));
        let lock = File::create(lock).expect("target/ can be written");
        flock(&lock, FlockOperation::LockExclusive).expect("the lock is had in the end");
        let root = target.join(self.directory);
        let complete = root.join("complete");
        if !complete.is_file() {
            self.fetch(&root);
            File::create(complete).expect("target/ can be written");
        }
        root
    }

    fn fetch(&self, root: &Path) {
        let packages = root.join("packages");
        std::fs::create_dir_all(&packages).expect("target/ can be written");
        if !download(&packages, self.names) {
            run(Command::new("apt-get").args(["-qq", "update"]));
            assert!(
                download(&packages, self.names),
                "cannot fetch Debian's packages {0:?} (`apt-get download` failed): the tests need them. \
                 They need Debian, root and a package mirror; `make test-unit` goes without; or unpack the packages by hand and name the directory in {1}",
                self.names,
                self.variable
            );
        }
        unpack(&packages, root);
        let missing = self.missing_libraries(root);
        if !missing.is_empty() {
            let libraries = self.depended_on();
            let names: Vec<&str> = libraries.iter().map(String::as_str).collect();
            download(&packages, &names);
            unpack(&packages, root);
        }
        let missing = self.missing_libraries(root);
        assert!(
            missing.is_empty(),
            "{:?} lack shared libraries on this machine: {missing:?}; install them with apt-get",
            self.names
        );
    }

    fn missing_libraries(&self, root: &Path) -> Vec<String> {
        let mut missing = Vec::new();
        for program in self.programs {
            let output = Command::new("ldd")
                .arg(root.join(program))
                .env("LD_LIBRARY_PATH", self.library_path(root))
                .output()
                .expect("ldd can be run");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let lacks = text.lines().filter(|line| line.contains("not found"));
            missing.extend(lacks.map(|line| format!("{program}: {}", line.trim())));
        }
        missing
    }

    /// The libraries the packages depend on, and those that these do, as far as they are not installed.
    fn depended_on(&self) -> Vec<String> {
        let output = Command::new("apt-cache")
            .args(["depends", "--recurse", "--no-recommends", "--no-suggests"])
            .args(["--no-conflicts", "--no-breaks", "--no-replaces"])
            .args(self.names)
            .output()
            .expect("apt-cache can be run");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // An installed one may be of a version that the mirror does not have any more, which fails them all.
        let installed = Command::new("dpkg-query")
            .args(["-W", "-f", "${Package}\\n"])
            .output()
            .expect("dpkg-query can be run");
        let installed = String::from_utf8_lossy(&installed.stdout).into_owned();
        let mut names: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("lib") && !line.starts_with("libc6"))
            .filter(|line| !installed.lines().any(|name| name == *line))
            .map(str::to_owned)
            .collect();
        names.sort();
        names.dedup();
        names
    }
}

fn unpack(packages: &Path, root: &Path) {
    for entry in std::fs::read_dir(packages).expect("packages were fetched") {
        let package = entry.expect("packages can be listed").path();
        let unpacked = run(Command::new("dpkg-deb").arg("-x").arg(&package).arg(root));
        assert!(unpacked, "cannot unpack {}", package.display());
    }
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
