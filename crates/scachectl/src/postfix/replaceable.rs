//! Whether a file can be replaced by another one of the same name, which is how postconf(1) edits master.cf.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags, access, statx};
use rustix::io::Errno;

use crate::failure::{Failure, Status};

/// Why a file cannot be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fixed {
    /// The file is a mount point. Containers are given single files this way.
    Mounted(PathBuf),
    /// The file, or its directory, has the attribute `i` or `a` of chattr(1).
    Attribute(PathBuf),
    /// The file system is mounted read-only.
    ReadOnly(PathBuf),
}

/// Checks that the file at `path` can be replaced. Other obstacles show only when it is tried.
pub(super) fn check(path: &Path) -> Result<(), Fixed> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    for place in [path, directory] {
        match access(place, Access::WRITE_OK) {
            Err(Errno::ROFS) => return Err(Fixed::ReadOnly(place.to_owned())),
            Err(Errno::PERM) => return Err(Fixed::Attribute(place.to_owned())),
            _ => {}
        }
        let of_this = attributes(place);
        // In a directory with `a` files can be made, but not replaced.
        if of_this.intersects(StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Err(Fixed::Attribute(place.to_owned()));
        }
    }
    if attributes(path).contains(StatxAttributes::MOUNT_ROOT) {
        return Err(Fixed::Mounted(path.to_owned()));
    }
    Ok(())
}

/// The attributes of a file, as far as its file system and the kernel (5.8 for mount points) tell them.
fn attributes(path: &Path) -> StatxAttributes {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .map_or(StatxAttributes::empty(), |known| known.stx_attributes)
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mounted(file) => write!(
                f,
                "{} is mounted by itself, as files of containers are, so it cannot be replaced: mount its directory instead, or edit the file by hand where it comes from",
                file.display()
            ),
            Self::Attribute(place) => write!(
                f,
                "{0} is protected by chattr, so master.cf cannot be replaced: run `chattr -ia {0}` first",
                place.display()
            ),
            Self::ReadOnly(place) => write!(
                f,
                "{} is on a file system that is mounted read-only: mount it for writing, or edit master.cf by hand where it comes from",
                place.display()
            ),
        }
    }
}

impl From<Fixed> for Failure {
    fn from(fixed: Fixed) -> Self {
        Self::new(Status::Configuration, fixed.to_string())
    }
}
