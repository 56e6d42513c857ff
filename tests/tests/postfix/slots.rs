//! More smtp(8) processes than there are slots of clients: those that are closed connect again without a word.

use scache_tests::fake_master::ours;
use scache_tests::instance::{Instance, Setup};

use crate::statistics;

const MESSAGES: usize = 200;

#[test]
fn processes_of_postfix_share_fewer_slots_than_there_are_of_them() {
    // Deliveries run five at a time for one destination: that many smtp(8) processes stay connected.
    let setup = Setup::new(ours()).parameter("connection_cache_client_limit", "2");
    let instance = Instance::start(&setup);
    let mut cache = scache_client::Client::new(instance.scache_socket());
    instance.deliver(MESSAGES);
    let stats = cache.stats().expect("told");
    assert!(
        stats.clients_closed_idle > 0,
        "nobody was closed: {stats:?}"
    );
    // The user of the process is that of its clients: one more than the limit may have a slot.
    assert!(stats.clients_most <= 3, "{stats:?}");
    let log = instance.finish();
    assert_eq!(log.deliveries(), MESSAGES);
    assert!(log.reuses() > MESSAGES / 4, "{}", log.tail());
    assert_eq!(log.complaints(), Vec::<&str>::new());
    for wrong in [
        "disabling connection caching",
        "problem talking to service",
        "warning:",
    ] {
        assert!(!log.mentions(wrong), "{}", log.tail());
    }
    statistics(&log);
}
