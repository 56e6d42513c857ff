//! An instance of Postfix: what postconf(1) says of it, and whether it runs.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use scache_maincf::MainCf;

use super::entry::Entry;
use super::postconf::{Postconf, cannot_run, last_line};
use super::version::Version;
use crate::failure::{Failure, Status};

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
    pub(super) postconf: Postconf,
}

impl Instance {
    /// The one whose configuration postconf reads when it is not told.
    pub(super) fn default_one() -> Result<Self, Failure> {
        let postconf = Postconf::find()?;
        let directory = postconf.default_directory()?;
        Self::read(postconf, &directory)
    }

    /// The one with this configuration directory.
    pub(super) fn at(directory: &Path) -> Result<Self, Failure> {
        let directory = std::path::absolute(directory).map_err(|error| {
            let directory = directory.display();
            Failure::new(Status::NoInput, format!("{directory}: {error}"))
        })?;
        Self::read(Postconf::find()?, &directory)
    }

    /// Reads what postconf says about a directory.
    pub(super) fn read(postconf: Postconf, directory: &Path) -> Result<Self, Failure> {
        let main_cf = directory.join("main.cf");
        if !main_cf.is_file() {
            let main_cf = main_cf.display();
            return Err(Failure::new(
                Status::NoInput,
                format!(
                    "there is no {main_cf}: name the directory of Postfix's main.cf with --config-dir"
                ),
            ));
        }
        // Values may refer to other parameters.
        let names = [
            "-x",
            "mail_version",
            "daemon_directory",
            "command_directory",
            "queue_directory",
            "connection_cache_service_name",
        ];
        let text = postconf.run(directory, names)?;
        let value = |wanted: &str| {
            let mut lines = text.split(|byte| *byte == b'\n');
            let value = lines.find_map(|line| {
                let rest = line.strip_prefix(wanted.as_bytes())?;
                Some(rest.strip_prefix(b" =")?.trim_ascii())
            });
            let value = value.filter(|value| !value.is_empty());
            value.map(OsStr::from_bytes).ok_or_else(|| {
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
            version: value(names[1])?.to_string_lossy().into_owned(),
            daemons: value(names[2])?.into(),
            commands: value(names[3])?.into(),
            queue: value(names[4])?.into(),
            service: value(names[5])?.to_string_lossy().into_owned(),
            postconf,
        })
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
            Some(version) if version >= Version::EDITS => Ok(()),
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
        Version::parse(&self.version).is_none_or(|version| version >= Version::ANNOUNCED)
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
        let text = self.postconf.run(directory, ["-M", &service])?;
        let lines = text.split(|byte| *byte == b'\n');
        let lines: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
        let master_cf = directory.join("master.cf");
        let master_cf = master_cf.display();
        match lines.as_slice() {
            [line] => Entry::parse(line).ok_or_else(|| {
                Failure::new(
                    Status::Configuration,
                    format!(
                        "{master_cf}: cannot make sense of `{}`",
                        OsStr::from_bytes(line).display()
                    ),
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

    /// All services in master.cf that can be read.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, Failure> {
        let text = self.postconf.run(&self.directory, ["-M"])?;
        let lines = text.split(|byte| *byte == b'\n');
        Ok(lines.filter_map(Entry::parse).collect())
    }

    /// The command that [`Instance::set_entry`] is.
    pub(super) fn setting(&self, entry: &Entry) -> String {
        format!(
            "postconf -c {} -M {}",
            super::steps::quoted(&self.directory),
            super::steps::quoted(self.assignment(entry))
        )
    }

    /// Changes the cache's service in master.cf.
    pub(super) fn set_entry(&self, entry: &Entry) -> Result<(), Failure> {
        self.edit(&[OsStr::new("-M"), &self.assignment(entry)])
    }

    fn assignment(&self, entry: &Entry) -> OsString {
        let mut assignment = OsString::from(self.service_type());
        assignment.push("=");
        assignment.push(entry.line());
        assignment
    }

    /// Removes the cache's service from master.cf.
    pub(super) fn remove_entry(&self) -> Result<(), Failure> {
        self.edit(&[OsStr::new("-MX"), OsStr::new(&self.service_type())])
    }

    /// Changes master.cf. The file's owner and mode stay, which postconf would change.
    fn edit(&self, arguments: &[&OsStr]) -> Result<(), Failure> {
        let master_cf = self.master_cf();
        let failed = |error: io::Error| {
            let file = master_cf.display();
            Failure::new(Status::InputOutput, format!("{file}: {error}"))
        };
        let before = fs::metadata(&master_cf).map_err(failed)?;
        self.postconf.run(&self.directory, arguments)?;
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
}

/// A file that nobody else sees.
fn anonymous_file() -> io::Result<File> {
    let descriptor = rustix::fs::memfd_create("said", rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(descriptor.into())
}
