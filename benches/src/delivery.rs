//! A real Postfix delivers to one destination, with stock scache(8) and with ours.

use std::time::Instant;

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};

use crate::Scale;
use crate::report::{Goal, Report, Row};
use crate::samples::Samples;
use crate::server::on_all_processors;

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let programs = [stock(), ours()];
    let mut rates = [(); 2].map(|()| Samples::default());
    let mut connections = rates.clone();
    for _ in 0..scale.deliveries {
        for (place, program) in programs.iter().enumerate() {
            // Some twenty processes on one processor would tell little about one of them.
            let (rate, opened) = on_all_processors(|| deliver(program.clone(), scale.messages));
            rates[place].push(rate);
            connections[place].push(opened as f64);
        }
    }
    let messages = scale.messages;
    let [stock, ours] = &rates;
    let what = format!("real Postfix, {messages} messages: deliveries per second");
    report.add(Row::rate(&what, ours, stock, Some(Goal::AtLeast(1.0))));
    let [stock, ours] = &connections;
    report.add(Row::count(
        "the same: connections opened",
        ours,
        stock,
        Goal::AtMost(1.0),
    ));
}

fn deliver(scache: Program, messages: usize) -> (f64, usize) {
    let instance = Instance::start(&Setup::new(scache));
    let began = Instant::now();
    instance.deliver(messages);
    let elapsed = began.elapsed();
    (
        messages as f64 / elapsed.as_secs_f64(),
        instance.connections(),
    )
}
