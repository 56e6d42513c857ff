//! `scachectl settings`: the settings in use, and where each comes from.

use std::process::ExitCode;

use scache_client::administration::SettingEntry;
use serde::Serialize;

use crate::cache::Cache;
use crate::failure::Failure;
use crate::labels::{Typed, printable};
use crate::output::{Output, Stop, finish};
use crate::socket::Socket;

/// Show the settings in use, and where each comes from.
///
/// The cache tells them, under the names of scached's options or of main.cf's parameters. `scached --check` tells what a
/// new start would use.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only settings whose name starts with PREFIX
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: Typed,

    /// Each as an object in JSON on a line of its own, as docs/settings.schema.json describes it
    #[arg(long)]
    json: bool,
}

/// A setting for programs.
#[derive(Serialize)]
struct Json<'a> {
    name: &'a str,
    value: &'a str,
    origin: &'a str,
}

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        let mut cache = Cache::new(socket);
        let settings =
            cache.ask(|client| crate::cache::all(|from| client.settings(&self.prefix.0, from)))?;
        finish(self.write(&settings))
    }

    fn write(&self, settings: &[SettingEntry]) -> Result<Output, Stop> {
        let mut output = Output::new();
        if self.json {
            for SettingEntry {
                name,
                value,
                origin,
                ..
            } in settings
            {
                output.json(&Json {
                    name,
                    value,
                    origin,
                })?;
            }
            return Ok(output);
        }
        for line in table(settings) {
            output.line(&line)?;
        }
        Ok(output)
    }
}

/// Returns the lines of the table, the heading first.
fn table(settings: &[SettingEntry]) -> Vec<String> {
    let heading = ["SETTING", "VALUE", "FROM"].map(str::to_owned);
    let rows: Vec<[String; 3]> = std::iter::once(heading)
        .chain(settings.iter().map(|setting| {
            [&setting.name, &setting.value, &setting.origin].map(|text| printable(text))
        }))
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let (names, values) = (width(0), width(1));
    rows.iter()
        .map(|[name, value, origin]| format!("{name:<names$}  {value:<values$}  {origin}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need_and_nothing_acts_on_the_terminal() {
        let settings = [
            SettingEntry::new("ttl-limit", "30s", "file"),
            SettingEntry::new("goodbye", "\"\u{1b}[2J\"", "command line"),
        ];
        assert_eq!(
            table(&settings),
            [
                "SETTING    VALUE      FROM",
                "ttl-limit  30s        file",
                "goodbye    \"\\x1b[2J\"  command line"
            ]
        );
    }
}
