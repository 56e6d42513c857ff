//! `postfix reload` takes nothing away: no message, no client's trust in the cache, nothing that is cached.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Process, Setup};
use scache_tests::maillog::Maillog;
use scache_tests::setups::{forever, receiver};

use crate::goodbye::{assert_polite, stop};
use crate::{open_sessions, statistics};

const MESSAGES: usize = 2000;
const RELOADS: usize = 5;

/// master.cf allows so many smtp(8).
const CLIENTS: usize = 5;

struct Outcome {
    log: Maillog,
    reloads: usize,
    connections: usize,
}

#[test]
fn reloads_every_second_are_survived() {
    let [_, ours] = [("stock", stock()), ("ours", ours())].map(|(name, scache)| {
        let outcome = deliver_with_reloads(scache);
        let Outcome {
            log,
            reloads,
            connections,
        } = &outcome;
        println!(
            "{name}: {} delivered, {} over reused connections, {connections} connections, {reloads} reloads; {:#?}",
            log.deliveries(),
            log.reuses(),
            log.complaints()
        );
        outcome
    });
    // Stock ends with requests unanswered, so it may have something to say; ours must not.
    assert_eq!(ours.log.complaints(), Vec::<&str>::new());
    assert_eq!(ours.log.failures(), 0, "{}", ours.log.tail());
    // As many as are needed at a time. Finds wait for what is handed over, but on a busy machine not for long enough.
    let most = CLIENTS + 2 * ours.reloads;
    assert!(ours.connections <= most, "{} connections", ours.connections);
    let used = statistics(&ours.log);
    assert!(used.len() > ours.reloads / 2, "{used:?}");
}

fn deliver_with_reloads(scache: Program) -> Outcome {
    let instance = Instance::start(&forever(Setup::new(scache)));
    let (messages, reloads) = load(&instance);
    let log = instance.finish();
    assert_eq!(log.deliveries(), messages);
    instance.stop();
    Outcome {
        log,
        reloads,
        connections: instance.connections(),
    }
}

/// Delivers messages, reloading every second, until there were enough of both; gives the numbers of both.
fn load(instance: &Instance) -> (usize, usize) {
    let reloads = AtomicUsize::new(0);
    let reload = |instance: &Instance| {
        instance.reload();
        reloads.fetch_add(1, Ordering::Relaxed);
    };
    let messages = instance.meanwhile(Duration::from_secs(1), reload, |instance| {
        let mut messages = 0;
        while messages < MESSAGES || reloads.load(Ordering::Relaxed) < RELOADS {
            let more = MESSAGES / 4;
            instance.deliver(more);
            messages += more;
        }
        messages
    });
    (messages, reloads.into_inner())
}

#[test]
fn what_is_cached_outlives_a_reload_in_the_quiet() {
    for (name, scache) in [("stock", stock()), ("ours", ours())] {
        let pair = Pair::start(scache);
        pair.sender.deliver_to(ELSEWHERE, 20);
        pair.check(name, reload_and_settle);
    }
}

#[test]
fn what_is_cached_outlives_reloads_under_load() {
    for (name, scache) in [("stock", stock()), ("ours", ours())] {
        let pair = Pair::start(scache);
        pair.sender.deliver_to(ELSEWHERE, 20);
        pair.check(name, |sender| {
            load(sender);
            reload_and_settle(sender);
        });
    }
}

/// Mail for this one goes to the receiver of the pair.
const ELSEWHERE: &str = "recipient@elsewhere.example";

/// A Postfix that keeps its connections for good, and one that takes some of its mail.
struct Pair {
    receiver: Instance,
    sender: Instance,
}

impl Pair {
    fn start(scache: Program) -> Self {
        let receiver = Instance::start(&receiver());
        let sender = forever(Setup::new(scache)).route("elsewhere.example", receiver.submission());
        Self {
            sender: Instance::start(&sender),
            receiver,
        }
    }

    /// Connections that are cached before something are there, and used, after it; not so with stock.
    fn check(&self, name: &str, something: impl FnOnce(&Instance)) {
        let before = self.receiver.complete_log().connects();
        assert!(open_sessions(&self.receiver) > 0, "nothing is cached");
        something(&self.sender);
        self.sender.deliver_to(ELSEWHERE, 1);
        let after = self.receiver.complete_log().connects();
        println!("{name}: sessions begun and ended {before:?}, then {after:?}");
        if name == "stock" {
            assert_eq!(after.0, before.0 + 1, "stock used an old connection");
            return;
        }
        assert_eq!(after, before, "{}", self.sender.log().tail());
        // Who got them also says their goodbyes.
        stop(name, &self.sender);
        assert_polite(&self.receiver);
    }
}

/// Reloads, and waits until the old scache(8) and what it left behind are gone.
fn reload_and_settle(sender: &Instance) {
    let old = sender.scache();
    sender.reload();
    sender.wait_for("the old scache does not end", |sender| {
        let known = sender.scache();
        let processes = sender.processes();
        let mut scaches = processes.iter().filter(|process| process.name == "scache");
        // The new one has a process beside it that closes for it.
        let is_new = |process: &Process| {
            known.is_some_and(|known| [process.number, process.parent].contains(&known))
        };
        (old.is_none() || known != old) && scaches.all(is_new)
    });
}
