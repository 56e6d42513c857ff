//! What tells a connection from others in the same place, and when it came, in one number of four bytes.

use std::time::Duration;

/// When a connection came, in eighths of a millisecond since the store began, or one more than the one before it
/// has: so no two have the same within six days, and the time is right but while thousands come each second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Generation(pub(super) u32);

const NANOSECONDS: u64 = 125_000;

/// What is that far in the future is in the past, before the numbers began anew.
const FUTURE: u32 = 1 << 24;

impl Generation {
    /// That of the next connection, which comes so many nanoseconds after the store began.
    pub(super) fn next(self, nanoseconds: u64) -> Self {
        let next = self.0.wrapping_add(1);
        let now = ticks(nanoseconds);
        let is_behind = (1..u32::MAX / 2).contains(&now.wrapping_sub(next));
        Self(if is_behind { now } else { next })
    }

    /// How long ago a connection came; wraps after six days.
    pub(super) fn age(self, nanoseconds: u64) -> Duration {
        let ticks = ticks(nanoseconds).wrapping_sub(self.0);
        if ticks > u32::MAX - FUTURE {
            return Duration::ZERO;
        }
        Duration::from_nanos(u64::from(ticks) * NANOSECONDS)
    }
}

fn ticks(nanoseconds: u64) -> u32 {
    (nanoseconds / NANOSECONDS) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn it_is_the_time_or_one_more_than_the_last() {
        let first = Generation::default().next(SECOND);
        assert_eq!(first, Generation(8000));
        let second = first.next(SECOND);
        assert_eq!(second, Generation(8001));
        assert_eq!(second.next(2 * SECOND), Generation(16_000));
        assert_eq!(Generation(u32::MAX).next(0), Generation(0));
    }

    #[test]
    fn an_age_is_never_less_than_nothing() {
        let generation = Generation::default().next(SECOND);
        assert_eq!(generation.age(SECOND), Duration::ZERO);
        assert_eq!(generation.age(3 * SECOND), Duration::from_secs(2));
        assert_eq!(generation.next(SECOND).age(SECOND), Duration::ZERO);
    }
}
