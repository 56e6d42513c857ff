//! What master.cf was before, and what `install` made of it: so that it can be restored to the byte, and so that it is
//! known whether somebody else has edited it since.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::entry::Entry;
use super::instance::Instance;
use super::program::NAME;
use super::steps::{Steps, quoted};
use crate::failure::{Failure, Status};

/// The two copies beside master.cf.
#[derive(Debug)]
pub(super) struct Copies<'a> {
    instance: &'a Instance,
    before: PathBuf,
    after: PathBuf,
}

/// How the way back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WayBack {
    /// To what was there, to the byte.
    Bytes,
    /// To the service as it was, in a file that has been edited since.
    Edited,
    /// To stock's program: what was there before is not known.
    Unknown,
}

impl<'a> Copies<'a> {
    /// Those of an instance, whether they are there or not.
    pub(super) fn of(instance: &'a Instance) -> Self {
        let copy = |when: &str| instance.directory.join(format!("master.cf.{when}-{NAME}"));
        Self {
            instance,
            before: copy("before"),
            after: copy("after"),
        }
    }

    /// Which way back there is now.
    pub(super) fn way_back(&self) -> WayBack {
        if !self.before.is_file() {
            return WayBack::Unknown;
        }
        match (fs::read(self.instance.master_cf()), fs::read(&self.after)) {
            (Ok(now), Ok(after)) if now == after => WayBack::Bytes,
            _ => WayBack::Edited,
        }
    }

    /// Keeps what is there before it is changed.
    pub(super) fn keep_before(&self, steps: &Steps) -> Result<(), Failure> {
        self.keep(&self.before, "kept master.cf as", steps)
    }

    /// Keeps what was made of it.
    pub(super) fn keep_after(&self, steps: &Steps) -> Result<(), Failure> {
        self.keep(&self.after, "kept what it is now as", steps)
    }

    fn keep(&self, copy: &Path, what: &str, steps: &Steps) -> Result<(), Failure> {
        let master_cf = self.instance.master_cf();
        steps.take(
            format!("cp -p {} {}", quoted(&master_cf), quoted(copy)),
            || {
                duplicate(&master_cf, copy).map_err(|error| failed(copy, &error))?;
                Ok(format!("{what} {}", copy.display()))
            },
        )
    }

    /// Puts back what was there, as far as it is known. The copies stay.
    pub(super) fn put_back(&self, entry: &Entry, steps: &Steps) -> Result<(), Failure> {
        let master_cf = self.instance.master_cf();
        let service = self.instance.service_type();
        let way_back = self.way_back();
        let before = match way_back {
            WayBack::Bytes => {
                return steps.take(
                    format!("cp -p {} {}", quoted(&self.before), quoted(&master_cf)),
                    || {
                        duplicate(&self.before, &master_cf)
                            .map_err(|error| failed(&master_cf, &error))?;
                        Ok("restored master.cf to the byte")
                    },
                );
            }
            WayBack::Edited => self.entry_before()?,
            WayBack::Unknown => entry.with_program("scache").without_silence(),
        };
        let why = match way_back {
            WayBack::Edited => "master.cf has been edited since: put back only",
            _ => "what was there before was not kept: put back stock's program for",
        };
        steps.take(self.instance.setting(&before), || {
            self.instance.set_entry(&before)?;
            Ok(format!("{why} {service}"))
        })
    }

    /// Does something to master.cf, and then puts back what was there at the beginning.
    pub(super) fn without_change<T>(
        &self,
        this: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let master_cf = self.instance.master_cf();
        let image = Image::of(&master_cf).map_err(|error| failed(&master_cf, &error))?;
        let done = this();
        image
            .write(&master_cf)
            .map_err(|error| failed(&master_cf, &error))?;
        done
    }

    /// Removes them.
    pub(super) fn remove(&self, steps: &Steps) -> Result<(), Failure> {
        for copy in [&self.before, &self.after] {
            super::program::remove(copy, steps)?;
        }
        Ok(())
    }

    /// Whether one of them is there.
    pub(super) fn exist(&self) -> bool {
        self.before.exists() || self.after.exists()
    }

    /// The service as it was. postconf reads only what is called master.cf and has a main.cf beside it.
    fn entry_before(&self) -> Result<Entry, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let nanoseconds = now.map_or(0, |since| since.subsec_nanos());
        let name = format!("{NAME}.{}.{nanoseconds}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        // One that is there already is somebody else's.
        DirBuilder::new()
            .mode(0o700)
            .create(&directory)
            .map_err(|error| failed(&directory, &error))?;
        let read = || -> io::Result<()> {
            File::create(directory.join("main.cf"))?;
            fs::copy(&self.before, directory.join("master.cf"))?;
            Ok(())
        };
        let entry = read()
            .map_err(|error| failed(&directory, &error))
            .and_then(|()| self.instance.entry_in(&directory));
        let _ = fs::remove_dir_all(&directory);
        entry
    }
}

/// A file with its owner and mode.
#[derive(Debug)]
pub(super) struct Image {
    content: Vec<u8>,
    metadata: Metadata,
}

impl Image {
    /// Reads a file.
    pub(super) fn of(file: &Path) -> io::Result<Self> {
        Ok(Self {
            content: fs::read(file)?,
            metadata: fs::metadata(file)?,
        })
    }

    /// Whether the file still has this content.
    pub(super) fn is_at(&self, file: &Path) -> bool {
        fs::read(file).is_ok_and(|content| content == self.content)
    }

    /// Makes it. Who opens the file sees all of it or what was there before.
    fn write(&self, file: &Path) -> io::Result<()> {
        let mut name = file.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let (user, group) = (self.metadata.uid(), self.metadata.gid());
        let write = || -> io::Result<()> {
            // What a run left that was cut short goes; what is there all the same is not followed.
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut opened = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&new)?;
            opened.write_all(&self.content)?;
            fchown(&opened, Some(user), Some(group))?;
            opened.set_permissions(self.metadata.permissions())?;
            opened.sync_all()?;
            fs::rename(&new, file)
        };
        write().inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }
}

fn duplicate(from: &Path, to: &Path) -> io::Result<()> {
    Image::of(from)?.write(to)
}

pub(super) fn failed(file: &Path, error: &io::Error) -> Failure {
    Failure::new(Status::CannotCreate, format!("{}: {error}", file.display()))
}
