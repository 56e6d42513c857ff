//! An instance of Postfix: what postconf(1) says of it, and whether it runs.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};

use scache_maincf::MainCf;

use super::entry::Entry;
use crate::failure::{Failure, Status};

/// Where postconf is when PATH has it not: a user's PATH often lacks the administrator's directories.
const BESIDE_PATH: [&str; 2] = ["/usr/sbin/postconf", "/usr/local/sbin/postconf"];

/// From this version on clients wait until the server has said its protocol's name.
const ANNOUNCED: Version = Version(3, 6);

/// From this version on postconf can edit master.cf.
const EDITS: Version = Version(2, 11);

/// Major and minor number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32);

/// An instance.
#[derive(Debug)]
pub(super) struct Instance {
    /// config_directory.
    pub(super) directory: PathBuf,
    /// mail_version.
    pub(super) version: String,
    /// daemon_directory.
    pub(super) daemons: PathBuf,
    /// The name of the cache's service in master.cf.
    pub(super) service: String,
    commands: PathBuf,
    queue: PathBuf,
    postconf: PathBuf,
}

impl Instance {
    /// The one whose configuration postconf reads when it is not told.
    pub(super) fn default_one() -> Result<Self, Failure> {
        let (postconf, directory) = default_directory()?;
        Self::read(postconf, &directory)
    }

    /// The one with this configuration directory.
    pub(super) fn at(directory: &Path) -> Result<Self, Failure> {
        let directory = std::path::absolute(directory).map_err(|error| {
            let directory = directory.display();
            Failure::new(Status::NoInput, format!("{directory}: {error}"))
        })?;
        Self::read(find_postconf()?, &directory)
    }

    fn read(postconf: PathBuf, directory: &Path) -> Result<Self, Failure> {
        let names = [
            "mail_version",
            "daemon_directory",
            "command_directory",
            "queue_directory",
            "connection_cache_service_name",
        ];
        let output = Command::new(&postconf)
            .arg("-c")
            .arg(directory)
            .args(names)
            .output()
            .map_err(|error| cannot_run(&postconf, &error))?;
        if !output.status.success() {
            let said = last_line(&output.stderr);
            let main_cf = directory.join("main.cf");
            return Err(if main_cf.is_file() {
                Failure::new(Status::Configuration, format!("postconf failed: {said}"))
            } else {
                let main_cf = main_cf.display();
                Failure::new(
                    Status::NoInput,
                    format!(
                        "there is no {main_cf}: name the directory of Postfix's main.cf with --config-dir"
                    ),
                )
            });
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = |wanted: &str| {
            let mut lines = text.lines().filter_map(|line| line.split_once(" ="));
            let value = lines.find_map(|(name, value)| (name == wanted).then_some(value.trim()));
            let value = value.filter(|value| !value.is_empty());
            value.map(str::to_owned).ok_or_else(|| {
                Failure::new(
                    Status::Configuration,
                    format!(
                        "postconf does not say what {wanted} is in {}: this Postfix is too old or broken",
                        directory.display()
                    ),
                )
            })
        };
        Ok(Self {
            directory: directory.to_owned(),
            version: value(names[0])?,
            daemons: value(names[1])?.into(),
            commands: value(names[2])?.into(),
            queue: value(names[3])?.into(),
            service: value(names[4])?,
            postconf,
        })
    }

    /// The other instances that belong to the same Postfix, as far as they can be read.
    pub(super) fn others(&self) -> Vec<Self> {
        let Ok((postconf, first)) = default_directory() else {
            return Vec::new();
        };
        let listed = Command::new(&postconf)
            .args(["-h", "multi_instance_directories"])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .unwrap_or_default();
        let listed = listed
            .split(|c: char| c.is_whitespace() || c == ',')
            .filter(|directory| !directory.is_empty())
            .map(PathBuf::from);
        std::iter::once(first.clone())
            .chain(listed)
            .filter(|directory| *directory != self.directory)
            .filter_map(|directory| Self::read(postconf.clone(), &directory).ok())
            .collect()
    }

    /// master.cf.
    pub(super) fn master_cf(&self) -> PathBuf {
        self.directory.join("master.cf")
    }

    /// The name of the service for postconf.
    pub(super) fn service_type(&self) -> String {
        format!("{}/unix", self.service)
    }

    /// Stock's program.
    pub(super) fn stock(&self) -> PathBuf {
        self.daemons.join("scache")
    }

    /// Whether postconf can do what is asked of it here.
    pub(super) fn check_version(&self) -> Result<(), Failure> {
        match Version::parse(&self.version) {
            Some(version) if version >= EDITS => Ok(()),
            _ => Err(Failure::new(
                Status::Configuration,
                format!(
                    "this is Postfix {}, and 2.11 or later is needed: upgrade it",
                    self.version
                ),
            )),
        }
    }

    /// Whether this version's clients wait for the protocol's name; the others must not get it.
    pub(super) fn wants_announcement(&self) -> bool {
        Version::parse(&self.version).is_none_or(|version| version >= ANNOUNCED)
    }

    /// Whether our scache announces with this entry, by its arguments, then by main.cf.
    pub(super) fn announces(&self, entry: &Entry) -> bool {
        entry.announces().unwrap_or_else(|| {
            let text = fs::read(self.directory.join("main.cf")).unwrap_or_default();
            // What cannot be read keeps the program from starting, which will be seen.
            MainCf::parse(&text)
                .ok()
                .and_then(|main_cf| main_cf.boolean("connection_cache_announce").ok())
                .unwrap_or(true)
        })
    }

    /// The cache's service in master.cf.
    pub(super) fn entry(&self) -> Result<Entry, Failure> {
        self.entry_in(&self.directory)
    }

    /// The cache's service in a master.cf that is somewhere else.
    pub(super) fn entry_in(&self, directory: &Path) -> Result<Entry, Failure> {
        let service = self.service_type();
        let output = self.postconf(directory, ["-M", &service])?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let master_cf = directory.join("master.cf");
        let master_cf = master_cf.display();
        match lines.as_slice() {
            [line] => Entry::parse(line).ok_or_else(|| {
                Failure::new(
                    Status::Configuration,
                    format!("{master_cf}: cannot make sense of `{line}`"),
                )
            }),
            [] => Err(Failure::new(
                Status::Configuration,
                format!(
                    "{master_cf} has no service {service}: add Postfix's line `{} unix - - n - 1 scache`",
                    self.service
                ),
            )),
            _ => Err(Failure::new(
                Status::Configuration,
                format!("{master_cf} has the service {service} more than once: leave one of them"),
            )),
        }
    }

    /// The command that [`Instance::set_entry`] is.
    pub(super) fn setting(&self, entry: &Entry) -> String {
        format!(
            "postconf -c {} -M {}",
            super::steps::quoted(&self.directory),
            super::steps::quoted(format!("{}={entry}", self.service_type()))
        )
    }

    /// Changes the cache's service in master.cf.
    pub(super) fn set_entry(&self, entry: &Entry) -> Result<(), Failure> {
        let assignment = format!("{}={entry}", self.service_type());
        self.edit(&["-M", &assignment])
    }

    /// Removes the cache's service from master.cf.
    pub(super) fn remove_entry(&self) -> Result<(), Failure> {
        self.edit(&["-MX", &self.service_type()])
    }

    /// Changes master.cf. The file's owner and mode stay, which postconf would change.
    fn edit(&self, arguments: &[&str]) -> Result<(), Failure> {
        let master_cf = self.master_cf();
        let failed = |error: io::Error| {
            let file = master_cf.display();
            Failure::new(Status::InputOutput, format!("{file}: {error}"))
        };
        let before = fs::metadata(&master_cf).map_err(failed)?;
        self.postconf(&self.directory, arguments)?;
        let file = File::open(&master_cf).map_err(failed)?;
        fchown(&file, Some(before.uid()), Some(before.gid())).map_err(failed)?;
        file.set_permissions(before.permissions()).map_err(failed)
    }

    /// The socket of the service.
    pub(super) fn socket(&self, entry: &Entry) -> PathBuf {
        let directory = if entry.is_private() {
            "private"
        } else {
            "public"
        };
        self.queue.join(directory).join(&self.service)
    }

    /// The process number of master(8), if it runs.
    pub(super) fn master(&self) -> Result<Option<u32>, Failure> {
        let program = self.daemons.join("master");
        // As the command postfix(1) finds out, but without a line in the log.
        let status = Command::new(&program)
            .arg("-c")
            .arg(&self.directory)
            .arg("-t")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map_err(|error| cannot_run(&program, &error))?;
        if status.success() {
            return Ok(None);
        }
        let file = self.queue.join("pid/master.pid");
        let number = fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.lines().next()?.trim().parse().ok());
        number.map(Some).ok_or_else(|| {
            Failure::new(
                Status::System,
                format!(
                    "cannot tell whether Postfix runs (`{} -t` says so, but {} has no process number): see `postfix -c {} status`",
                    program.display(),
                    file.display(),
                    self.directory.display()
                ),
            )
        })
    }

    /// The command that [`Instance::reload`] is.
    pub(super) fn reloading(&self) -> String {
        format!(
            "postfix -c {} reload",
            super::steps::quoted(&self.directory)
        )
    }

    /// `postfix reload`.
    pub(super) fn reload(&self) -> Result<(), Failure> {
        let program = self.commands.join("postfix");
        let run = || -> io::Result<(ExitStatus, Vec<u8>)> {
            // Into a file: the command leaves a process in the background, whose end is not to be waited for.
            let mut said = anonymous_file()?;
            let status = Command::new(&program)
                .arg("-c")
                .arg(&self.directory)
                .arg("reload")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(said.try_clone()?)
                .status()?;
            let mut text = Vec::new();
            said.rewind()?;
            said.read_to_end(&mut text)?;
            Ok((status, text))
        };
        let (status, said) = run().map_err(|error| cannot_run(&program, &error))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::new(
            Status::Unavailable,
            format!("`{}` failed: {}", self.reloading(), last_line(&said)),
        ))
    }

    fn postconf(
        &self,
        directory: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Result<Output, Failure> {
        let output = Command::new(&self.postconf)
            .arg("-c")
            .arg(directory)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| cannot_run(&self.postconf, &error))?;
        if output.status.success() {
            return Ok(output);
        }
        Err(Failure::new(
            Status::Configuration,
            format!("postconf failed: {}", last_line(&output.stderr)),
        ))
    }
}

impl Version {
    /// Of `3.7.11` and of `3.9-20230101` the first two numbers.
    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(['.', '-']).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

/// postconf, and the configuration directory that it takes by itself.
fn default_directory() -> Result<(PathBuf, PathBuf), Failure> {
    let postconf = find_postconf()?;
    let output = Command::new(&postconf)
        .args(["-h", "config_directory"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| cannot_run(&postconf, &error))?;
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !directory.is_empty() {
        return Ok((postconf, directory.into()));
    }
    Err(Failure::new(
        Status::NoInput,
        format!(
            "cannot read Postfix's configuration ({}): name its directory with --config-dir",
            last_line(&output.stderr)
        ),
    ))
}

fn find_postconf() -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join("postconf"))
        .chain(BESIDE_PATH.map(PathBuf::from))
        .find(|program| program.is_file())
        .ok_or_else(|| {
            Failure::new(
                Status::Unavailable,
                "postconf not found: install Postfix, or add the directory of its commands to PATH",
            )
        })
}

fn cannot_run(program: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Status::Unavailable,
        format!("cannot run {}: {error}", program.display()),
    )
}

/// The last thing that a command said, without its own name.
pub(super) fn last_line(said: &[u8]) -> String {
    let text = String::from_utf8_lossy(said).into_owned();
    let line = text.trim_end().lines().next_back().unwrap_or_default();
    let line = line.rsplit_once("fatal: ").map_or(line, |(_, said)| said);
    if line.is_empty() {
        "it does not say why".to_owned()
    } else {
        line.to_owned()
    }
}

/// A file that nobody else sees.
fn anonymous_file() -> io::Result<File> {
    let descriptor = rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(descriptor.into())
}

#[cfg(test)]
mod tests {
    use super::{ANNOUNCED, EDITS, Version, last_line};

    #[test]
    fn versions_are_compared_by_number() {
        for (text, version) in [
            ("3.7.11", Version(3, 7)),
            ("3.10.2", Version(3, 10)),
            ("3.9-20230424", Version(3, 9)),
            ("2.11.0", Version(2, 11)),
        ] {
            assert_eq!(Version::parse(text), Some(version), "{text}");
        }
        assert!(Version(3, 10) > ANNOUNCED);
        assert!(Version(3, 5) < ANNOUNCED);
        assert!(Version(2, 9) < EDITS);
        assert_eq!(Version::parse("new"), None);
        assert_eq!(Version::parse(""), None);
    }

    #[test]
    fn of_what_a_command_says_the_end_counts() {
        assert_eq!(
            last_line(b"postconf: warning: x\npostconf: fatal: open it: no\n"),
            "open it: no"
        );
        assert_eq!(last_line(b""), "it does not say why");
    }
}
