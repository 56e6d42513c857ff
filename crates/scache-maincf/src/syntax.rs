//! Text into names and raw values: logical lines, comments and `name = value`. Expands nothing.

use crate::error::shown;

/// A logical line that is not an assignment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "line {line}: {problem}: \"{text}\"; write name = value, or begin the line with # or, to continue the line before, with a blank"
)]
pub struct SyntaxError {
    /// Where the logical line begins, counted from 1.
    pub line: usize,
    /// What is missing.
    pub problem: AssignmentError,
    /// The logical line.
    pub text: String,
}

/// Why text is not `name = value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    /// Nothing stands before the `=`.
    #[error("there is no parameter name")]
    NoName,
    /// The first word is not followed by `=`.
    #[error("the name is not followed by '='")]
    NoEquals,
}

/// Something in the file that Postfix warns of and goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// A name is defined twice with different values.
    #[error("line {line}: {name} is defined again; the earlier value is dropped: {earlier}")]
    Overriding {
        /// Where the later definition begins, counted from 1.
        line: usize,
        /// The parameter.
        name: String,
        /// The raw value that is dropped.
        earlier: String,
    },
    /// Text that continues a line stands where no line has begun; it is ignored.
    #[error(
        "line {line}: ignored, as it begins with a blank and there is no line to continue: \"{text}\""
    )]
    Indented {
        /// Where it begins, counted from 1.
        line: usize,
        /// What is ignored.
        text: String,
    },
}

/// Splits `name = value`, without the blanks around either. The value may be empty and may contain `=`.
///
/// This is for `-o name=value`; the braces of `-o { name = value }` are removed by master(8).
///
/// # Errors
/// [`AssignmentError`] says what is missing.
pub fn split_assignment<T: AsRef<[u8]> + ?Sized>(
    text: &T,
) -> Result<(&[u8], &[u8]), AssignmentError> {
    let text = trim_start(text.as_ref());
    let end = text
        .iter()
        .position(|byte| is_blank(*byte) || *byte == b'=')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return Err(AssignmentError::NoName);
    }
    match trim_start(rest).split_first() {
        Some((b'=', value)) => Ok((name, trim_end(trim_start(value)))),
        _ => Err(AssignmentError::NoEquals),
    }
}

/// A line and what continues it, without comments and empty lines.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogicalLine {
    number: usize,
    text: Vec<u8>,
}

impl LogicalLine {
    /// Whether it continues a line that is not there.
    pub(crate) fn begins_with_blank(&self) -> bool {
        self.text.first().is_some_and(|byte| is_blank(*byte))
    }

    pub(crate) fn split(&self) -> Result<(&[u8], &[u8]), SyntaxError> {
        split_assignment(&self.text).map_err(|problem| SyntaxError {
            line: self.number,
            problem,
            text: shown(&self.text),
        })
    }

    pub(crate) fn indented(&self) -> Warning {
        Warning::Indented {
            line: self.number,
            text: shown(&self.text),
        }
    }

    pub(crate) fn overriding(&self, name: &[u8], earlier: &[u8]) -> Warning {
        Warning::Overriding {
            line: self.number,
            name: shown(name),
            earlier: shown(earlier),
        }
    }
}

/// The logical lines of a file.
///
/// A line that begins with a blank continues the one before, its blanks being part of the value. Comments and empty lines do not
/// end a logical line.
pub(crate) fn logical_lines(text: &[u8]) -> Vec<LogicalLine> {
    let mut lines: Vec<LogicalLine> = Vec::new();
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let first = trim_start(line).first();
        if matches!(first, None | Some(b'#')) {
            continue;
        }
        let continues = line.first().is_some_and(|byte| is_blank(*byte));
        match lines.last_mut() {
            Some(last) if continues => last.text.extend_from_slice(line),
            _ => lines.push(LogicalLine {
                number,
                text: line.to_vec(),
            }),
        }
    }
    for line in &mut lines {
        // Postfix takes the line for a C string: it ends at the first NUL, wherever that came from.
        if let Some(end) = line.text.iter().position(|byte| *byte == 0) {
            line.text.truncate(end);
        }
    }
    lines
}

/// What the C library calls white space.
pub(crate) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

pub(crate) fn trim_start(text: &[u8]) -> &[u8] {
    let blanks = text.iter().take_while(|byte| is_blank(**byte)).count();
    text.split_at(blanks).1
}

fn trim_end(text: &[u8]) -> &[u8] {
    let blanks = text.iter().rev().take_while(|byte| is_blank(**byte));
    text.split_at(text.len() - blanks.count()).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> Vec<(usize, String)> {
        logical_lines(text)
            .into_iter()
            .map(|line| (line.number, String::from_utf8(line.text).unwrap()))
            .collect()
    }

    #[test]
    fn a_logical_line_goes_on_over_blanks_comments_and_empty_lines() {
        type Case<'a> = (&'a [u8], &'a [(usize, &'a str)]);
        let cases: &[Case] = &[
            (b"", &[]),
            (b"\n \n\t\n# x\n  # y", &[]),
            (b"a=1", &[(1, "a=1")]),
            (b"a=1\nb=2\n", &[(1, "a=1"), (2, "b=2")]),
            (b"\n\na=1\n 2\n\t3\nb=", &[(3, "a=1 2\t3"), (6, "b=")]),
            (
                b"a=1\n# x\n\n  # y\n \n 2\n#\nb=2",
                &[(1, "a=1 2"), (8, "b=2")],
            ),
            (b"a=1\r\n 2\r\nb=", &[(1, "a=1\r 2\r"), (3, "b=")]),
            (b" a=1\n b=2\nc=3", &[(1, " a=1 b=2"), (3, "c=3")]),
            (b"a=1\0x\n 2\nb=3", &[(1, "a=1"), (3, "b=3")]),
            (b"\0a=1", &[(1, "")]),
        ];
        for (text, expected) in cases {
            let expected: Vec<_> = expected
                .iter()
                .map(|(number, text)| (*number, (*text).to_owned()))
                .collect();
            assert_eq!(lines(text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn an_assignment_is_split_at_its_first_equals_sign_and_trimmed() {
        use AssignmentError::{NoEquals, NoName};
        type Split<'a> = Result<(&'a str, &'a str), AssignmentError>;
        let cases: &[(&str, Split)] = &[
            ("a=b", Ok(("a", "b"))),
            (" a\t= \x0b b c \r", Ok(("a", "b c"))),
            ("a=", Ok(("a", ""))),
            ("a = b = c", Ok(("a", "b = c"))),
            ("a==", Ok(("a", "="))),
            ("[x]:25=y", Ok(("[x]:25", "y"))),
            ("", Err(NoName)),
            (" = b", Err(NoName)),
            ("a", Err(NoEquals)),
            ("a b = c", Err(NoEquals)),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            assert_eq!(split_assignment(*text), expected, "{text:?}");
        }
    }
}
