//! In quiet times: mail is delivered over cached connections as often as with stock.

use scache_client::Client;
use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::maillog::{Interval, Lookups, Maillog};
use scache_tests::setups::{over_tls, receiver_with_tls};
use scache_tests::stock::Stock;

use crate::statistics;

const MESSAGES: usize = 200;

/// How much less reuse than stock's is noise: five deliveries at once race for the same connections, and each
/// connection more or less at the start makes a difference of one.
const NOISE: usize = MESSAGES / 10;

/// Delivers with both and compares.
fn compare(change: impl Fn(Setup) -> Setup) -> [Maillog; 2] {
    let deliver = |scache: Program| {
        let instance = Instance::start(&change(Setup::new(scache)));
        instance.deliver(MESSAGES);
        instance.finish()
    };
    let logs = [deliver(stock()), deliver(ours())];
    let [stock, ours] = &logs;
    println!(
        "reused: {} of {} with stock, {} of {} with ours",
        stock.reuses(),
        stock.deliveries(),
        ours.reuses(),
        ours.deliveries()
    );
    assert_eq!(ours.deliveries(), MESSAGES);
    assert!(ours.reuses() + NOISE >= stock.reuses(), "{}", ours.tail());
    assert_eq!(ours.complaints(), Vec::<&str>::new());
    logs
}

/// The lines of one process of scache(8) that was used.
fn assert_statistics(log: &Maillog) {
    assert_statistics_of(log, |interval| interval.domain);
}

/// The same, with hits in these lookups.
fn assert_statistics_of(log: &Maillog, lookups: impl Fn(&Interval) -> Option<Lookups>) {
    let statistics = statistics(log);
    let [interval] = statistics.as_slice() else {
        panic!("one interval of one process: {statistics:?}");
    };
    let lookups = lookups(interval).expect("lookups");
    assert!(lookups.hits > 0, "{interval:?}");
    let maxima = interval.maxima.expect("maxima");
    assert!(maxima.connections > 0, "{interval:?}");
}

#[test]
fn mail_goes_over_cached_connections() {
    let logs = compare(|setup| setup);
    assert!(logs[0].reuses() > MESSAGES / 2, "stock does not reuse");
    logs.iter().for_each(assert_statistics);
}

#[test]
fn the_service_can_be_chrooted() {
    let logs = compare(Setup::scache_chrooted);
    logs.iter().for_each(assert_statistics);
}

#[test]
fn the_log_can_be_syslog() {
    for chrooted in [false, true] {
        let setup = |setup: Setup| match chrooted {
            false => setup.syslog(),
            true => setup.syslog().scache_chrooted(),
        };
        let logs = compare(setup);
        logs.iter().for_each(assert_statistics);
    }
}

#[test]
fn connections_with_tls_are_reused_through_tlsproxy() {
    let (receiver, _directory) = receiver_with_tls();
    let receiver = Instance::start(&receiver);
    let with_tls = |setup: Setup| over_tls(setup).next_hop(receiver.submission());
    for log in compare(with_tls) {
        assert!(log.reuses() > MESSAGES / 2, "{}", log.tail());
        assert!(log.mentions("/tlsproxy["), "{}", log.tail());
        // From 3.10 on smtp(8) saves such a destination under another label than it asks for, so only addresses hit.
        if Stock::locate().is_at_least(3, 10) {
            assert_statistics_of(&log, |interval| interval.address);
        } else {
            assert_statistics(&log);
        }
    }
}

/// With TLS the destination and then the endpoint are asked for in later versions, and each lookup counts for the hit rate.
#[test]
fn the_reuse_that_stats_tell_is_that_of_the_deliveries() {
    let (receiver, _directory) = receiver_with_tls();
    let receiver = Instance::start(&receiver);
    let with_tls = |setup: Setup| over_tls(setup).next_hop(receiver.submission());
    for setup in [Setup::new(ours()), with_tls(Setup::new(ours()))] {
        let instance = Instance::start(&setup);
        instance.deliver(MESSAGES);
        let stats = Client::new(instance.scache_socket()).stats();
        let stats = stats.expect("told");
        let log = instance.finish();
        let taken = (stats.destination_hits + stats.endpoint_hits) as usize;
        let new = stats.connections_new as usize;
        println!(
            "reused: {} of {} by the log, {taken} of {} by stats",
            log.reuses(),
            log.deliveries(),
            taken + new
        );
        assert!(log.reuses() > MESSAGES / 2, "{}", log.tail());
        assert!(taken.abs_diff(log.reuses()) <= NOISE, "{stats:?}");
        assert!(
            (taken + new).abs_diff(log.deliveries()) <= NOISE,
            "{stats:?}"
        );
    }
}

#[test]
fn lmtp_uses_the_cache_as_well() {
    let logs = compare(|setup| setup.transport("lmtp"));
    logs.iter().for_each(assert_statistics);
}

#[test]
fn the_process_can_come_and_go() {
    for scache in [stock(), ours()] {
        let instance = Instance::start(&Setup::new(scache).parameter("max_idle", "1s"));
        for _ in 0..2 {
            instance.deliver(MESSAGES / 2);
            instance.wait_for("scache does not end", |instance| {
                instance.scache().is_none()
            });
        }
        let log = instance.finish();
        assert_eq!(log.complaints(), Vec::<&str>::new());
        let statistics = statistics(&log);
        assert_eq!(statistics.len(), 2, "{statistics:?}");
        assert_ne!(statistics[0].process, statistics[1].process);
        assert!(log.reuses() > MESSAGES / 2, "{}", log.tail());
    }
}

#[test]
fn two_instances_run_side_by_side() {
    for scache in [stock(), ours()] {
        let instances = ["postfix-in", "postfix-out"].map(|name| {
            let setup = Setup::new(scache.clone())
                .parameter("multi_instance_name", name)
                .parameter(
                    "syslog_name",
                    "${multi_instance_name?{$multi_instance_name}:{postfix}}",
                );
            (name, Instance::start(&setup))
        });
        std::thread::scope(|scope| {
            for (_, instance) in &instances {
                scope.spawn(|| instance.deliver(MESSAGES));
            }
        });
        for (name, instance) in instances {
            let log = instance.finish();
            assert!(
                log.tail().contains(&format!(" {name}/scache[")),
                "{}",
                log.tail()
            );
            assert!(log.reuses() > MESSAGES / 2, "{}", log.tail());
            assert_eq!(log.complaints(), Vec::<&str>::new());
            assert_statistics(&log);
        }
    }
}
