//! The instances of Postfix on this machine: by what the default one says, and by the master(8) processes that run.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::instance::Instance;
use super::postconf::Postconf;
use super::serving::{self, identity};
use crate::failure::Failure;

/// Parameters of the default instance that list directories of others.
const LISTS: [&str; 2] = ["multi_instance_directories", "alternate_config_directories"];

/// Returns the instances that `--all-instances` means: the default one, those that it lists, if they have the cache's
/// service, and the running ones that share its programs.
///
/// # Errors
/// If the default one cannot be read, or a listed one can be read only in part.
pub(super) fn all() -> Result<Vec<Instance>, Failure> {
    let first = Instance::default_one()?;
    let mut all = Vec::new();
    let others = known(&first.postconf, &first.directory);
    let others = others.into_iter().filter(|(instance, source)| {
        let belongs = *source == Source::Listed || instance.shares_programs_with(&first);
        belongs && instance.entry().is_ok()
    });
    let others: Vec<Instance> = others.map(|(instance, _)| instance).collect();
    for instance in std::iter::once(first).chain(others) {
        if !all.iter().any(|one: &Instance| one.is(&instance)) {
            all.push(instance);
        }
    }
    Ok(all)
}

/// Returns the other instances that are known, as far as they can be read. One may come twice.
pub(super) fn others(instance: &Instance) -> Vec<Instance> {
    let postconf = &instance.postconf;
    let default = postconf.default_directory().ok();
    let default = default.unwrap_or_else(|| instance.directory.clone());
    let first = Instance::read(postconf.clone(), &default).ok();
    let known = known(postconf, &default);
    let known = known.into_iter().map(|(instance, _)| instance);
    first
        .into_iter()
        .chain(known)
        .filter(|other| !other.is(instance))
        .collect()
}

/// How an instance is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The default instance lists it.
    Listed,
    /// Its master(8) runs.
    Running,
}

fn known(postconf: &Postconf, default: &Path) -> Vec<(Instance, Source)> {
    let listed = LISTS.iter().flat_map(|name| {
        let list = postconf.run(default, ["-xh", name]).unwrap_or_default();
        let directories = list.split(|byte| byte.is_ascii_whitespace() || *byte == b',');
        let directories = directories.filter(|directory| !directory.is_empty());
        let directories: Vec<PathBuf> = directories
            .map(|directory| OsStr::from_bytes(directory).into())
            .collect();
        directories
    });
    let listed = listed.map(|directory| (directory, Source::Listed));
    let running = serving::masters().map(|directory| {
        let directory = directory.unwrap_or_else(|| default.to_owned());
        (directory, Source::Running)
    });
    listed
        .chain(running)
        .filter_map(|(directory, source)| {
            let instance = Instance::read(postconf.clone(), &directory).ok()?;
            Some((instance, source))
        })
        .collect()
}

impl Instance {
    /// Whether this is the same instance, whatever its directory is called.
    pub(super) fn is(&self, other: &Self) -> bool {
        same_place(&self.directory, &other.directory)
    }

    /// Whether both start programs of one directory.
    pub(super) fn shares_programs_with(&self, other: &Self) -> bool {
        same_place(&self.daemons, &other.daemons)
    }
}

fn same_place(one: &Path, other: &Path) -> bool {
    one == other || identity(one).is_some_and(|one| Some(one) == identity(other))
}
