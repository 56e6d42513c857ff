//! The comparison in `${{x} == {y} ? {a} : {b}}`: its syntax, and what the operators mean once both sides are expanded.
//!
//! `==` `!=` `<` `<=` `>=` `>` compare numbers when both sides consist of digits and bytes otherwise. With `level` behind the operator
//! (`<=level`) both sides are compatibility levels, which are versions: 3.10 is above 3.9.

use std::cmp::Ordering;

use crate::error::shown;
use crate::expansion::{ExpansionError, skip_blanks, split_at_closing};
use crate::value::leading_number;

/// Two texts, yet to be expanded, and how to compare them.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    pub(crate) left: &'a [u8],
    pub(crate) right: &'a [u8],
    operator: Operator,
    levels: bool,
}

impl<'a> Comparison<'a> {
    /// Reads a comparison from `text`, which begins with a brace; returns it and what follows it and the blanks behind it.
    pub(crate) fn parse(text: &'a [u8]) -> Result<(Self, &'a [u8]), ExpansionError> {
        let (left, rest) = braced(text)?;
        let at_operator = rest;
        let (operator, rest) = split_while(rest, |byte| b"<>!=?+-*/~&|%".contains(&byte));
        let operator = Operator::from_symbol(operator)
            .ok_or_else(|| ExpansionError::NoOperator(shown(at_operator)))?;
        let (suffix, rest) = split_while(rest, |byte| byte.is_ascii_alphanumeric());
        let levels = match suffix {
            b"" => false,
            b"level" => true,
            _ => return Err(ExpansionError::UnknownComparison(shown(at_operator))),
        };
        let rest = skip_blanks(rest);
        if rest.first() != Some(&b'{') {
            return Err(ExpansionError::NoOperand(shown(at_operator)));
        }
        let (right, rest) = braced(rest)?;
        let comparison = Self {
            left,
            right,
            operator,
            levels,
        };
        Ok((comparison, rest))
    }

    /// Whether it is true of the expanded sides.
    pub(crate) fn holds(&self, left: &[u8], right: &[u8]) -> Result<bool, ExpansionError> {
        let ordering = if self.levels {
            level(left)?.cmp(&level(right)?)
        } else if is_number(left) && is_number(right) {
            compare_numbers(left, right)
        } else {
            left.cmp(right)
        };
        Ok(self.operator.accepts(ordering))
    }
}

/// The text in the braces that `text` begins with, and what follows them and the blanks behind them.
pub(crate) fn braced(text: &[u8]) -> Result<(&[u8], &[u8]), ExpansionError> {
    let inner = text.get(1..).unwrap_or_default();
    let (inner, rest) =
        split_at_closing(inner, b'{', b'}').ok_or_else(|| ExpansionError::Unclosed(shown(text)))?;
    Ok((inner, skip_blanks(rest)))
}

#[derive(Clone, Copy, Debug)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    GreaterOrEqual,
    Greater,
}

impl Operator {
    fn from_symbol(symbol: &[u8]) -> Option<Self> {
        match symbol {
            b"==" => Some(Self::Equal),
            b"!=" => Some(Self::NotEqual),
            b"<" => Some(Self::Less),
            b"<=" => Some(Self::LessOrEqual),
            b">=" => Some(Self::GreaterOrEqual),
            b">" => Some(Self::Greater),
            _ => None,
        }
    }

    fn accepts(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::GreaterOrEqual => ordering.is_ge(),
            Self::Greater => ordering.is_gt(),
        }
    }
}

fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn compare_numbers(left: &[u8], right: &[u8]) -> Ordering {
    let [left, right] = [left, right].map(|text| split_while(text, |byte| byte == b'0').1);
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}

/// A compatibility level: one to three numbers, of which Postfix gives ten bits to the second and to the third.
fn level(text: &[u8]) -> Result<[i64; 3], ExpansionError> {
    const MOST: [i64; 3] = [i64::MAX >> 20, 0x3ff, 0x3ff];
    let mut level = [0; 3];
    let mut rest = text;
    for (place, most) in level.iter_mut().zip(MOST) {
        let (number, after) = leading_number(rest);
        match number {
            Some(number) if after.len() < rest.len() && (0..=most).contains(&number) => {
                *place = number;
            }
            _ => break,
        }
        match after {
            [] => return Ok(level),
            [b'.', after @ ..] => rest = after,
            _ => break,
        }
    }
    Err(ExpansionError::BadLevel(shown(text)))
}

fn split_while(text: &[u8], accept: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    let count = text.iter().take_while(|byte| accept(**byte)).count();
    text.split_at(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(left: &str, operator: &str, right: &str) -> Result<bool, ExpansionError> {
        let text = format!("{{{left}}} {operator} {{{right}}} ?");
        let (comparison, rest) = Comparison::parse(text.as_bytes()).unwrap();
        assert_eq!(
            (comparison.left, comparison.right, rest),
            (left.as_bytes(), right.as_bytes(), b"?".as_slice())
        );
        comparison.holds(left.as_bytes(), right.as_bytes())
    }

    #[test]
    fn every_operator_orders_numbers_and_bytes() {
        // The sides, and whether == != < <= >= > hold.
        let cases = [
            ("1", "1", "yn.yy."),
            ("9", "10", ".yyy.."),
            ("10", "9", ".y..yy"),
            ("12", "21", ".yyy.."),
            ("007", "7", "y..yy."),
            ("0", "000", "y..yy."),
            ("99999999999999999999", "100000000000000000000", ".yyy.."),
            ("9a", "10", ".y..yy"),
            ("a", "b", ".yyy.."),
            ("", "", "y..yy."),
            ("", "0", ".yyy.."),
            ("-9", "-10", ".y..yy"),
            ("a ", "a", ".y..yy"),
            ("é", "z", ".y..yy"),
        ];
        for (left, right, expected) in cases {
            let operators = ["==", "!=", "<", "<=", ">=", ">"];
            for (operator, expected) in operators.into_iter().zip(expected.bytes()) {
                assert_eq!(
                    holds(left, operator, right),
                    Ok(expected == b'y'),
                    "{left:?} {operator} {right:?}"
                );
            }
        }
    }

    #[test]
    fn levels_are_versions() {
        let cases = [
            ("3.9", "<level", "3.10", true),
            ("3", "==level", "3.0.0", true),
            ("3.6.1", ">level", "3.6", true),
            ("2", ">=level", "3.6", false),
            (" +3.6", "<=level", "3.6", true),
            ("4", "!=level", "3.1023.1023", true),
        ];
        for (left, operator, right, expected) in cases {
            assert_eq!(
                holds(left, operator, right),
                Ok(expected),
                "{left} {operator} {right}"
            );
        }
        for bad in [
            "",
            "x",
            "3.",
            "3.x",
            "3.6.1.2",
            "3.1024",
            "-1",
            "3 ",
            "99999999999999999999",
        ] {
            let error = ExpansionError::BadLevel(bad.to_owned());
            assert_eq!(holds(bad, "<level", "3"), Err(error), "{bad:?}");
        }
    }
}
