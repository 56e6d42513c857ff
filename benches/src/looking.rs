//! What it costs the others that somebody looks: a full screen, a monitoring system, a list of everything; and how
//! soon there is something to see after an installation.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

use scache_tests::fake_master::{built, ours, stock};
use scache_tests::http;
use scache_tests::instance::{self, Instance};
use scache_tests::tmux::Tmux;

use crate::Scale;
use crate::load::{Client, Connection, FarEnds, Names, bind, fill, pace};
use crate::report::{Goal, Report, Row};
use crate::samples::Samples;
use crate::server::{Contender, on_all_processors, started_on_all_processors};

/// How often everything is looked at, as a monitoring system and `top` do.
const INTERVAL: Duration = Duration::from_secs(1);

/// Far beyond what a loaded machine needs.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    watched_by_others(scale, report);
    listed(scale, report);
    installed(scale, report);
}

/// A request beside an open `scachectl top` and a scrape each second, and without them.
fn watched_by_others(scale: &Scale, report: &mut Report) {
    let server = Contender::ours().start();
    let mut client = Client::connect(&server);
    let names = Names::numbered(0);
    let mut alone = Samples::default();
    let mut watched = Samples::default();
    let mut one_pace = |samples: &mut Samples| {
        samples.push(
            pace(
                &server,
                &mut client,
                &Connection::unix(),
                &names,
                scale.watched_cycles,
            )
            .processor,
        );
    };
    for _ in 0..scale.rounds {
        one_pace(&mut alone);
        // They are on any processor: what counts is what the server does for them.
        let socket = server.master.socket_path();
        let _observers = started_on_all_processors(|| Observers::start(socket));
        one_pace(&mut watched);
    }
    report.add(Row::micros(
        "a cycle beside top and a scrape each second / without",
        &watched,
        &alone,
        Goal::AtMost(1.02),
    ));
}

/// A full screen, and an exporter that is scraped.
struct Observers {
    _top: Tmux,
    exporter: Child,
    is_over: Arc<AtomicBool>,
    scraper: Option<JoinHandle<()>>,
}

impl Observers {
    fn start(socket: &Path) -> Self {
        let scachectl = built("scachectl");
        let seconds = INTERVAL.as_secs();
        let top = Tmux::start(120, 40);
        top.type_line(&format!(
            "{} --socket {} top --interval {seconds}s",
            scachectl.display(),
            socket.display(),
        ));
        let mut exporter = Command::new(scachectl)
            .arg("--socket")
            .arg(socket)
            .args(["exporter", "--listen", "127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .expect("scachectl can be run");
        let address = address(&mut exporter);
        let is_over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&is_over);
        let scraper = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let metrics = http::get(address, "/metrics").body;
                assert!(metrics.contains("scache_up 1"), "{metrics}");
                sleep(INTERVAL);
            }
        });
        top.wait_for("the screen of top", |screen| {
            screen.contains("scachectl top") || screen.contains("HIT")
        });
        Self {
            _top: top,
            exporter,
            is_over,
            scraper: Some(scraper),
        }
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let scraped = self.scraper.take().map(JoinHandle::join);
        let _ = self.exporter.kill();
        let _ = self.exporter.wait();
        assert!(!matches!(scraped, Some(Err(_))), "a scrape failed");
    }
}

/// Where an exporter says that it listens.
fn address(exporter: &mut Child) -> SocketAddr {
    let errors = exporter.stderr.as_mut().expect("its standard error");
    let mut line = String::new();
    BufReader::new(errors)
        .read_line(&mut line)
        .expect("its first line");
    line.split_once("http://")
        .and_then(|(_, rest)| rest.split('/').next()?.parse().ok())
        .unwrap_or_else(|| panic!("it does not say where it listens: {line}"))
}

/// All of a large cache is listed, while a client goes on.
fn listed(scale: &Scale, report: &mut Report) {
    let contender = Contender::ours()
        .with("connection_cache_connection_limit", "18000")
        .with("connection_cache_client_limit", "1000")
        .with("connection_cache_binding_limit", "250000");
    let server = contender.start();
    let mut client = Client::connect(&server);
    let mut far_ends = FarEnds::new();
    let there = scale.larger;
    fill(&mut client, &mut far_ends, 0, there.connections);
    bind(
        &mut client,
        there.connections,
        there.connections,
        there.bindings,
    );
    let names = Names::numbered(there.bindings);
    let mut one_pace = |samples: &mut Samples| {
        samples.push(
            pace(
                &server,
                &mut client,
                &Connection::unix(),
                &names,
                scale.cycles / 10,
            )
            .nearly_all,
        );
    };
    let mut alone = Samples::default();
    let mut beside = Samples::default();
    let mut seconds = Samples::default();
    for _ in 0..scale.rounds {
        one_pace(&mut alone);
        let began = Instant::now();
        for (what, count) in [
            ("connections", there.connections),
            ("bindings", there.bindings),
        ] {
            let mut list = on_all_processors(|| list(server.master.socket_path(), what));
            // To its end, and at least once.
            loop {
                one_pace(&mut beside);
                if list.child.try_wait().expect("a child").is_some() {
                    break;
                }
            }
            assert!(list.lines() >= count, "not all of them were listed");
        }
        seconds.push(began.elapsed().as_secs_f64());
    }
    report.add(Row::micros(
        "99 % of requests beside a list of everything / without",
        &beside,
        &alone,
        None,
    ));
    report.note(format!(
        "`scachectl list --json` of {} connections and of {} bindings took {:.2} s together.",
        there.connections,
        there.bindings,
        seconds.median(),
    ));
}

/// A `scachectl list` that runs.
struct List {
    child: Child,
    output: NamedTempFile,
}

impl List {
    fn lines(&self) -> usize {
        let file = File::open(self.output.path()).expect("what was listed");
        BufReader::new(file).lines().count()
    }
}

fn list(socket: &Path, what: &str) -> List {
    let output = NamedTempFile::new().expect("a file");
    let child = Command::new(built("scachectl"))
        .arg("--socket")
        .arg(socket)
        .args(["list", what, "--json"])
        .stdout(output.reopen().expect("the same file"))
        .spawn()
        .expect("scachectl can be run");
    List { child, output }
}

/// From the start of an installation into a Postfix that runs until its first reuse of a connection is to be seen.
fn installed(scale: &Scale, report: &mut Report) {
    let mut until_answer = Samples::default();
    let mut until_reuse = Samples::default();
    for _ in 0..scale.deliveries {
        let (answer, reuse) = on_all_processors(install);
        until_answer.push(answer);
        until_reuse.push(reuse);
    }
    report.note(format!(
        "`scachectl postfix install` into a real Postfix that runs took {:.2} s; {:.2} s after it was started \
         `scachectl stats` showed the first reuse of a connection.",
        until_answer.median(),
        until_reuse.median(),
    ));
}

fn install() -> (f64, f64) {
    let instance = Instance::start(&instance::Setup::new(stock()));
    let scachectl = built("scachectl");
    let began = Instant::now();
    let output = instance
        .administration(&scachectl)
        .args(["postfix", "install", "--program"])
        .arg(ours().path())
        .arg("--config-dir")
        .arg(instance.configuration())
        .output()
        .expect("scachectl can be run");
    assert!(output.status.success(), "{output:?}");
    let answer = began.elapsed();
    let socket = instance.scache_socket();
    while reuses(&scachectl, &socket) == 0 {
        assert!(began.elapsed() < DEADLINE, "no connection is reused");
        instance.deliver(2);
    }
    (answer.as_secs_f64(), began.elapsed().as_secs_f64())
}

/// How many connections were found, as `scachectl stats` says.
fn reuses(scachectl: &Path, socket: &Path) -> u64 {
    let output = Command::new(scachectl)
        .arg("--socket")
        .arg(socket)
        .args(["stats", "--json"])
        .output()
        .expect("scachectl can be run");
    assert!(output.status.success(), "{output:?}");
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    ["destination_hits", "endpoint_hits"]
        .iter()
        .filter_map(|name| stats.get(name)?.as_u64())
        .sum()
}
