//! Which process serves, by what /proc says. A socket tells who made it, which is master(8), and not who answers.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A process of a service.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) number: u32,
    /// Where its program is, as the kernel tells.
    pub(super) program: PathBuf,
    file: (u64, u64),
}

/// What serves.
#[derive(Debug)]
pub(super) enum Service {
    /// This process.
    Process(Process),
    /// None at the moment: master(8) starts one when somebody connects.
    None,
    /// That cannot be seen from here.
    Hidden,
}

impl Process {
    /// Whether it runs this file, and not one that had the name before.
    pub(super) fn runs(&self, file: &Path) -> bool {
        identity(file) == Some(self.file)
    }
}

/// The process that master(8) has started for a service.
pub(super) fn find(master: u32, service: &str) -> Service {
    if fs::read(format!("/proc/{master}/stat")).is_err() {
        return Service::Hidden;
    }
    let serves = |number: &u32| {
        parent(*number) == Some(master)
            && fs::read(format!("/proc/{number}/cmdline"))
                .is_ok_and(|line| says_name(&line, service))
    };
    let process = processes().filter(serves).find_map(|number| {
        let link = PathBuf::from(format!("/proc/{number}/exe"));
        Some(Process {
            number,
            program: fs::read_link(&link).ok()?,
            file: identity(&link)?,
        })
    });
    process.map_or(Service::None, Service::Process)
}

/// A process that runs this file, whoever started it.
pub(super) fn running(file: &Path) -> Option<u32> {
    let file = identity(file)?;
    processes().find(|number| identity(Path::new(&format!("/proc/{number}/exe"))) == Some(file))
}

/// Returns the configuration directories of all master(8) processes. `None` is the default one of their Postfix.
///
/// Commands run what such a directory names, as root. So only processes of root count, and not those of containers: others
/// choose their names and environments as they like.
pub(super) fn masters() -> impl Iterator<Item = Option<PathBuf>> {
    processes().filter_map(|number| {
        let process = format!("/proc/{number}");
        let status = fs::read_to_string(format!("{process}/status")).ok()?;
        let namespace = |process: &str| fs::read_link(format!("{process}/ns/pid")).ok();
        if !is_roots(&status) || namespace(&process)? != namespace("/proc/self")? {
            return None;
        }
        let program = fs::read_link(format!("{process}/exe")).ok()?;
        // An upgrade of Postfix may have replaced the file of one that runs on.
        let name = program.file_name()?.as_bytes();
        let name = name.strip_suffix(b" (deleted)").unwrap_or(name);
        if name != b"master" {
            return None;
        }
        let line = fs::read(format!("{process}/cmdline")).ok()?;
        let environment = fs::read(format!("{process}/environ")).ok()?;
        Some(directory(&line, &environment))
    })
}

/// Whether all user numbers of a process are root's: the real one, too, which a set-user-ID program does not change.
fn is_roots(status: &str) -> bool {
    let numbers = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    numbers.is_some_and(|numbers| numbers.split_whitespace().all(|number| number == "0"))
}

/// Returns the configuration directory that a process was given: by its option, else by its environment.
fn directory(line: &[u8], environment: &[u8]) -> Option<PathBuf> {
    let words = line.split(|byte| *byte == 0);
    let option = words.skip_while(|word| *word != b"-c").nth(1);
    let mut settings = environment.split(|byte| *byte == 0);
    let told = option.or_else(|| settings.find_map(|one| one.strip_prefix(b"MAIL_CONFIG=")))?;
    let told = PathBuf::from(OsStr::from_bytes(told));
    told.is_absolute().then_some(told)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Device and inode of a file, which identify it under any name.
pub(super) fn identity(file: &Path) -> Option<(u64, u64)> {
    let metadata = fs::metadata(file).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn parent(number: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{number}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // Behind the program's name, which may contain anything: state, parent.
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

/// Whether a command line is one that master(8) makes for a service: it names the service only when the program has
/// another name.
fn says_name(line: &[u8], service: &str) -> bool {
    let mut words = line.split(|byte| *byte == 0);
    let program = words.next().unwrap_or_default();
    let program = program.rsplit(|byte| *byte == b'/').next();
    let mut named = words.skip_while(|word| *word != b"-n").skip(1);
    named.next().or(program) == Some(service.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{directory, is_roots, says_name};

    #[test]
    fn a_service_is_known_by_its_command_line() {
        for (line, service, is) in [
            (b"scache\0-l\0-t\0unix\0-u\0".as_slice(), "scache", true),
            (b"/usr/sbin/scache\0-l\0", "scache", true),
            (b"scache-rs\0-n\0scache\0-t\0unix\0", "scache", true),
            (b"scache\0-n\0other\0", "scache", false),
            (b"scache\0-n\0other\0", "other", true),
            (b"smtp\0-t\0unix\0-u\0", "scache", false),
            (b"", "scache", false),
        ] {
            assert_eq!(says_name(line, service), is, "{line:?}");
        }
    }

    #[test]
    fn root_is_known_by_all_of_its_numbers() {
        for (status, is) in [
            ("Name:\tmaster\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n", true),
            ("Name:\tmaster\nUid:\t1000\t0\t0\t0\n", false),
            ("Name:\tUid:\t0\nUid:\t5\t5\t5\t5\n", false),
            ("", false),
        ] {
            assert_eq!(is_roots(status), is, "{status:?}");
        }
    }

    #[test]
    fn an_instance_is_known_by_option_then_by_environment() {
        for (line, environment, told) in [
            (
                b"master\0-w\0".as_slice(),
                b"A=b\0MAIL_CONFIG=/one\0".as_slice(),
                Some("/one"),
            ),
            (
                b"master\0-c\0/two\0-w\0",
                b"MAIL_CONFIG=/one\0",
                Some("/two"),
            ),
            (b"master\0-c\0", b"", None),
            (b"master\0", b"XMAIL_CONFIG=/one\0", None),
            (b"master\0", b"MAIL_CONFIG=one\0", None),
        ] {
            let expected = told.map(|told| Path::new(told).to_owned());
            assert_eq!(directory(line, environment), expected, "{line:?}");
        }
    }
}
