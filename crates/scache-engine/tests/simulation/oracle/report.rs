//! What answers about the cache have to say, compared when they are written.

use std::collections::BTreeMap;

use scache_engine::Stats;

use crate::wire::number;

/// Attributes, in their order.
pub type Told = Vec<(Vec<u8>, Vec<u8>)>;

/// An answer that was not seen yet.
#[derive(Debug, Clone)]
pub enum Report {
    Stats(Box<Numbers>),
    /// Some of these, each behind its place, and no others; all of them if nothing is left out.
    List {
        from: u64,
        entries: Vec<Told>,
        /// Not all of them have to be in one answer.
        has_pages: bool,
        /// Nobody outside knows all of them.
        is_lossy: bool,
    },
    /// The first of these, or all.
    Events {
        events: Vec<(u64, Told)>,
        next: u64,
    },
    Purged {
        connections: usize,
        bindings: usize,
    },
    Drained,
}

/// What is counted.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Each number of [`Stats`] that is known by its name; others are 0.
    pub known: BTreeMap<&'static str, u64>,
    /// All that made room because of limits.
    pub evicted: u64,
    /// How often what was taken had been taken, and how many seconds it was old.
    pub taken: Vec<(u64, u64)>,
}

/// An answer is at most so long: what it tells at once, and one more entry.
const MOST_BYTES: usize = 34 * 1024;

/// More than one answer tells of destinations.
const PAGE: usize = 64;

impl Report {
    /// How many bytes the answer may have.
    pub fn most_bytes(&self) -> usize {
        match self {
            Self::Stats(_) => 5000,
            Self::List { entries, .. } => bytes(entries.iter()),
            Self::Events { events, .. } => bytes(events.iter().take(256).map(|(_, told)| told)),
            Self::Purged { .. } | Self::Drained => 200,
        }
    }

    /// Compares it with the answer.
    pub fn check(self, answer: &[(Vec<u8>, Vec<u8>)]) {
        let (status, rest) = answer.split_first().expect("an empty answer");
        assert_eq!(status, &(b"status".to_vec(), b"0".to_vec()));
        match self {
            Self::Stats(numbers) => {
                let (version, rest) = rest.split_first().expect("no version");
                assert_eq!(version.0, b"version");
                numbers.check(|name| {
                    let told = rest.iter().find(|(told, _)| told == name.as_bytes());
                    let (_, value) = told.unwrap_or_else(|| panic!("{name} is not told"));
                    String::from_utf8(value.clone()).unwrap()
                });
            }
            Self::List {
                from,
                mut entries,
                has_pages,
                is_lossy,
            } => {
                let (told, next) = pages(rest);
                let mut at = from;
                for (number, entry) in &told {
                    assert!(*number >= at, "{number} is before {at}");
                    at = number + 1;
                    let same = entries.iter().position(|other| is_like(entry, other));
                    if let Some(same) = same {
                        entries.swap_remove(same);
                    } else {
                        assert!(is_lossy, "{}, and not {entries:?}", text(entry));
                    }
                }
                match next {
                    Some(next) => {
                        assert!(has_pages && told.len() == PAGE, "it does not end");
                        assert!(next >= at && next > from, "it goes back to {next}");
                    }
                    None if from == 0 => assert!(is_lossy || entries.is_empty(), "{entries:?}"),
                    None => {}
                }
            }
            Self::Events { events, next } => {
                let (told, told_next) = pages(rest);
                assert!(told.len() <= events.len(), "{told:?}");
                assert_eq!(told, events[..told.len()]);
                let expected = events.get(told.len()).map_or(next, |(number, _)| *number);
                assert_eq!(told_next, Some(expected));
                assert!(!told.is_empty() || events.is_empty(), "it does not go on");
            }
            Self::Purged {
                connections,
                bindings,
            } => {
                let number = |number: usize| number.to_string().into_bytes();
                let expected = [
                    (b"connections".to_vec(), number(connections)),
                    (b"bindings".to_vec(), number(bindings)),
                ];
                assert_eq!(rest, expected, "{}", text(rest));
            }
            Self::Drained => assert!(rest.is_empty(), "{}", text(rest)),
        }
    }
}

/// A value that nobody can foretell: how old a connection is whose past was forgotten.
pub const ANY: &[u8] = b"any";

/// Whether that was told, but for what nobody can foretell.
fn is_like(told: &Told, expected: &Told) -> bool {
    told.len() == expected.len()
        && told.iter().zip(expected).all(|(told, expected)| {
            told.0 == expected.0 && (told.1 == expected.1 || expected.1 == ANY)
        })
}

impl Numbers {
    /// Compares them with all that are told.
    fn check(&self, told: impl Fn(&'static str) -> String) {
        let number = |name| number(told(name).as_bytes()).expect("no number");
        let by_limits = ["evicted_connection_limit", "evicted_endpoint_limit"];
        for field in Stats::FIELDS {
            // The model of the store counts these.
            if by_limits.contains(&field.name) || field.name == "name_bytes" {
                continue;
            }
            let expected = self.known.get(field.name).copied().unwrap_or(0);
            assert_eq!(number(field.name), expected, "{}", field.name);
        }
        let evicted: u64 = by_limits.into_iter().map(number).sum();
        assert_eq!(evicted, self.evicted, "made room");
        let times = self.taken.iter().map(|(times, _)| *times);
        let ages = self.taken.iter().map(|(_, age)| *age);
        for distribution in Stats::DISTRIBUTIONS {
            let told = told(distribution.name);
            match distribution.name {
                "taken_times" => assert_eq!(told, distributed(distribution.bounds, times.clone())),
                "taken_age_seconds" => {
                    assert_eq!(told, distributed(distribution.bounds, ages.clone()));
                }
                "service_microseconds" => {
                    let buckets = told.split(' ').filter(|part| !part.starts_with("sum="));
                    let counts = buckets.map(|part| part.split_once('=').unwrap().1);
                    let sum: u64 = counts.map(|count| count.parse::<u64>().unwrap()).sum();
                    assert_eq!(sum, self.known["requests"]);
                }
                _ => {}
            }
        }
    }

    /// The same for what an engine says by itself.
    pub fn assert_same(&self, stats: &Stats) {
        self.check(|name| {
            let field = Stats::FIELDS.iter().find(|field| field.name == name);
            let distribution = Stats::DISTRIBUTIONS.iter().find(|other| other.name == name);
            match (field, distribution) {
                (Some(field), _) => stats.value(field).to_string(),
                (None, Some(distribution)) => stats.histogram(distribution).to_string(),
                (None, None) => panic!("there is no {name}"),
            }
        });
    }
}

fn distributed(bounds: &[u64], values: impl Iterator<Item = u64> + Clone) -> String {
    let mut text = String::new();
    let mut before = None;
    for bound in bounds.iter().copied().map(Some).chain([None]) {
        let is_here = |value: &u64| {
            before.is_none_or(|before| *value > before) && bound.is_none_or(|bound| *value <= bound)
        };
        let name = bound.map_or("inf".to_owned(), |bound| bound.to_string());
        text += &format!("{name}={} ", values.clone().filter(is_here).count());
        before = bound;
    }
    text + &format!("sum={}", values.sum::<u64>())
}

/// Entries by their number, and where to go on.
fn pages(rest: &[(Vec<u8>, Vec<u8>)]) -> (Vec<(u64, Told)>, Option<u64>) {
    let mut entries: Vec<(u64, Told)> = Vec::new();
    let mut next = None;
    for (name, value) in rest {
        assert_eq!(next, None, "something is behind the end");
        match &name[..] {
            b"entry" => entries.push((number(value).unwrap(), Vec::new())),
            b"next" => next = Some(number(value).unwrap()),
            _ => entries
                .last_mut()
                .expect("of no entry")
                .1
                .push((name.clone(), value.clone())),
        }
    }
    (entries, next)
}

/// How many bytes an answer of these entries may have.
fn bytes<'a>(entries: impl Iterator<Item = &'a Told>) -> usize {
    let attributes = |entry: &Told| -> usize {
        let lengths = entry
            .iter()
            .map(|(name, value)| name.len() + value.len() + 2);
        lengths.sum()
    };
    let entries: usize = entries.map(|entry| attributes(entry) + 30).sum();
    (entries + 60).min(MOST_BYTES)
}

fn text(attributes: &[(Vec<u8>, Vec<u8>)]) -> String {
    attributes
        .iter()
        .map(|(name, value)| format!("{}={} ", name.escape_ascii(), value.escape_ascii()))
        .collect()
}
