//! Why a parameter has no usable value, said so that the reader of the log can mend it.

use crate::expansion::ExpansionError;
use crate::value::TimeError;

/// A parameter that cannot be used. The text names it, its value and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// Neither set nor known to [`crate::parameters`].
    #[error("parameter {name}: not set, and there is no default")]
    Undefined {
        /// The parameter.
        name: String,
    },
    /// The value, or one it refers to, cannot be expanded.
    #[error("parameter {name}: bad value: {value} ({error})")]
    Expansion {
        /// The parameter.
        name: String,
        /// Its raw value.
        value: String,
        /// What is wrong, perhaps in another value that this one refers to.
        error: ExpansionError,
    },
    /// Nothing is left after expansion, and this parameter needs something.
    #[error(
        "parameter {name}: the value is empty: \"{value}\" (give it one, or remove the line for the default)"
    )]
    Empty {
        /// The parameter.
        name: String,
        /// Its raw value.
        value: String,
    },
    /// Not a time.
    #[error("parameter {name}: bad time value: {value} ({error})")]
    Time {
        /// The parameter.
        name: String,
        /// Its expanded value.
        value: String,
        /// What is wrong.
        error: TimeError,
    },
    /// Less than the caller can use.
    #[error("parameter {name}: time is too short: {value} (write at least {least_seconds}s)")]
    TimeTooShort {
        /// The parameter.
        name: String,
        /// Its expanded value.
        value: String,
        /// What is allowed.
        least_seconds: u64,
    },
    /// Not a whole number.
    #[error("parameter {name}: bad number: {value} (write a whole number)")]
    Number {
        /// The parameter.
        name: String,
        /// Its expanded value.
        value: String,
    },
    /// A whole number, but not one the caller can use.
    #[error("parameter {name}: number out of range: {value} (write {least} to {most})")]
    OutOfRange {
        /// The parameter.
        name: String,
        /// Its expanded value.
        value: String,
        /// The smallest number allowed.
        least: u32,
        /// The largest number allowed.
        most: u32,
    },
    /// Neither yes nor no.
    #[error("parameter {name}: bad boolean value: {value} (write yes or no)")]
    Boolean {
        /// The parameter.
        name: String,
        /// Its expanded value.
        value: String,
    },
    /// None of the words the parameter knows.
    #[error("parameter {name}: unknown value: {value} (write one of: {choices})")]
    Choice {
        /// The parameter.
        name: String,
        /// Its expanded value.
        value: String,
        /// The words it knows.
        choices: String,
    },
}

/// Characters of a value that a message repeats.
const SHOWN_CHARACTERS: usize = 100;

/// `bytes` for a line of the log: nothing that a terminal or a log parser would act on, and not too long.
pub(crate) fn shown(bytes: &[u8]) -> String {
    // A character has at most four bytes, so this prefix holds all that is shown, however long the value.
    let prefix = bytes.get(..4 * (SHOWN_CHARACTERS + 1)).unwrap_or(bytes);
    let text = String::from_utf8_lossy(prefix);
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_CHARACTERS {
            shown.push('…');
            break;
        }
        shown.push(if character.is_control() {
            '?'
        } else {
            character
        });
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_a_message_is_printable_and_short() {
        assert_eq!(shown(b"a\x1b[1m\nb"), "a?[1m?b");
        assert_eq!(
            shown(&[b'x'; SHOWN_CHARACTERS]),
            "x".repeat(SHOWN_CHARACTERS)
        );
        let long = shown("é".repeat(1000).as_bytes());
        assert_eq!(long, format!("{}…", "é".repeat(SHOWN_CHARACTERS)));
    }
}
