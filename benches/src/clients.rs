//! Many clients at once.

use crate::Scale;
use crate::load::{Client, pace_of_all};
use crate::near_empty::Paces;
use crate::report::{Goal, Report, Row, Series};
use crate::server::Contender;

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let contenders = [Contender::stock(), Contender::ours(), Contender::inline()];
    let mut series = contenders
        .each_ref()
        .map(|contender| Series::new(contender.name));
    for count in scale.clients {
        let mut all = contenders
            .each_ref()
            .map(|contender| Paces::new(contender.name));
        let cycles = (scale.cycles / count).max(2);
        for _ in 0..scale.rounds {
            for (contender, paces) in contenders.iter().zip(&mut all) {
                let server = contender.start();
                let mut clients: Vec<Client> =
                    (0..*count).map(|_| Client::connect(&server)).collect();
                pace_of_all(&server, &mut clients, (cycles / 10).max(1));
                paces.push(pace_of_all(&server, &mut clients, cycles));
            }
        }
        for (series, paces) in series.iter_mut().zip(&all) {
            series.push(*count, paces.processor.median());
        }
        let [stock, ours, inline] = &all;
        if *count == scale.many_clients {
            let what = format!("{count} clients at once, requests per second");
            report.add(Row::rate(
                &what,
                &ours.rate,
                &stock.rate,
                Some(Goal::AtLeast(2.0)),
            ));
            let what = format!("{count} clients at once, processor time per cycle");
            report.add(Row::micros(&what, &ours.processor, &stock.processor, None));
            let what = "the same, inline descriptors, unwatched";
            report.add(Row::micros(what, &inline.processor, &stock.processor, None));
        }
    }
    report.set_by_clients(series.to_vec());
}
