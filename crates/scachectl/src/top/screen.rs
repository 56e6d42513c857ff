//! Draws what `top` knows. The colours are the terminal's own, so that they suit a light and a dark one.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols::{self, Marker};
use ratatui::text::{Line, Span};
use ratatui::widgets::{
    Axis, Block, Borders, Cell, Chart, Clear, Dataset, GraphType, LineGauge, Paragraph, Row, Table,
    TableState, Wrap,
};

use super::keys::HELP;
use super::model::{Destination, Event, Mode, Model, Sort};
use super::{SMALLEST, too_small};
use crate::figures::time;
use crate::labels::{printable, shown};
use crate::stats::{Share, quantile};
use crate::watch::{clock, name};

/// Height of the graph and the numbers beside it, with their borders.
const GRAPH: u16 = 11;

/// Draws all of it, or what is missing of the room for it.
pub(super) fn draw(frame: &mut Frame<'_>, model: &mut Model) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let text = too_small(area.width, area.height);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let events = (area.height - GRAPH).saturating_sub(2) / 3;
    let [title, upper, middle, lower, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(GRAPH),
        Constraint::Fill(1),
        Constraint::Length(events.max(3)),
        Constraint::Length(1),
    ])
    .areas(area);
    let [graph, numbers] =
        Layout::horizontal([Constraint::Fill(1), Constraint::Length(40)]).areas(upper);
    draw_title(frame, title, model);
    draw_graph(frame, graph, model);
    draw_numbers(frame, numbers, model);
    draw_destinations(frame, middle, model);
    draw_events(frame, lower, model);
    draw_foot(frame, foot, model);
    if model.mode == Mode::Help {
        draw_help(frame, area);
    }
}

fn draw_title(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let mut spans = vec![
        Span::from(model.name.as_str()).bold(),
        Span::from(format!(
            "  up {}  every {}",
            time(Duration::from_secs(model.stats.uptime_seconds)),
            time(model.interval)
        )),
    ];
    if model.stats.draining > 0 {
        spans.push("  draining".fg(Color::Yellow).bold());
    }
    if model.is_paused {
        spans.push("  paused".fg(Color::Yellow).bold());
    }
    if model.gone.is_some() {
        spans.push("  gone, waiting".fg(Color::Red).bold());
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_graph(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    // A column of Braille is two points wide; the axis takes some of them.
    let room = usize::from(area.width.saturating_sub(8)) * 2;
    let left_out = model.hit_rates.len().saturating_sub(room);
    let rates = model.hit_rates.iter().skip(left_out);
    let mut runs: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (place, rate) in rates.enumerate() {
        match (rate, runs.last_mut()) {
            (Some(rate), Some(run)) => run.push((place as f64, *rate)),
            _ => runs.push(Vec::new()),
        }
    }
    let sets = runs.iter().map(|run| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(Color::Green))
            .data(run)
    });
    let width = (room.max(2) - 1) as f64;
    let span = model
        .interval
        .saturating_mul(u32::try_from(room).unwrap_or(u32::MAX));
    // The newest is at the right, also while there are few.
    let newest = (model.hit_rates.len() - left_out).max(1) as f64 - 1.0;
    let chart = Chart::new(sets.collect())
        .block(pane(" hit rate "))
        .x_axis(
            Axis::default()
                .bounds([newest - width, newest])
                .labels([format!("{} ago", time(span)), "now".to_owned()]),
        )
        .y_axis(
            Axis::default()
                .bounds([0.0, 100.0])
                .labels(["0", "50", "100"]),
        );
    frame.render_widget(chart, area);
}

fn draw_numbers(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let (stats, rates) = (&model.stats, &model.rates);
    let block = pane(" now ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let now = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.1} %"));
    let service = &stats.service_microseconds;
    let ttl = format!(
        "ttl limit {}s, cut {} saves",
        stats.ttl_limit_seconds, stats.saves_ttl_cut
    );
    let lines = [
        format!(
            "reuse     {} (in all {})",
            now(rates.reuse),
            Share::reuse(stats)
        )
        .into(),
        format!(
            "hit rate  {} (in all {})",
            now(rates.hit_rate),
            Share::lookups(stats)
        )
        .into(),
        format!(
            "lookups   {:.1}/s   saves {:.1}/s",
            rates.lookups, rates.saves
        )
        .into(),
        format!(
            "requests  {:.1}/s   lost {:.1}/s",
            rates.requests, rates.losses
        )
        .into(),
        format!(
            "service   p50 {}, p99 {} µs",
            quantile(service, 0.5),
            quantile(service, 0.99)
        )
        .into(),
        match stats.saves_ttl_cut {
            0 => Line::from(ttl),
            _ => Line::from(ttl).fg(Color::Yellow),
        },
    ];
    let [text, cached, clients, descriptors, _] = Layout::vertical([
        Constraint::Length(lines.len() as u16),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Fill(1),
    ])
    .areas(inner);
    frame.render_widget(Paragraph::new(lines.to_vec()), text);
    for (area, name, value, limit) in [
        (cached, "cached", stats.connections, stats.connection_limit),
        (clients, "clients", stats.clients, stats.client_limit),
        (
            descriptors,
            "open",
            stats.descriptors,
            stats.descriptor_limit,
        ),
    ] {
        draw_gauge(frame, area, name, value, limit);
    }
}

fn draw_gauge(frame: &mut Frame<'_>, area: Rect, name: &str, value: u64, limit: u64) {
    let share = match limit {
        0 => 0.0,
        limit => (value as f64 / limit as f64).min(1.0),
    };
    let colour = match share {
        0.9.. => Color::Red,
        0.7.. => Color::Yellow,
        _ => Color::Green,
    };
    let of = match limit {
        0 => "no limit".to_owned(),
        limit => limit.to_string(),
    };
    let gauge = LineGauge::default()
        .label(format!("{name:<9} {} of {of}", value))
        .filled_symbol(symbols::line::THICK_HORIZONTAL)
        .filled_style(Style::new().fg(colour))
        .ratio(share);
    frame.render_widget(gauge, area);
}

fn draw_destinations(frame: &mut Frame<'_>, area: Rect, model: &mut Model) {
    let title = format!(" destinations: {} ", model.counts());
    let heads = [
        ("RATE/s", Some(Sort::Rate)),
        ("HITS", Some(Sort::Hits)),
        ("MISSES", Some(Sort::Misses)),
        ("HIT RATE", None),
        ("CACHED", Some(Sort::Cached)),
        ("DESTINATION", Some(Sort::Name)),
    ];
    let heads = heads.map(|(head, sort)| {
        let head = match sort == Some(model.sort) {
            true => format!("{head}*"),
            false => head.to_owned(),
        };
        match sort {
            Some(Sort::Name) => Cell::new(head),
            _ => Cell::new(Line::from(head).right_aligned()),
        }
    });
    let widths = [8, 9, 9, 9, 8].map(Constraint::Length);
    let widths = widths.into_iter().chain([Constraint::Fill(1)]);
    // Borders and the line of heads.
    model.lines = usize::from(area.height.saturating_sub(3));
    let table = Table::new(model.shown.iter().map(row), widths)
        .header(Row::new(heads).style(Style::new().add_modifier(Modifier::BOLD)))
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED))
        .block(pane(&title));
    let mut state = TableState::new().with_selected(model.selected());
    frame.render_stateful_widget(table, area, &mut state);
}

fn row(destination: &Destination) -> Row<'_> {
    let entry = &destination.entry;
    let numbers = [
        format!("{:.1}", destination.rate),
        entry.hits.to_string(),
        entry.misses.to_string(),
        Share::of(entry.hits, entry.misses).to_string(),
        entry.cached.to_string(),
    ];
    let numbers = numbers.map(|text| Cell::new(Line::from(text).right_aligned()));
    Row::new(
        numbers
            .into_iter()
            .chain([Cell::new(destination.label.as_str())]),
    )
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let room = usize::from(area.height.saturating_sub(2));
    let lines: Vec<Line<'_>> = model.events().take(room).map(event).collect();
    let events = Paragraph::new(lines).block(pane(" events, newest first "));
    frame.render_widget(events, area);
}

fn event(event: &Event) -> Line<'_> {
    match event {
        Event::Forgotten(count) => Line::from(format!("… {count} more, forgotten by the cache")),
        Event::Happened(moment, entry) => {
            let label = match entry.label.is_empty() {
                true => "-".to_owned(),
                false => shown(&entry.label),
            };
            let text = match entry.text.is_empty() {
                true => String::new(),
                false => format!("  ({})", printable(&entry.text)),
            };
            Line::from(format!(
                "{} {:<14} {label}{text}",
                clock(*moment),
                name(entry)
            ))
        }
    }
}

fn draw_foot(frame: &mut Frame<'_>, area: Rect, model: &Model) {
    let line = match (&model.mode, &model.gone) {
        (Mode::Filtering, _) => Line::from(format!(
            "filter: {}_   Enter to keep it, Esc for everything",
            model.filter
        )),
        (Mode::Confirming(destination), _) => {
            let [before, after] = ["purge ", " and the connections that serve it? y/n"];
            let room = usize::from(area.width).saturating_sub(before.len() + after.len());
            let label = shortened(&shown(destination), room);
            Line::from(format!("{before}{label}{after}")).bold()
        }
        (_, Some(reason)) => Line::from(reason.as_str()).fg(Color::Red),
        _ if !model.message.is_empty() => Line::from(model.message.as_str()).bold(),
        _ => Line::from(format!(
            "q quit  s sort: {}  / filter  p purge  space pause  +/- interval  ? help",
            model.sort.name()
        )),
    };
    frame.render_widget(line, area);
}

/// Returns the text, or so much of its beginning that it fits into so many columns with a mark behind it.
fn shortened(text: &str, columns: usize) -> String {
    if Span::raw(text).width() <= columns {
        return text.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fitting = text.chars().take_while(|character| {
        let width = Span::raw(character.to_string()).width();
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    });
    fitting.chain(['…']).collect()
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP
        .iter()
        .map(|(keys, what)| Line::from(format!(" {keys:<18} {what}")))
        .collect();
    let height = lines.len() as u16 + 2;
    let [middle] = Layout::vertical([Constraint::Length(height)])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(lines).block(pane(" keys ")), middle);
}

fn pane(title: &str) -> Block<'_> {
    Block::new().borders(Borders::ALL).title(title)
}
