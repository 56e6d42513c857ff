//! A whole Postfix delivers mail, once with stock scache(8) and once with ours.

use std::cell::Cell;
use std::process::Command;

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::maillog::Maillog;

const MESSAGES: usize = 200;

/// How much less reuse than stock's is noise: five deliveries at once race for the same connections, and each
/// connection more or less at the start makes a difference of one.
const NOISE: usize = MESSAGES / 10;

/// Delivers with both and compares.
fn compare(change: impl Fn(Setup) -> Setup, meanwhile: impl Fn(&Instance)) -> [Maillog; 2] {
    let deliver = |scache: Program| {
        let instance = Instance::start(&change(Setup::new(scache)));
        instance.deliver(MESSAGES, &meanwhile);
        instance.stop()
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

/// The lines of one process of scache(8) that was used, in their order.
fn assert_statistics(log: &Maillog) {
    let lines = log.scache();
    let begin = ["statistics: start interval ", "statistics: "];
    assert!(
        lines.first().is_some_and(|line| line.starts_with(begin[0])),
        "{lines:?}"
    );
    assert!(
        lines.iter().all(|line| line.starts_with(begin[1])),
        "{lines:?}"
    );
    for kind in ["domain lookup hits=", "max simultaneous domains="] {
        assert!(
            lines.iter().any(|line| line.contains(kind)),
            "{kind}: {lines:?}"
        );
    }
}

#[test]
fn mail_goes_over_cached_connections() {
    let logs = compare(|setup| setup, |_| ());
    assert!(logs[0].reuses() > MESSAGES / 2, "stock does not reuse");
    logs.iter().for_each(assert_statistics);
}

#[test]
fn the_service_can_be_chrooted() {
    let logs = compare(Setup::scache_chrooted, |_| ());
    logs.iter().for_each(assert_statistics);
}

#[test]
fn the_log_can_be_syslog() {
    for chrooted in [false, true] {
        let setup = |setup: Setup| match chrooted {
            false => setup.syslog(),
            true => setup.syslog().scache_chrooted(),
        };
        let logs = compare(setup, |_| ());
        logs.iter().for_each(assert_statistics);
    }
}

#[test]
fn connections_with_tls_are_reused_through_tlsproxy() {
    let directory = tempfile::tempdir().expect("a directory");
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| directory.path().join(name));
    let made = Command::new("openssl")
        .args([
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        ])
        .args(["-subj", "/CN=mail.example.org"])
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output();
    assert!(
        made.is_ok_and(|made| made.status.success()),
        "no certificate: install the package openssl"
    );
    let receiver = Setup::new(stock())
        .parameter("default_transport", "discard")
        .parameter("smtpd_tls_security_level", "may")
        .parameter("smtpd_tls_key_file", &key.display().to_string())
        .parameter("smtpd_tls_cert_file", &certificate.display().to_string());
    let receiver = Instance::start(&receiver);
    let with_tls = |setup: Setup| {
        setup
            .next_hop(receiver.submission())
            .parameter("smtp_tls_security_level", "encrypt")
            .parameter("smtp_tls_connection_reuse", "yes")
            .parameter("smtp_tls_loglevel", "1")
    };
    for log in compare(with_tls, |_| ()) {
        assert!(log.reuses() > MESSAGES / 2, "{}", log.tail());
        assert!(log.mentions("/tlsproxy["), "{}", log.tail());
        assert_statistics(&log);
    }
}

#[test]
fn lmtp_uses_the_cache_as_well() {
    let logs = compare(|setup| setup.transport("lmtp"), |_| ());
    logs.iter().for_each(assert_statistics);
}

#[test]
fn reloads_every_second_are_survived() {
    let [stock, ours] = [stock(), ours()].map(|scache| {
        let instance = Instance::start(&Setup::new(scache));
        let reloads = Cell::new(0);
        let mut messages = 0;
        while reloads.get() < 3 {
            messages += 500;
            instance.deliver(messages, |instance| {
                instance.reload();
                reloads.set(reloads.get() + 1);
            });
        }
        let log = instance.stop();
        assert!(log.reuses() > messages / 2, "{}", log.tail());
        log
    });
    // Stock ends with requests unanswered, so it may have something to say; ours must not.
    println!("with stock: {:?}", stock.complaints());
    assert_eq!(ours.complaints(), Vec::<&str>::new());
}

#[test]
fn the_process_can_come_and_go() {
    for scache in [stock(), ours()] {
        let instance = Instance::start(&Setup::new(scache).parameter("max_idle", "1s"));
        for burst in 1..=2 {
            instance.deliver(burst * MESSAGES / 2, |_| ());
            instance.wait_for("scache does not end", |instance| {
                instance.scache().is_none()
            });
        }
        let log = instance.stop();
        assert_eq!(log.complaints(), Vec::<&str>::new());
        let intervals = log
            .scache()
            .iter()
            .filter(|line| line.starts_with("statistics: start interval"))
            .count();
        assert_eq!(intervals, 2, "{:?}", log.scache());
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
                scope.spawn(|| instance.deliver(MESSAGES, |_| ()));
            }
        });
        for (name, instance) in instances {
            let log = instance.stop();
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
