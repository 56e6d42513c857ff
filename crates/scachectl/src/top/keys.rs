//! What the keys do.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::INTERVALS;
use super::feed::Wish;
use super::model::{Mode, Model};

/// What is to be done about a key beside what it changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Nothing,
    Ask(Wish),
    Quit,
}

/// The keys, for who asks.
pub(super) const HELP: &[(&str, &str)] = &[
    ("q", "quit"),
    ("s", "sort by rate, hits, misses, cached, name"),
    (
        "/",
        "show only what has a text in its label, or begins so: ^smtp",
    ),
    ("up down PgUp PgDn", "select a destination"),
    ("p", "purge the selected destination and its connections"),
    ("space", "pause, go on"),
    ("+ -", "ask more often, less often"),
    ("?", "this; any key ends it"),
    ("", ""),
    (
        "reuse",
        "connections taken, of those and the ones first saved",
    ),
    ("hit rate", "lookups that found one; smtp(8) looks twice"),
    (
        "ttl limit cut",
        "raise connection_cache_ttl_limit, or --ttl-limit",
    ),
];

/// Presses a key.
pub(super) fn press(model: &mut Model, key: KeyEvent) -> Outcome {
    if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
        return Outcome::Quit;
    }
    match &model.mode {
        Mode::Looking => return look(model, key.code),
        Mode::Filtering => filter(model, key.code),
        Mode::Confirming(destination) => {
            let wish = Wish::Purge(destination.clone());
            model.mode = Mode::Looking;
            if key.code == KeyCode::Char('y') {
                return Outcome::Ask(wish);
            }
            model.message = "nothing purged".to_owned();
        }
        Mode::Help => model.mode = Mode::Looking,
    }
    Outcome::Nothing
}

fn look(model: &mut Model, key: KeyCode) -> Outcome {
    model.message.clear();
    let page = isize::try_from(model.lines).unwrap_or(1).max(1);
    match key {
        KeyCode::Char('q') => return Outcome::Quit,
        KeyCode::Char('s') => {
            model.sort = model.sort.next();
            model.arrange();
        }
        KeyCode::Char('/') => model.mode = Mode::Filtering,
        KeyCode::Esc => {
            model.filter.clear();
            model.arrange();
        }
        KeyCode::Down | KeyCode::Char('j') => model.select(1),
        KeyCode::Up | KeyCode::Char('k') => model.select(-1),
        KeyCode::PageDown => model.select(page),
        KeyCode::PageUp => model.select(-page),
        KeyCode::Home => model.select(isize::MIN),
        KeyCode::End => model.select(isize::MAX),
        KeyCode::Char('p') => match model.selected() {
            Some(line) => {
                let destination = model.shown[line].entry.destination.clone();
                model.mode = Mode::Confirming(destination);
            }
            None => model.message = "select a destination first, with the arrow keys".to_owned(),
        },
        KeyCode::Char(' ') => model.is_paused = !model.is_paused,
        KeyCode::Char('+') => return ask_every(model, model.interval / 2),
        KeyCode::Char('-') => return ask_every(model, model.interval * 2),
        KeyCode::Char('?') => model.mode = Mode::Help,
        _ => {}
    }
    Outcome::Nothing
}

fn filter(model: &mut Model, key: KeyCode) {
    match key {
        KeyCode::Enter => model.mode = Mode::Looking,
        KeyCode::Esc => {
            model.filter.clear();
            model.mode = Mode::Looking;
        }
        KeyCode::Backspace => {
            model.filter.pop();
        }
        KeyCode::Char(character) => model.filter.push(character),
        _ => {}
    }
    model.arrange();
}

fn ask_every(model: &mut Model, interval: Duration) -> Outcome {
    let [shortest, longest] = INTERVALS;
    model.interval = interval.clamp(shortest, longest);
    Outcome::Ask(Wish::Interval(model.interval))
}
