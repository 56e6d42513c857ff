//! Entries in the descriptor store of a service manager, while this program is restarted.
//!
//! Each connection goes there under a name of its own: of several under one name nobody could tell which is
//! which. A table says what they are.
//!
//! What is in the store might come back at each start. So it is taken back only when the manager has confirmed
//! that it has forgotten it: a connection that a client has by then must not come a second time.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::time::{ClockId, clock_gettime};
use scache_engine::Carried;
use scache_store::{Entries, Taken};
use scache_sys::descriptors::Descriptor;
use sd_notify::NotifyState;

use super::ServiceManager;
use super::table::{Clock, TABLE_BYTES, Table, Writer};

/// Names of ours begin so.
const PREFIX: &str = "scache-";

/// That of a table ends so; that of a connection, with a number.
const TABLE: &str = "-table";

/// The most descriptors that go to a store. Their names come back in one variable of the environment, which has
/// room for 128 KiB.
const STORED: usize = 4096;

/// What a table is sealed against.
const SEALS: SealFlags = SealFlags::WRITE
    .union(SealFlags::SHRINK)
    .union(SealFlags::GROW);

/// How storing went.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) connections: usize,
    /// What was not stored, and is still ours.
    pub(super) left: Entries<Carried<Descriptor>>,
    /// What went wrong, in words.
    pub(super) warning: Option<String>,
}

/// Whether a descriptor of this name is from a store of ours.
pub(super) fn is_ours(name: &str) -> bool {
    let number = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split_once('-'));
    number.is_some_and(|(process, rest)| {
        !process.is_empty()
            && process.bytes().all(|byte| byte.is_ascii_hexdigit())
            && !rest.is_empty()
            && (rest == &TABLE[1..] || rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
    })
}

/// Stores entries, if the manager has a store: of the connections those that live longest, as many as it keeps.
pub(super) fn store(manager: &ServiceManager, entries: Entries<Carried<Descriptor>>) -> Stored {
    let room = manager.store().min(STORED).saturating_sub(1);
    let mut stored = Stored {
        connections: 0,
        left: Entries::default(),
        warning: None,
    };
    if room == 0 || entries.connections.is_empty() {
        stored.left = entries;
        return stored;
    }
    let prefix = format!("{PREFIX}{:08x}", generation());
    let mut writer = Writer::new(Clock::read());
    let mut going = Vec::new();
    for (taken, goes) in with_the_longest_lived(entries.connections, room) {
        let name = format!("{prefix}-{:x}", going.len());
        if goes && writer.connection(&name, &taken) {
            going.push((name, taken));
        } else {
            stored.left.connections.push(taken);
        }
    }
    for bound in &entries.bindings {
        if !writer.binding(bound) {
            break;
        }
    }
    let told = write_table(&writer.end())
        .and_then(|table| put(manager, &format!("{prefix}{TABLE}"), table.as_fd()));
    let mut failed = told.err();
    for (name, taken) in going {
        if failed.is_none() {
            failed = put(manager, &name, taken.handle.descriptor.as_fd()).err();
        }
        if failed.is_none() {
            // It is the manager's: ours is closed, without a word.
            stored.connections += 1;
        } else {
            stored.left.connections.push(taken);
        }
    }
    // Who has left cannot be asked which service the message is from.
    let failed = failed.or_else(|| manager.settle().err());
    stored.warning = failed.map(|error| {
        format!(
            "descriptor store: {error}: the service manager took {} of {} connections",
            stored.connections,
            stored.connections + stored.left.connections.len()
        )
    });
    stored
}

/// Takes back what is in the store of the manager, and lets it forget it. What is odd is said in words.
pub(super) fn take_back(
    manager: Option<&ServiceManager>,
    stored: Vec<(String, OwnedFd)>,
) -> (Entries<Carried<Descriptor>>, Vec<String>) {
    let mut entries = Entries::default();
    let mut warnings = Vec::new();
    if stored.is_empty() {
        return (entries, warnings);
    }
    if let Err(error) = let_forget(manager, &stored) {
        warnings.push(format!(
            "descriptor store: {error}: the service manager may still have {} descriptors, so they are closed",
            stored.len()
        ));
        return (entries, warnings);
    }
    let (tables, mut connections): (Vec<_>, Vec<_>) = stored
        .into_iter()
        .partition(|(name, _)| name.ends_with(TABLE));
    for (name, table) in tables {
        let read = read_table(table).and_then(|bytes| {
            Table::read(&bytes, Clock::read()).map_err(|error| error.to_string())
        });
        match read {
            Ok(table) => fill(&mut entries, table, &mut connections),
            Err(error) => warnings.push(format!("descriptor store: {name} is refused: {error}")),
        }
    }
    if !connections.is_empty() {
        warnings.push(format!(
            "descriptor store: nothing is known of {} connections, so they are closed",
            connections.len()
        ));
    }
    for (_, connection) in connections {
        // Closed as carefully as it came.
        drop(Descriptor::from(connection));
    }
    (entries, warnings)
}

/// Adds what a table knows, and takes it out of `connections`. Some may have died in the store.
fn fill(
    entries: &mut Entries<Carried<Descriptor>>,
    mut table: Table,
    connections: &mut Vec<(String, OwnedFd)>,
) {
    let mut found = Vec::new();
    for (name, connection) in std::mem::take(connections) {
        match table.connections.remove(&name) {
            Some(row) => found.push((
                row.place,
                Taken {
                    handle: Carried {
                        descriptor: Descriptor::from(connection),
                        history: row.history,
                    },
                    endpoint: row.endpoint,
                    property: row.property,
                    deadline: row.deadline,
                },
            )),
            None => connections.push((name, connection)),
        }
    }
    found.sort_by_key(|(place, _)| *place);
    entries
        .connections
        .extend(found.into_iter().map(|(_, taken)| taken));
    entries.bindings.append(&mut table.bindings);
}

/// Says of each connection whether it is one of the `most` that live longest.
fn with_the_longest_lived(
    connections: Vec<Taken<Carried<Descriptor>>>,
    most: usize,
) -> impl Iterator<Item = (Taken<Carried<Descriptor>>, bool)> {
    let mut by_deadline: Vec<usize> = (0..connections.len()).collect();
    by_deadline.sort_by_key(|place| std::cmp::Reverse(connections[*place].deadline));
    let mut goes = vec![false; connections.len()];
    for place in by_deadline.into_iter().take(most) {
        goes[place] = true;
    }
    connections.into_iter().zip(goes)
}

fn put(manager: &ServiceManager, name: &str, what: std::os::fd::BorrowedFd<'_>) -> io::Result<()> {
    let name = format!("FDNAME={name}");
    let message = [NotifyState::Custom("FDSTORE=1"), NotifyState::Custom(&name)];
    manager.say(&message, Some(what))
}

fn let_forget(manager: Option<&ServiceManager>, stored: &[(String, OwnedFd)]) -> io::Result<()> {
    let manager = manager.ok_or_else(|| io::Error::other("NOTIFY_SOCKET is not set"))?;
    for (name, _) in stored {
        let name = format!("FDNAME={name}");
        let message = [
            NotifyState::Custom("FDSTOREREMOVE=1"),
            NotifyState::Custom(&name),
        ];
        manager.say(&message, None)?;
    }
    manager.settle()
}

fn write_table(bytes: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create("scache-table", flags)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, SEALS | SealFlags::SEAL)?;
    Ok(file.into())
}

fn read_table(table: OwnedFd) -> Result<Vec<u8>, String> {
    let seals = fcntl_get_seals(&table).map_err(|_| "it is no table")?;
    if !seals.contains(SEALS) {
        return Err("it is not sealed".to_owned());
    }
    let file = File::from(table);
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > TABLE_BYTES {
        return Err(format!("it is longer than {TABLE_BYTES} bytes"));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, 0)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A number that no other process has which may have something in the same store.
fn generation() -> u32 {
    let now = clock_gettime(ClockId::Monotonic);
    let milliseconds = now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000;
    milliseconds as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_ours_are_told_from_others() {
        for name in ["scache-0001f2aa-table", "scache-0001f2aa-0", "scache-1-ff"] {
            assert!(is_ours(name), "{name}");
        }
        for name in [
            "scache",
            "scache-",
            "scache--table",
            "scache-1-",
            "scache-1-x",
            "scache-socket",
            "scached.socket",
            "",
        ] {
            assert!(!is_ours(name), "{name}");
        }
    }
}
