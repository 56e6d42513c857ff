//! What is done to a Postfix, one step after the other: done and told, or only told.

use std::ffi::OsStr;
use std::fmt::Display;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;

use crate::failure::Failure;

/// How steps are taken.
#[derive(Debug)]
pub(super) struct Steps {
    dry_run: bool,
    about: Option<String>,
}

impl Steps {
    /// With `dry_run` nothing is done. Each line says what it is about, if that is given.
    pub(super) fn new(dry_run: bool, about: Option<String>) -> Self {
        Self { dry_run, about }
    }

    /// Whether nothing is done.
    pub(super) fn dry_run(&self) -> bool {
        self.dry_run
    }

    /// Does `this`, which says what it has done; or else says which command would do it.
    pub(super) fn take<M: Display>(
        &self,
        command: impl Display,
        this: impl FnOnce() -> Result<M, Failure>,
    ) -> Result<(), Failure> {
        if self.dry_run {
            self.say(command);
        } else {
            self.say(this()?);
        }
        Ok(())
    }

    /// A line on standard output. Whoever does not want to read it does not stop the work half-way.
    pub(super) fn say(&self, line: impl Display) {
        let mut out = io::stdout();
        let _ = match &self.about {
            // Commands can be copied as they are.
            Some(about) if !self.dry_run => writeln!(out, "{about}: {line}"),
            _ => writeln!(out, "{line}"),
        };
    }

    /// Something worth knowing that is no step: in a dry run a comment.
    pub(super) fn remark(&self, line: impl Display) {
        let mark = if self.dry_run { "# " } else { "" };
        self.say(format_args!("{mark}{line}"));
    }
}

/// A word of a command for the shell.
pub(super) fn quoted(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    let Some(word) = word.to_str() else {
        // Every shell has printf; not every shell has another way to write such bytes.
        let bytes = word.as_bytes().iter();
        let escaped = bytes.map(|&byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'=' | b' ' => {
                char::from(byte).to_string()
            }
            _ => format!("\\{byte:03o}"),
        });
        return format!("\"$(printf '{}')\"", escaped.collect::<String>());
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=:@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use super::quoted;

    #[test]
    fn words_are_quoted_when_the_shell_would_change_them() {
        assert_eq!(quoted("/etc/postfix/master.cf"), "/etc/postfix/master.cf");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
        let bytes = OsStr::from_bytes(b"x=caf\xe9 '%");
        assert_eq!(quoted(bytes), r#""$(printf 'x=caf\351 \047\045')""#);
    }
}
