//! `scachectl exporter` as its user meets it.

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scache_tests::fake_master::{Setup, ours, stock};
use scache_tests::http;

use crate::cache::{Cache, Exporter, command};

#[test]
fn it_ends_on_a_signal() {
    let cache = Cache::start();
    for signal in [Signal::TERM, Signal::INT] {
        let exporter = Exporter::start(&cache.socket(), &[]);
        assert_eq!(exporter.get("/metrics").status, 200);
        assert_eq!(exporter.end(signal), (Some(0), String::new()));
    }
}

/// Other exporters take such values, too.
#[test]
fn a_name_or_only_a_port_says_where_to_listen() {
    let cache = Cache::away();
    let exporter = Exporter::listening("localhost:0", &cache.socket(), &[]);
    assert!(exporter.address.ip().is_loopback());
    assert_eq!(exporter.get("/metrics").status, 200);
    let exporter = Exporter::listening(":0", &cache.socket(), &[]);
    assert!(exporter.address.ip().is_unspecified());
    let here = (Ipv4Addr::LOCALHOST, exporter.address.port()).into();
    assert_eq!(http::get(here, "/metrics").status, 200);
}

/// That the exporter is there, whatever the cache does.
#[test]
fn it_says_that_it_is_healthy() {
    let exporter = Exporter::start(&Cache::away().socket(), &[]);
    let answer = exporter.get("/-/healthy");
    assert_eq!((answer.status, answer.body.as_str()), (200, "healthy\n"));
}

#[test]
fn it_answers_while_the_cache_is_away_and_goes_on_when_it_comes() {
    let mut cache = Cache::away();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let deadline = Instant::now() + Duration::from_secs(120);
    for _ in 0..2 {
        assert_eq!(exporter.value("scache_up"), Some(0.0));
        assert_eq!(exporter.value("scache_requests_total"), None);
        cache.come();
        // Who comes shortly after another one is told the same.
        while exporter.value("scache_up") != Some(1.0) {
            assert!(Instant::now() < deadline, "it does not come back");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert!(exporter.value("scache_requests_total").is_some());
        cache.go();
        while exporter.value("scache_up") != Some(0.0) {
            assert!(
                Instant::now() < deadline,
                "it does not see that the cache went"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn it_tells_of_so_many_destinations_as_it_was_asked_to() {
    let mut cache = Cache::start();
    let mut client = cache.client();
    for (destination, misses) in [("rare", 1), ("often", 3), ("sometimes", 2)] {
        for _ in 0..misses {
            cache.miss(&mut client, destination.as_bytes());
        }
        cache.save(&mut client, destination.as_bytes());
    }
    let series = |name: &str| {
        format!("scache_destination_lookups_total{{destination=\"{name}\",result=\"miss\"}}")
    };
    let none = Exporter::start(&cache.socket(), &[]);
    let two = Exporter::start(&cache.socket(), &["--destinations", "2"]);
    assert_eq!(none.value(&series("often")), None);
    assert_eq!(two.value(&series("often")), Some(3.0));
    assert_eq!(two.value(&series("sometimes")), Some(2.0));
    assert_eq!(two.value(&series("rare")), None);
    assert_eq!(
        two.value("scache_destination_connections{destination=\"often\"}"),
        Some(3.0)
    );
}

#[test]
fn one_scrape_is_one_request() {
    let cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let requests = || exporter.value("scache_requests_total").expect("counted");
    let first = requests();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(requests(), first + 1.0);
}

#[test]
fn what_is_served_is_said_and_may_not_be_kept_or_framed() {
    let cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    for (path, status, kind) in [
        ("/", 200, "text/html; charset=utf-8"),
        ("/metrics", 200, "text/plain; version=0.0.4; charset=utf-8"),
        ("/status.json?sample=1&event=x", 200, "application/json"),
        ("/nothing", 404, "text/plain; charset=utf-8"),
        ("/../etc/passwd", 404, "text/plain; charset=utf-8"),
    ] {
        let answer = exporter.get(path);
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    let policy = |answer: http::Answer| {
        let policy = answer.header("content-security-policy").map(str::to_owned);
        policy.expect("a policy")
    };
    let first = policy(exporter.get("/"));
    assert!(first.starts_with("default-src 'none'; "), "{first}");
    assert!(first.contains("frame-ancestors 'none'"), "{first}");
    assert_ne!(first, policy(exporter.get("/")), "the same nonce twice");
}

#[test]
fn open_metrics_are_served_to_who_accepts_them() {
    let cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let head = format!(
        "GET /metrics HTTP/1.1\r\nHost: {}\r\nAccept: application/openmetrics-text; version=1.0.0\r\n",
        exporter.address
    );
    let answer = http::ask(exporter.address, &head);
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(answer.body.ends_with("# EOF\n"));
}

#[test]
fn only_this_machine_is_served_on_its_own_address_and_nothing_is_changed() {
    let cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let address = exporter.address;
    let port = address.port();
    for (head, status) in [
        (format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\n"), 200),
        (
            format!("HEAD / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"),
            200,
        ),
        // A page of the web whose name leads here.
        (
            format!("GET /status.json HTTP/1.1\r\nHost: example.com:{port}\r\n"),
            421,
        ),
        (
            format!("POST /metrics HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Length: 0\r\n"),
            405,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n",
                "x".repeat(20_000)
            ),
            431,
        ),
    ] {
        let answer = http::ask(address, &head);
        assert_eq!(
            answer.status,
            status,
            "{}",
            head.lines().next().unwrap_or_default()
        );
    }
}

#[test]
fn who_says_nothing_holds_nobody_up() {
    let cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let mute: Vec<_> = (0..50)
        .map(|_| std::net::TcpStream::connect(exporter.address).expect("it listens"))
        .collect();
    assert_eq!(exporter.value("scache_up"), Some(1.0));
    drop(mute);
}

#[test]
fn what_is_wrong_is_said_in_one_line_with_what_to_do() {
    let cache = Cache::away();
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let held = holder.local_addr().expect("its address").to_string();
    for (listen, status, said) in [
        (held.as_str(), 69, "is in use"),
        // Of a net that is for documentation only.
        ("192.0.2.1:19525", 69, "is not an address of this machine"),
    ] {
        let output = command(listen, &cache.socket(), &[])
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{listen}: {text}");
        assert!(
            text.starts_with("scachectl: ") && text.contains(said),
            "{text}"
        );
        assert!(text.contains("--listen"), "{text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    for arguments in [&["--listen", "nowhere"][..], &["--destinations", "1001"]] {
        let output = std::process::Command::new(scache_tests::fake_master::built("scachectl"))
            .arg("exporter")
            .args(arguments)
            .output()
            .expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(text.contains(arguments[1]), "{text}");
    }
}

#[cfg(feature = "system")]
#[test]
fn postfix_own_cache_is_told_from_one_that_is_not_there() {
    let master = Setup::new(&stock()).start();
    let exporter = Exporter::start(master.socket_path(), &[]);
    assert_eq!(exporter.value("scache_up"), Some(0.0));
    let status: serde_json::Value =
        serde_json::from_str(&exporter.get("/status.json").body).expect("JSON");
    let said = status["away"].as_str().unwrap_or_default();
    assert!(said.contains("Postfix's own"), "{status}");
    // The same under master tells.
    let master = Setup::new(&ours()).start();
    let exporter = Exporter::start(master.socket_path(), &[]);
    assert_eq!(exporter.value("scache_up"), Some(1.0));
}
