//! Names of destinations and endpoints for people. They are whatever a client said.

/// So much of a name is shown.
const CHARACTERS: usize = 160;

/// Fields of a name, as Postfix joins them by newlines, without those that do not apply; nothing in it that a
/// screen would take for more than a letter.
pub(super) fn readable(name: &[u8]) -> String {
    let fields: Vec<String> = name
        .split(|byte| *byte == b'\n')
        .filter(|field| !field.is_empty() && *field != b"*")
        .map(printable)
        .collect();
    let text = fields.join(" ");
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn printable(field: &[u8]) -> String {
    let mut text = String::new();
    for chunk in field.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character.is_control() || is_format(character) {
                text.extend(character.escape_unicode());
            } else {
                text.push(character);
            }
        }
        text.push_str(&chunk.invalid().escape_ascii().to_string());
    }
    text
}

/// Turns the direction of what follows, or is not seen at all.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_its_fields() {
        for (name, text) in [
            (&b"smtp\nexample.com\n*\n\n*"[..], "smtp example.com"),
            (b"plain", "plain"),
            ("müller\u{7}\u{202e}".as_bytes(), "müller\\u{7}\\u{202e}"),
            (b"a\xff\xfeb", "a\\xff\\xfeb"),
            (b"<b>\"\\", "<b>\"\\"),
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
