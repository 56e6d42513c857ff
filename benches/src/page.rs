//! docs/benchmarks.md.

use std::fmt::Write as _;

use crate::report::{Goal, Report};

const HEAD: &str = "\
# Benchmarks

Written by `make bench`; run it to have the figures of your machine. Figures in microseconds and per second belong
to the machine that they were measured on, which may have done other things besides: what carries over is the
**ratio**.

## What is measured

The same work for the scache(8) of Debian's Postfix and for ours, each started by a stand-in for master(8), with
descriptors, environment and main.cf as Postfix has them. Everything is kept on one processor, server and load
alike. Stock and ours are measured in turn; the ratio is that of two neighbours, and what the table says is the
median of all pairs and, as a measure of the noise, the lowest and the highest.

- A **cycle** is `save_dest`, `save_endp`, `find_dest` (inline: `save`, `find`), with labels and properties as
  smtp(8) has them.
- **Processor time** is that of the server and of the process that closes for it, as the scheduler counts it in
  nanoseconds (`/proc/PID/schedstat`).
- **Memory** is the resident set (`/proc/PID/smaps_rollup`); per connection or client it is what is added by them.
- The **floor** is a loop that makes the system calls that the protocol makes necessary, remembers one connection,
  and checks nothing. There is one in each way of passing descriptors.
- Each cached connection is a socket of its own, whose peer is there and silent. Stock is *unwatched* by nature:
  it does not look whether a connection is alive. Ours watches, where nothing else is said.
- Of many clients each asks again as soon as it has its answer; one process plays all of them.
";

/// The page.
pub(crate) fn text(report: &Report) -> String {
    let mut text = HEAD.to_owned();
    let _ = write!(
        text,
        "\n## Goals\n\nMedians of {} pairs; the base is stock where nothing else is said.\n\n\
         | figure | base | ours | ratio | of all pairs | goal | reached |\n|---|---|---|---|---|---|---|\n",
        report.rounds
    );
    for row in &report.rows {
        let goal = row.goal.map(Goal::text).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {goal} | {} |",
            row.what,
            row.base,
            row.ours,
            row.ratio,
            row.range,
            row.verdict()
        );
    }
    text.push_str(
        "\nThe goal of idle clients is in bytes of ours.\n\n## One client, near-empty\n\n\
         | | processor µs per cycle | requests per second | 50 % of requests, µs | 99 % |\n|---|---|---|---|---|\n",
    );
    for paces in &report.near_empty {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.0} | {:.1} | {:.1} |",
            paces.name,
            paces.processor.median(),
            paces.rate.median(),
            paces.half.median(),
            paces.nearly_all.median()
        );
    }
    text.push_str(
        "\n## The more is cached\n\n![Processor time per cycle against entries](benchmarks/entries.svg)\n\n\
         ## The more clients\n\n![Processor time per cycle against clients](benchmarks/clients.svg)\n\n\
         ## System calls per cycle\n\n",
    );
    calls(report, &mut text);
    for note in &report.notes {
        let _ = writeln!(text, "\n{note}");
    }
    text
}

fn calls(report: &Report, text: &mut String) {
    if report.calls.is_empty() {
        return;
    }
    text.push_str("Counted by strace(1).\n\n| |");
    for calls in &report.calls {
        let _ = write!(text, " {} |", calls.name);
    }
    let _ = writeln!(text, "\n|---|{}", "---|".repeat(report.calls.len()));
    for (name, counts) in report.call_table() {
        let _ = write!(text, "| {name} |");
        for count in counts {
            let _ = write!(text, " {count:.1} |");
        }
        text.push('\n');
    }
}
