//! What the Postfix of this system makes of its scache(8) and of ours, one row of a table for each way to deliver.
//! `make test-matrix` runs it on several releases of Debian.

use std::process::ExitCode;

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::setups::{forever, over_tls, receiver_with_tls};
use scache_tests::stock::Stock;

const MESSAGES: usize = 200;

/// How much less reuse than stock's is noise: five deliveries at once race for the same connections.
const NOISE: usize = MESSAGES / 10;

/// Mail is sent in so many parts, with a reload between two of them where there are reloads.
const PARTS: usize = 5;

struct Scenario {
    name: &'static str,
    change: fn(Setup) -> Setup,
    tls: bool,
    reloads: bool,
}

const PLAIN: Scenario = Scenario {
    name: "smtp",
    change: |setup| setup,
    tls: false,
    reloads: false,
};

const SCENARIOS: [Scenario; 5] = [
    PLAIN,
    Scenario {
        name: "smtp, scache chrooted, syslog",
        change: |setup| setup.scache_chrooted().syslog(),
        ..PLAIN
    },
    Scenario {
        name: "smtp, 4 reloads",
        reloads: true,
        ..PLAIN
    },
    Scenario {
        name: "smtp with TLS",
        change: over_tls,
        tls: true,
        ..PLAIN
    },
    Scenario {
        name: "lmtp",
        change: |setup| setup.transport("lmtp"),
        ..PLAIN
    },
];

/// What came of a scenario.
struct Outcome {
    sent: usize,
    reused: usize,
    sessions: usize,
    warnings: usize,
}

impl Scenario {
    fn play(&self, scache: Program) -> Outcome {
        let setup = forever((self.change)(Setup::new(scache)));
        if !self.tls {
            return self.deliver(&setup, None);
        }
        let (receiver, _key) = receiver_with_tls();
        let receiver = Instance::start(&receiver);
        self.deliver(&setup.next_hop(receiver.submission()), Some(&receiver))
    }

    fn deliver(&self, setup: &Setup, receiver: Option<&Instance>) -> Outcome {
        let sender = Instance::start(setup);
        for part in 0..PARTS {
            if self.reloads && part > 0 {
                sender.reload();
            }
            sender.deliver(MESSAGES / PARTS);
        }
        let log = sender.finish();
        sender.stop();
        let sessions = receiver.map_or_else(
            || sender.connections(),
            |receiver| {
                receiver.wait_for("sessions do not end", |receiver| {
                    let (began, ended) = receiver.log().connects();
                    began == ended
                });
                receiver.complete_log().sessions().len()
            },
        );
        for complaint in log.complaints() {
            eprintln!("{}: {complaint}", self.name);
        }
        Outcome {
            sent: log.deliveries(),
            reused: log.reuses(),
            sessions,
            warnings: log.complaints().len(),
        }
    }
}

fn main() -> ExitCode {
    let version = Stock::locate().version();
    let mut good = true;
    for scenario in SCENARIOS {
        let [stock, ours] = [stock(), ours()].map(|program| scenario.play(program));
        let columns = [&stock, &ours].map(|outcome| {
            format!(
                "{} | {} | {} | {}",
                outcome.sent, outcome.reused, outcome.sessions, outcome.warnings
            )
        });
        println!(
            "| {version} | {} | {} |",
            scenario.name,
            columns.join(" | ")
        );
        if ours.sent != MESSAGES || ours.reused + NOISE < stock.reused || ours.warnings > 0 {
            eprintln!("{}: ours is worse than it has to be", scenario.name);
            good = false;
        }
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
