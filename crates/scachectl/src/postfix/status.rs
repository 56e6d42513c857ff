//! `scachectl postfix status`: what is installed, and what serves.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use scache_client::Client;
use serde::Serialize;

use super::copies::{Copies, WayBack};
use super::delivery::Deliveries;
use super::entry::Entry;
use super::instance::Instance;
use super::program::{self, NAME};
use super::proof::{self, Server};
use super::serving::Service;
use crate::failure::{Failure, Status};
use crate::labels::{json_escaped, printable};
use crate::output;

/// How long the cache may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of an instance. What cannot be known is null.
#[derive(Debug, Serialize)]
struct Report {
    config_directory: String,
    mail_version: String,
    /// Only root can know.
    running: Option<bool>,
    /// The service in master.cf.
    entry: String,
    /// Who is to serve by it: `stock`, `scache-rs`, `other`.
    configured: &'static str,
    /// Where ours is, if it is there.
    program: Option<String>,
    /// Whether it is the same as the one that came with scachectl.
    program_is_shipped: Option<bool>,
    shipped: Option<String>,
    /// Who answers: `stock`, `scache-rs`.
    serving: Option<&'static str>,
    /// Its version, if it says.
    serving_version: Option<String>,
    /// Why nobody does.
    no_answer: Option<String>,
    process: Option<u32>,
    process_program: Option<String>,
    /// Whether it said its protocol's name, or would by its configuration.
    announces: bool,
    /// Whether this version of Postfix waits for that.
    announcement_wanted: bool,
    /// What uninstall can restore: `bytes`, `entry`, `stock`.
    way_back: Option<&'static str>,
    #[serde(flatten)]
    deliveries: Deliveries,
}

/// Tells all of it on standard output.
pub(super) fn show(
    instances: &[Instance],
    shipped: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let reports = instances.iter().map(|one| Report::of(one, shipped));
    let reports: Vec<Report> = reports.collect::<Result<_, _>>()?;
    let text = if json {
        let text = serde_json::to_string_pretty(&reports);
        let text = text.map_err(|error| Failure::new(Status::Software, error.to_string()))?;
        json_escaped(text) + "\n"
    } else {
        reports.iter().map(Report::text).collect()
    };
    output::write(&text)
}

impl Report {
    fn of(instance: &Instance, shipped: Option<&Path>) -> Result<Self, Failure> {
        let entry = instance.entry()?;
        let root = rustix::process::geteuid().is_root();
        let master = if root { Some(instance.master()?) } else { None };
        let program = instance.daemons.join(NAME);
        let ours = entry.program() == NAME;
        let mut report = Self {
            config_directory: instance.directory.display().to_string(),
            mail_version: instance.version.clone(),
            running: master.map(|master| master.is_some()),
            configured: match entry.program() {
                NAME => NAME,
                "scache" => "stock",
                _ => "other",
            },
            program: program.is_file().then(|| program.display().to_string()),
            program_is_shipped: shipped
                .and_then(|shipped| program::same(&program, shipped).ok().flatten()),
            shipped: shipped.map(|shipped| shipped.display().to_string()),
            serving: None,
            serving_version: None,
            no_answer: None,
            process: None,
            process_program: None,
            announces: if ours {
                instance.announces(&entry)
            } else {
                instance.wants_announcement()
            },
            announcement_wanted: instance.wants_announcement(),
            way_back: ours.then(|| match Copies::of(instance).way_back() {
                WayBack::Bytes => "bytes",
                WayBack::Edited => "entry",
                WayBack::Unknown => "stock",
            }),
            deliveries: Deliveries::of(instance, &entry)?,
            entry: entry.to_string(),
        };
        if master != Some(None) {
            report.ask(instance, &entry, master.flatten());
        }
        Ok(report)
    }

    fn ask(&mut self, instance: &Instance, entry: &Entry, master: Option<u32>) {
        match proof::look(instance, entry, master, PATIENCE) {
            Ok((heard, service)) => {
                self.serving = Some(match heard.server {
                    Server::Ours => NAME,
                    Server::Stock => "stock",
                });
                if heard.server == Server::Ours {
                    self.serving_version = version(&instance.socket(entry));
                }
                self.announces = heard.announced;
                if let Service::Process(process) = service {
                    self.process = Some(process.number);
                    self.process_program = Some(process.program.display().to_string());
                }
            }
            Err(error) => {
                self.no_answer = Some(proof::explain(&instance.socket(entry), &error));
            }
        }
    }

    fn text(&self) -> String {
        let running = match self.running {
            Some(true) => "running",
            Some(false) => "not running",
            None => "running or not: only root can know",
        };
        let program = match (&self.program, self.program_is_shipped, &self.shipped) {
            (None, ..) => format!("no {NAME} is installed"),
            (Some(program), Some(true), Some(shipped)) => {
                format!("{program}, the same as {shipped}")
            }
            (Some(program), Some(false), Some(shipped)) => {
                format!(
                    "{program}, not the same as {shipped}: `scachectl postfix install` replaces it"
                )
            }
            (Some(program), ..) => program.clone(),
        };
        let serving = match (self.serving, &self.no_answer) {
            (Some(server), _) => {
                let process = self.process.map(|number| format!(", process {number}"));
                let program = self.process_program.as_ref();
                let program = program.map(|program| format!(" ({})", printable(program)));
                let [process, program] = [process, program].map(Option::unwrap_or_default);
                let version = self.serving_version.as_ref();
                let version = version.map(|version| format!(" {}", printable(version)));
                let version = version.unwrap_or_default();
                format!("{server}{version}{process}{program}")
            }
            (None, Some(why)) => format!("nobody: {why}"),
            (None, None) => "nobody".to_owned(),
        };
        let announces = match (self.announces, self.announcement_wanted) {
            (true, true) => "yes, as this version wants it",
            (false, false) => "no, as this version wants it",
            (true, false) => {
                "yes, but this version does not expect it: `scachectl postfix install` corrects that"
            }
            (false, true) => {
                "no, but this version waits for it: `scachectl postfix install` corrects that"
            }
        };
        let way_back = match self.way_back {
            Some("bytes") => "uninstall restores master.cf to the byte",
            Some("entry") => "master.cf was edited since: uninstall puts back the service only",
            Some(_) => "what was there before was not kept: uninstall puts back stock's program",
            None => "nothing to undo",
        };
        let mut text = format!(
            "{}: Postfix {}, {running}\n",
            self.config_directory, self.mail_version
        );
        for (what, is) in [
            ("master.cf", self.entry.as_str()),
            ("program", &program),
            ("serving", &serving),
            ("announces", announces),
            ("way back", way_back),
        ] {
            // A string takes it.
            let _ = writeln!(text, "  {what:<10} {is}");
        }
        text + &self.deliveries.text()
    }
}

/// The version of ours that listens there; those before there was such a request do not say.
fn version(socket: &Path) -> Option<String> {
    let mut client = Client::new(socket).with_timeout(PATIENCE);
    let version = client.stats().ok()?.version;
    (!version.is_empty()).then_some(version)
}
