use super::families::Series;
use super::*;

fn told(scrape: Scrape) -> String {
    scrape.text(Format::Text).expect("text")
}

#[test]
fn every_number_and_distribution_is_told_once_and_by_its_kind() {
    let mut told: Vec<&str> = FAMILIES
        .iter()
        .flat_map(Family::fields)
        .map(|(_, field)| field.name)
        .collect();
    told.sort_unstable();
    let mut counted: Vec<&str> = Stats::FIELDS.iter().map(|field| field.name).collect();
    counted.sort_unstable();
    assert_eq!(told, counted);
    for family in FAMILIES {
        let fields = family.fields();
        let written = match family.series {
            Series::One(_) => 1,
            Series::Several { fields, .. } => fields.len(),
        };
        assert_eq!(
            fields.len(),
            written,
            "{}: a field is not counted",
            family.name
        );
        for (values, field) in fields {
            assert_eq!(values.len(), family.labels().len(), "{}", field.name);
            assert_eq!(field.kind, family.kind(), "{}", field.name);
        }
    }
    let told: Vec<&str> = DISTRIBUTIONS.iter().map(|(name, ..)| *name).collect();
    let counted: Vec<&str> = Stats::DISTRIBUTIONS
        .iter()
        .map(|distribution| distribution.name)
        .collect();
    assert_eq!(told, counted);
}

#[test]
fn numbers_have_names_labels_and_base_units() {
    let mut stats = Stats {
        uptime_seconds: 5,
        destination_hits: 7,
        endpoint_misses: 2,
        evicted_descriptors: 3,
        descriptor_limit: 1024,
        name_bytes: 99,
        ..Stats::default()
    };
    stats.service_microseconds.observe(20, 3);
    stats.service_microseconds.observe(1_000_000, 1);
    stats.taken_times.observe(2, 4);
    let text = told(Scrape {
        stats: Some(stats),
        ..Scrape::default()
    });
    for line in [
        "scache_up 1",
        "scache_uptime_seconds 5",
        "# TYPE scache_lookups_total counter",
        "scache_lookups_total{by=\"destination\",result=\"hit\"} 7",
        "scache_lookups_total{by=\"endpoint\",result=\"miss\"} 2",
        "scache_connections_released_total{reason=\"evicted_descriptors\"} 3",
        "scache_descriptors_limit 1024",
        "scache_names_bytes 99",
        "scache_request_duration_seconds_count 4",
        "scache_request_duration_seconds_sum 1.00006",
        "scache_request_duration_seconds_bucket{le=\"0.001\"} 3",
        "scache_request_duration_seconds_bucket{le=\"+Inf\"} 4",
        "scache_connection_uses_bucket{le=\"1\"} 0",
        "scache_connection_uses_bucket{le=\"2\"} 4",
    ] {
        assert!(
            text.lines().any(|told| told == line),
            "no {line} in\n{text}"
        );
    }
}

#[test]
fn open_metrics_are_told_to_who_knows_them() {
    for (accept, format) in [
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3",
            Format::OpenMetrics,
        ),
        ("text/plain;version=0.0.4;q=0.3,*/*;q=0.2", Format::Text),
        ("text/html", Format::Text),
        ("", Format::Text),
    ] {
        assert_eq!(Format::accepted(accept), format, "{accept}");
    }
    let scrape = Scrape {
        stats: Some(Stats::default()),
        ..Scrape::default()
    };
    let text = scrape.text(Format::OpenMetrics).expect("text");
    for line in [
        "# TYPE scache_lookups counter",
        "# UNIT scache_uptime_seconds seconds",
        "# UNIT scache_names_limit_bytes bytes",
        "# EOF",
    ] {
        assert!(
            text.lines().any(|told| told == line),
            "no {line} in\n{text}"
        );
    }
}

#[test]
fn a_cache_that_is_away_is_not_up_and_has_no_numbers() {
    let text = told(Scrape::default());
    let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(samples.len(), 2, "{text}");
    assert_eq!(samples[0], "scache_up 0");
    assert!(
        samples[1].starts_with("scache_exporter_build_info{version="),
        "{text}"
    );
}

#[test]
fn no_limit_of_descriptors_is_an_infinite_one() {
    let text = told(Scrape {
        stats: Some(Stats::default()),
        ..Scrape::default()
    });
    let line = text
        .lines()
        .find(|line| line.starts_with("scache_descriptors_limit"));
    assert_eq!(
        line.map(str::to_lowercase).as_deref(),
        Some("scache_descriptors_limit +inf")
    );
}

#[test]
fn a_destination_cannot_spoil_the_text() {
    let entry = |destination: &[u8], hits| DestinationEntry {
        number: 0,
        destination: destination.into(),
        hits,
        misses: 1,
        cached: 1,
    };
    let text = told(Scrape {
        stats: Some(Stats::default()),
        destinations: vec![
            entry(b"smtp\nexample.com\n*", 5),
            // Read the same: added up.
            entry(b"smtp\nexample.com", 2),
            entry(b"a\"} 1\n\\\xff", 3),
        ],
    });
    for line in [
        "scache_destination_lookups_total{destination=\"smtp example.com\",result=\"hit\"} 7",
        "scache_destination_connections{destination=\"smtp example.com\"} 2",
        "scache_destination_lookups_total{destination=\"a\\\"}\\\\x201 \\\\\\\\\\\\xff\",result=\"miss\"} 1",
    ] {
        assert!(
            text.lines().any(|told| told == line),
            "no {line} in\n{text}"
        );
    }
}

/// The table of docs/MONITORING.md.
fn table() -> String {
    let mut rows = vec!["| metric | kind | |".to_owned(), "|---|---|---|".to_owned()];
    let mut row = |name: &str, unit: Option<Base>, labels: &[&str], kind: &str, help: &str| {
        let unit = match unit {
            Some(Base::Seconds) => "_seconds",
            Some(Base::Bytes) => "_bytes",
            None => "",
        };
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels = match labels {
            [] => String::new(),
            labels => format!("{{{}}}", labels.join(",")),
        };
        rows.push(format!(
            "| `scache_{name}{unit}{suffix}{labels}` | {kind} | {help} |"
        ));
    };
    row(UP.0, None, &[], "gauge", UP.1);
    row(BUILD.0, None, &["version"], "info", BUILD.1);
    for family in FAMILIES {
        let kind = match family.kind() {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        row(
            family.name,
            family.unit,
            family.labels(),
            kind,
            family.help(),
        );
    }
    for ((_, name, unit, _), distribution) in DISTRIBUTIONS.iter().zip(Stats::DISTRIBUTIONS) {
        row(name, *unit, &["le"], "histogram", distribution.help);
    }
    let labels = &["destination", "result"];
    row(
        DESTINATION_LOOKUPS.0,
        None,
        labels,
        "counter",
        DESTINATION_LOOKUPS.1,
    );
    let labels = &["destination"];
    row(
        DESTINATION_CONNECTIONS.0,
        None,
        labels,
        "gauge",
        DESTINATION_CONNECTIONS.1,
    );
    rows.join("\n")
}

#[test]
fn the_documentation_has_every_metric() {
    let page = include_str!("../../../../../docs/MONITORING.md");
    let table = table();
    assert!(
        page.contains(&table),
        "docs/MONITORING.md is to contain:\n{table}"
    );
}
