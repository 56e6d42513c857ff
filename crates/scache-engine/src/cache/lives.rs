//! How often connections that come and go were taken, and how old they are, as far as a fixed amount of memory
//! tells: a connection is gone from the cache while somebody uses it, so the memory is beside it.

/// What is known of connections that were taken.
#[derive(Debug, Default)]
pub(super) struct Lives {
    /// Nothing until the first is taken.
    places: Vec<Life>,
}

/// One connection's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Of the connection; 0 is nobody's.
    identity: u64,
    /// When it was first saved.
    pub(super) began: Moment,
    /// How often it was taken.
    pub(super) taken: u32,
}

/// A time, in milliseconds since the cache began; it wraps after 49 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment(pub(crate) u32);

impl Moment {
    /// How many milliseconds have passed since then.
    pub(super) fn milliseconds_until(self, now: Self) -> u32 {
        now.0.wrapping_sub(self.0)
    }
}

impl Lives {
    /// How many are remembered. The kernel numbers connections one after the other, so that those of one time
    /// hardly ever share a place.
    const PLACES: usize = 4096;

    /// Takes note that a connection is taken which was saved then. Its life until now, this time included.
    pub(super) fn take(&mut self, identity: u64, saved: Moment) -> Life {
        if self.places.is_empty() {
            self.places = vec![Life::default(); Self::PLACES];
        }
        let place = &mut self.places[Self::place(identity)];
        if place.identity != identity {
            *place = Life {
                identity,
                began: saved,
                taken: 0,
            };
        }
        place.taken = place.taken.saturating_add(1);
        *place
    }

    /// What is known of a connection.
    pub(super) fn of(&self, identity: u64) -> Option<Life> {
        let life = self.places.get(Self::place(identity))?;
        (life.identity == identity).then_some(*life)
    }

    fn place(identity: u64) -> usize {
        (identity % Self::PLACES as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_goes_on_when_the_connection_comes_back() {
        let mut lives = Lives::default();
        assert_eq!(lives.of(7), None);
        lives.take(7, Moment(10));
        lives.take(8, Moment(20));
        let life = lives.take(7, Moment(30));
        assert_eq!((life.began, life.taken), (Moment(10), 2));
        assert_eq!(lives.of(7), Some(life));
        // Somebody else in the same place begins anew.
        let other = lives.take(7 + Lives::PLACES as u64, Moment(40));
        assert_eq!((other.began, other.taken), (Moment(40), 1));
        assert_eq!(lives.of(7), None);
    }

    #[test]
    fn time_wraps() {
        assert_eq!(Moment(u32::MAX).milliseconds_until(Moment(1)), 2);
    }
}
