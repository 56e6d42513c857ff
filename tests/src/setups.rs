//! What several tests set in a whole Postfix.

use tempfile::TempDir;

use crate::fake_master::stock;
use crate::instance::Setup;
use crate::openssl::openssl;

/// A second Postfix, which takes mail by smtpd(8) and throws it away.
#[must_use]
pub fn receiver() -> Setup {
    Setup::new(stock()).parameter("default_transport", "discard")
}

/// The same with TLS, and where its key and certificate are.
///
/// # Panics
/// When openssl(1) makes no certificate.
#[must_use]
pub fn receiver_with_tls() -> (Setup, TempDir) {
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
#[must_use]
pub fn over_tls(setup: Setup) -> Setup {
    setup
        .parameter("smtp_tls_security_level", "encrypt")
        .parameter("smtp_tls_connection_reuse", "yes")
        .parameter("smtp_tls_loglevel", "1")
}

/// Keeps connections for longer than any test lasts.
#[must_use]
pub fn forever(setup: Setup) -> Setup {
    setup
        .parameter("connection_cache_ttl_limit", "1h")
        .parameter("smtp_connection_cache_time_limit", "1h")
        .parameter("smtp_connection_reuse_time_limit", "1h")
}
