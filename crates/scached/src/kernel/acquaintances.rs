//! Where connections lead that are saved again and again: asked of the kernel once, since who is connected by a
//! stream stays so.

/// Where a connection leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acquaintance {
    /// Nowhere, as yet, or it is no connection.
    Unknown,
    /// To a socket of our own.
    Here,
    /// To another UNIX stream socket.
    UnixStream,
    /// To an internet address.
    Internet,
}

impl Acquaintance {
    /// In the order of their numbers.
    const ALL: [Self; 4] = [Self::Unknown, Self::Here, Self::UnixStream, Self::Internet];
}

/// The connections that were met last, as many as a fixed amount of memory holds.
#[derive(Debug, Default)]
pub(super) struct Acquaintances {
    /// Each with its number, and in the last two bits where it leads; 0 is nobody. Nothing until the first is met.
    places: Vec<u64>,
}

impl Acquaintances {
    /// How many are remembered. The kernel numbers sockets one after the other, so that those of one time hardly
    /// ever share a place.
    const PLACES: usize = 1024;

    /// Where the connection of this number leads; `ask` says so of one that is not known.
    pub(super) fn of(
        &mut self,
        identity: Option<u64>,
        ask: impl FnOnce() -> Acquaintance,
    ) -> Acquaintance {
        let Some(identity) = identity else {
            return ask();
        };
        if self.places.is_empty() {
            self.places = vec![0; Self::PLACES];
        }
        let place = &mut self.places[(identity % Self::PLACES as u64) as usize];
        // The kernel would have to make sockets for centuries to reach those two bits.
        if *place >> 2 == identity {
            return Acquaintance::ALL[(*place & 3) as usize];
        }
        let acquaintance = ask();
        if acquaintance != Acquaintance::Unknown {
            *place = identity << 2 | acquaintance as u64;
        }
        acquaintance
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_asked_about_once() {
        let mut acquaintances = Acquaintances::default();
        let never = || unreachable!("it is known");
        for (identity, place) in [(5, Acquaintance::Here), (6, Acquaintance::UnixStream)] {
            assert_eq!(acquaintances.of(Some(identity), || place), place);
            assert_eq!(acquaintances.of(Some(identity), never), place);
        }
        assert_eq!(
            acquaintances.of(None, || Acquaintance::UnixStream),
            Acquaintance::UnixStream
        );
        let other = 5 + Acquaintances::PLACES as u64;
        assert_eq!(
            acquaintances.of(Some(other), || Acquaintance::Internet),
            Acquaintance::Internet
        );
        assert_eq!(
            acquaintances.of(Some(5), || Acquaintance::Here),
            Acquaintance::Here,
            "it was forgotten"
        );
        for place in [Acquaintance::Unknown, Acquaintance::Here] {
            assert_eq!(acquaintances.of(Some(9), || place), place, "it may connect");
        }
    }
}
