//! What is shipped for Prometheus and Grafana names what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use scache_tests::prometheus::promtool;
use serde_json::Value;

use crate::cache::{Cache, Exporter};

/// A file of pkg/monitoring.
pub fn shipped(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../pkg/monitoring");
    let path = path.join(name).canonicalize();
    path.unwrap_or_else(|error| panic!("pkg/monitoring/{name}: {error}"))
}

pub fn text(name: &str) -> String {
    fs::read_to_string(shipped(name)).expect("text")
}

/// Every expression of the dashboard, and what it asks for in its variables.
pub fn expressions_of_dashboard() -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(
                    members
                        .get("expr")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                members.values().for_each(|value| collect(value, found));
            }
            Value::Array(elements) => elements.iter().for_each(|value| collect(value, found)),
            _ => {}
        }
    }
    let dashboard = serde_json::from_str(&text("grafana-scache.json")).expect("JSON");
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    assert!(found.len() > 20, "{found:?}");
    found
}

fn metrics_in(text: &str) -> BTreeSet<String> {
    let word = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    text.split(word)
        .filter(|word| word.starts_with("scache_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_metric_that_is_named_is_told() {
    let mut cache = Cache::start();
    let mut client = cache.client();
    cache.save(&mut client, b"d");
    cache.hit(&mut client, b"d");
    let exporter = Exporter::start(&cache.socket(), &["--destinations", "1"]);
    let told: BTreeSet<String> = exporter
        .get("/metrics")
        .body
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next().map(str::to_owned))
        .collect();
    let dashboard = expressions_of_dashboard().join("\n");
    let variables = text("grafana-scache.json");
    assert!(variables.contains("label_values(scache_up{"), "{variables}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/MONITORING.md");
    let mut named = 0;
    for (place, text) in [
        ("the dashboard", dashboard),
        ("the rules", text("scache.rules.yml")),
    ] {
        for metric in metrics_in(&text) {
            assert!(told.contains(&metric), "{place}: there is no {metric}");
            named += 1;
        }
    }
    assert!(named > 20, "{named}");
    // The other way round: what is told is described.
    let page = fs::read_to_string(page).expect("docs/MONITORING.md");
    for metric in told {
        let family = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| metric.strip_suffix(suffix))
            .unwrap_or(&metric);
        assert!(page.contains(family), "docs/MONITORING.md: {family}");
    }
}

#[test]
fn every_alert_says_what_to_do() {
    let rules = text("scache.rules.yml");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/MONITORING.md");
    let page = fs::read_to_string(page).expect("docs/MONITORING.md");
    let alerts: Vec<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(alerts.len() > 5, "{alerts:?}");
    for alert in &alerts {
        assert!(
            page.contains(&format!("`{alert}`")),
            "docs/MONITORING.md: {alert}"
        );
    }
    assert_eq!(rules.matches("description:").count(), alerts.len());
}

#[cfg(feature = "system")]
#[test]
fn promtool_has_nothing_to_say_against_the_rules_and_they_fire_when_they_should() {
    let rules = shipped("scache.rules.yml");
    let rules = rules.to_str().expect("a plain path");
    let (content, said) = promtool(&["check", "rules", rules], "");
    assert!(content && said.contains("SUCCESS"), "{said}");
    let directory = tempfile::tempdir().expect("a directory");
    let tests = directory.path().join("rules.test.yml");
    fs::write(
        &tests,
        include_str!("rules.test.yml").replace("RULES", rules),
    )
    .expect("written");
    let tests = tests.to_str().expect("a plain path");
    let (content, said) = promtool(&["test", "rules", tests], "");
    assert!(content, "{said}");
}

#[cfg(feature = "system")]
#[test]
fn promtool_has_nothing_to_say_against_the_configuration() {
    let rules = shipped("scache.rules.yml").display().to_string();
    let text = text("prometheus-scrape.example.yml");
    assert!(text.contains("/etc/prometheus/scache.rules.yml"), "{text}");
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("prometheus.yml");
    fs::write(
        &file,
        text.replace("/etc/prometheus/scache.rules.yml", &rules),
    )
    .expect("written");
    let (content, said) = promtool(&["check", "config", file.to_str().expect("plain")], "");
    assert!(content && said.contains("SUCCESS"), "{said}");
}
