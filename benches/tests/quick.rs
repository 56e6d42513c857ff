//! `bench --quick` does everything that `bench` does, in small: what it measures says nothing, that it measures
//! everything does.

use std::process::Command;

use tempfile::TempDir;

/// The figures of the table, each by a part of its name.
const FIGURES: [&str; 22] = [
    "stock protocol, near-empty, watched",
    "unwatched / floor",
    "watched / unwatched",
    "inline descriptors",
    "the same / its floor",
    "its floor / stock",
    "floor of the stock protocol / stock",
    "resident memory, idle",
    "(PSS)",
    "exec to first reply",
    "clients at once, requests per second",
    "clients at once, processor time per cycle",
    "the same, inline descriptors, unwatched",
    "idle clients, memory per client",
    "100 connections cached",
    "memory per cached connection",
    "150 connections and 250 bindings",
    "150 connections and 500 bindings / 10 entries",
    "deliveries per second",
    "connections opened",
    "beside top and a scrape each second",
    "99 % of requests beside a list of everything",
];

#[test]
fn a_page_with_all_figures_is_written() {
    let directory = TempDir::new().expect("a directory for the page");
    let output = Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["--quick", "--page"])
        .arg(directory.path())
        .output()
        .expect("bench can be run");
    let terminal = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}\n{terminal}");
    let read = |name| std::fs::read_to_string(directory.path().join(name)).expect(name);

    let page = read("benchmarks.md");
    for figure in FIGURES {
        assert!(terminal.contains(figure), "{figure} in {terminal}");
        let row = page
            .lines()
            .find(|line| line.starts_with("| ") && line.contains(figure));
        let cells: Vec<&str> = row.unwrap_or_default().split(" | ").collect();
        let ratio = cells.get(3).and_then(|cell| cell.parse::<f64>().ok());
        assert!(
            ratio.is_some_and(|ratio| ratio > 0.0 && ratio.is_finite()),
            "{figure} in {page}"
        );
    }
    assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    for note in ["scachectl list --json", "scachectl postfix install"] {
        assert!(page.contains(note), "{note} in {page}");
    }
    let counted = page.contains("| recvmsg |");
    assert!(counted || page.contains("were not counted"), "{page}");

    for picture in ["benchmarks/entries.svg", "benchmarks/clients.svg"] {
        assert!(page.contains(picture), "{picture} in {page}");
        let picture = read(picture);
        assert!(
            picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"),
            "{picture}"
        );
        for name in ["stock", "ours"] {
            let named = picture.lines().any(|line| line.trim() == name);
            assert!(named, "{name} in {picture}");
        }
    }
}

#[test]
fn what_is_asked_for_in_vain_is_named() {
    for (arguments, said) in [
        (&["--only", "nothing"][..], "near-empty"),
        (&["--slow"], "usage: "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_bench"))
            .args(arguments)
            .output();
        let output = output.expect("bench can be run");
        assert!(!output.status.success());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(said), "{errors}");
    }
}
