//! Numbers and times as people read and type them.

use std::time::Duration;

/// A time in two units at most: `1.5s`, `42s`, `3m05s`, `2h03m`, `4d02h`.
pub(crate) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..10 => format!("{}.{}s", seconds, time.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{minutes}m{:02}s", seconds % 60),
        3_600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// A part of a whole in per cent; `-` of nothing.
pub(crate) fn per_cent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    format!("{:.1} %", 100.0 * part as f64 / whole as f64)
}

/// A time that was typed: a number, also with a fraction, and ms, s, m or h; seconds if there is none.
pub(crate) fn typed_time(text: &str) -> Result<Duration, String> {
    let unit = text.find(|character: char| character.is_ascii_alphabetic());
    let (number, unit) = text.split_at(unit.unwrap_or(text.len()));
    let milliseconds = match unit {
        "ms" => 1.0,
        "s" | "" => 1_000.0,
        "m" => 60_000.0,
        "h" => 3_600_000.0,
        _ => return Err("the unit of a time is ms, s, m or h".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a time is a number and ms, s, m or h".to_owned())?;
    Duration::try_from_secs_f64(number * milliseconds / 1_000.0)
        .map_err(|_| "that is no time that can be waited for".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_two_units_at_most() {
        for (milliseconds, wanted) in [
            (0, "0.0s"),
            (1_960, "1.9s"),
            (10_000, "10s"),
            (61_000, "1m01s"),
            (7_380_000, "2h03m"),
            (352_800_000, "4d02h"),
        ] {
            assert_eq!(time(Duration::from_millis(milliseconds)), wanted);
        }
    }

    #[test]
    fn a_time_is_typed_with_or_without_a_unit() {
        for (text, milliseconds) in [
            ("1", 1_000),
            ("1.5s", 1_500),
            ("250ms", 250),
            ("2m", 120_000),
        ] {
            assert_eq!(
                typed_time(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in ["", "s", "1 s", "1d", "-1", "nan", "1e99"] {
            assert!(typed_time(text).is_err(), "{text}");
        }
    }
}
