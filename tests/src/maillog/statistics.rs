//! The statistics lines of scache(8), of which log parsers know the exact form. Who reads them here complains of
//! everything else, as such a parser does.

use std::collections::HashMap;

/// What one process logged of one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The process.
    pub process: u32,
    /// Lookups by destination, if there were any.
    pub domain: Option<Lookups>,
    /// Lookups by endpoint, if there were any.
    pub address: Option<Lookups>,
    /// The greatest numbers, unless they are all zero.
    pub maxima: Option<Maxima>,
}

/// What came of lookups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookups {
    /// So many found a connection.
    pub hits: u64,
    /// So many did not.
    pub misses: u64,
}

/// The most that was cached at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maxima {
    /// Names of destinations.
    pub domains: u64,
    /// Names of endpoints.
    pub addresses: u64,
    /// Connections.
    pub connections: u64,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Reads the lines of any number of processes.
pub(super) fn read<'a>(
    lines: impl Iterator<Item = (u32, &'a str)>,
) -> Result<Vec<Interval>, String> {
    let mut intervals: Vec<Interval> = Vec::new();
    let mut current: HashMap<u32, usize> = HashMap::new();
    for (process, text) in lines {
        let interval = current
            .get(&process)
            .and_then(|&index| intervals.get_mut(index));
        if is_start(text) {
            if interval.is_some_and(|interval| interval.is_empty()) {
                return Err(format!("scache[{process}]: an interval without figures"));
            }
            current.insert(process, intervals.len());
            intervals.push(Interval {
                process,
                domain: None,
                address: None,
                maxima: None,
            });
        } else {
            interval
                .and_then(|interval| interval.add(text))
                .ok_or_else(|| format!("scache[{process}]: {text}"))?;
        }
    }
    match intervals.iter().find(|interval| interval.is_empty()) {
        Some(Interval { process, .. }) => {
            Err(format!("scache[{process}]: an interval without figures"))
        }
        None => Ok(intervals),
    }
}

impl Interval {
    fn is_empty(&self) -> bool {
        self.domain.is_none() && self.address.is_none() && self.maxima.is_none()
    }

    /// Adds what a line says, if it is one that may come next.
    fn add(&mut self, text: &str) -> Option<()> {
        if let Some(lookups) = lookups("domain", text) {
            let next = self.is_empty();
            self.domain = Some(lookups);
            return next.then_some(());
        }
        if let Some(lookups) = lookups("address", text) {
            let next = self.address.is_none() && self.maxima.is_none();
            self.address = Some(lookups);
            return next.then_some(());
        }
        let maxima = maxima(text)?;
        let next = self.maxima.is_none();
        self.maxima = Some(maxima);
        next.then_some(())
    }
}

// A line is right when it is the very text that its numbers make.

fn is_start(text: &str) -> bool {
    let Some([day, hour, minute, second]) = numbers(text) else {
        return false;
    };
    let in_range = (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    in_range
        && MONTHS.iter().any(|month| {
            text == format!(
                "statistics: start interval {month} {day:>2} {hour:02}:{minute:02}:{second:02}"
            )
        })
}

fn lookups(kind: &str, text: &str) -> Option<Lookups> {
    let [hits, misses, _] = numbers(text)?;
    let success = (hits * 100).checked_div(hits + misses)?;
    let right = format!("statistics: {kind} lookup hits={hits} miss={misses} success={success}%");
    (text == right).then_some(Lookups { hits, misses })
}

fn maxima(text: &str) -> Option<Maxima> {
    let [domains, addresses, connections] = numbers(text)?;
    let right = format!(
        "statistics: max simultaneous domains={domains} addresses={addresses} connection={connections}"
    );
    let any = domains + addresses + connections > 0;
    (any && text == right).then_some(Maxima {
        domains,
        addresses,
        connections,
    })
}

fn numbers<const COUNT: usize>(text: &str) -> Option<[u64; COUNT]> {
    let digits = text.split(|character: char| !character.is_ascii_digit());
    let numbers: Vec<u64> = digits
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().ok())
        .collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: &str = "statistics: start interval Nov  3 15:57:00";
    const DOMAIN: &str = "statistics: domain lookup hits=51 miss=9 success=85%";
    const ADDRESS: &str = "statistics: address lookup hits=4 miss=5 success=44%";
    const MAXIMA: &str = "statistics: max simultaneous domains=1 addresses=1 connection=5";

    fn check(lines: &[&str]) -> bool {
        read(lines.iter().map(|&line| (7, line))).is_ok()
    }

    #[test]
    fn what_stock_logs_is_right() {
        assert!(check(&[START, DOMAIN, ADDRESS, MAXIMA]));
        assert!(check(&[START, DOMAIN, START, ADDRESS, START, MAXIMA]));
        let read = read([(1, START), (2, START), (1, DOMAIN), (2, MAXIMA)].into_iter());
        let read = read.expect("two processes");
        assert_eq!(
            read[0].domain,
            Some(Lookups {
                hits: 51,
                misses: 9
            })
        );
        assert_eq!(read[1].maxima.map(|maxima| maxima.connections), Some(5));
    }

    #[test]
    fn everything_else_is_complained_of() {
        let cases: [&[&str]; 12] = [
            &[DOMAIN],
            &[START],
            &[START, START, DOMAIN],
            &[START, ADDRESS, DOMAIN],
            &[START, MAXIMA, ADDRESS],
            &[START, DOMAIN, DOMAIN],
            &[START, DOMAIN, "master is gone"],
            &["statistics: start interval Nov 03 15:57:00", DOMAIN],
            &["statistics: start interval Nov 3 15:57:00", DOMAIN],
            &[
                START,
                "statistics: domain lookup hits=51 miss=9 success=86%",
            ],
            &[START, "statistics: domain lookup hits=0 miss=0 success=0%"],
            &[
                START,
                "statistics: max simultaneous domains=1 addresses=1 connections=5",
            ],
        ];
        for lines in cases {
            assert!(!check(lines), "{lines:?}");
        }
    }
}
