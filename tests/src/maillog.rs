//! What a Postfix logged.

mod statistics;

use std::collections::HashMap;

pub use statistics::{Interval, Lookups, Maxima};

/// The lines of a log.
#[derive(Clone, Debug)]
pub struct Maillog(String);

/// What somebody logged, in one line.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    program: &'a str,
    process: u32,
    text: &'a str,
}

/// A session of smtpd(8) that has ended.
#[derive(Clone, Debug)]
pub struct Session {
    /// The commands, and how often each was answered with success.
    pub commands: HashMap<String, usize>,
    /// `lost connection after …` or `timeout after …`, if that was logged of it. A connection that is lost between
    /// two messages is not worth a line to smtpd(8).
    pub broken: Option<String>,
}

impl Session {
    /// Whether the client said goodbye.
    #[must_use]
    pub fn quit(&self) -> bool {
        self.commands.contains_key("quit")
    }

    /// Whether a message came.
    #[must_use]
    pub fn carried_mail(&self) -> bool {
        self.commands.contains_key("data")
    }
}

impl Maillog {
    /// A log file's content.
    #[must_use]
    pub fn new(content: Vec<u8>) -> Self {
        Self(String::from_utf8_lossy(&content).into_owned())
    }

    /// How many messages were delivered.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.delivered().count()
    }

    /// How many of them went over a connection that had been used before.
    #[must_use]
    pub fn reuses(&self) -> usize {
        self.delivered()
            .filter(|line| line.contains(", conn_use="))
            .count()
    }

    /// How often anything but a delivery came of a message: put off, sent back, dropped.
    #[must_use]
    pub fn failures(&self) -> usize {
        let all = self.0.lines().filter(|line| line.contains(" status="));
        all.count() - self.deliveries()
    }

    /// What scache(8) logged, without date, host and process number.
    #[must_use]
    pub fn scache(&self) -> Vec<&str> {
        let entries = self.entries().filter(|entry| entry.program == "scache");
        entries.map(|entry| entry.text).collect()
    }

    /// The statistics that scache(8) logged.
    ///
    /// # Errors
    /// The first line of it that is not exactly as log parsers expect it, or out of place.
    pub fn statistics(&self) -> Result<Vec<Interval>, String> {
        let entries = self.entries().filter(|entry| entry.program == "scache");
        statistics::read(entries.map(|entry| (entry.process, entry.text)))
    }

    /// The sessions of smtpd(8) that brought mail and have ended.
    #[must_use]
    pub fn sessions(&self) -> Vec<Session> {
        let mut broken: HashMap<u32, String> = HashMap::new();
        let mut sessions = Vec::new();
        for entry in self.entries().filter(|entry| entry.program == "smtpd") {
            let text = entry.text;
            if text.contains("lost connection after ") || text.contains("timeout after ") {
                broken.insert(entry.process, text.to_owned());
            } else if let Some(client) = text.strip_prefix("disconnect from ") {
                let commands = client.split(' ').filter_map(|word| {
                    let (command, count) = word.split_once('=')?;
                    // `commands=9`, or `rcpt=1/2`: one of two was answered with success.
                    let count = count.split('/').next()?.parse().ok()?;
                    Some((command.to_owned(), count))
                });
                sessions.push(Session {
                    commands: commands.collect(),
                    broken: broken.remove(&entry.process),
                });
            }
        }
        sessions.retain(Session::carried_mail);
        sessions
    }

    /// How many sessions of smtpd(8) have begun, and how many have ended.
    #[must_use]
    pub fn connects(&self) -> (usize, usize) {
        let count = |word: &str| {
            let entries = self.entries().filter(|entry| entry.program == "smtpd");
            entries.filter(|entry| entry.text.starts_with(word)).count()
        };
        (count("connect from "), count("disconnect from "))
    }

    /// Lines of any program that speak of trouble with the cache, or of any trouble in scache(8).
    #[must_use]
    pub fn complaints(&self) -> Vec<&str> {
        let bad = ["warning: ", "error: ", "fatal: ", "panic: "];
        self.0
            .lines()
            .filter(|line| bad.iter().any(|word| line.contains(word)))
            .filter(|line| line.contains("scache") || line.contains("connection cach"))
            .collect()
    }

    /// The lines with this text in them.
    #[must_use]
    pub fn lines_with(&self, text: &str) -> Vec<&str> {
        self.0.lines().filter(|line| line.contains(text)).collect()
    }

    /// Whether a text is anywhere in it.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// The last lines, for a test that failed.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.0.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn delivered(&self) -> impl Iterator<Item = &str> {
        self.0.lines().filter(|line| line.contains(" status=sent "))
    }

    /// `DATE HOST NAME/PROGRAM[PROCESS]: TEXT`; syslog's lines have no host.
    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.0.lines().filter_map(|line| {
            let (head, text) = line.split_once("]: ")?;
            let (head, process) = head.rsplit_once('[')?;
            Some(Entry {
                program: head.rsplit(['/', ' ']).next()?,
                process: process.parse().ok()?,
                text,
            })
        })
    }
}
