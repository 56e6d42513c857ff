//! What is known of the connections in a descriptor store, as bytes: attribute lists, as on the wire.
//!
//! Times are those of CLOCK_MONOTONIC, which all processes of this machine share.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use scache_engine::Carried;
use scache_proto::attr::{Framer, List, ListWriter};
use scache_proto::reply::History;
use scache_store::{Bound, Taken};

/// Relates the two ways to tell the time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    instant: Instant,
    monotonic: Duration,
}

/// A table as it is written.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    clock: Clock,
    entries: u32,
}

/// What a table says of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) endpoint: Box<[u8]>,
    pub(super) property: Box<[u8]>,
    pub(super) deadline: Instant,
    pub(super) history: Option<History>,
    /// Its place among the others.
    pub(super) place: usize,
}

/// A table that was read.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// By the name of the descriptor.
    pub(super) connections: HashMap<String, Row>,
    /// Those of one destination in their order.
    pub(super) bindings: Vec<Bound>,
}

/// A table that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TableError {
    #[error("another version wrote it")]
    Version,
    #[error("it is damaged")]
    Damaged,
}

/// The most bytes a table may have.
pub(super) const TABLE_BYTES: usize = 64 * 1024 * 1024;

/// What the list at the end needs.
const END_BYTES: usize = 32;

const HEAD: (&[u8], &[u8]) = (b"scache descriptor store", b"1");
const CONNECTION: &[u8] = b"connection";
const BINDING: &[u8] = b"binding";
const END: &[u8] = b"end";
const UNTIL: &[u8] = b"until";
const ENDPOINT: &[u8] = b"endpoint";
const DESTINATION: &[u8] = b"destination";
const PROPERTY: &[u8] = b"property";
const SINCE: &[u8] = b"since";
const TAKEN: &[u8] = b"taken";

impl Clock {
    pub(super) fn read() -> Self {
        let instant = Instant::now();
        let time = clock_gettime(ClockId::Monotonic);
        let monotonic = Duration::try_from(time).unwrap_or_default();
        Self { instant, monotonic }
    }

    fn nanoseconds(self, at: Instant) -> u64 {
        let at = self.monotonic + at.saturating_duration_since(self.instant);
        u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
    }

    fn instant(self, nanoseconds: u64) -> Option<Instant> {
        let left = Duration::from_nanos(nanoseconds).saturating_sub(self.monotonic);
        self.instant.checked_add(left)
    }
}

impl Writer {
    pub(super) fn new(clock: Clock) -> Self {
        let mut bytes = Vec::new();
        ListWriter::new(&mut bytes).attribute(HEAD.0, HEAD.1).end();
        Self {
            bytes,
            clock,
            entries: 0,
        }
    }

    /// Adds a connection. Whether there was room.
    pub(super) fn connection<D>(&mut self, name: &str, taken: &Taken<Carried<D>>) -> bool {
        let until = self.clock.nanoseconds(taken.deadline).to_string();
        let now = self.clock.monotonic;
        self.add(|list| {
            let list = list
                .attribute(CONNECTION, name.as_bytes())
                .attribute(UNTIL, until.as_bytes())
                .attribute(ENDPOINT, &taken.endpoint)
                .attribute(PROPERTY, &taken.property);
            match taken.handle.history {
                Some(History { age, taken }) => list
                    .number(SINCE, now.saturating_sub(age).as_nanos())
                    .number(TAKEN, taken),
                None => list,
            }
        })
    }

    /// Adds a binding. Whether there was room.
    pub(super) fn binding(&mut self, bound: &Bound) -> bool {
        let until = self.clock.nanoseconds(bound.deadline).to_string();
        self.add(|list| {
            list.attribute(BINDING, b"")
                .attribute(UNTIL, until.as_bytes())
                .attribute(DESTINATION, &bound.destination)
                .attribute(PROPERTY, &bound.property)
                .attribute(ENDPOINT, &bound.endpoint)
        })
    }

    pub(super) fn end(mut self) -> Vec<u8> {
        ListWriter::new(&mut self.bytes)
            .number(END, self.entries)
            .end();
        self.bytes
    }

    fn add(&mut self, write: impl FnOnce(ListWriter<'_>) -> ListWriter<'_>) -> bool {
        let before = self.bytes.len();
        write(ListWriter::new(&mut self.bytes)).end();
        let fits = self.bytes.len() + END_BYTES <= TABLE_BYTES;
        if fits {
            self.entries += 1;
        } else {
            self.bytes.truncate(before);
        }
        fits
    }
}

impl Table {
    /// Reads a table. All of it must be sound.
    pub(super) fn read(bytes: &[u8], clock: Clock) -> Result<Self, TableError> {
        let mut framer = Framer::default();
        framer.extend(bytes);
        let mut table = Self::default();
        go_on(&mut framer)?;
        if !framer.list().eq([HEAD]) {
            return Err(TableError::Version);
        }
        loop {
            go_on(&mut framer)?;
            let ended = table.row(framer.list(), clock).ok_or(TableError::Damaged)?;
            if ended {
                return if framer.is_empty() {
                    Ok(table)
                } else {
                    Err(TableError::Damaged)
                };
            }
        }
    }

    /// Takes in one list. Whether it was the last; `None` if it makes no sense.
    fn row(&mut self, mut list: List<'_>, clock: Clock) -> Option<bool> {
        let (kind, name) = list.next()?;
        if kind == END {
            let entries = self.connections.len() + self.bindings.len();
            let said: usize = text(name)?.parse().ok()?;
            return (said == entries && list.next().is_none()).then_some(true);
        }
        let mut next = |wanted| {
            let (name, value) = list.next()?;
            (name == wanted).then_some(value)
        };
        let deadline = clock.instant(text(next(UNTIL)?)?.parse().ok()?)?;
        let is_new = match kind {
            CONNECTION => {
                let row = Row {
                    endpoint: next(ENDPOINT)?.into(),
                    property: next(PROPERTY)?.into(),
                    deadline,
                    history: history(list.next(), list.next(), clock)?,
                    place: self.connections.len(),
                };
                let name = text(name)?.to_owned();
                self.connections.insert(name, row).is_none()
            }
            BINDING => {
                self.bindings.push(Bound {
                    destination: next(DESTINATION)?.into(),
                    property: next(PROPERTY)?.into(),
                    endpoint: next(ENDPOINT)?.into(),
                    deadline,
                });
                true
            }
            _ => return None,
        };
        (is_new && list.next().is_none()).then_some(false)
    }
}

/// The past of a connection, as the last two attributes of its list tell it, if there are any; `None` if they make no
/// sense.
fn history(
    since: Option<(&[u8], &[u8])>,
    taken: Option<(&[u8], &[u8])>,
    clock: Clock,
) -> Option<Option<History>> {
    match (since, taken) {
        (None, None) => Some(None),
        (Some((SINCE, since)), Some((TAKEN, taken))) => {
            let since = Duration::from_nanos(text(since)?.parse().ok()?);
            Some(Some(History {
                age: clock.monotonic.saturating_sub(since),
                taken: text(taken)?.parse().ok()?,
            }))
        }
        _ => None,
    }
}

fn go_on(framer: &mut Framer) -> Result<(), TableError> {
    match framer.advance() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => Err(TableError::Damaged),
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(clock: Clock) -> Vec<u8> {
        let deadline = clock.instant + Duration::from_secs(7);
        let mut writer = Writer::new(clock);
        let history = Some(History {
            age: Duration::ZERO,
            taken: 3,
        });
        for (name, endpoint, history) in
            [("a-1", "e", None), ("a-2", "", None), ("a-3", "e", history)]
        {
            let taken = Taken {
                handle: Carried {
                    descriptor: (),
                    history,
                },
                endpoint: endpoint.as_bytes().into(),
                property: b"p\xff\n"[..].into(),
                deadline,
            };
            assert!(writer.connection(name, &taken));
        }
        let bound = Bound {
            destination: b"d"[..].into(),
            endpoint: b"e"[..].into(),
            property: b""[..].into(),
            deadline,
        };
        assert!(writer.binding(&bound));
        writer.end()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let clock = Clock::read();
        let table = Table::read(&bytes(clock), clock).expect("sound");
        let mut rows: Vec<_> = table.connections.into_iter().collect();
        rows.sort_by_key(|(_, row)| row.place);
        let names: Vec<_> = rows.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a-1", "a-2", "a-3"]);
        assert_eq!(&*rows[2].1.endpoint, b"e");
        assert_eq!(&*rows[2].1.property, b"p\xff\n");
        assert_eq!(rows[2].1.deadline, clock.instant + Duration::from_secs(7));
        assert_eq!(rows[1].1.history, None);
        let history = rows[2].1.history.unwrap();
        assert_eq!((history.age, history.taken), (Duration::ZERO, 3));
        assert_eq!(table.bindings.len(), 1);
        assert_eq!(table.bindings[0].deadline, rows[0].1.deadline);
    }

    #[test]
    fn a_time_that_is_over_is_over() {
        let clock = Clock::read();
        let bytes = bytes(clock);
        let later = Clock {
            instant: clock.instant + Duration::from_secs(100),
            monotonic: clock.monotonic + Duration::from_secs(100),
        };
        let table = Table::read(&bytes, later).expect("sound");
        assert!(table.connections["a-1"].deadline <= later.instant);
    }

    #[test]
    fn a_damaged_table_is_refused_wherever_it_is_cut() {
        let clock = Clock::read();
        let bytes = bytes(clock);
        for length in 0..bytes.len() {
            assert!(Table::read(&bytes[..length], clock).is_err(), "{length}");
        }
        let more = [&bytes[..], b"x"].concat();
        assert!(Table::read(&more, clock).is_err());
        let twice = bytes.iter().map(|byte| match byte {
            b'2' => b'1',
            other => *other,
        });
        let twice: Vec<u8> = twice.collect();
        assert!(Table::read(&twice, clock).is_err());
        let other = [b"scache descriptor store\x002\0\0", &bytes[27..]].concat();
        assert_eq!(Table::read(&other, clock).err(), Some(TableError::Version));
    }
}
