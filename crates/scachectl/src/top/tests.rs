//! What is known, what keys do with it, and how it looks on screens of all sizes.

use std::path::Path;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use scache_client::administration::{DestinationEntry, EventEntry, Happening, Purged, Stats};

use super::feed::{Look, News, Wish};
use super::keys::{Outcome, press};
use super::model::{Mode, Model, Rates};
use super::screen::draw;
use crate::events::Happened;

/// Looks at a cache, a second apart.
struct Looks {
    model: Model,
    at: Instant,
}

impl Looks {
    fn new() -> Self {
        let interval = Duration::from_secs(1);
        Self {
            model: Model::new(Path::new("/run/s"), interval, Stats::default()),
            at: Instant::now(),
        }
    }

    /// The next one, at destinations with so many hits and misses.
    fn look(&mut self, destinations: &[(&str, u64, u64)]) {
        let sum = |pick: fn(&(&str, u64, u64)) -> u64| destinations.iter().map(pick).sum();
        self.look_at(
            destinations,
            Stats {
                destination_hits: sum(|(_, hits, _)| *hits),
                destination_misses: sum(|(.., misses)| *misses),
                ..Stats::default()
            },
            Happened::default(),
        );
    }

    fn look_at(&mut self, destinations: &[(&str, u64, u64)], stats: Stats, happened: Happened) {
        self.at += Duration::from_secs(1);
        let entries = destinations.iter();
        let entries = entries.map(|(label, hits, misses)| DestinationEntry {
            destination: label.as_bytes().into(),
            hits: *hits,
            misses: *misses,
            ..DestinationEntry::default()
        });
        self.model.take(News::Look(Box::new(Look {
            at: self.at,
            stats,
            destinations: entries.collect(),
            happened,
        })));
    }

    fn press(&mut self, code: KeyCode) -> Outcome {
        press(&mut self.model, KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn types(&mut self, text: &str) {
        for character in text.chars() {
            assert_eq!(self.press(KeyCode::Char(character)), Outcome::Nothing);
        }
    }

    fn shown(&self) -> Vec<&str> {
        let shown = self.model.shown.iter();
        shown
            .map(|destination| destination.label.as_str())
            .collect()
    }

    fn screen(&mut self, columns: u16, lines: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(columns, lines)).unwrap();
        terminal.draw(|frame| draw(frame, &mut self.model)).unwrap();
        terminal.backend().to_string()
    }
}

#[test]
fn rates_are_of_the_last_interval_and_a_restart_has_none() {
    let mut looks = Looks::new();
    looks.look(&[("a", 100, 100)]);
    assert_eq!(looks.model.rates, Rates::default());
    looks.look(&[("a", 103, 101)]);
    assert_eq!(looks.model.rates.hit_rate, Some(75.0));
    assert!((looks.model.rates.lookups - 4.0).abs() < 1e-9);
    assert!((looks.model.shown[0].rate - 4.0).abs() < 1e-9);
    looks.look(&[("a", 1, 1)]);
    assert_eq!(looks.model.rates, Rates::default());
    let rates: Vec<_> = looks.model.hit_rates.iter().copied().collect();
    assert_eq!(rates, [Some(75.0), None]);
}

#[test]
fn the_busiest_now_comes_first_and_the_selection_stays_with_its_destination() {
    let mut looks = Looks::new();
    looks.look(&[("a", 5, 0), ("b", 1, 0), ("c", 3, 0)]);
    assert_eq!(looks.shown(), ["a", "c", "b"]);
    looks.press(KeyCode::Down);
    assert_eq!(looks.model.selected(), Some(0));
    looks.look(&[("a", 5, 0), ("b", 9, 0), ("c", 4, 0)]);
    assert_eq!(looks.shown(), ["b", "c", "a"]);
    assert_eq!(looks.model.selected(), Some(2));
    looks.press(KeyCode::PageDown);
    assert_eq!(looks.model.selected(), Some(2));
    looks.press(KeyCode::Home);
    assert_eq!(looks.model.selected(), Some(0));
    looks.look(&[("a", 5, 0)]);
    assert_eq!(looks.model.selected(), None);
}

#[test]
fn only_a_yes_purges() {
    let mut looks = Looks::new();
    looks.look(&[("a", 1, 0)]);
    assert_eq!(looks.press(KeyCode::Char('p')), Outcome::Nothing);
    assert_eq!(looks.model.mode, Mode::Looking);
    for key in [
        KeyCode::Char('n'),
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Char('Y'),
    ] {
        looks.press(KeyCode::Home);
        looks.press(KeyCode::Char('p'));
        assert_eq!(looks.model.mode, Mode::Confirming(b"a"[..].into()));
        assert_eq!(looks.press(key), Outcome::Nothing);
        assert_eq!(looks.model.mode, Mode::Looking);
    }
    looks.press(KeyCode::Char('p'));
    let wish = Wish::Purge(b"a"[..].into());
    assert_eq!(looks.press(KeyCode::Char('y')), Outcome::Ask(wish));
    looks.model.take(News::Purged(Ok(Purged::default())));
    assert!(looks.screen(80, 24).contains("purged: 0 connections"));
    looks.model.take(News::Purged(Err("it refuses".to_owned())));
    assert!(looks.screen(80, 24).contains("it refuses"));
}

#[test]
fn the_question_of_a_purge_is_seen_whole_whatever_the_label() {
    let long = format!("smtp\n[{}.example]:25\n", "mail.".repeat(40));
    let wide = "接続".repeat(100);
    for (label, columns, wanted) in [
        ("a", 80, "purge a and the connections that serve it? y/n"),
        (&long, 80, "… and the connections that serve it? y/n"),
        (&wide, 72, "… and the connections that serve it? y/n"),
    ] {
        let mut looks = Looks::new();
        looks.look(&[(label, 1, 0)]);
        looks.press(KeyCode::Down);
        looks.press(KeyCode::Char('p'));
        assert!(matches!(looks.model.mode, Mode::Confirming(_)));
        let screen = looks.screen(columns, 24);
        assert!(screen.contains(wanted), "{screen}");
        assert!(!screen.contains("… …"), "{screen}");
    }
}

#[test]
fn reuse_and_a_ttl_that_was_cut_are_shown() {
    let mut looks = Looks::new();
    let stats = |takes, new| Stats {
        destination_misses: takes + new,
        endpoint_hits: takes,
        endpoint_misses: new,
        connections_new: new,
        ttl_limit_seconds: 2,
        saves_ttl_cut: 1_234_567,
        ..Stats::default()
    };
    looks.look_at(&[], stats(0, 100), Happened::default());
    looks.look_at(&[], stats(195, 105), Happened::default());
    assert_eq!(looks.model.rates.reuse, Some(97.5));
    for part in [
        "reuse     97.5 % (in all 65.0 %)",
        "hit rate  48.8 % (in all",
        "ttl limit 2s, cut 1234567 saves",
    ] {
        let screen = looks.screen(80, 24);
        assert!(screen.contains(part), "{part}: {screen}");
    }
    looks.press(KeyCode::Char('?'));
    let screen = looks.screen(72, 20);
    assert!(
        screen.contains("connection_cache_ttl_limit, or --ttl-limit"),
        "{screen}"
    );
}

#[test]
fn a_filter_is_a_text_or_a_beginning() {
    let mut looks = Looks::new();
    looks.look(&[("smtp\nq.example", 1, 0), ("relay\nsmtp.example", 2, 0)]);
    for (filter, wanted) in [
        ("/^smtp", &["smtp q.example"][..]),
        ("/smtp", &["relay smtp.example", "smtp q.example"]),
        ("/q", &["smtp q.example"]),
        ("/none", &[]),
    ] {
        looks.types(filter);
        assert_eq!(looks.shown(), wanted, "{filter}");
        looks.press(KeyCode::Esc);
        assert_eq!(looks.shown().len(), 2);
    }
    // A q in a filter quits nothing, and neither does the filter when it is kept.
    looks.types("/q");
    looks.press(KeyCode::Enter);
    assert_eq!(looks.shown(), ["smtp q.example"]);
    assert_eq!(looks.press(KeyCode::Char('q')), Outcome::Quit);
}

#[test]
fn the_interval_has_its_ends() {
    let mut looks = Looks::new();
    let mut ask = |key| match looks.press(KeyCode::Char(key)) {
        Outcome::Ask(Wish::Interval(interval)) => interval.as_millis(),
        outcome => panic!("{outcome:?}"),
    };
    assert_eq!(
        ['+', '+', '+', '+', '+'].map(&mut ask),
        [500, 250, 125, 100, 100]
    );
    assert_eq!(
        ['-'; 8].map(&mut ask),
        [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
    );
}

#[test]
fn a_pause_keeps_what_is_seen() {
    let mut looks = Looks::new();
    looks.look(&[("a", 1, 0)]);
    looks.press(KeyCode::Char(' '));
    looks.look(&[("b", 1, 0)]);
    assert_eq!(looks.shown(), ["a"]);
    looks.press(KeyCode::Char(' '));
    looks.look(&[("b", 1, 0)]);
    assert_eq!(looks.shown(), ["b"]);
}

#[test]
fn it_can_be_drawn_at_any_size_and_whatever_it_is_told() {
    let mut looks = Looks::new();
    let full = Stats {
        version: "\u{1b}[2J".to_owned(),
        uptime_seconds: u64::MAX,
        draining: 1,
        connections: u64::MAX,
        connection_limit: 1,
        ..Stats::default()
    };
    let events = [Some(Happening::Spoke), None].map(|what| EventEntry {
        number: u64::MAX,
        what,
        label: b"e\n\x1b[2J\xff"[..].into(),
        ago: Duration::MAX,
        text: "221 \u{1b}[2J".to_owned(),
    });
    let happened = |forgotten| Happened {
        forgotten,
        entries: events.to_vec(),
    };
    let destinations = [("\u{1b}[2J\u{202e}\n", u64::MAX, u64::MAX), ("", 0, 0)];
    looks.look_at(&destinations, full.clone(), happened(0));
    looks.look_at(&destinations, full, happened(u64::MAX));
    looks.press(KeyCode::Down);
    for mode in [
        Mode::Looking,
        Mode::Filtering,
        Mode::Confirming(b"\x1b[2J"[..].into()),
        Mode::Help,
    ] {
        looks.model.mode = mode;
        for (columns, lines) in [(1, 1), (5, 300), (71, 20), (72, 19)] {
            let screen = looks.screen(columns, lines);
            assert!(!screen.contains("DESTINATION"), "{screen}");
        }
        for (columns, lines) in [(72, 20), (80, 24), (300, 100)] {
            let screen = looks.screen(columns, lines);
            assert!(screen.contains("hit rate"), "{screen}");
            assert!(!screen.contains('\u{1b}'), "{screen}");
        }
    }
    looks.model.mode = Mode::Looking;
    looks.model.take(News::Gone("nobody listens".to_owned()));
    let screen = looks.screen(72, 20);
    assert!(
        screen.contains("gone, waiting") && screen.contains("nobody listens"),
        "{screen}"
    );
}
