//! Times as options say them: as main.cf and scached do.

use std::time::Duration;

use scache_maincf::{TimeUnit, parse_time};

/// A time of a second at least: a number, which counts seconds unless one of s, m, h, d, w stands behind it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let unit = text.trim_start_matches(|character: char| character.is_ascii_digit());
    let is_time = unit.len() < text.len() && unit.len() <= 1;
    match parse_time(text, TimeUnit::Second) {
        Ok(time) if is_time && !time.is_zero() => Ok(time),
        _ => Err("write a number from 1 up and s, m, h, d or w, as in 30s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_or_without_a_unit() {
        for (text, seconds) in [
            ("1", Some(1)),
            ("30s", Some(30)),
            ("2m", Some(120)),
            ("1h", Some(3600)),
            ("0", None),
            ("", None),
            ("s", None),
            ("soon", None),
            ("-1", None),
            ("1.5s", None),
            ("1min", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
