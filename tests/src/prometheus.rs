//! Debian's Prometheus with promtool(1), unpacked below target/ and never installed.
//!
//! `SCACHE_PROMETHEUS_ROOT` names a directory with the unpacked package to use instead.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::debian::Packages;
use crate::http;
use crate::port::Port;
use crate::wire::DEADLINE;

const PROMETHEUS: Packages = Packages {
    directory: "prometheus-stock",
    variable: "SCACHE_PROMETHEUS_ROOT",
    names: &["prometheus"],
    programs: &["usr/bin/prometheus", "usr/bin/promtool"],
    libraries: &[],
};

/// A server that keeps what it has read in a directory of its own, and ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    port: Port,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts one with this configuration.
    ///
    /// # Panics
    /// With what to do, when it can be neither found nor fetched; when it does not start.
    #[must_use]
    pub fn start(configuration: &str) -> Self {
        let directory = TempDir::with_prefix("scache-prometheus-").expect("a directory");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, configuration).expect("written");
        let port = Port::claim();
        let address = port.address();
        let log = directory.path().join("log");
        // It ends with the test also when that is killed.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(root().join("usr/bin/prometheus"))
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("prometheus can be started");
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(&log).unwrap_or_default();
            let ended = child.try_wait().expect("it is waited for");
            assert!(ended.is_none(), "prometheus ended: {ended:?}\n{}", log());
            assert!(
                Instant::now() < deadline,
                "prometheus does not listen\n{}",
                log()
            );
            sleep(Duration::from_millis(20));
        }
        Self {
            child,
            port,
            _directory: directory,
        }
    }

    /// What it answers to a part of its API, once it is ready.
    ///
    /// # Panics
    /// When that is no JSON.
    #[must_use]
    pub fn api(&self, path: &str) -> Option<Value> {
        let head = format!("GET /api/v1/{path} HTTP/1.0\r\n");
        let answer = http::ask(self.port.address(), &head);
        // 503 while it starts.
        (answer.status == 200).then(|| serde_json::from_str(&answer.body).expect("JSON"))
    }

    /// What it answers to an expression, if it understands it.
    #[must_use]
    pub fn query(&self, expression: &str) -> Option<Value> {
        let escaped: String = expression
            .bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
                other => format!("%{other:02x}"),
            })
            .collect();
        self.api(&format!("query?query={escaped}"))
    }

    /// The value of an expression, if it has just one now.
    #[must_use]
    pub fn value(&self, expression: &str) -> Option<f64> {
        let answer = self.query(expression)?;
        match answer["data"]["result"].as_array()?.as_slice() {
            [one] => one["value"][1].as_str()?.parse().ok(),
            _ => None,
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether promtool is content, and all that it said.
///
/// # Panics
/// With what to do, when it can be neither found nor fetched.
#[must_use]
pub fn promtool(arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(root().join("usr/bin/promtool"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut to = child.stdin.take().expect("its input");
    // It may end before it has read everything.
    let _ = to.write_all(input.as_bytes());
    drop(to);
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn root() -> &'static Path {
    static ROOT: OnceLock<PathBuf> = OnceLock::new();
    ROOT.get_or_init(|| PROMETHEUS.locate())
}
