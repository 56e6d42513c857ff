//! The time of day where this machine stands, as log lines have it.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A moment in local time. Displayed as log lines begin: `Nov  4 09:05:00`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    year: i32,
    month: usize,
    day: i32,
    hour: i32,
    minute: i32,
    second: i32,
    /// East of Greenwich.
    offset_seconds: i64,
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

unsafe extern "C" {
    /// tzset(3), which the libc crate does not have.
    fn tzset();
}

/// Reads the time zone (`TZ`, or /etc/localtime) once and for all: to be called before chroot(2).
pub fn load_time_zone() {
    // SAFETY: reads the environment and a file; this program never changes its environment.
    unsafe { tzset() }
}

impl From<SystemTime> for LocalTime {
    fn from(time: SystemTime) -> Self {
        // Before 1970 and after the year 2 billion there is no mail to log.
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let seconds = libc::time_t::try_from(seconds).unwrap_or(libc::time_t::MAX);
        let mut fields = std::mem::MaybeUninit::<libc::tm>::zeroed();
        // SAFETY: both pointers are to live memory; localtime_r(3) fills in the fields or leaves the
        // zeros, which are a valid `tm`.
        let fields = unsafe {
            libc::localtime_r(&raw const seconds, fields.as_mut_ptr());
            fields.assume_init()
        };
        Self {
            year: fields.tm_year.saturating_add(1900),
            month: usize::try_from(fields.tm_mon).unwrap_or(0) % 12,
            day: fields.tm_mday,
            hour: fields.tm_hour,
            minute: fields.tm_min,
            second: fields.tm_sec,
            offset_seconds: fields.tm_gmtoff,
        }
    }
}

impl LocalTime {
    /// The time of day: `09:05:00`.
    pub fn clock(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.hour, self.minute, self.second)
    }

    /// The moment as RFC 3339 has it, with these milliseconds: `2026-11-04T09:05:00.123+01:00`.
    pub fn rfc3339(&self, milliseconds: u32) -> String {
        let sign = if self.offset_seconds < 0 { '-' } else { '+' };
        let minutes = self.offset_seconds.unsigned_abs() / 60;
        format!(
            "{:04}-{:02}-{:02}T{}.{milliseconds:03}{sign}{:02}:{:02}",
            self.year,
            self.month + 1,
            self.day,
            self.clock(),
            minutes / 60,
            minutes % 60
        )
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:>2} {}", MONTHS[self.month], self.day, self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_day_is_padded_with_a_space() {
        let time = LocalTime {
            year: 2026,
            month: 10,
            day: 4,
            hour: 9,
            minute: 5,
            second: 0,
            offset_seconds: -12_600,
        };
        assert_eq!(time.to_string(), "Nov  4 09:05:00");
        assert_eq!(time.rfc3339(7), "2026-11-04T09:05:00.007-03:30");
    }

    #[test]
    fn a_moment_is_some_day_of_its_month() {
        // Noon UTC on 15 July 2026 is in the middle of July wherever one stands.
        let time = LocalTime::from(UNIX_EPOCH + Duration::from_secs(1_784_116_800));
        assert_eq!(&time.to_string()[..5], "Jul 1");
    }
}
