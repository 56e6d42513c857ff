//! Labels as people read and type them, and as JSON has them.
//!
//! A label is bytes. Postfix builds its own of fields with a newline between them, so a newline is shown as the
//! end of a field, and `\n` is typed for it.

use std::borrow::Cow;
use std::fmt::Write;
use std::str::FromStr;

use serde::ser::SerializeMap;

/// What a label is shown as: its fields with a space between them. What cannot be printed is escaped, and so is
/// a space, so that fields can be told apart.
pub(crate) fn shown(label: &[u8]) -> String {
    let mut text = String::with_capacity(label.len());
    for (number, field) in label.split(|byte| *byte == b'\n').enumerate() {
        if number > 0 {
            text.push(' ');
        }
        if field.is_empty() {
            text.push_str("\"\"");
        }
        escape(field, &mut text);
    }
    text
}

/// Any other text that somebody else wrote, on one line and without what moves a terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for character in text.chars() {
        if character == ' ' || is_printed(character) {
            printable.push(character);
        } else {
            escape_bytes(character, &mut printable);
        }
    }
    printable
}

fn escape(field: &[u8], text: &mut String) {
    for chunk in field.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '\t' => text.push_str("\\t"),
                '\r' => text.push_str("\\r"),
                character if is_printed(character) => text.push(character),
                character => escape_bytes(character, text),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}

fn escape_bytes(character: char, text: &mut String) {
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        let _ = write!(text, "\\x{byte:02x}");
    }
}

/// JSON with everything escaped that [`is_printed`] refuses, but for the spaces and newlines between values. A parser
/// gets the same text.
pub(crate) fn json_escaped(json: String) -> String {
    let is_plain = |character: char| matches!(character, ' ' | '\n') || is_printed(character);
    if json.chars().all(is_plain) {
        return json;
    }
    let mut escaped = String::with_capacity(json.len());
    for character in json.chars() {
        if is_plain(character) {
            escaped.push(character);
        } else {
            // Outside of strings JSON has ASCII only, all of it plain.
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    escaped
}

/// Whether a character is seen, by itself, where it is written: no control character, no space, nothing that is
/// invisible, changes the direction of writing, or joins the character before it.
fn is_printed(character: char) -> bool {
    // The standard library escapes what is not printable by its Unicode category, and marks that combine.
    let is_escaped = character.escape_debug().len() > 1;
    // Letters and symbols, by their category, that look like a space.
    let is_blank = matches!(
        character,
        ' ' | '\u{115f}' | '\u{1160}' | '\u{2800}' | '\u{3164}' | '\u{ffa0}'
    );
    !is_blank && (!is_escaped || matches!(character, '"' | '\'' | '\\'))
}

/// A label, or the beginning of some, that was typed: `\n` is a newline, `\t` a tab, `\r` a carriage return,
/// `\\` a backslash, `\xNN` the byte of that number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed(pub(crate) Vec<u8>);

impl FromStr for Typed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut label = Vec::with_capacity(text.len());
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            if byte != b'\\' {
                label.push(byte);
                continue;
            }
            label.push(match rest.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'\\') => b'\\',
                Some(b'x') => {
                    let digits = [rest.next(), rest.next()].map(|digit| {
                        let digit = char::from(digit?).to_digit(16)?;
                        u8::try_from(digit).ok()
                    });
                    match digits {
                        [Some(high), Some(low)] => high << 4 | low,
                        _ => return Err("two hexadecimal digits belong behind \\x".to_owned()),
                    }
                }
                _ => {
                    return Err(
                        "a backslash is followed by n, t, r, xNN or another backslash".to_owned(),
                    );
                }
            });
        }
        if label.contains(&0) {
            return Err("no label has a NUL in it".to_owned());
        }
        Ok(Self(label))
    }
}

/// Writes a label into an object: as text, and if it is none that Unicode knows, in hexadecimal digits too.
pub(crate) fn serialize<M: SerializeMap>(
    map: &mut M,
    name: &str,
    label: &[u8],
) -> Result<(), M::Error> {
    let text = String::from_utf8_lossy(label);
    map.serialize_entry(name, &text)?;
    if let Cow::Owned(_) = text {
        let digits = label.iter().fold(String::new(), |mut digits, byte| {
            let _ = write!(digits, "{byte:02x}");
            digits
        });
        map.serialize_entry(&format!("{name}_hex"), &digits)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_shown_in_its_fields() {
        for (label, wanted) in [
            (&b"smtp\n*\n192.0.2.1\n25"[..], "smtp * 192.0.2.1 25"),
            (b"a\n\nb", "a \"\" b"),
            (b"", "\"\""),
            (b"a b\\c", "a\\x20b\\\\c"),
            (b"\x1b[2J\xff", "\\x1b[2J\\xff"),
            ("gr\u{fc}n\u{202e}".as_bytes(), "gr\u{fc}n\\xe2\\x80\\xae"),
        ] {
            assert_eq!(shown(label), wanted);
        }
    }

    #[test]
    fn what_is_shown_of_a_field_can_be_typed() {
        let field: Vec<u8> = (1..=255).filter(|byte| *byte != b'\n').collect();
        assert_eq!(shown(&field).parse(), Ok(Typed(field)));
        let label = b"smtp\n*".to_vec();
        assert_eq!("smtp\\n*".parse(), Ok(Typed(label)));
    }

    #[test]
    fn what_is_no_escape_is_refused() {
        for text in ["\\", "\\q", "\\x1", "\\xgg", "\\x00", "a\\x"] {
            assert!(text.parse::<Typed>().is_err(), "{text}");
        }
    }

    /// Each is invisible, or does something to what is around it: C0 and C1 controls, DEL, spaces of several kinds, line
    /// and paragraph separators, marks of direction, joiners, fillers, tags, variation selectors, unassigned.
    const UNSEEN: &str = "\u{1}\u{1b}\u{7f}\u{80}\u{85}\u{9b}\u{9f}\u{a0}\u{ad}\u{34f}\u{61c}\u{115f}\u{180e}\
        \u{200b}\u{200e}\u{200f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2060}\u{2066}\u{2069}\u{2800}\u{3000}\u{3164}\
        \u{fe0f}\u{feff}\u{fff9}\u{ffa0}\u{1d173}\u{e0041}\u{e0100}\u{10ffff}";

    #[test]
    fn what_is_not_seen_is_escaped_in_text_and_in_json() {
        for character in UNSEEN.chars() {
            let text = format!("a{character}b");
            for shown in [shown(text.as_bytes()), printable(&text)] {
                assert!(shown.is_ascii(), "{shown:?}");
                assert!(!shown.contains(|c: char| c.is_control()), "{shown:?}");
                assert_eq!(shown.parse(), Ok(Typed(text.clone().into_bytes())));
            }
            let json = json_escaped(serde_json::to_string(&text).expect("JSON"));
            assert!(json.starts_with("\"a\\u") && json.is_ascii(), "{json:?}");
            let parsed: String = serde_json::from_str(&json).expect("JSON");
            assert_eq!(parsed, text);
        }
    }

    #[test]
    fn what_is_seen_stays_as_it_is() {
        for text in [
            "smtp_[192.0.2.1]:25",
            "gr\u{fc}n",
            "\u{65e5}\u{672c}",
            "\u{1f4e7}",
            "'q'",
        ] {
            assert_eq!(shown(text.as_bytes()), text);
            assert_eq!(printable(text), text);
            let json = serde_json::to_string(text).expect("JSON");
            assert_eq!(json_escaped(json.clone()), json);
        }
        let pretty = serde_json::to_string_pretty(&["a b", "\u{e9}"]).expect("JSON");
        assert_eq!(json_escaped(pretty.clone()), pretty);
    }

    #[test]
    fn what_a_peer_said_moves_no_terminal() {
        assert_eq!(printable("421 bye\r\n\x1b[H"), "421 bye\\x0d\\x0a\\x1b[H");
    }
}
