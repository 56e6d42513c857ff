//! What was measured, as a table, as text and as pictures.

use std::fmt::Write as _;

use crate::Scale;
use crate::near_empty::Paces;
use crate::plot::Picture;
use crate::samples::Samples;
use crate::system_calls::Calls;

/// Everything that was measured.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) rounds: usize,
    pub(crate) rows: Vec<Row>,
    pub(crate) near_empty: Vec<Paces>,
    pub(crate) calls: Vec<Calls>,
    by_entries: Vec<Series>,
    by_clients: Vec<Series>,
    pub(crate) notes: Vec<String>,
}

/// A figure with a goal.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// What the figure is measured against, which is stock where nothing else is said.
    pub(crate) base: String,
    pub(crate) ours: String,
    pub(crate) ratio: String,
    /// The lowest and the highest ratio of a pair.
    pub(crate) range: String,
    pub(crate) goal: Option<Goal>,
    pub(crate) reached: bool,
}

/// What a figure shall be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// A line of a picture.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Goal {
    fn is_reached_by(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }

    pub(crate) fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("≤ {most}"),
            Self::AtLeast(least) => format!("≥ {least}"),
        }
    }
}

impl Row {
    pub(crate) fn micros(
        what: &str,
        ours: &Samples,
        base: &Samples,
        goal: impl Into<Option<Goal>>,
    ) -> Self {
        Self::of(what, ours, base, goal.into(), |micros| {
            format!("{micros:.1} µs")
        })
    }

    pub(crate) fn rate(what: &str, ours: &Samples, base: &Samples, goal: Option<Goal>) -> Self {
        Self::of(what, ours, base, goal, |rate| format!("{rate:.0}/s"))
    }

    pub(crate) fn kibibytes(
        what: &str,
        ours: &Samples,
        base: &Samples,
        goal: Option<Goal>,
    ) -> Self {
        Self::of(what, ours, base, goal, |bytes| {
            format!("{:.0} KiB", bytes / 1024.0)
        })
    }

    pub(crate) fn count(what: &str, ours: &Samples, base: &Samples, goal: Goal) -> Self {
        Self::of(what, ours, base, Some(goal), |count| format!("{count:.0}"))
    }

    pub(crate) fn bytes(what: &str, ours: f64, base: f64, goal: Goal) -> Self {
        let mut samples = [Samples::default(), Samples::default()];
        samples[0].push(ours);
        samples[1].push(base);
        let [ours, base] = &samples;
        Self::of(what, ours, base, Some(goal), |bytes| {
            format!("{bytes:.0} B")
        })
    }

    /// A figure whose goal is not a ratio.
    pub(crate) fn bytes_of_ours(what: &str, ours: f64, base: f64, goal: Goal) -> Self {
        Self {
            goal: Some(goal),
            reached: goal.is_reached_by(ours),
            ..Self::bytes(what, ours, base, goal)
        }
    }

    fn of(
        what: &str,
        ours: &Samples,
        base: &Samples,
        goal: Option<Goal>,
        figure: impl Fn(f64) -> String,
    ) -> Self {
        let ratio = ours.ratio_to(base);
        let (lowest, highest) = ours.range_to(base);
        Self {
            what: what.to_owned(),
            base: figure(base.median()),
            ours: figure(ours.median()),
            ratio: precise(ratio),
            range: format!("{} to {}", precise(lowest), precise(highest)),
            goal,
            reached: goal.is_none_or(|goal| goal.is_reached_by(ratio)),
        }
    }

    pub(crate) fn verdict(&self) -> &'static str {
        match (self.goal, self.reached) {
            (None, _) => "",
            (_, true) => "yes",
            (_, false) => "NO",
        }
    }
}

/// Three digits, more or less.
fn precise(ratio: f64) -> String {
    if ratio < 0.1 {
        format!("{ratio:.4}")
    } else {
        format!("{ratio:.3}")
    }
}

impl Series {
    pub(crate) fn new(name: &'static str) -> Self {
        let points = Vec::new();
        Self { name, points }
    }

    pub(crate) fn push(&mut self, x: usize, y: f64) {
        self.points.push((x as f64, y));
    }
}

impl Report {
    pub(crate) fn new(scale: &Scale) -> Self {
        Self {
            rounds: scale.rounds,
            rows: Vec::new(),
            near_empty: Vec::new(),
            calls: Vec::new(),
            by_entries: Vec::new(),
            by_clients: Vec::new(),
            notes: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, row: Row) {
        eprintln!(
            "    {}: {} / {} = {}",
            row.what, row.ours, row.base, row.ratio
        );
        self.rows.push(row);
    }

    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(crate) fn set_near_empty(&mut self, paces: Vec<Paces>) {
        self.near_empty = paces;
    }

    pub(crate) fn set_calls(&mut self, calls: Vec<Calls>) {
        self.calls = calls;
    }

    pub(crate) fn set_by_entries(&mut self, series: Vec<Series>) {
        self.by_entries = series;
    }

    pub(crate) fn set_by_clients(&mut self, series: Vec<Series>) {
        self.by_clients = series;
    }

    pub(crate) fn pictures(&self) -> [Picture<'_>; 2] {
        [
            Picture {
                file: "entries.svg",
                x: "entries cached: connections and bindings",
                series: &self.by_entries,
            },
            Picture {
                file: "clients.svg",
                x: "clients at once",
                series: &self.by_clients,
            },
        ]
    }

    /// The names of all calls that anybody made, and how often each contender made them.
    pub(crate) fn call_table(&self) -> Vec<(String, Vec<f64>)> {
        let mut names: Vec<&String> = self
            .calls
            .iter()
            .flat_map(|calls| calls.by_name.keys())
            .collect();
        names.sort();
        names.dedup();
        let of_all = |name: &String| -> Vec<f64> {
            let count = |calls: &Calls| calls.by_name.get(name).copied().unwrap_or_default();
            self.calls.iter().map(count).collect()
        };
        let often = |(_, counts): &(String, Vec<f64>)| counts.iter().any(|count| *count >= 0.05);
        let mut table: Vec<_> = names
            .into_iter()
            .map(|name| (name.clone(), of_all(name)))
            .collect();
        table.retain(often);
        table.push((
            "all".to_owned(),
            self.calls.iter().map(Calls::sum).collect(),
        ));
        table
    }

    /// Everything, for a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let header = ["figure", "base", "ours", "ratio", "range", "goal", ""];
        let _ = line(&mut text, header);
        for row in &self.rows {
            let goal = row.goal.map(Goal::text).unwrap_or_default();
            let cells = [
                &row.what,
                &row.base,
                &row.ours,
                &row.ratio,
                &row.range,
                &goal,
                row.verdict(),
            ];
            let _ = line(&mut text, cells);
        }
        if !self.near_empty.is_empty() {
            let _ = writeln!(
                text,
                "\nnear-empty: µs of processor a cycle, requests/s, µs for 50 % and 99 % of requests"
            );
            for paces in &self.near_empty {
                let _ = writeln!(
                    text,
                    "    {:26}{:8.1}{:10.0}{:8.1}{:8.1}",
                    paces.name,
                    paces.processor.median(),
                    paces.rate.median(),
                    paces.half.median(),
                    paces.nearly_all.median()
                );
            }
        }
        if !self.calls.is_empty() {
            let names: String = self
                .calls
                .iter()
                .map(|calls| format!("{:>26}", calls.name))
                .collect();
            let _ = writeln!(text, "\nsystem calls per cycle\n{:18}{names}", "");
            for (name, counts) in self.call_table() {
                let counts: String = counts.iter().map(|count| format!("{count:26.1}")).collect();
                let _ = writeln!(text, "{name:18}{counts}");
            }
        }
        for note in &self.notes {
            let _ = writeln!(text, "\n{note}");
        }
        text
    }
}

fn line<T: AsRef<str> + ?Sized>(text: &mut String, cells: [&T; 7]) -> std::fmt::Result {
    let [what, base, ours, ratio, range, goal, reached] = cells.map(AsRef::as_ref);
    writeln!(
        text,
        "{what:66}{base:>12}{ours:>12}{ratio:>9}{range:>18}{goal:>9}{reached:>5}"
    )
}
