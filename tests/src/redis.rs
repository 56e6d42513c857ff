//! Debian's Redis server, unpacked below target/ and never installed, on a port of its own.
//!
//! `SCACHE_REDIS_ROOT` names a directory with the unpacked packages to use instead.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::debian::Packages;
use crate::port::Port;
use crate::wire::DEADLINE;

const REDIS: Packages = Packages {
    directory: "redis-stock",
    variable: "SCACHE_REDIS_ROOT",
    names: &["redis-server", "redis-tools"],
    programs: &["usr/bin/redis-server"],
    libraries: &[],
};

/// A server that keeps nothing on disk, and ends with this value.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    address: String,
    _port: Port,
}

impl Redis {
    /// Starts one that wants this password.
    ///
    /// # Panics
    /// With what to do, when it can be neither found nor fetched; when it does not start.
    #[must_use]
    pub fn start(password: &str) -> Self {
        static ROOT: OnceLock<PathBuf> = OnceLock::new();
        let root = ROOT.get_or_init(|| REDIS.locate());
        let port = Port::claim();
        let mut child = Command::new(root.join("usr/bin/redis-server"))
            .args([
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--requirepass",
                password,
            ])
            .args(["--port", &port.address().port().to_string()])
            .env("LD_LIBRARY_PATH", REDIS.library_path(root))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server can be started");
        let address = port.address().to_string();
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(&address).is_err() {
            let ended = child.try_wait().expect("it is waited for");
            assert!(ended.is_none(), "redis-server ended: {ended:?}");
            assert!(Instant::now() < deadline, "redis-server does not listen");
            sleep(Duration::from_millis(20));
        }
        Self {
            child,
            address,
            _port: port,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
