//! Seeds of the random tests.
//!
//! An ordinary run takes the same seeds each time, so it has the same verdict each time: a range that begins at 0,
//! and every seed that ever failed. `make sim` takes others. A test named `SIM` obeys these variables:
//!
//! - `SCACHE_SIM_SEED`: run this seed alone,
//! - `SCACHE_SIM_SEEDS`: how many seeds, beside those that failed once,
//! - `SCACHE_FIRST_SEED`: the first of them, for all random tests.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

/// A test that does the same whenever it is given the same seed.
#[derive(Debug, Clone, Copy)]
pub struct RandomTest<'a> {
    /// Part of the names of its variables.
    pub name: &'a str,
    /// How many seeds an ordinary run takes.
    pub seeds: u64,
    /// Seeds that failed once: on each line a seed and why it failed; `#` begins a comment.
    pub failed: &'a str,
    /// Command that runs the test, to be printed with the seed that failed.
    pub command: &'a str,
}

/// A seed, and whether it is one of those that failed once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Number that everything random in a test comes from.
    pub number: u64,
    /// The seed is kept because it failed once.
    pub has_failed: bool,
}

impl RandomTest<'_> {
    /// Runs the test for each seed, on all processors, and panics if one of them does.
    pub fn run(&self, test: impl Fn(Seed) + Sync) {
        let seeds = self.wanted(number_in);
        let Self { name, command, .. } = self;
        for_each(
            &seeds,
            |seed| test(*seed),
            |seed| format!("SCACHE_{name}_SEED={} {command}", seed.number),
        );
    }

    fn wanted(&self, number: impl Fn(&str) -> Option<u64>) -> Vec<Seed> {
        if let Some(number) = number(&format!("SCACHE_{}_SEED", self.name)) {
            let has_failed = self.that_failed().any(|seed| seed.number == number);
            return vec![Seed { number, has_failed }];
        }
        let first = number("SCACHE_FIRST_SEED").unwrap_or(0);
        let seeds = number(&format!("SCACHE_{}_SEEDS", self.name)).unwrap_or(self.seeds);
        let range = (first..first.saturating_add(seeds)).map(|number| Seed {
            number,
            has_failed: false,
        });
        self.that_failed().chain(range).collect()
    }

    fn that_failed(&self) -> impl Iterator<Item = Seed> {
        let lines = self.failed.lines().map(str::trim);
        let seeds = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        seeds.map(|line| {
            let (number, reason) = line.split_once(' ').unwrap_or((line, ""));
            assert!(!reason.is_empty(), "{line}: say why it failed");
            Seed {
                number: parse(line, number),
                has_failed: true,
            }
        })
    }
}

/// Returns the number that an environment variable holds, if it is set.
pub fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(parse(variable, &text))
}

fn parse(what: &str, number: &str) -> u64 {
    number
        .parse()
        .unwrap_or_else(|_| panic!("{what}: {number} is not a number"))
}

/// Does work for each case, on all processors, until one fails; then prints how to run that one `again`, and panics.
pub fn for_each<T: Sync>(
    cases: &[T],
    work: impl Fn(&T) + Sync,
    again: impl Fn(&T) -> String + Sync,
) {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(0));
    let run = || {
        while failed.load(Ordering::Relaxed) == 0 {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(usize::try_from(number).unwrap_or(usize::MAX)) else {
                return;
            };
            if catch_unwind(AssertUnwindSafe(|| work(case))).is_err() {
                failed.fetch_add(1, Ordering::Relaxed);
                eprintln!("again: {}", again(case));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(run);
        }
    });
    assert_eq!(failed.into_inner(), 0, "see above");
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: RandomTest<'static> = RandomTest {
        name: "SIM",
        seeds: 2,
        failed: "# a comment\n\n77 counted one too many\n",
        command: "cargo test",
    };

    fn wanted(variables: &[(&str, u64)]) -> Vec<(u64, bool)> {
        let number = |name: &str| {
            let variable = variables.iter().find(|(variable, _)| *variable == name);
            variable.map(|(_, number)| *number)
        };
        let seeds = TEST.wanted(number).into_iter();
        seeds.map(|seed| (seed.number, seed.has_failed)).collect()
    }

    #[test]
    fn an_ordinary_run_takes_fixed_seeds_and_those_that_failed() {
        assert_eq!(wanted(&[]), [(77, true), (0, false), (1, false)]);
    }

    #[test]
    fn other_seeds_and_more_of_them_are_taken_on_request() {
        let variables = [("SCACHE_FIRST_SEED", 500), ("SCACHE_SIM_SEEDS", 3)];
        let expected = [(77, true), (500, false), (501, false), (502, false)];
        assert_eq!(wanted(&variables), expected);
    }

    #[test]
    fn one_seed_is_run_alone() {
        assert_eq!(wanted(&[("SCACHE_SIM_SEED", 5)]), [(5, false)]);
        assert_eq!(wanted(&[("SCACHE_SIM_SEED", 77)]), [(77, true)]);
    }

    #[test]
    #[should_panic = "see above"]
    fn one_failure_fails_the_test() {
        for_each(
            &[1, 2, 3],
            |case| assert_ne!(*case, 2),
            |case| format!("{case}"),
        );
    }
}
