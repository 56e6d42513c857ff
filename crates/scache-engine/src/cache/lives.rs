//! How often connections that come and go were taken, and how old they are, as far as a fixed amount of memory
//! tells: a connection is gone from the cache while somebody uses it, so the memory is beside it.

use std::time::Duration;

use scache_proto::reply::History;

/// What is known of connections that were saved.
#[derive(Debug)]
pub(super) struct Lives {
    /// Nothing until the first is saved.
    places: Vec<Life>,
    /// How many there are then.
    count: usize,
}

/// One connection's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// The end of the connection's number, which is enough to tell those of some months apart; 0 is nobody's.
    identity: u32,
    /// When it was first saved.
    pub(super) began: Moment,
    /// How often it was taken.
    pub(super) taken: u32,
}

/// Which of the lives, in the three bytes that there are for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LifeId {
    /// Two bytes that may stand anywhere: there is a connection's worth of them for each that is cached.
    place: [u8; 2],
    /// Tells it from others that have the place later, but for one of 256.
    tag: u8,
}

/// The greatest age that is believed, in milliseconds, so that it does not wrap soon: 24 days.
const OLDEST: u32 = u32::MAX / 2;

/// A time, in milliseconds since the cache began; it wraps after 49 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u32);

impl Life {
    /// The same as it is told.
    pub(super) fn history(self, now: Moment) -> History {
        let age = self.began.milliseconds_until(now);
        History {
            age: Duration::from_millis(age.into()),
            taken: self.taken,
        }
    }
}

impl Moment {
    /// How many milliseconds have passed since then.
    pub(super) fn milliseconds_until(self, now: Self) -> u32 {
        now.0.wrapping_sub(self.0)
    }
}

impl LifeId {
    /// Of what cannot be told from others.
    pub(super) const NONE: Self = Self {
        place: [u8::MAX; 2],
        tag: 0,
    };

    /// The kernel numbers connections one after the other, so that those of one time hardly ever share a place.
    fn of(identity: u32, places: usize) -> Self {
        let places = places as u32;
        Self {
            place: ((identity % places) as u16).to_ne_bytes(),
            tag: (identity / places) as u8,
        }
    }

    fn place(self) -> usize {
        usize::from(u16::from_ne_bytes(self.place))
    }
}

impl Lives {
    /// How many are remembered at least: enough to tell what is usual.
    pub(super) const FEW: usize = 2048;

    /// How many are remembered at most.
    const MANY: usize = 1 << 15;

    /// Remembers this many, or a few more or less.
    pub(super) fn new(connections: usize) -> Self {
        let count = connections.clamp(Self::FEW, Self::MANY).next_power_of_two();
        Self {
            places: Vec::new(),
            count,
        }
    }

    /// A connection is saved, for the first time or again. What is told of it counts as far as it is more than what is
    /// known, so that nobody can make a connection younger than it is.
    pub(super) fn save(
        &mut self,
        identity: Option<u64>,
        history: Option<History>,
        now: Moment,
    ) -> LifeId {
        let Some(identity) = identity.map(|identity| identity as u32) else {
            return LifeId::NONE;
        };
        if self.places.is_empty() {
            self.places = vec![Life::default(); self.count];
        }
        let id = LifeId::of(identity, self.count);
        let life = &mut self.places[id.place()];
        if life.identity != identity {
            *life = Life {
                identity,
                began: now,
                taken: 0,
            };
        }
        if let Some(History { age, taken }) = history {
            let age = u32::try_from(age.as_millis()).map_or(OLDEST, |age| age.min(OLDEST));
            if age > life.began.milliseconds_until(now) {
                life.began = Moment(now.0.wrapping_sub(age));
            }
            life.taken = life.taken.max(taken);
        }
        id
    }

    /// A connection is taken. Its life until now, this time included; `None` if it was forgotten.
    pub(super) fn take(&mut self, id: LifeId) -> Option<Life> {
        let life = self.places.get_mut(id.place())?;
        if LifeId::of(life.identity, self.count) != id {
            return None;
        }
        life.taken = life.taken.saturating_add(1);
        Some(*life)
    }

    /// What is known of a connection.
    pub(super) fn of(&self, id: LifeId) -> Option<Life> {
        let life = self.places.get(id.place())?;
        (LifeId::of(life.identity, self.count) == id).then_some(*life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_on_when_the_connection_comes_back() {
        let mut lives = Lives::new(0);
        assert_eq!(lives.of(LifeId::of(7, Lives::FEW)), None);
        let id = lives.save(Some(7), None, Moment(10));
        lives.save(Some(8), None, Moment(20));
        assert_eq!(lives.take(id).map(|life| life.taken), Some(1));
        assert_eq!(lives.save(Some(7), None, Moment(30)), id);
        let life = lives.take(id).unwrap();
        assert_eq!((life.began, life.taken), (Moment(10), 2));
        assert_eq!(lives.of(id), Some(life));
        // Somebody else in the same place begins anew.
        let other = lives.save(Some(7 + Lives::FEW as u64), None, Moment(40));
        assert_eq!(lives.take(id), None);
        assert_eq!(lives.of(id), None);
        let life = lives.take(other).unwrap();
        assert_eq!((life.began, life.taken), (Moment(40), 1));
    }

    #[test]
    fn what_is_told_makes_a_connection_older_only() {
        let told = |age, taken| {
            let age = Duration::from_millis(age);
            Some(History { age, taken })
        };
        let mut lives = Lives::new(0);
        let now = Moment(1000);
        let mut save = |history, now| {
            let id = lives.save(Some(7), history, now);
            lives.of(id).unwrap().history(now)
        };
        assert_eq!(Some(save(told(5000, 3), now)), told(5000, 3));
        assert_eq!(Some(save(None, Moment(2000))), told(6000, 3));
        assert_eq!(Some(save(told(10, 1), Moment(2000))), told(6000, 3));
        assert_eq!(Some(save(told(10, 9), Moment(2000))), told(6000, 9));
        let oldest = told(OLDEST.into(), 9);
        assert_eq!(Some(save(told(u64::MAX, 9), Moment(2000))), oldest);
    }

    #[test]
    fn what_cannot_be_told_from_others_has_no_life() {
        let mut lives = Lives::new(0);
        lives.save(Some(u64::MAX), None, Moment(0));
        let id = lives.save(None, None, Moment(1));
        assert_eq!((lives.take(id), lives.of(id)), (None, None));
    }

    #[test]
    fn time_wraps() {
        assert_eq!(Moment(u32::MAX).milliseconds_until(Moment(1)), 2);
    }
}
