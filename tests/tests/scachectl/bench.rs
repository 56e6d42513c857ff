//! `scachectl bench`: its counts add up at every server, in every protocol, and nothing stays behind.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use scache_tests::fake_master::built;
use serde_json::Value;

use crate::caches::{Cache, KINDS, Kind, Said, run, scachectl};

/// daemon, on every Debian.
const USER: u32 = 1;

fn bench(socket: &Path, arguments: &[&str]) -> Said {
    run(scachectl(socket).args([&["bench"], arguments].concat()))
}

fn json(said: &Said) -> Value {
    serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {said:?}"))
}

/// The schema that is written down for it.
fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/bench.schema.json");
    let text = std::fs::read_to_string(path).expect("the schema");
    let schema = serde_json::from_str(&text).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// The names that objects have, with those of the objects in them.
fn names(value: &Value) -> BTreeSet<String> {
    let Some(object) = value.as_object() else {
        return BTreeSet::new();
    };
    let inner = object.values().flat_map(names);
    object.keys().cloned().chain(inner).collect()
}

/// The number at a path such as `/save/operations`.
#[track_caller]
fn number(result: &Value, pointer: &str) -> u64 {
    let value = result.pointer(pointer).and_then(Value::as_u64);
    value.unwrap_or_else(|| panic!("{pointer} in {result}"))
}

#[test]
fn counts_add_up_at_every_server_in_every_protocol() {
    for kind in KINDS {
        let server = Cache::start(kind);
        let best = match kind {
            Kind::Stock => "stock",
            Kind::Ours | Kind::Scached => "inline",
        };
        for (protocol, spoken) in [("auto", best), ("stock", "stock")] {
            let options = ["-n", "2000", "-c", "20", "--keep", "2", "--json"];
            let arguments = [&options[..], &["--protocol", protocol]].concat();
            let said = bench(&server.path(), &arguments);
            said.assert_well();
            let result = json(&said);
            println!("{kind:?}, {protocol}: {result}");
            assert_eq!(result["protocol"], spoken, "{kind:?}, {protocol}");
            assert_eq!(number(&result, "/all/operations"), 2000);
            for kind in ["save", "find"] {
                assert_eq!(number(&result, &format!("/{kind}/operations")), 1000);
            }
            for pointer in [
                "/misses",
                "/errors",
                "/all/errors",
                "/save/errors",
                "/find/errors",
            ] {
                assert_eq!(number(&result, pointer), 0, "{pointer}: {result}");
            }
            let requests = if spoken == "stock" { 3000 } else { 2000 };
            assert_eq!(number(&result, "/requests"), requests, "{result}");
            for kind in ["all", "save", "find"] {
                let latencies = &result[kind]["latency_us"];
                let latencies = ["p50", "p90", "p99", "p99_9", "max"]
                    .map(|name| latencies[name].as_f64().expect("a number"));
                assert!(latencies[0] > 0.0 && latencies.is_sorted(), "{result}");
                assert!(result[kind]["per_second"].as_f64() > Some(0.0), "{result}");
            }
        }
    }
}

#[test]
fn the_json_is_as_it_is_written_down() {
    let server = Cache::start(Kind::Scached);
    let said = bench(&server.path(), &["-n", "1000", "--json"]);
    said.assert_well();
    let result = json(&said);
    let schema = schema();
    let errors: Vec<String> = schema
        .iter_errors(&result)
        .map(|error| error.to_string())
        .collect();
    assert!(errors.is_empty(), "{errors:?}");
    // Each name is there because it has to be.
    for name in names(&result) {
        let text = said.out.replacen(&format!("\"{name}\""), "\"other\"", 1);
        let without = serde_json::from_str(&text).expect("JSON");
        assert!(!schema.is_valid(&without), "{name}");
    }
}

#[test]
fn clients_can_share_names() {
    for kind in KINDS {
        let server = Cache::start(kind);
        for (destinations, endpoints) in [("1", "1"), ("3", "7"), ("7", "3")] {
            let names = ["--destinations", destinations, "--endpoints", endpoints];
            let options = [
                "-c",
                "15",
                "-n",
                "900",
                "--keep",
                "3",
                "--json",
                "--threads",
                "2",
            ];
            let said = bench(&server.path(), &[&names[..], &options].concat());
            said.assert_well();
            let result = json(&said);
            assert_eq!(number(&result, "/misses"), 0, "{kind:?}: {result}");
            assert_eq!(
                number(&result, "/all/operations"),
                900,
                "{kind:?}: {result}"
            );
        }
    }
}

#[test]
fn no_connection_stays_in_the_cache() {
    for kind in KINDS {
        let server = Cache::start(kind);
        let before = server.process().descriptors().len();
        let said = bench(&server.path(), &["-n", "500", "-c", "10", "--keep", "4"]);
        said.assert_well();
        assert_eq!(server.process().settles_at(before), before, "{kind:?}");
    }
}

#[test]
fn thousands_of_clients_are_served() {
    let server = Cache::scached_with(&["--client-limit", "3100"]);
    for protocol in ["inline", "stock"] {
        let options = ["-c", "3000", "-n", "12000", "--json", "--timeout", "5m"];
        let said = bench(&server.path(), &[&options[..], &["-p", protocol]].concat());
        said.assert_well();
        let result = json(&said);
        assert_eq!(number(&result, "/clients"), 3000);
        assert_eq!(number(&result, "/all/operations"), 12_000);
        assert_eq!(number(&result, "/misses"), 0, "{result}");
    }
}

#[test]
fn what_is_not_found_is_a_miss_and_no_error() {
    let server = Cache::scached_with(&["--connection-limit", "1"]);
    let before = server.process().descriptors().len();
    // Of five that one client saves four have to go.
    let said = bench(
        &server.path(),
        &["-c", "1", "-k", "5", "-n", "1000", "--json"],
    );
    said.assert_well();
    let result = json(&said);
    assert_eq!(number(&result, "/misses"), 400, "{result}");
    assert_eq!(number(&result, "/find/operations"), 500, "{result}");
    assert_eq!(number(&result, "/errors"), 0, "{result}");
    assert_eq!(server.process().settles_at(before), before);
}

#[test]
fn the_table_says_what_the_json_says() {
    let server = Cache::start(Kind::Scached);
    let said = bench(&server.path(), &["-n", "3000", "-c", "7"]);
    said.assert_well();
    let row = |title: &str| {
        let line = said.out.lines().find_map(|line| line.strip_prefix(title));
        let columns = line
            .unwrap_or_else(|| panic!("{title}: {said:?}"))
            .split_whitespace();
        columns.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("operations"), ["1,500", "1,500", "3,000"]);
    assert_eq!(row("misses"), ["0", "0"]);
    assert_eq!(row("errors"), ["0", "0", "0"]);
    assert_eq!(row("99.9 % within, µs").len(), 3);
    let head = said.out.lines().next().expect("a line");
    assert!(
        head.contains("inline protocol, 7 clients, 7 destinations"),
        "{head}"
    );
}

/// A benchmark that has no end of its own, and has done something.
struct Endless {
    child: Child,
    screen: BufReader<std::process::ChildStderr>,
}

impl Endless {
    fn start(socket: &Path) -> Self {
        let arguments = ["bench", "-c", "5", "-s", "3600", "--progress", "--json"];
        let mut child = scachectl(socket)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scachectl");
        let mut screen = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut line = String::new();
        screen.read_line(&mut line).expect("a line");
        let shown = line.contains(" operations, ") && !line.contains(": 0 operations");
        assert!(shown, "{line:?}");
        Self { child, screen }
    }

    /// What it said in the end, without the lines of its progress.
    fn end(mut self) -> Said {
        let mut err = String::new();
        for line in self.screen.lines() {
            let line = line.expect("text");
            if !line.ends_with(" per second") {
                err.push_str(&line);
                err.push('\n');
            }
        }
        let mut out = String::new();
        let mut stdout = self.child.stdout.take().expect("its standard output");
        std::io::Read::read_to_string(&mut stdout, &mut out).expect("text");
        let status = self.child.wait().expect("it ends").code();
        Said { status, out, err }
    }
}

#[test]
fn an_interrupted_one_tells_what_it_has_measured_and_leaves_nothing() {
    for kind in KINDS {
        let server = Cache::start(kind);
        let before = server.process().descriptors().len();
        let endless = Endless::start(&server.path());
        kill_process(Pid::from_child(&endless.child), Signal::INT).expect("it runs");
        let said = endless.end();
        assert_eq!(
            (said.status, said.err.as_str()),
            (Some(130), ""),
            "{said:?}"
        );
        let result = json(&said);
        assert_eq!(result["interrupted"], true);
        let [saves, finds] = ["/save/operations", "/find/operations"].map(|of| number(&result, of));
        assert!(saves > 0 && saves == finds, "{result}");
        assert_eq!(number(&result, "/misses"), 0, "{result}");
        assert_eq!(server.process().settles_at(before), before, "{kind:?}");
    }
}

#[test]
fn a_server_that_goes_away_ends_it_with_what_was_measured() {
    for kind in KINDS {
        let server = Cache::start(kind);
        let path = server.path();
        let endless = Endless::start(&path);
        drop(server);
        let said = endless.end();
        // A fake master's listening socket is gone with it, so nobody answers.
        said.assert_failed_at_last(69, &["5 of 5 clients gave up"]);
        let result = json(&said);
        assert!(number(&result, "/all/operations") > 0, "{kind:?}: {result}");
        assert!(number(&result, "/errors") >= 5, "{kind:?}: {result}");
    }
}

#[cfg(feature = "system")]
#[test]
fn stock_knows_no_inline_descriptors() {
    let server = Cache::start(Kind::Stock);
    let said = bench(&server.path(), &["--protocol", "inline"]);
    said.assert_failed_at_last(76, &["--protocol stock"]);
}

#[test]
fn a_socket_that_is_none_is_told_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let missing = directory.path().join("missing");
    bench(&missing, &[]).assert_failed_at_last(66, &["there is no"]);
    let file = directory.path().join("file");
    std::fs::write(&file, "").expect("a file");
    bench(&file, &[]).assert_failed_at_last(66, &["is not a socket"]);
}

/// A server that does this with each client, and is no cache.
fn strange(path: &Path, meet: impl Fn(std::os::unix::net::UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(meet));
}

#[test]
fn what_is_no_cache_is_told_in_one_line() {
    let directory = tempfile::tempdir().expect("a directory");
    for protocol in ["auto", "stock"] {
        let path = |name: &str| directory.path().join(format!("{name}-{protocol}"));
        strange(&path("talks"), |mut stream| {
            let _ = stream.write_all(b"220 mail.example.com ESMTP\r\n\0\0\0\0");
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        let options = ["-p", protocol, "--timeout", "1s"];
        bench(&path("talks"), &options).assert_failed_at_last(76, &["no connection cache"]);
        strange(&path("waits"), |mut stream| {
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        bench(&path("waits"), &options).assert_failed_at_last(69, &["no answer"]);
        strange(&path("closes"), drop);
        bench(&path("closes"), &options).assert_failed_at_last(77, &["turned away"]);
    }
}

#[cfg(feature = "system")]
#[test]
fn who_may_not_use_the_socket_is_told_so() {
    scache_tests::needs_root();
    let server = Cache::scached_with(&[]);
    let directory = tempfile::tempdir().expect("a directory");
    let all = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(directory.path(), all).expect("set the mode");
    // The build's directory may be closed to that user.
    let program = directory.path().join("scachectl");
    std::fs::copy(built("scachectl"), &program).expect("copy the program");
    let bench_as_other_user = |server: &Cache| {
        let mut command = Command::new(&program);
        command.arg("--socket").arg(server.path()).arg("bench");
        run(command.current_dir("/").uid(USER).gid(USER))
    };
    bench_as_other_user(&server).assert_failed_at_last(77, &["may not use"]);
    // It may connect, and is not served.
    let server = Cache::scached_with(&["--mode", "0666", "--allow-user", "root"]);
    bench_as_other_user(&server).assert_failed_at_last(77, &["--allow-user"]);
}

#[test]
fn more_clients_than_descriptors_are_refused_before_anything_is_done() {
    let server = Cache::start(Kind::Scached);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=200:200").arg(built("scachectl"));
    command.arg("--socket").arg(server.path());
    let said = run(command.args(["bench", "-c", "57"]));
    said.assert_failed_at_last(64, &["use 56 --clients at most"]);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=100:200").arg(built("scachectl"));
    command.arg("--socket").arg(server.path());
    run(command.args(["bench", "-c", "56", "-n", "1120"])).assert_well();
}

#[test]
fn a_server_that_serves_fewer_clients_is_named_as_the_reason() {
    let server = Cache::scached_with(&["--client-limit", "10"]);
    let said = bench(&server.path(), &["-c", "20", "--timeout", "1s"]);
    said.assert_failed_at_last(69, &["of 20 clients"]);
}
