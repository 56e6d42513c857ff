//! Whether other users could put something else in the place of a file.
//!
//! Whoever may write to a directory may replace what is in it, and whoever owns the directory may allow that
//! to anybody. So a path is as safe as the least safe directory that leads to it. [`resolve`] goes through a path
//! as the kernel does, looks at each directory with lstat(2), and returns the path without symbolic links.
//!
//! A directory is safe when root or this user owns it, and neither its group nor others may write to it. In a
//! directory with the sticky bit, such as /tmp, nobody can rename or remove what others own; there each entry that the
//! path leads through has to belong to root or to this user.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

/// Why a path is not safe, or cannot be followed. Each says what to do about it, where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Others than its owner may write to a directory.
    #[error(
        "others may replace what is in {} (mode {mode:04o}): chmod go-w {}",
        .directory.display(), .directory.display()
    )]
    Writable {
        /// The directory.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A directory, or what is in a directory with the sticky bit, belongs to another user.
    #[error("{} belongs to another user ({user})", .path.display())]
    OtherUser {
        /// What belongs to that user.
        path: PathBuf,
        /// The number of the user.
        user: u32,
    },
    /// A path leads through too many symbolic links, perhaps in a circle.
    #[error("too many symbolic links")]
    Circle,
    /// A system call failed.
    #[error("{}: {error}", .path.display())]
    Io {
        /// What the system call was about.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// What to do where a directory of a path is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Make it, for this user only.
    Create,
    /// Report `ENOENT`.
    Report,
}

/// The number of symbolic links that the kernel follows, see path_resolution(7).
const MOST_LINKS: u32 = 40;

const STICKY: u32 = 0o1000;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Returns `path` as an absolute path without symbolic links, if nobody but root and `user` can make it lead
/// somewhere else. What it leads to need not exist.
///
/// # Errors
/// [`PlaceError`].
pub fn resolve(path: &Path, user: u32, missing: Missing) -> Result<PathBuf, PlaceError> {
    let start = std::path::absolute(path).map_err(|error| PlaceError::Io {
        path: path.to_owned(),
        error,
    })?;
    let mut walk = Walk {
        user,
        reached: PathBuf::from("/"),
        is_shared: false,
        left: VecDeque::new(),
        links: 0,
    };
    walk.enter(PathBuf::from("/"))?;
    walk.prepend(&start);
    while let Some(name) = walk.left.pop_front() {
        walk.step(&name, missing)?;
    }
    Ok(walk.reached)
}

/// A walk through a path.
struct Walk {
    user: u32,
    /// The path so far: directories that are safe, or all of it.
    reached: PathBuf,
    /// The directory reached has the sticky bit and others may write to it.
    is_shared: bool,
    /// The names that are still to be looked up.
    left: VecDeque<OsString>,
    links: u32,
}

impl Walk {
    /// Looks up one name in the directory reached.
    fn step(&mut self, name: &OsStr, missing: Missing) -> Result<(), PlaceError> {
        if name == ".." {
            let parent = self.reached.parent().unwrap_or(Path::new("/")).to_owned();
            return self.enter(parent);
        }
        let path = self.reached.join(name);
        let is_last = self.left.is_empty();
        let metadata = match fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound && is_last => {
                self.reached = path;
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Create => {
                create(&path)?;
                look(&path)?
            }
            Err(error) => return Err(PlaceError::Io { path, error }),
        };
        if self.is_shared {
            self.assert_owned(&path, &metadata)?;
        }
        if metadata.is_symlink() {
            return self.follow(&path);
        }
        if is_last {
            self.reached = path;
            return Ok(());
        }
        self.enter(path)
    }

    /// Goes on in a directory, if it is safe.
    fn enter(&mut self, path: PathBuf) -> Result<(), PlaceError> {
        let metadata = look(&path)?;
        if !metadata.is_dir() {
            let error = io::ErrorKind::NotADirectory.into();
            return Err(PlaceError::Io { path, error });
        }
        self.assert_owned(&path, &metadata)?;
        let mode = metadata.mode();
        self.is_shared = mode & WRITABLE_BY_OTHERS != 0;
        if self.is_shared && mode & STICKY == 0 {
            return Err(PlaceError::Writable {
                directory: path,
                mode: mode & 0o7777,
            });
        }
        self.reached = path;
        Ok(())
    }

    fn follow(&mut self, link: &Path) -> Result<(), PlaceError> {
        self.links += 1;
        if self.links > MOST_LINKS {
            return Err(PlaceError::Circle);
        }
        let target = fs::read_link(link).map_err(|error| PlaceError::Io {
            path: link.to_owned(),
            error,
        })?;
        if target.is_absolute() {
            self.enter(PathBuf::from("/"))?;
        }
        self.prepend(&target);
        Ok(())
    }

    fn prepend(&mut self, path: &Path) {
        let names = path.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some(OsString::from("..")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        });
        for name in names.collect::<Vec<_>>().into_iter().rev() {
            self.left.push_front(name);
        }
    }

    fn assert_owned(&self, path: &Path, metadata: &Metadata) -> Result<(), PlaceError> {
        let owner = metadata.uid();
        if owner == 0 || owner == self.user {
            return Ok(());
        }
        Err(PlaceError::OtherUser {
            path: path.to_owned(),
            user: owner,
        })
    }
}

fn look(path: &Path) -> Result<Metadata, PlaceError> {
    fs::symlink_metadata(path).map_err(|error| PlaceError::Io {
        path: path.to_owned(),
        error,
    })
}

fn create(path: &Path) -> Result<(), PlaceError> {
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(PlaceError::Io {
            path: path.to_owned(),
            error,
        }),
        // One that appeared in the meantime is looked at like any other.
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    struct Scratch(
        PathBuf,
        #[expect(dead_code, reason = "it goes with it")] tempfile::TempDir,
    );

    impl Scratch {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self(fs::canonicalize(directory.path()).unwrap(), directory)
        }

        fn directory(&self, name: &str, mode: u32) -> PathBuf {
            let path = self.0.join(name);
            fs::create_dir(&path).unwrap();
            set_mode(&path, mode);
            path
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn resolved(path: &Path) -> Result<PathBuf, PlaceError> {
        resolve(path, rustix::process::geteuid().as_raw(), Missing::Report)
    }

    #[test]
    fn every_directory_of_the_path_decides() {
        let scratch = Scratch::new();
        for (mode, is_safe) in [
            (0o700, true),
            (0o755, true),
            (0o2755, true),
            (0o1777, true),
            (0o775, false),
            (0o777, false),
            (0o702, false),
        ] {
            let directory = scratch.directory(&format!("{mode:o}"), mode);
            let below = directory.join("below");
            fs::create_dir(&below).unwrap();
            for path in [directory.join("socket"), below.join("socket")] {
                match resolved(&path) {
                    Ok(found) => assert_eq!((found, is_safe), (path, true), "{mode:o}"),
                    Err(PlaceError::Writable { directory: at, .. }) => {
                        assert_eq!((at, is_safe), (directory.clone(), false), "{mode:o}");
                    }
                    Err(error) => panic!("{mode:o}: {error}"),
                }
            }
        }
    }

    #[test]
    fn links_are_resolved_and_what_they_lead_through_is_checked() {
        let scratch = Scratch::new();
        let real = scratch.directory("real", 0o700);
        let open = scratch.directory("open", 0o777);
        fs::write(real.join("socket"), "").unwrap();
        symlink("real", scratch.0.join("relative")).unwrap();
        symlink(real.join("socket"), scratch.0.join("absolute")).unwrap();
        symlink("../real/socket", open.join("link")).unwrap();
        symlink("circle", scratch.0.join("circle")).unwrap();
        symlink("real/later", scratch.0.join("dangling")).unwrap();
        for (path, leads_to) in [
            ("relative/socket", "real/socket"),
            ("relative/../real/socket", "real/socket"),
            ("absolute", "real/socket"),
            ("dangling", "real/later"),
            ("real/none", "real/none"),
        ] {
            let found = resolved(&scratch.0.join(path)).unwrap();
            assert_eq!(found, scratch.0.join(leads_to), "{path}");
        }
        let circle = resolved(&scratch.0.join("circle"));
        assert!(matches!(circle, Err(PlaceError::Circle)), "{circle:?}");
        // The way there is open to all, though not where it ends.
        let through = resolved(&open.join("link"));
        assert!(
            matches!(through, Err(PlaceError::Writable { .. })),
            "{through:?}"
        );
        let missing = resolved(&scratch.0.join("none/socket"));
        assert!(matches!(missing, Err(PlaceError::Io { .. })), "{missing:?}");
    }

    #[test]
    fn missing_directories_are_made_for_this_user_only() {
        let scratch = Scratch::new();
        let path = scratch.0.join("a/b/socket");
        let user = rustix::process::geteuid().as_raw();
        assert_eq!(resolve(&path, user, Missing::Create).unwrap(), path);
        for directory in ["a", "a/b"] {
            let mode = fs::metadata(scratch.0.join(directory)).unwrap().mode();
            assert_eq!(mode & 0o077, 0, "{directory}");
        }
        assert!(!path.exists());
    }

    #[test]
    fn what_another_user_planted_is_refused() {
        /// Nobody's, so that it is not that of whoever runs the test.
        const OTHER: u32 = 65_533;
        let scratch = Scratch::new();
        let shared = scratch.directory("shared", 0o1777);
        let own = scratch.directory("own", 0o700);
        let planted = shared.join("planted");
        fs::create_dir(&planted).unwrap();
        symlink(&own, shared.join("link")).unwrap();
        fs::write(shared.join("socket"), "").unwrap();
        if rustix::process::geteuid().is_root() {
            for name in ["planted", "link", "socket"] {
                std::os::unix::fs::lchown(shared.join(name), Some(OTHER), None).unwrap();
            }
            chown(&own, None, Some(OTHER)).unwrap();
            for name in ["planted/socket", "link/socket", "socket"] {
                let refused = resolved(&shared.join(name));
                assert!(
                    matches!(refused, Err(PlaceError::OtherUser { user: OTHER, .. })),
                    "{name}: {refused:?}"
                );
            }
            // They are that user's own.
            resolve(&shared.join("socket"), OTHER, Missing::Report).unwrap();
        } else {
            // Only root can give files away. To another user ours are those of a stranger.
            let refused = resolve(&shared.join("socket"), OTHER, Missing::Report);
            assert!(
                matches!(refused, Err(PlaceError::OtherUser { .. })),
                "{refused:?}"
            );
        }
    }
}
