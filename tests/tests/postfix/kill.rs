//! scache(8) is killed again and again. What it had cached is lost, as with stock, and nothing else: no message,
//! and no client turns its cache off more often than with stock.
//!
//! A client that fails tries again after a second, and gives up the cache for good when that fails too. master(8)
//! throttles a service whose process was killed before it had served anybody. Both can happen by bad luck.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::maillog::Maillog;

const MESSAGES: usize = 2000;
const INTERVAL: Duration = Duration::from_millis(300);

/// Fewer would prove nothing. The five clients sleep for a second after each, so that there is seldom
/// something to be killed.
const KILLS: usize = 5;

/// One bad moment can make all clients give up, and there are five of them.
const BAD_LUCK: usize = 5;

#[test]
fn the_process_can_be_killed_every_300_ms() {
    let [stock, ours] = [("stock", stock()), ("ours", ours())].map(|(name, scache)| {
        let (log, kills) = deliver_with_kills(scache);
        let count = |text| log.lines_with(text).len();
        println!(
            "{name}: {} delivered, {} over reused connections, {kills} kills; {} times problem talking to service, \
             {} times disabling connection caching, {} times throttling",
            log.deliveries(),
            log.reuses(),
            count("problem talking to service private/scache"),
            gave_up(&log),
            throttled(&log),
        );
        (log, kills)
    });
    let (log, kills) = ours;
    assert_eq!(log.failures(), 0, "{}", log.tail());
    assert!(gave_up(&log) <= gave_up(&stock.0) + BAD_LUCK);
    // A process that does not tell master(8) that it served somebody is throttled each time.
    assert!(throttled(&log) <= kills / 2);
    // The killed ones log nothing, the last one what it always does.
    crate::statistics(&log);
}

fn deliver_with_kills(scache: Program) -> (Maillog, usize) {
    // An unlucky kill shall cost the test a second, not a minute.
    let setup = Setup::new(scache).parameter("service_throttle_time", "1s");
    let instance = Instance::start(&setup);
    let kills = AtomicUsize::new(0);
    let kill = |instance: &Instance| {
        kills.fetch_add(usize::from(instance.kill_scache()), Ordering::Relaxed);
    };
    let messages = instance.meanwhile(INTERVAL, kill, |instance| {
        let mut messages = 0;
        while messages < MESSAGES || kills.load(Ordering::Relaxed) < KILLS {
            let more = MESSAGES / 4;
            instance.deliver(more);
            messages += more;
        }
        messages
    });
    let log = instance.finish();
    assert_eq!(log.deliveries(), messages);
    (log, kills.into_inner())
}

fn gave_up(log: &Maillog) -> usize {
    log.lines_with("disabling connection caching").len()
}

fn throttled(log: &Maillog) -> usize {
    log.lines_with("bad command startup -- throttling").len()
}
