//! How long it takes until a server that was started answers, and what memory it has then.

use scache_proto::Status;
use scache_proto::client::Outcome;

use crate::Scale;
use crate::load::{Client, Names};
use crate::report::{Goal, Report, Row};
use crate::samples::{Samples, micros};
use crate::server::Contender;

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let contenders = [Contender::stock(), Contender::ours()];
    let mut times = [(); 2].map(|()| Samples::default());
    let mut resident = times.clone();
    let mut proportional = times.clone();
    for _ in 0..scale.starts {
        for (place, contender) in contenders.iter().enumerate() {
            let server = contender.start();
            let mut client = Client::connect(&server);
            let outcome = client.ask(&Names::numbered(0).find_destination(), None);
            times[place].push(micros(server.master.started().elapsed()));
            assert!(
                matches!(outcome, Outcome::Refused(Status::Failed)),
                "{outcome:?}"
            );
            let memory = server.memory();
            resident[place].push(memory.resident as f64);
            proportional[place].push(memory.proportional as f64);
        }
    }
    let [stock, ours] = &resident;
    report.add(Row::kibibytes(
        "resident memory, idle",
        ours,
        stock,
        Some(Goal::AtMost(0.4)),
    ));
    let [stock, ours] = &proportional;
    report.add(Row::kibibytes(
        "the same, what is shared divided (PSS)",
        ours,
        stock,
        None,
    ));
    let [stock, ours] = &times;
    report.add(Row::micros(
        "exec to first reply",
        ours,
        stock,
        Goal::AtMost(0.5),
    ));
}
