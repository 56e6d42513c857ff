//! Sockets that another user has put where `scachectl` looks for its cache.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use scache_tests::fake_master::built;
use scache_tests::planted::{OTHER_USER, Planted};

use crate::Counts;
use crate::report::Report;

pub fn measure(_counts: &Counts, report: &mut Report) {
    report.part("another user listens at root's default socket; root saves a connection (stock has no default)");
    let mut sent = 0;
    for (name, owner, mode) in [
        ("directory of another user", OTHER_USER, 0o755),
        ("directory open to all", 0, 0o777),
        ("root's directory", 0, 0o755),
    ] {
        let planted = Planted::new(owner, mode);
        save(&planted);
        let (connected, bytes) = planted.caught();
        report.row(
            name,
            &format!("connected {connected} times, sent {bytes} bytes"),
        );
        sent += bytes;
    }
    report.promise("nothing is sent to a socket of another user", sent == 0);
}

/// `scachectl connect` as root, with a connection that it would leave in the cache.
fn save(planted: &Planted) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let target = listener.local_addr().expect("an address").to_string();
    let mut child = Command::new(built("scachectl"))
        .env_remove("XDG_RUNTIME_DIR")
        .env("TMPDIR", planted.temporary())
        .env("PATH", "/nonexistent")
        .args(["connect", &target, "--", "/bin/true"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("scachectl");
    let (mut connection, _) = listener.accept().expect("it connects");
    // It closes the connection, or another user has it.
    let _ = child.wait();
    connection
        .set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .expect("a socket");
    let _ = connection.read(&mut [0]);
}
