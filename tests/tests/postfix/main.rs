//! A whole Postfix delivers mail, once with stock scache(8) and once with ours.

mod advice;
mod container;
mod delivery;
mod goodbye;
mod guardian;
mod kill;
mod mute;
mod reload;
mod slots;

use scache_tests::fake_master::stock;
use scache_tests::instance::{Instance, Setup};
use scache_tests::maillog::{Interval, Maillog};
use scache_tests::openssl::openssl;
use tempfile::TempDir;

/// Every line that scache(8) logged has exactly the form that log parsers know; gives what the lines say.
fn statistics(log: &Maillog) -> Vec<Interval> {
    let statistics = log.statistics();
    statistics.unwrap_or_else(|wrong| panic!("{wrong}, among {:#?}", log.scache()))
}

/// A second Postfix, which takes mail by smtpd(8) and throws it away.
fn receiver() -> Setup {
    Setup::new(stock()).parameter("default_transport", "discard")
}

/// The same with TLS, and where its key and certificate are.
fn receiver_with_tls() -> (Setup, TempDir) {
    let directory = tempfile::tempdir().expect("a directory");
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| directory.path().join(name));
    let made = openssl()
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
        "openssl makes no certificate"
    );
    let setup = receiver()
        .parameter("smtpd_tls_security_level", "may")
        .parameter("smtpd_tls_key_file", &key.display().to_string())
        .parameter("smtpd_tls_cert_file", &certificate.display().to_string());
    (setup, directory)
}

/// Delivers over TLS, by connections that can be reused.
fn over_tls(setup: Setup) -> Setup {
    setup
        .parameter("smtp_tls_security_level", "encrypt")
        .parameter("smtp_tls_connection_reuse", "yes")
        .parameter("smtp_tls_loglevel", "1")
}

/// Keeps connections for longer than any test lasts.
fn forever(setup: Setup) -> Setup {
    setup
        .parameter("connection_cache_ttl_limit", "1h")
        .parameter("smtp_connection_cache_time_limit", "1h")
        .parameter("smtp_connection_reuse_time_limit", "1h")
}

/// How many sessions are open at the receiver, by its log.
fn open_sessions(receiver: &Instance) -> usize {
    let (connects, disconnects) = receiver.log().connects();
    connects - disconnects
}
