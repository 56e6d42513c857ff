//! A cache with one entry, one client: what a request costs by itself.

use std::path::Path;

use crate::Scale;
use crate::load::{Client, Connection, Names, Pace, pace};
use crate::report::{Goal, Report, Row};
use crate::samples::Samples;
use crate::server::Contender;

/// What one contender needed, round by round.
#[derive(Clone, Debug)]
pub(crate) struct Paces {
    pub(crate) name: &'static str,
    pub(crate) processor: Samples,
    pub(crate) rate: Samples,
    pub(crate) half: Samples,
    pub(crate) nearly_all: Samples,
}

impl Paces {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            processor: Samples::default(),
            rate: Samples::default(),
            half: Samples::default(),
            nearly_all: Samples::default(),
        }
    }

    pub(crate) fn push(&mut self, pace: Pace) {
        self.processor.push(pace.processor);
        self.rate.push(pace.rate);
        self.half.push(pace.half);
        self.nearly_all.push(pace.nearly_all);
    }
}

/// Compares ours with another build of the program: what a change costs.
pub(crate) fn compare(before: &Path, scale: &Scale, report: &mut Report) {
    let ours = [
        ("stock protocol, watched", Contender::ours()),
        ("stock protocol, unwatched", Contender::unwatched()),
        ("inline descriptors, unwatched", Contender::inline()),
    ];
    for (what, contender) in ours {
        for (kind, connection) in [("TCP", Connection::tcp()), ("UNIX", Connection::unix())] {
            let before = contender.clone().built_as(before);
            let [before, now] = paces([before, contender.clone()], &connection, scale);
            report.add(Row::micros(
                &format!("{what}, {kind}, now / before"),
                &now.processor,
                &before.processor,
                None,
            ));
        }
    }
}

/// Measures contenders in turn, round by round.
fn paces<const N: usize>(
    contenders: [Contender; N],
    connection: &Connection,
    scale: &Scale,
) -> [Paces; N] {
    let mut all = contenders
        .each_ref()
        .map(|contender| Paces::new(contender.name));
    for _ in 0..scale.rounds {
        for (contender, paces) in contenders.iter().zip(&mut all) {
            let server = contender.start();
            let mut client = Client::connect(&server);
            let names = Names::numbered(0);
            pace(&server, &mut client, connection, &names, scale.cycles / 10);
            paces.push(pace(&server, &mut client, connection, &names, scale.cycles));
        }
    }
    all
}

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let all = paces(Contender::all(), &Connection::unix(), scale);
    let [stock, ours, unwatched, floor, inline, inline_floor] = &all;
    let compared = [
        (
            "stock protocol, near-empty, watched",
            ours,
            stock,
            Goal::AtMost(0.65),
        ),
        (
            "the same, unwatched / floor",
            unwatched,
            floor,
            Goal::AtMost(1.1),
        ),
        ("watched / unwatched", ours, unwatched, Goal::AtMost(1.15)),
        (
            "inline descriptors, unwatched",
            inline,
            stock,
            Goal::AtMost(0.2),
        ),
    ];
    for (what, one, other, goal) in compared {
        report.add(Row::micros(what, &one.processor, &other.processor, goal));
    }
    for (what, one, other) in [
        ("the same / its floor", inline, inline_floor),
        ("its floor / stock", inline_floor, stock),
        ("floor of the stock protocol / stock", floor, stock),
    ] {
        report.add(Row::micros(what, &one.processor, &other.processor, None));
    }
    report.set_near_empty(all.to_vec());
}
