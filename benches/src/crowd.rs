//! Many clients that have been answered and idle.

use crate::Scale;
use crate::load::{Client, Names};
use crate::report::{Goal, Report, Row};
use crate::server::Contender;

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let contenders = [
        Contender::stock(),
        Contender::ours()
            .with("connection_cache_connection_limit", "1000")
            .with("connection_cache_client_limit", "15000"),
    ];
    let [stock, ours] = contenders.map(|contender| {
        let server = contender.start();
        let mut clients = vec![answered(&server)];
        let before = server.memory().resident;
        clients.extend((0..scale.crowd).map(|_| answered(&server)));
        (server.memory().resident - before) as f64 / scale.crowd as f64
    });
    let what = format!("{} idle clients, memory per client", scale.crowd);
    report.add(Row::bytes_of_ours(&what, ours, stock, Goal::AtMost(1024.0)));
}

fn answered(server: &crate::server::Server) -> Client {
    let mut client = Client::connect(server);
    client.ask(&Names::numbered(0).find_destination(), None);
    client
}
