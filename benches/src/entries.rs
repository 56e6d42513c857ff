//! The more is cached, the more a cycle costs, or not.
//!
//! Stock and ours are filled step by step, side by side, and measured in turn at each step; a third server, ours
//! with few entries, is what ours with many is measured against.

use crate::Scale;
use crate::load::{Client, Connection, FarEnds, Names, bind, fill, pace};
use crate::near_empty::Paces;
use crate::report::{Goal, Report, Row, Series};
use crate::samples::Samples;
use crate::scale::Fill;
use crate::server::{Contender, Server};

/// A server that is filled step by step.
struct Filled {
    server: Server,
    client: Client,
    far_ends: FarEnds,
    fill: Fill,
}

/// Names that no entry has.
const OTHERS: usize = 10_000_000;

impl Filled {
    fn start(contender: &Contender) -> Self {
        let server = contender.start();
        Self {
            client: Client::connect(&server),
            server,
            far_ends: FarEnds::new(),
            fill: Fill::paired(0),
        }
    }

    /// Fills it up to that. How long that took, in seconds.
    fn fill_to(&mut self, fill_to: Fill) -> f64 {
        let Fill {
            connections,
            bindings,
        } = self.fill;
        let mut took = fill(
            &mut self.client,
            &mut self.far_ends,
            connections,
            fill_to.connections,
        );
        let bound = fill_to.connections + bindings.saturating_sub(connections);
        took += bind(
            &mut self.client,
            fill_to.connections,
            bound,
            fill_to.bindings,
        );
        self.fill = fill_to;
        took.as_secs_f64()
    }

    /// The processor time of a cycle, in microseconds.
    fn pace(&mut self, cycles: usize) -> crate::load::Pace {
        pace(
            &self.server,
            &mut self.client,
            &Connection::unix(),
            &Names::numbered(OTHERS),
            cycles,
        )
    }

    fn resident(&self) -> f64 {
        self.server.memory().resident as f64
    }
}

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let roomy = Contender::ours()
        .with("connection_cache_connection_limit", "18000")
        .with("connection_cache_client_limit", "1000")
        .with("connection_cache_binding_limit", "250000");
    let mut stock = Filled::start(&Contender::stock());
    let mut ours = Filled::start(&roomy);
    let mut series = [Series::new("stock"), Series::new("ours")];
    let mut resident = Vec::new();
    for connections in scale.connections {
        stock.fill_to(Fill::paired(*connections));
        ours.fill_to(Fill::paired(*connections));
        resident.push((*connections, stock.resident(), ours.resident()));
        let paces = in_turn(
            scale.rounds,
            [
                (&mut stock, scale.cycles / 10),
                (&mut ours, scale.cycles / 2),
            ],
        );
        add(&mut series, *connections, &paces);
        if Some(connections) == scale.connections.last() {
            let [stock, ours] = &paces;
            let what = format!("{connections} connections cached");
            report.add(Row::micros(
                &what,
                &ours.processor,
                &stock.processor,
                Goal::AtMost(0.09),
            ));
        }
    }
    if let ([(few, stock_few, ours_few), ..], Some((many, stock_many, ours_many))) =
        (&resident[..], resident.last())
    {
        let more = (many - few) as f64;
        let (stock, ours) = (
            (stock_many - stock_few) / more,
            (ours_many - ours_few) / more,
        );
        let what = "memory per cached connection with its binding";
        report.add(Row::bytes(what, ours, stock, Goal::AtMost(0.5)));
    }

    ours.fill_to(scale.large);
    if scale.stock_fill {
        let seconds = stock.fill_to(scale.large);
        report.note(format!(
            "Filling stock from {} connections to {} and {} bindings took {seconds:.0} s; its cycles are {} a \
             round here.",
            scale.connections.last().copied().unwrap_or_default(),
            scale.large.connections,
            scale.large.bindings,
            scale.slow_cycles,
        ));
        let paces = in_turn(
            scale.rounds,
            [
                (&mut stock, scale.slow_cycles),
                (&mut ours, scale.cycles / 2),
            ],
        );
        add(
            &mut series,
            scale.large.connections + scale.large.bindings,
            &paces,
        );
        let [stock, ours] = &paces;
        let what = format!(
            "{} connections and {} bindings",
            scale.large.connections, scale.large.bindings
        );
        report.add(Row::micros(
            &what,
            &ours.processor,
            &stock.processor,
            Goal::AtMost(0.012),
        ));
    } else {
        report.note("Stock was not filled further, which takes minutes.".to_owned());
    }
    drop(stock);

    ours.fill_to(scale.larger);
    let few = scale.connections.first().copied().unwrap_or_default();
    let mut small = Filled::start(&roomy);
    small.fill_to(Fill::paired(few));
    let paces = in_turn(
        scale.rounds,
        [
            (&mut small, scale.cycles / 2),
            (&mut ours, scale.cycles / 2),
        ],
    );
    let [small, large] = &paces;
    series[1].push(
        scale.larger.connections + scale.larger.bindings,
        large.processor.median(),
    );
    let what = format!(
        "{} connections and {} bindings / {few} entries, both ours",
        scale.larger.connections, scale.larger.bindings
    );
    report.add(Row::micros(
        &what,
        &large.processor,
        &small.processor,
        Goal::AtMost(1.15),
    ));
    report.set_by_entries(series.to_vec());
}

fn in_turn(rounds: usize, mut both: [(&mut Filled, usize); 2]) -> [Paces; 2] {
    let mut paces = ["", ""].map(Paces::new);
    for _ in 0..rounds {
        for ((filled, cycles), paces) in both.iter_mut().zip(&mut paces) {
            paces.push(filled.pace((*cycles).max(1)));
        }
    }
    paces
}

fn add(series: &mut [Series; 2], entries: usize, paces: &[Paces; 2]) {
    for (series, paces) in series.iter_mut().zip(paces) {
        let processor: &Samples = &paces.processor;
        series.push(entries, processor.median());
    }
}
