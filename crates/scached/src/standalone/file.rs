//! The TOML file of options. Keys are looked at before values, so that a message can say what was meant.

use std::path::PathBuf;

use clap::CommandFactory as _;
use toml::de::{DeTable, DeValue};

use super::options::Options;

/// Why a file of options cannot be used. Each says where and what to do.
#[derive(Debug, thiserror::Error)]
pub(super) enum FileError {
    #[error("--config {}: {error}: name a file that can be read", .path.display())]
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("--config {}: {reason}", .path.display())]
    Wrong { path: PathBuf, reason: Wrong },
}

/// What is wrong in the text of a file.
#[derive(Debug, thiserror::Error)]
pub(super) enum Wrong {
    #[error("line {line}: unknown key `{key}`{}", .meant.as_ref().map_or_else(
        || ": scached --help lists the options, each of which is a key".to_owned(),
        |meant| format!(": did you mean `{meant}`?")
    ))]
    Unknown {
        line: usize,
        key: String,
        meant: Option<String>,
    },
    #[error("line {line}: `{key}` belongs on the command line only: remove it here")]
    CommandLineOnly { line: usize, key: String },
    #[error(
        "line {line}: `{key}` is an option, but below [goodbyes] it is the beginning of a label: move it above \
         [goodbyes]"
    )]
    InGoodbyes { line: usize, key: String },
    #[error(
        "line {line}: options belong to no table, but above the first one: remove [{key}]{}",
        if .key == "goodbye" { " or write [goodbyes]" } else { "" }
    )]
    Table { line: usize, key: String },
    #[error("line {line}: the mode is written in quotes: write mode = \"0660\"")]
    Mode { line: usize },
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
}

/// The only table.
const GOODBYES: &str = "goodbyes";

/// Options that mean something only on the command line.
const COMMAND_LINE_ONLY: [&str; 3] = ["config", "takeover", "check"];

impl Options {
    /// Reads a file of options.
    pub(super) fn from_file(path: &std::path::Path) -> Result<Self, FileError> {
        let path = path.to_owned();
        match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text).map_err(|reason| FileError::Wrong { path, reason }),
            Err(error) => Err(FileError::Unreadable { path, error }),
        }
    }
}

/// Reads the text of a file of options.
fn parse(text: &str) -> Result<Options, Wrong> {
    let line = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count();
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            // 0660 is not even a number in TOML.
            let at = error.span().map_or(1, |span| line(span.start));
            let text = text.lines().nth(at - 1).unwrap_or_default();
            let key = text.split('=').next().unwrap_or_default().trim();
            return Err(match key {
                "mode" if text.contains('=') => Wrong::Mode { line: at },
                _ => error.into(),
            });
        }
    };
    let names = names();
    for (key, value) in &table {
        let at = line(key.span().start);
        let name = key.get_ref().as_ref();
        let is_table = matches!(value.get_ref(), DeValue::Table(_));
        let key = name.to_owned();
        if name == GOODBYES {
            check_goodbyes(value.get_ref(), &names, line)?;
        } else if COMMAND_LINE_ONLY.contains(&name) {
            return Err(Wrong::CommandLineOnly { line: at, key });
        } else if is_table {
            return Err(Wrong::Table { line: at, key });
        } else if !names.iter().any(|known| known == name) {
            let meant = meant(name, &names);
            return Err(Wrong::Unknown {
                line: at,
                key,
                meant,
            });
        } else if name == "mode" && !matches!(value.get_ref(), DeValue::String(_)) {
            return Err(Wrong::Mode { line: at });
        }
    }
    Ok(toml::from_str(text)?)
}

/// Looks for options among the goodbyes: TOML puts whatever follows `[goodbyes]` into it.
fn check_goodbyes(
    value: &DeValue<'_>,
    names: &[String],
    line: impl Fn(usize) -> usize,
) -> Result<(), Wrong> {
    let DeValue::Table(goodbyes) = value else {
        // Its type is wrong, which the next step says.
        return Ok(());
    };
    for key in goodbyes.keys() {
        let name = key.get_ref().replace('_', "-");
        if names.contains(&name) || name == GOODBYES {
            return Err(Wrong::InGoodbyes {
                line: line(key.span().start),
                key: key.get_ref().to_string(),
            });
        }
    }
    Ok(())
}

/// Returns the names that a key can have, those of the long options.
fn names() -> Vec<String> {
    Options::command()
        .get_arguments()
        .filter_map(clap::Arg::get_long)
        .filter(|name| !COMMAND_LINE_ONLY.contains(name))
        .map(str::to_owned)
        .collect()
}

/// Returns the option whose name is nearest to a key that does not exist, if any is near: with other hyphens, as a
/// parameter of main.cf, or with a mistake in three letters.
fn meant(key: &str, names: &[String]) -> Option<String> {
    let key = key.to_lowercase().replace('_', "-");
    let key = key.strip_prefix("connection-cache-").unwrap_or(&key);
    names
        .iter()
        .map(String::as_str)
        .chain([GOODBYES])
        .map(|name| (strsim::damerau_levenshtein(key, name), name))
        .filter(|(distance, name)| *distance <= name.len() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn a_key_that_does_not_exist_is_told_with_the_one_that_was_meant() {
        for (text, said) in [
            (
                "ttl_limit = 5",
                "line 1: unknown key `ttl_limit`: did you mean `ttl-limit`?",
            ),
            (
                "\nttl-limt = 5",
                "line 2: unknown key `ttl-limt`: did you mean `ttl-limit`?",
            ),
            (
                "connection_cache_ttl_limit = 5",
                "did you mean `ttl-limit`?",
            ),
            ("allow-users = [1]", "did you mean `allow-user`?"),
            ("TTL-Limit = 5", "did you mean `ttl-limit`?"),
            (
                "something-else = 5",
                "unknown key `something-else`: scached --help lists",
            ),
            (
                "takeover = true",
                "line 1: `takeover` belongs on the command line only",
            ),
            (
                "[scached]\nttl-limit = 5",
                "line 1: options belong to no table",
            ),
            (
                "[goodbye]\nsmtp = \"QUIT\"",
                "remove [goodbye] or write [goodbyes]",
            ),
        ] {
            assert!(wrong(text).contains(said), "{text}: {}", wrong(text));
        }
    }

    #[test]
    fn no_option_is_swallowed_by_the_goodbyes() {
        for name in names()
            .into_iter()
            .chain([GOODBYES, "ttl_limit"].map(str::to_owned))
        {
            let text = format!("[goodbyes]\n\"smtp\" = \"QUIT\"\n{name} = \"5\"\n");
            let said = wrong(&text);
            let wanted = format!("line 3: `{name}` is an option, but below [goodbyes]");
            assert!(said.contains(&wanted), "{said}");
        }
        assert!(parse("ttl-limit = 5\n[goodbyes]\n\"smtp:\" = \"QUIT\"\n").is_ok());
        assert!(parse("goodbyes = { smtp = \"QUIT\" }\nttl-limit = 5\n").is_ok());
    }

    #[test]
    fn a_mode_without_quotes_is_told_to_have_some() {
        for value in ["0660", "660", "0o660", "0660 # group", "[6]"] {
            let said = wrong(&format!("ttl-limit = 5\nmode = {value}\n"));
            assert_eq!(
                said,
                "line 2: the mode is written in quotes: write mode = \"0660\""
            );
        }
        assert!(parse("mode = \"0660\"\n").is_ok());
        assert!(wrong("ttl-limit = 010\n").contains("leading zero"));
    }

    #[test]
    fn every_option_is_a_key() {
        for name in names() {
            // A type that none of them has.
            let said = wrong(&format!("{name} = 1979-05-27\n"));
            assert!(!said.contains("unknown"), "{name}: {said}");
        }
        assert!(names().len() > 15);
    }
}
