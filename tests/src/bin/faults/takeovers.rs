//! `scached` daemons that take over or start at the same time, and such as are killed meanwhile. Stock cannot take over.

use std::time::Duration;

use scache_tests::races::{self, Left, Moment};

use crate::Counts;
use crate::report::Report;

/// Connections that are to be there in the end.
const CONNECTIONS: usize = 50;

/// How much later the next daemon is killed than the one before.
const STEP: Duration = Duration::from_micros(100);

/// How often in a row a daemon is killed later than the one before.
const STEPS: usize = 50;

pub fn measure(counts: &Counts, report: &mut Report) {
    report.part("Daemons that take over, start and die at one path");
    let races = counts.races;
    let mut count = |name: &str, promise: &str, race: &dyn Fn(usize) -> Option<Left>| {
        let left: Vec<_> = (0..races).filter_map(race).collect();
        let whole = left.iter().filter(|left| left.is_whole_but_for_killed());
        let whole = whole.count();
        report.row(
            name,
            &format!("{whole} of {} left one daemon with the cache", left.len()),
        );
        if let Some(other) = left.iter().find(|left| !left.is_whole_but_for_killed()) {
            report.row("", &format!("else {other:?}"));
        }
        report.promise(promise, whole == left.len());
    };
    count(
        "two take over",
        "of two daemons that take over at once one is left, with everything",
        &|_| Some(races::two_takeovers(CONNECTIONS)),
    );
    count(
        "killed",
        "a daemon serves again when the one that takes over is killed",
        &|race| {
            let moment = match race % STEPS {
                0 => Moment::Listening,
                step => Moment::AfterTouching(STEP * step as u32),
            };
            races::killed_takeover(CONNECTIONS, moment)
        },
    );
    count(
        "eight start",
        "of eight daemons that start at once over a stale socket one is left",
        &|_| Some(races::several_starts()),
    );
    count(
        "through a link",
        "a daemon that takes over through a symbolic link gets everything",
        &|_| Some(races::takeover_through_link(CONNECTIONS)),
    );
}
