//! What becomes of `$name` and its relatives in a value.
//!
//! | form | becomes |
//! |---|---|
//! | `$name` `${name}` `$(name)` | the value of the name, expanded; nothing when it has none |
//! | `${name?text}` `${name?{text}}` | the text, when the raw value of the name is not empty |
//! | `${name:text}` `${name:{text}}` | the text, when it is |
//! | `${name?{a}:{b}}` `${name?{a}:b}` | one or the other |
//! | `${{x} == {y} ? {a} : {b}}` | by comparison, see [`crate::comparison`]; alone it is `true` or nothing |
//! | `$$` | a dollar sign |
//!
//! Blanks around `{text}` are skipped, those within stay; text without braces keeps all of them.

use crate::comparison::{self, Comparison};
use crate::error::shown;

/// How deep values and texts may stand in one another, as in Postfix.
pub const EXPANSION_DEPTH: usize = 100;

/// Bytes of text that are worked through for one value, the values and texts it refers to counted each time they are used.
/// The result cannot be longer.
pub const EXPANSION_BYTES: usize = 1024 * 1024;

/// Why a value cannot be expanded. The text quotes the place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpansionError {
    /// A brace or a parenthesis is open at the end.
    #[error("nothing closes the brace or parenthesis at \"{0}\"")]
    Unclosed(String),
    /// A dollar sign is followed by none of the forms.
    #[error("no parameter name follows the $ at \"{0}\"; write $$ for a dollar sign")]
    NoName(String),
    /// A name consists of letters, digits and underscores.
    #[error("a parameter name cannot contain what follows at \"{0}\"")]
    BadName(String),
    /// A text in braces stands in the place of a name, and no operator follows it.
    #[error("expected ==, !=, <, <=, >= or > at \"{0}\"")]
    NoOperator(String),
    /// An operator is followed by letters that say how to compare, and they are unknown.
    #[error("expected the operator alone, or with \"level\" behind it, at \"{0}\"")]
    UnknownComparison(String),
    /// An operator needs a text in braces behind it.
    #[error("expected {{text}} at \"{0}\"")]
    NoOperand(String),
    /// Something follows a comparison that is not a choice.
    #[error("expected ? or : at \"{0}\"")]
    NoChoice(String),
    /// Something follows a text in braces.
    #[error("unexpected text at \"{0}\"")]
    Leftover(String),
    /// What `level` compares are versions: numbers with points between them.
    #[error("expected a compatibility level such as 3.6 instead of \"{0}\"")]
    BadLevel(String),
    /// More than [`EXPANSION_DEPTH`]: most likely a value that refers to itself.
    #[error(
        "values stand in one another more than {EXPANSION_DEPTH} deep at \"{0}\"; look for one that refers to itself"
    )]
    TooDeep(String),
    /// More than [`EXPANSION_BYTES`].
    #[error(
        "it grows beyond {EXPANSION_BYTES} bytes; look for values that refer to others many times"
    )]
    TooLong,
}

/// Expands `text`, where `raw` knows the raw values of names.
pub(crate) fn expand<'v>(
    text: &[u8],
    raw: &dyn Fn(&[u8]) -> Option<&'v [u8]>,
) -> Result<Vec<u8>, ExpansionError> {
    let mut expansion = Expansion {
        raw,
        bytes_left: EXPANSION_BYTES,
    };
    let mut output = Vec::new();
    expansion.text(text, 0, &mut output)?;
    Ok(output)
}

struct Expansion<'r, 'v> {
    raw: &'r dyn Fn(&[u8]) -> Option<&'v [u8]>,
    bytes_left: usize,
}

impl Expansion<'_, '_> {
    fn text(
        &mut self,
        text: &[u8],
        depth: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), ExpansionError> {
        if text.is_empty() {
            return Ok(());
        }
        if depth > EXPANSION_DEPTH {
            return Err(ExpansionError::TooDeep(shown(text)));
        }
        self.bytes_left = self
            .bytes_left
            .checked_sub(text.len())
            .ok_or(ExpansionError::TooLong)?;

        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            rest = match (first, after) {
                (b'$', [b'$', after @ ..]) => {
                    output.push(b'$');
                    after
                }
                (b'$', _) => {
                    let (reference, after) = reference(rest)?;
                    self.reference(reference, depth, output)?;
                    after
                }
                _ => {
                    output.push(*first);
                    after
                }
            };
        }
        Ok(())
    }

    /// What stands behind a `$`: a bare name, or all that is within the braces.
    fn reference(
        &mut self,
        reference: &[u8],
        depth: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), ExpansionError> {
        let reference = skip_blanks(reference);
        if reference.first() == Some(&b'{') {
            let (comparison, rest) = Comparison::parse(reference)?;
            let value: &[u8] = if self.holds(&comparison, depth)? {
                b"true"
            } else {
                b""
            };
            return match rest.first() {
                None | Some(b'?' | b':') => self.value_or_choice(value, rest, depth, output),
                Some(_) => Err(ExpansionError::NoChoice(shown(rest))),
            };
        }
        let length = reference
            .iter()
            .take_while(|byte| is_name_byte(**byte))
            .count();
        let (name, rest) = reference.split_at(length);
        let rest = skip_blanks(rest);
        match rest.first() {
            None | Some(b'?' | b':') => {
                let value = (self.raw)(name).unwrap_or_default();
                self.value_or_choice(value, rest, depth, output)
            }
            Some(_) => Err(ExpansionError::BadName(shown(rest))),
        }
    }

    fn holds(&mut self, comparison: &Comparison, depth: usize) -> Result<bool, ExpansionError> {
        let mut left = Vec::new();
        self.text(comparison.left, depth + 1, &mut left)?;
        let mut right = Vec::new();
        self.text(comparison.right, depth + 1, &mut right)?;
        comparison.holds(&left, &right)
    }

    /// The value itself, or one of the texts that follow, depending on whether the raw value is empty.
    fn value_or_choice(
        &mut self,
        value: &[u8],
        choice: &[u8],
        depth: usize,
        output: &mut Vec<u8>,
    ) -> Result<(), ExpansionError> {
        let Some((operator, rest)) = choice.split_first() else {
            return self.text(value, depth + 1, output);
        };
        let mut rest = rest;
        if *operator == b'?' {
            let (text, after) = braced_or_all(rest)?;
            if !value.is_empty() {
                self.text(text, depth + 1, output)?;
            }
            rest = match after {
                [] => return Ok(()),
                [b':', after @ ..] => after,
                _ => return Err(ExpansionError::Leftover(shown(after))),
            };
        }
        let (text, after) = braced_or_all(rest)?;
        if value.is_empty() {
            self.text(text, depth + 1, output)?;
        }
        match after {
            [] => Ok(()),
            _ => Err(ExpansionError::Leftover(shown(after))),
        }
    }
}

/// Splits what the `$` at the beginning of `text` refers to from what follows.
///
/// Within `${` only braces count and within `$(` only parentheses.
fn reference(text: &[u8]) -> Result<(&[u8], &[u8]), ExpansionError> {
    let (reference, after) = match text {
        [b'$', b'{', rest @ ..] => split_at_closing(rest, b'{', b'}'),
        [b'$', b'(', rest @ ..] => split_at_closing(rest, b'(', b')'),
        _ => {
            let rest = text.get(1..).unwrap_or_default();
            let length = rest.iter().take_while(|byte| is_name_byte(**byte)).count();
            Some(rest.split_at(length))
        }
    }
    .ok_or_else(|| ExpansionError::Unclosed(shown(text)))?;
    if reference.is_empty() {
        return Err(ExpansionError::NoName(shown(text)));
    }
    Ok((reference, after))
}

/// `{text}` with the blanks around it and what follows them; or, without a brace, everything.
fn braced_or_all(text: &[u8]) -> Result<(&[u8], &[u8]), ExpansionError> {
    let inner = skip_blanks(text);
    if inner.first() == Some(&b'{') {
        comparison::braced(inner)
    } else {
        Ok((text, b""))
    }
}

/// `text` up to the closing byte that no opening one in it claims, and what follows that.
pub(crate) fn split_at_closing(text: &[u8], opening: u8, closing: u8) -> Option<(&[u8], &[u8])> {
    let mut open = 1_usize;
    let end = text.iter().position(|byte| {
        if *byte == opening {
            open += 1;
        } else if *byte == closing {
            open -= 1;
        }
        open == 0
    })?;
    let (inner, rest) = text.split_at(end);
    Some((inner, rest.get(1..)?))
}

/// Fewer bytes than [`crate::syntax::is_blank`], as in Postfix.
pub(crate) fn skip_blanks(text: &[u8]) -> &[u8] {
    let blanks = text
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
    text.split_at(blanks.count()).1
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn check(text: &str, expected: Result<&str, &str>) {
        let names: BTreeMap<&[u8], &[u8]> = [
            ("a", "A"),
            ("b", "$a"),
            ("spaced", " s "),
            ("dollar", "$$a"),
            ("empty", ""),
            ("hollow", "$empty"),
            ("loop", "x$loop"),
            ("ping", "$pong"),
            ("pong", "${ping}"),
            ("around", "${{$around} == {x} ? {y}}"),
        ]
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
        .into();
        let found = expand(text.as_bytes(), &|name| names.get(name).copied());
        let found = found
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|error| {
                let debug = format!("{error:?}");
                debug.split('(').next().unwrap().to_owned()
            });
        let expected = expected.map(str::to_owned).map_err(str::to_owned);
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn names_are_replaced_by_their_values() {
        for (text, expected) in [
            ("", ""),
            ("plain {} () text", "plain {} () text"),
            ("<$a>", "<A>"),
            ("<$b>", "<A>"),
            ("<${a}$(a)>", "<AA>"),
            ("<${ a }>", "<A>"),
            ("<$a.$a-$aa>", "<A.A->"),
            ("<$undefined$empty>", "<>"),
            ("$$a $$$a $$$$", "$a $A $$"),
            ("$dollar", "$a"),
            ("${ }", ""),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn texts_depend_on_whether_a_raw_value_is_empty() {
        for (text, expected) in [
            ("<${a?text}>", "<text>"),
            ("<${a? t }>", "< t >"),
            ("<${a?{ t }}>", "< t >"),
            ("<${a ? \t{t} }>", "<t>"),
            ("<${empty?t}${undefined?t}>", "<>"),
            ("<${hollow?t}>", "<t>"),
            ("<${a:text}>", "<>"),
            ("<${empty:text}${undefined: {u}}>", "<textu>"),
            ("<${a?{x}:{y}}${empty?{x}:{y}}>", "<xy>"),
            ("<${a?{x}:y}${empty?{x} : y }>", "<x y >"),
            ("<${a?x:y}>", "<x:y>"),
            ("<${a??x}>", "<?x>"),
            ("<${a?{$b}}${a?$b}>", "<AA>"),
            ("<${a?{${empty?{x}:{${a?{deep}}}}}}>", "<deep>"),
            ("<$(a?{x}:{y})>", "<x>"),
            ("<$(a?(x))>", "<(x)>"),
            ("<${?x}${:y}>", "<y>"),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn comparisons_choose_or_are_true() {
        for (text, expected) in [
            ("<${{$a} == {A} ? {x} : {y}}>", "<x>"),
            ("<${{$a}=={B}?{x}:{y}}>", "<y>"),
            ("<${{$a} == {A}}${{$a} == {B}}>", "<true>"),
            ("<${{9} < {10} : {y}}${{9} > {10} : {z}}>", "<z>"),
            ("<${{${a?{1}}}!={2}?plain text}>", "<plain text>"),
            ("<${ {3.10} >=level {3.9} ? {x}}>", "<x>"),
        ] {
            check(text, Ok(expected));
        }
    }

    #[test]
    fn what_is_no_form_is_an_error() {
        for (text, expected) in [
            ("$", "NoName"),
            ("a $ b", "NoName"),
            ("$-", "NoName"),
            ("${}", "NoName"),
            ("$()", "NoName"),
            ("${a", "Unclosed"),
            ("$(a", "Unclosed"),
            ("${a?{x}", "Unclosed"),
            ("$(a?{x)", "Unclosed"),
            ("${a-b}", "BadName"),
            ("${a b}", "BadName"),
            ("${$a}", "BadName"),
            ("${a{b}}", "BadName"),
            ("${\u{b}a}", "BadName"),
            ("${a?{x}y}", "Leftover"),
            ("${a?{x}:{y}z}", "Leftover"),
            ("${a:{y}:{z}}", "Leftover"),
            ("${{a}}", "NoOperator"),
            ("${{a} = {b}}", "NoOperator"),
            ("${{a} === {b}}", "NoOperator"),
            ("${{a} == b}", "NoOperand"),
            ("${{a} == }", "NoOperand"),
            ("${{a} == {b} x}", "NoChoice"),
            ("${{a} ==lvl {b}}", "UnknownComparison"),
            ("${{a} ==level {3}}", "BadLevel"),
        ] {
            check(text, Err(expected));
        }
    }

    #[test]
    fn loops_end() {
        for text in ["$loop", "$ping", "${loop?{$loop}}", "$around"] {
            check(text, Err("TooDeep"));
        }
    }

    #[test]
    fn a_hundred_values_may_stand_in_one_another() {
        // `n0` is text, and each of the others refers to the one before.
        let chain: Vec<String> = (0..=EXPANSION_DEPTH)
            .map(|n| match n {
                0 => "end".to_owned(),
                n => format!("$n{}", n - 1),
            })
            .collect();
        let raw = |name: &[u8]| {
            let number: usize = std::str::from_utf8(name).unwrap()[1..].parse().unwrap();
            Some(chain[number].as_bytes())
        };
        let deepest = format!("$n{}", EXPANSION_DEPTH - 1);
        assert_eq!(expand(deepest.as_bytes(), &raw), Ok(b"end".to_vec()));
        let beyond = format!("$n{EXPANSION_DEPTH}");
        let error = expand(beyond.as_bytes(), &raw).unwrap_err();
        assert_eq!(error, ExpansionError::TooDeep("end".to_owned()));
    }

    #[test]
    fn braces_within_braces_are_bounded_too() {
        let nested = |depth: usize| "${a?{".repeat(depth) + "x" + &"}}".repeat(depth);
        let raw = |_: &[u8]| Some(b"A".as_slice());
        let deepest = nested(EXPANSION_DEPTH);
        assert_eq!(expand(deepest.as_bytes(), &raw), Ok(b"x".to_vec()));
        for depth in [EXPANSION_DEPTH + 1, 1_000] {
            let error = expand(nested(depth).as_bytes(), &raw).unwrap_err();
            assert!(matches!(error, ExpansionError::TooDeep(_)), "{error}");
        }
        let open = "${{".repeat(100_000);
        assert!(expand(open.as_bytes(), &raw).is_err());
    }

    #[test]
    fn values_cannot_multiply_without_end() {
        // Each value names the next one twice: 2^64 steps if nothing stopped them, though they produce nothing.
        let values: Vec<String> = (1..=64).map(|n| format!("$v{n}$v{n}")).collect();
        for end in ["", "x"] {
            let raw = |name: &[u8]| {
                let number: usize = std::str::from_utf8(name).unwrap()[1..].parse().unwrap();
                Some(values.get(number).map_or(end, String::as_str).as_bytes())
            };
            assert_eq!(expand(b"$v0", &raw), Err(ExpansionError::TooLong));
        }
    }

    #[test]
    fn the_limit_of_work_is_exact() {
        let fits = vec![b'x'; EXPANSION_BYTES];
        let nothing = |_: &[u8]| None;
        assert_eq!(expand(&fits, &nothing), Ok(fits.clone()));
        let beyond = vec![b'x'; EXPANSION_BYTES + 1];
        assert_eq!(expand(&beyond, &nothing), Err(ExpansionError::TooLong));
    }
}
