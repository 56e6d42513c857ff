//! A service in master.cf, as `postconf -M` writes it in one line.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

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
    /// Values in it may have any bytes.
    arguments: Vec<u8>,
}

impl Entry {
    /// Reads a line of `postconf -M`.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        let mut rest = line.trim_ascii();
        let mut word = || {
            let end = rest.iter().position(u8::is_ascii_whitespace);
            let (word, tail) = rest.split_at(end.unwrap_or(rest.len()));
            rest = tail.trim_ascii_start();
            let word = std::str::from_utf8(word).ok()?;
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

    /// The service as `postconf -M` writes it.
    pub(super) fn line(&self) -> OsString {
        let mut line = format!("{} {}", self.fields.join(" "), self.program).into_bytes();
        if !self.arguments.is_empty() {
            line.push(b' ');
            line.extend_from_slice(&self.arguments);
        }
        OsString::from_vec(line)
    }

    /// The name of the service.
    pub(super) fn service(&self) -> &str {
        &self.fields[0]
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
        let arguments = self.without_silence().arguments;
        let arguments = [arguments.as_slice(), b" ", SILENT.as_bytes()].concat();
        Self {
            arguments: arguments.trim_ascii().to_owned(),
            ..self.clone()
        }
    }

    /// The same service without what [`Entry::silent`] added.
    pub(super) fn without_silence(&self) -> Self {
        let arguments = match self.arguments.strip_suffix(SILENT.as_bytes()) {
            Some(rest) if rest.is_empty() || rest.ends_with(b" ") => rest.trim_ascii_end(),
            _ => &self.arguments,
        };
        Self {
            arguments: arguments.to_owned(),
            ..self.clone()
        }
    }

    /// What its own arguments say about announcing.
    pub(super) fn announces(&self) -> Option<bool> {
        let overrides = self.overrides().into_iter();
        let mut said = overrides.filter(|(name, _)| name == ANNOUNCE.as_bytes());
        said.next_back().map(|(_, value)| value != b"no")
    }

    /// The parameters that its own arguments set with `-o`, in their order.
    pub(super) fn overrides(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut overrides = Vec::new();
        let mut arguments = self.arguments().into_iter().map(OsString::into_vec);
        while let Some(argument) = arguments.next() {
            let assignment = match argument.strip_prefix(b"-o") {
                Some(b"") => arguments.next(),
                assignment => assignment.map(<[u8]>::to_vec),
            };
            let assignment = assignment.unwrap_or_default();
            if let Ok((name, value)) = scache_maincf::split_assignment(&assignment) {
                overrides.push((name.to_vec(), value.to_vec()));
            }
        }
        overrides
    }

    /// The program's arguments, one by one: separated by white space, but for what is in braces.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        let mut arguments = Vec::new();
        let mut rest = self.arguments.trim_ascii();
        while !rest.is_empty() {
            let end = if rest.starts_with(b"{") {
                closing_brace(rest).map(|position| position + 1)
            } else {
                rest.iter().position(u8::is_ascii_whitespace)
            };
            let (argument, tail) = rest.split_at(end.unwrap_or(rest.len()));
            let inside = argument.strip_prefix(b"{");
            let inside = inside.and_then(|argument| argument.strip_suffix(b"}"));
            let argument = inside.map_or(argument, <[u8]>::trim_ascii);
            arguments.push(OsStr::from_bytes(argument).to_owned());
            rest = tail.trim_ascii_start();
        }
        arguments
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.line().display().fmt(f)
    }
}

fn closing_brace(text: &[u8]) -> Option<usize> {
    let mut depth = 0_usize;
    text.iter().position(|byte| {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::Entry;

    fn entry(line: &str) -> Entry {
        Entry::parse(line.as_bytes()).unwrap()
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
        assert_eq!(Entry::parse(b"scache unix - - n - 1"), None);
        assert_eq!(Entry::parse(b""), None);
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

    #[test]
    fn values_keep_their_bytes() {
        let line = b"scache unix - - n - 1 scache -o syslog_name=caf\xe9 -o {x=\xff }";
        let entry = Entry::parse(line).unwrap();
        assert_eq!(entry.line().as_bytes(), line);
        let words = [b"-o".as_slice(), b"syslog_name=caf\xe9", b"-o", b"x=\xff"];
        assert_eq!(entry.arguments(), words.map(OsStr::from_bytes));
        assert_eq!(entry.silent().without_silence(), entry);
    }
}
