//! Names of destinations and endpoints for people. They are whatever a client said.

use crate::labels;

/// So much of a name is shown.
const CHARACTERS: usize = 160;

/// Fields of a name, as Postfix joins them by newlines, without those that do not apply; nothing in it that a
/// screen would take for more than a letter.
pub(super) fn readable(name: &[u8]) -> String {
    let fields: Vec<&[u8]> = name
        .split(|byte| *byte == b'\n')
        .filter(|field| !field.is_empty() && *field != b"*")
        .collect();
    if fields.is_empty() {
        return String::new();
    }
    let text = labels::shown(&fields.join(&b'\n'));
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_fields() {
        for (name, text) in [
            (&b"smtp\nexample.com\n*\n\n*"[..], "smtp example.com"),
            (b"plain", "plain"),
            (
                "müller\u{7}\u{202e}".as_bytes(),
                "müller\\x07\\xe2\\x80\\xae",
            ),
            (b"a\xff\xfeb", "a\\xff\\xfeb"),
            (b"<b>\"\\", "<b>\"\\\\"),
            (b"", ""),
        ] {
            assert_eq!(readable(name), text);
        }
    }

    #[test]
    fn a_long_name_is_cut() {
        assert_eq!(readable(&[b'x'; CHARACTERS]).chars().count(), CHARACTERS);
        let cut = readable(&[b'x'; CHARACTERS + 1]);
        assert_eq!(cut.chars().count(), CHARACTERS + 1);
        assert!(cut.ends_with('…'));
    }
}
