//! Our scache in daemon_directory, under a name of its own, which no upgrade of Postfix overwrites.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{XattrFlags, getxattr, setxattr};

use super::entry::Entry;
use super::instance::Instance;
use super::postconf::last_line;
use super::proof::{self, Server};
use super::steps::{Steps, quoted};
use crate::failure::{Failure, Status};

/// The name in daemon_directory and in master.cf.
pub(super) const NAME: &str = "scache-rs";

/// Not yet in its place.
const NEW: &str = "scache-rs.new";

/// What was in its place before, until the new one has proved itself.
const OLD: &str = "scache-rs.old";

/// Where scache is, seen from the directory of scachectl: built together, installed below a prefix.
const SHIPPED: [&str; 3] = ["scache", "../libexec/scache/scache", "../lib/scache/scache"];

const MODE: u32 = 0o755;

/// The extended attribute that SELinux labels a file with.
const LABEL: &str = "security.selinux";

/// How long a program may take to start and to answer when it is tried out.
const TRIAL: Duration = Duration::from_secs(10);

/// The scache to install: the one that was named, or the one that came with this program.
pub(super) fn shipped(named: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = named {
        if path.is_file() {
            return Ok(path.to_owned());
        }
        return Err(Failure::new(
            Status::NoInput,
            format!("{}: there is no such file", path.display()),
        ));
    }
    let this = std::env::current_exe().unwrap_or_default();
    let beside = this.parent().unwrap_or(Path::new("/"));
    SHIPPED
        .iter()
        .map(|place| beside.join(place))
        .find(|path| path.is_file())
        .map(|path| path.canonicalize().unwrap_or(path))
        .ok_or_else(|| {
            Failure::new(
                Status::NoInput,
                format!(
                    "no scache came with this scachectl (looked in {} for {}): name it with --program",
                    beside.display(),
                    SHIPPED.join(", ")
                ),
            )
        })
}

/// Whether the program is in its place and the same as the shipped one. `None` if it is not there.
pub(super) fn same(installed: &Path, shipped: &Path) -> io::Result<Option<bool>> {
    let metadata = match fs::metadata(installed) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    let executable = metadata.permissions().mode() & 0o111 == 0o111;
    Ok(Some(
        executable && fs::read(installed)? == fs::read(shipped)?,
    ))
}

/// Puts the shipped program in its place when it has shown that it runs here. What was there is kept
/// until it is known which of them stays.
pub(super) fn place(
    instance: &Instance,
    entry: &Entry,
    shipped: &Path,
    steps: &Steps,
) -> Result<Placed, Failure> {
    let [new, old, program] = [NEW, OLD, NAME].map(|name| instance.daemons.join(name));
    let stock =
        fs::metadata(instance.stock()).map_err(|error| failed(&instance.stock(), &error))?;
    let (user, group) = (stock.uid(), stock.gid());
    let copying = format!(
        "install -o {user} -g {group} -m {MODE:o} {} {}",
        quoted(shipped),
        quoted(&new)
    );
    let arguments = trial_arguments(instance, entry);
    let trying = format!(
        r"printf 'request\0inline\0\0' | MAIL_CONFIG={} {} {}",
        quoted(&instance.directory),
        quoted(&new),
        arguments.iter().map(quoted).collect::<Vec<_>>().join(" ")
    );
    let replaces = program.exists();
    let put_in_place = || -> Result<(), Failure> {
        steps.take(copying, || {
            copy(shipped, &new, user, group)
                .map(|()| format!("copied {} to {}", shipped.display(), new.display()))
                .map_err(|error| failed(&new, &error))
        })?;
        if let Some(label) = label(&instance.stock()) {
            steps.take(
                format!(
                    "chcon --reference={} {}",
                    quoted(instance.stock()),
                    quoted(&new)
                ),
                || {
                    setxattr(&new, LABEL, &label, XattrFlags::empty())
                        .map_err(|error| failed(&new, &error.into()))?;
                    Ok("gave it the SELinux label of stock's scache")
                },
            )?;
        }
        steps.take(trying, || {
            try_out(&new, instance, &arguments)?;
            Ok("it runs here")
        })?;
        if replaces {
            steps.take(
                format!("ln -f {} {}", quoted(&program), quoted(&old)),
                || {
                    keep(&program, &old).map_err(|error| failed(&old, &error))?;
                    Ok(format!("kept the one that was there as {}", old.display()))
                },
            )?;
        }
        steps.take(format!("mv {} {}", quoted(&new), quoted(&program)), || {
            fs::rename(&new, &program).map_err(|error| failed(&program, &error))?;
            Ok(format!("moved it to {}", program.display()))
        })
    };
    match put_in_place() {
        Ok(()) => Ok(Placed { replaces }),
        Err(failure) => {
            let _ = fs::remove_file(&new);
            Err(failure)
        }
    }
}

/// A program that was put in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// Whether there was one.
    replaces: bool,
}

impl Placed {
    /// Takes it away again: what was there before is there afterwards.
    pub(super) fn undo(self, instance: &Instance) -> Result<(), Failure> {
        let [old, program] = [OLD, NAME].map(|name| instance.daemons.join(name));
        let undone = if self.replaces {
            fs::rename(&old, &program)
        } else {
            fs::remove_file(&program)
        };
        undone.map_err(|error| failed(&program, &error))
    }

    /// Removes what was there before.
    pub(super) fn keep(self, instance: &Instance, steps: &Steps) -> Result<(), Failure> {
        if !self.replaces {
            return Ok(());
        }
        let old = instance.daemons.join(OLD);
        steps.take(format!("rm {}", quoted(&old)), || {
            fs::remove_file(&old).map_err(|error| failed(&old, &error))?;
            Ok(format!("removed {}", old.display()))
        })
    }
}

/// Removes a file if it is there.
pub(super) fn remove(file: &Path, steps: &Steps) -> Result<(), Failure> {
    if !file.exists() {
        return Ok(());
    }
    steps.take(format!("rm {}", quoted(file)), || {
        fs::remove_file(file).map_err(|error| failed(file, &error))?;
        Ok(format!("removed {}", file.display()))
    })
}

fn failed(file: &Path, error: &io::Error) -> Failure {
    let status = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Status::CannotCreate,
        _ => Status::InputOutput,
    };
    Failure::new(status, format!("{}: {error}", file.display()))
}

fn copy(from: &Path, to: &Path, user: u32, group: u32) -> io::Result<()> {
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut source = File::open(from)?;
    let mut copy = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)?;
    io::copy(&mut source, &mut copy)?;
    fchown(&copy, Some(user), Some(group))?;
    copy.set_permissions(fs::Permissions::from_mode(MODE))?;
    copy.sync_all()
}

/// Returns the SELinux label of a file, if it has one. Policies name the programs of Postfix, and not ours.
fn label(program: &Path) -> Option<Vec<u8>> {
    // The kernel's limit for a label is a page.
    let mut label = vec![0; 4096];
    let length = getxattr(program, LABEL, &mut label).ok()?;
    label.truncate(length);
    Some(label)
}

fn keep(program: &Path, old: &Path) -> io::Result<()> {
    match fs::remove_file(old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fs::hard_link(program, old)
}

/// What master(8) would say to it, but for `-S`: serve who is at standard input, then end.
fn trial_arguments(instance: &Instance, entry: &Entry) -> Vec<OsString> {
    let mut arguments = ["-n", &instance.service, "-t", "unix", "-S"]
        .map(OsString::from)
        .to_vec();
    if entry.is_chrooted() {
        arguments.push("-c".into());
    }
    if entry.is_unprivileged() {
        arguments.push("-u".into());
    }
    arguments.extend(entry.arguments());
    arguments
}

/// Starts a program as master(8) would and lets it answer one request, with the real main.cf.
fn try_out(program: &Path, instance: &Instance, arguments: &[OsString]) -> Result<(), Failure> {
    let does_not = |why: String| {
        let instead = "nothing was changed; name one for this machine with --program";
        Failure::new(
            Status::Data,
            format!("the program does not run here ({why}): {instead}"),
        )
    };
    let start = || -> io::Result<_> {
        let (ours, its) = UnixStream::pair()?;
        let child = Command::new(program)
            .arg0(NAME)
            .args(arguments)
            .env("MAIL_CONFIG", &instance.directory)
            // With it the program would take itself for one that master(8) watches, and only log.
            .env_remove("GENERATION")
            .stdin(Stdio::from(OwnedFd::from(its.try_clone()?)))
            .stdout(Stdio::from(OwnedFd::from(its)))
            .stderr(Stdio::piped())
            .spawn()?;
        Ok((ours, child))
    };
    let (socket, mut child) = start().map_err(|error| does_not(error.to_string()))?;
    let heard = proof::ask_over(&socket, TRIAL);
    drop(socket);
    // One that has answered ends by itself; the others may not.
    let _ = child.kill();
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take()
        && heard.is_err()
    {
        // Not for ever, should it have left a process behind that holds this open.
        let _ = stderr.take(64 * 1024).read_to_end(&mut said);
    }
    let ended = child.wait();
    match heard {
        Ok(heard) if heard.server == Server::Ours => Ok(()),
        Ok(_) => Err(does_not("it is Postfix's own scache".to_owned())),
        Err(_) if !said.is_empty() => Err(Failure::new(
            Status::Data,
            format!(
                "the program does not start: {}: nothing was changed",
                last_line(&said)
            ),
        )),
        Err(error) => {
            let ended = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            Err(does_not(format!("{error}, {ended}")))
        }
    }
}
