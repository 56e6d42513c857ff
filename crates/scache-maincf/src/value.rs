//! Times, numbers and booleans, read with the rules of the C library that main.cf is used to.

use std::time::Duration;

use crate::syntax::trim_start;

/// What a number counts when it has no letter behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
    /// `d`
    Day,
    /// `w`
    Week,
}

impl TimeUnit {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b's' => Some(Self::Second),
            b'm' => Some(Self::Minute),
            b'h' => Some(Self::Hour),
            b'd' => Some(Self::Day),
            b'w' => Some(Self::Week),
            _ => None,
        }
    }

    fn seconds(self) -> i32 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 60 * 60,
            Self::Day => 24 * 60 * 60,
            Self::Week => 7 * 24 * 60 * 60,
        }
    }
}

/// Why a value is not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Nothing, a negative number, no number, or a letter that is no unit.
    #[error("write a number and one of s, m, h, d, w")]
    Malformed,
    /// More seconds than Postfix can count.
    #[error("write a shorter time: at most {}s", i32::MAX)]
    TooLong,
}

/// Reads a time: a number and one of `s m h d w`, or a number alone, which counts in `default_unit`.
///
/// As in Postfix only the first letter behind the number counts: `5sec` is five seconds and `5min` five minutes.
///
/// # Errors
/// [`TimeError`] says what to write.
pub fn parse_time(value: impl AsRef<[u8]>, default_unit: TimeUnit) -> Result<Duration, TimeError> {
    let value = value.as_ref();
    if value.is_empty() {
        return Err(TimeError::Malformed);
    }
    let (number, rest) = leading_number(value);
    let number = number.ok_or(TimeError::TooLong)?;
    let unit = match rest.first() {
        None => default_unit,
        Some(letter) => TimeUnit::from_letter(*letter).ok_or(TimeError::Malformed)?,
    };
    if number < 0 {
        return Err(TimeError::Malformed);
    }
    let number = i32::try_from(number).map_err(|_| TimeError::TooLong)?;
    // Postfix refuses the largest count of every unit but the second.
    if unit != TimeUnit::Second && number >= i32::MAX / unit.seconds() {
        return Err(TimeError::TooLong);
    }
    let seconds = number.unsigned_abs() * unit.seconds().unsigned_abs();
    Ok(Duration::from_secs(seconds.into()))
}

/// A whole number with nothing behind it.
pub(crate) fn number(value: &[u8]) -> Option<i64> {
    match leading_number(value) {
        (number, []) if !value.is_empty() => number,
        _ => None,
    }
}

/// `yes` or `no`.
pub(crate) fn boolean(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"yes") {
        Some(true)
    } else if value.eq_ignore_ascii_case(b"no") {
        Some(false)
    } else {
        None
    }
}

/// The number that `text` begins with, blanks and a sign allowed, and what follows it. No digits make 0, and everything follows;
/// a number that does not fit is `None`.
pub(crate) fn leading_number(text: &[u8]) -> (Option<i64>, &[u8]) {
    let (negative, unsigned) = match trim_start(text) {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let count = unsigned
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    if count == 0 {
        return (Some(0), text);
    }
    let (digits, rest) = unsigned.split_at(count);
    let number = digits.iter().try_fold(0_i64, |number, digit| {
        let digit = i64::from(digit - b'0');
        let digit = if negative { -digit } else { digit };
        number.checked_mul(10)?.checked_add(digit)
    });
    (number, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeError::{Malformed, TooLong};

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        let cases: &[(&str, Result<u64, TimeError>)] = &[
            ("5", Ok(300)),
            ("0", Ok(0)),
            ("5s", Ok(5)),
            ("5m", Ok(300)),
            ("2h", Ok(7200)),
            ("1d", Ok(86_400)),
            ("1w", Ok(604_800)),
            ("5sec", Ok(5)),
            ("5s5", Ok(5)),
            ("010", Ok(600)),
            ("+5s", Ok(5)),
            (" \t5s", Ok(5)),
            ("-0", Ok(0)),
            ("s", Ok(0)),
            ("2147483647s", Ok(2_147_483_647)),
            ("3549w", Ok(3549 * 604_800)),
            ("3550w", Err(TooLong)),
            ("24855d", Err(TooLong)),
            ("596523h", Err(TooLong)),
            ("35791394m", Err(TooLong)),
            ("35791393m", Ok(35_791_393 * 60)),
            ("2147483648s", Err(TooLong)),
            ("4294967297s", Err(TooLong)),
            ("99999999999999999999s", Err(TooLong)),
            ("-99999999999999999999s", Err(TooLong)),
            ("", Err(Malformed)),
            (" ", Err(Malformed)),
            ("-5", Err(Malformed)),
            ("5 s", Err(Malformed)),
            ("5x", Err(Malformed)),
            ("5S", Err(Malformed)),
            ("5.5s", Err(Malformed)),
            ("0x10", Err(Malformed)),
            ("+", Err(Malformed)),
            ("ten", Err(Malformed)),
        ];
        for (text, expected) in cases {
            let found = parse_time(text, TimeUnit::Minute);
            assert_eq!(found, expected.map(Duration::from_secs), "{text:?}");
        }
    }

    #[test]
    fn a_bare_number_counts_in_the_default_unit() {
        use TimeUnit::{Day, Hour, Minute, Second, Week};
        let units = [
            (Second, 1),
            (Minute, 60),
            (Hour, 3600),
            (Day, 86_400),
            (Week, 604_800),
        ];
        for (unit, seconds) in units {
            assert_eq!(parse_time("1", unit), Ok(Duration::from_secs(seconds)));
        }
    }

    #[test]
    fn a_number_is_whole_and_alone() {
        let cases: &[(&str, Option<i64>)] = &[
            ("7", Some(7)),
            (" -7", Some(-7)),
            ("+7", Some(7)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            (" ", None),
            ("7 ", None),
            ("7s", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text.as_bytes()), *expected, "{text:?}");
        }
    }

    #[test]
    fn a_boolean_is_yes_or_no_in_any_case() {
        let cases: &[(&str, Option<bool>)] = &[
            ("yes", Some(true)),
            ("YeS", Some(true)),
            ("no", Some(false)),
            ("NO", Some(false)),
            ("", None),
            ("1", None),
            ("true", None),
            ("yes ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(boolean(text.as_bytes()), *expected, "{text:?}");
        }
    }
}
