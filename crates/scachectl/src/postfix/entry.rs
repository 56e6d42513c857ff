//! A service in master.cf, as `postconf -M` writes it in one line.

use std::fmt;

/// The parameter by which our scache is told to say nothing when a client connects.
const ANNOUNCE: &str = "connection_cache_announce";

/// What is added for clients that must not be announced to.
const SILENT: &str = "-o connection_cache_announce=no";

/// The fields before the command.
const FIELDS: usize = 7;

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Service, type, private, unprivileged, chroot, wake-up time, process limit.
    fields: [String; FIELDS],
    program: String,
    arguments: String,
}

impl Entry {
    /// Reads a line of `postconf -M`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut rest = line.trim();
        let mut word = || {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (word, tail) = rest.split_at(end);
            rest = tail.trim_start();
            (!word.is_empty()).then(|| word.to_owned())
        };
        let mut fields = [const { String::new() }; FIELDS];
        for field in &mut fields {
            *field = word()?;
        }
        let program = word()?;
        Some(Self {
            fields,
            program,
            arguments: rest.to_owned(),
        })
    }

    /// What master(8) starts, by its name in daemon_directory.
    pub(super) fn program(&self) -> &str {
        &self.program
    }

    /// How many processes there may be.
    pub(super) fn process_limit(&self) -> &str {
        &self.fields[6]
    }

    /// Whether the socket is for Postfix only, in `private`.
    pub(super) fn is_private(&self) -> bool {
        self.fields[2] != "n"
    }

    /// Whether it runs as mail_owner.
    pub(super) fn is_unprivileged(&self) -> bool {
        self.fields[3] != "n"
    }

    /// Whether it is said to run in the queue directory only. What `-` means depends on compatibility_level.
    pub(super) fn is_chrooted(&self) -> bool {
        self.fields[4] == "y"
    }

    /// The same service with another program, everything else as it was.
    pub(super) fn with_program(&self, program: &str) -> Self {
        Self {
            program: program.to_owned(),
            ..self.clone()
        }
    }

    /// The same service, announcing nothing to its clients.
    pub(super) fn silent(&self) -> Self {
        let arguments = format!("{} {SILENT}", self.without_silence().arguments);
        Self {
            arguments: arguments.trim().to_owned(),
            ..self.clone()
        }
    }

    /// The same service without what [`Entry::silent`] added.
    pub(super) fn without_silence(&self) -> Self {
        let arguments = match self.arguments.strip_suffix(SILENT) {
            Some(rest) if rest.is_empty() || rest.ends_with(' ') => rest.trim_end(),
            _ => &self.arguments,
        };
        Self {
            arguments: arguments.to_owned(),
            ..self.clone()
        }
    }

    /// What its own arguments say about announcing.
    pub(super) fn announces(&self) -> Option<bool> {
        let arguments = self.arguments();
        let mut said = None;
        let mut arguments = arguments.iter().map(String::as_str);
        while let Some(argument) = arguments.next() {
            let assignment = match argument.strip_prefix("-o") {
                Some("") => arguments.next(),
                assignment => assignment,
            };
            if let Some((name, value)) = assignment.and_then(|text| text.split_once('='))
                && name.trim() == ANNOUNCE
            {
                said = Some(value.trim() != "no");
            }
        }
        said
    }

    /// The program's arguments, one by one: separated by white space, but for what is in braces.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut rest = self.arguments.trim();
        while !rest.is_empty() {
            let end = if rest.starts_with('{') {
                closing_brace(rest).map_or(rest.len(), |position| position + 1)
            } else {
                rest.find(char::is_whitespace).unwrap_or(rest.len())
            };
            let (argument, tail) = rest.split_at(end);
            let inside = argument
                .strip_prefix('{')
                .and_then(|argument| argument.strip_suffix('}'));
            arguments.push(inside.map_or(argument, str::trim).to_owned());
            rest = tail.trim_start();
        }
        arguments
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.fields.join(" "), self.program)?;
        if !self.arguments.is_empty() {
            write!(f, " {}", self.arguments)?;
        }
        Ok(())
    }
}

fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    text.char_indices().find_map(|(position, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(position)
    })
}

#[cfg(test)]
mod tests {
    use super::Entry;

    fn entry(line: &str) -> Entry {
        Entry::parse(line).unwrap()
    }

    #[test]
    fn only_the_program_changes() {
        for (before, after) in [
            (
                "scache     unix  -       -       n       -       1       scache",
                "scache unix - - n - 1 scache-rs",
            ),
            (
                "scache unix - - y - 1 scache -v -o {syslog_name=a  b} -o max_idle=5s",
                "scache unix - - y - 1 scache-rs -v -o {syslog_name=a  b} -o max_idle=5s",
            ),
        ] {
            assert_eq!(entry(before).with_program("scache-rs").to_string(), after);
        }
    }

    #[test]
    fn what_lacks_a_field_is_no_service() {
        assert_eq!(Entry::parse("scache unix - - n - 1"), None);
        assert_eq!(Entry::parse(""), None);
    }

    #[test]
    fn silence_comes_and_goes_without_a_trace() {
        for line in [
            "scache unix - - n - 1 scache",
            "scache unix - - n - 1 scache -o max_idle=5s",
        ] {
            let silent = entry(line).silent();
            assert_eq!(
                silent.to_string(),
                format!("{line} -o connection_cache_announce=no")
            );
            assert_eq!(silent.announces(), Some(false));
            assert_eq!(silent.silent(), silent);
            assert_eq!(silent.without_silence().to_string(), line);
        }
    }

    #[test]
    fn what_the_administrator_said_about_announcing_is_read_and_left() {
        for (arguments, announces) in [
            ("", None),
            ("-o max_idle=5s", None),
            ("-o connection_cache_announce=yes", Some(true)),
            ("-oconnection_cache_announce=no", Some(false)),
            ("-o {connection_cache_announce = no} -v", Some(false)),
            (
                "-o connection_cache_announce=no -o connection_cache_announce=yes",
                Some(true),
            ),
        ] {
            let entry = entry(&format!("scache unix - - n - 1 scache {arguments}"));
            assert_eq!(entry.announces(), announces, "{arguments}");
            assert_eq!(entry.without_silence(), entry, "{arguments}");
        }
    }

    #[test]
    fn arguments_in_braces_stay_together() {
        let entry = entry("scache unix - - n - 1 scache -v -o { a = {b} c } {d e");
        assert_eq!(entry.arguments(), ["-v", "-o", "a = {b} c", "{d e"]);
    }
}
