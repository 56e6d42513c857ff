//! The destinations that are asked for most, as far as a fixed amount of memory tells.
//!
//! When there is no room a new one takes the place of the least asked for among a few that a hand points at in
//! turn. So one that is asked for once costs no busy one its place but by a chance that shrinks with each of the
//! few, and nothing is searched or sorted on the way.

use crate::names::Names;

/// How often destinations were asked for.
#[derive(Debug)]
pub(crate) struct Busiest {
    names: Names<Asked>,
    hand: usize,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl Busiest {
    /// How many are remembered.
    pub(crate) const MOST: usize = 1000;

    /// How many are looked at when one has to go.
    const LOOKED_AT: usize = 8;

    /// Longer names are not remembered.
    const NAME_BYTES: usize = 1024;

    pub(crate) fn new() -> Self {
        Self {
            names: Names::new(),
            hand: 0,
        }
    }

    /// A destination was asked for.
    pub(crate) fn asked(&mut self, destination: &[u8], found: bool) {
        if destination.len() > Self::NAME_BYTES {
            return;
        }
        let number = self.names.find(destination).unwrap_or_else(|| {
            if self.names.len() == Self::MOST {
                self.make_room();
            }
            self.names.number(destination)
        });
        let asked = self.names.record_mut(number);
        asked.hits += u64::from(found);
        asked.misses += u64::from(!found);
    }

    /// The one at a place below [`Busiest::MOST`], if there is one.
    pub(crate) fn at(&self, place: u32) -> Option<(&[u8], Asked)> {
        self.names
            .contains(place)
            .then(|| (self.names.name(place), *self.names.record(place)))
    }

    fn make_room(&mut self) {
        // All places are taken. Far from one another: who began at one time often is as busy as its neighbours.
        let stride = Self::MOST / Self::LOOKED_AT;
        let places =
            (0..Self::LOOKED_AT).map(|number| ((self.hand + number * stride) % Self::MOST) as u32);
        let least = places.min_by_key(|place| {
            let asked = self.names.record(*place);
            asked.hits + asked.misses
        });
        self.hand = (self.hand + 1) % Self::MOST;
        if let Some(least) = least {
            self.names.forget(least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_ones_stay_while_others_come_and_go() {
        let mut busiest = Busiest::new();
        let busy = |number: usize| format!("busy{number}");
        for round in 0..100 {
            for number in 0..100 {
                busiest.asked(busy(number).as_bytes(), round % 4 != 0);
            }
            for number in 0..500 {
                busiest.asked(format!("once{round}.{number}").as_bytes(), false);
            }
        }
        let all: Vec<_> = (0..Busiest::MOST as u32)
            .filter_map(|place| busiest.at(place))
            .collect();
        assert_eq!(all.len(), Busiest::MOST);
        for number in 0..100 {
            let asked = all
                .iter()
                .find(|(name, _)| *name == busy(number).as_bytes())
                .map(|(_, asked)| (asked.hits, asked.misses));
            assert_eq!(asked, Some((75, 25)), "{number}");
        }
    }

    #[test]
    fn very_long_names_are_not_remembered() {
        let mut busiest = Busiest::new();
        busiest.asked(&vec![b'x'; Busiest::NAME_BYTES + 1], true);
        assert!((0..Busiest::MOST as u32).all(|place| busiest.at(place).is_none()));
    }
}
