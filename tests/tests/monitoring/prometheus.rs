//! The real Prometheus reads it.

use std::time::{Duration, Instant};

use scache_tests::prometheus::{Prometheus, promtool};

use crate::cache::{Cache, Exporter};
use crate::files::{expressions_of_dashboard, shipped, text};

const HITS: &str = "scache_lookups_total{by=\"destination\",result=\"hit\"}";

/// As long as it takes Prometheus to start on a busy machine, and to come round.
const DEADLINE: Duration = Duration::from_secs(90);

fn wait_for(prometheus: &Prometheus, expression: &str, wanted: f64) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let value = prometheus.value(expression);
        if value == Some(wanted) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{expression} is {value:?}, not {wanted}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn promtool_has_nothing_to_say_against_the_metrics() {
    let mut cache = Cache::start();
    let mut client = cache.client();
    cache.save(&mut client, b"smtp\n\"example\".com\\");
    cache.hit(&mut client, b"smtp\n\"example\".com\\");
    for arguments in [&[][..], &["--destinations", "10"]] {
        let exporter = Exporter::start(&cache.socket(), arguments);
        let metrics = exporter.get("/metrics").body;
        let (content, said) = promtool(&["check", "metrics"], &metrics);
        assert!(content && said.is_empty(), "{said}");
    }
    cache.go();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let metrics = exporter.get("/metrics").body;
    let (content, said) = promtool(&["check", "metrics"], &metrics);
    assert!(content && said.is_empty(), "{said}");
}

#[test]
fn promtool_finds_what_is_wrong() {
    let (content, said) = promtool(&["check", "metrics"], "# TYPE a counter\na 1\n");
    assert!(!content && said.contains("_total"), "{said}");
}

#[test]
fn it_scrapes_what_the_cache_counts() {
    let mut cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &["--destinations", "5"]);
    let rules = shipped("scache.rules.yml").display().to_string();
    let configuration = text("prometheus-scrape.example.yml")
        .replace("15s", "1s")
        .replace("127.0.0.1:19525", &exporter.address.to_string())
        .replace("/etc/prometheus/scache.rules.yml", &rules);
    let prometheus = Prometheus::start(&configuration);
    wait_for(&prometheus, "up{job=\"scache\"}", 1.0);
    wait_for(&prometheus, "scache_up", 1.0);
    wait_for(&prometheus, HITS, 0.0);
    let mut client = cache.client();
    for found in [2, 5] {
        for _ in 0..found {
            cache.save(&mut client, b"smtp\nexample.com");
            cache.hit(&mut client, b"smtp\nexample.com");
        }
        let all = if found == 2 { 2.0 } else { 7.0 };
        wait_for(&prometheus, HITS, all);
    }
    wait_for(&prometheus, "scache_connection_uses_count", 7.0);
    wait_for(&prometheus, "scache_connections_limit", 100.0);
    let destination =
        "scache_destination_lookups_total{destination=\"smtp example.com\",result=\"hit\"}";
    wait_for(&prometheus, destination, 7.0);
    // It reads OpenMetrics from who has it, and knows then what each is.
    let metadata = prometheus
        .api("metadata?metric=scache_lookups")
        .expect("ready");
    assert_eq!(
        metadata["data"]["scache_lookups"][0]["type"], "counter",
        "{metadata}"
    );
    for expression in expressions_of_dashboard() {
        let plain = expression
            .replace("$instance", ".*")
            .replace("$__rate_interval", "1m");
        assert!(!plain.contains('$'), "{expression}");
        let answer = prometheus.query(&plain);
        let answer = answer.unwrap_or_else(|| panic!("not understood: {expression}"));
        assert_eq!(answer["status"], "success", "{expression}");
    }
    let rules = prometheus.api("rules?type=alert").expect("ready");
    let groups = rules["data"]["groups"].as_array().map(Vec::len);
    assert_eq!(groups, Some(1), "{rules}");
    cache.go();
    wait_for(&prometheus, "scache_up", 0.0);
}
