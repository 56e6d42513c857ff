//! What an event is about.

/// What an event is about. Fits a 64-bit number, which is all that a kernel keeps for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Token {
    /// A listening socket, by its place.
    Listener(u32),
    /// Something of the host's, by its own number.
    Host(u32),
    /// A client, or one that is handed on.
    Peer(Key),
    /// A cached connection.
    Kept(Key),
    /// A connection that goodbye was said to.
    Parting(Key),
    /// The next process, which takes over.
    Successor,
    /// The connection over which that process asked to take over.
    Asker,
}

/// A place in a table, and which of those that were there in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// The place, below [`Key::SLOTS`].
    pub slot: u32,
    /// Counts those that were there.
    pub generation: u32,
}

const KIND_BITS: u32 = 3;

impl Key {
    /// Before all others in their order.
    pub(crate) const FIRST: Self = Self {
        slot: 0,
        generation: 0,
    };

    /// More places than there can be descriptors.
    pub const SLOTS: u32 = 1 << (32 - KIND_BITS);

    fn to_number(self) -> u64 {
        debug_assert!(self.slot < Self::SLOTS);
        u64::from(self.slot % Self::SLOTS) << 32 | u64::from(self.generation)
    }

    fn from_number(number: u64) -> Self {
        Self {
            slot: (number >> 32) as u32 % Self::SLOTS,
            generation: number as u32,
        }
    }
}

impl Token {
    /// The number that stands for it.
    pub fn to_number(self) -> u64 {
        let (kind, rest) = match self {
            Self::Listener(place) => (0, u64::from(place)),
            Self::Host(number) => (1, u64::from(number)),
            Self::Peer(key) => (2, key.to_number()),
            Self::Kept(key) => (3, key.to_number()),
            Self::Parting(key) => (4, key.to_number()),
            Self::Successor => (5, 0),
            Self::Asker => (6, 0),
        };
        kind << (u64::BITS - KIND_BITS) | rest
    }

    /// What a number stands for; `None` if no token has it.
    pub fn from_number(number: u64) -> Option<Self> {
        let key = Key::from_number(number);
        match number >> (u64::BITS - KIND_BITS) {
            0 => Some(Self::Listener(key.generation)),
            1 => Some(Self::Host(key.generation)),
            2 => Some(Self::Peer(key)),
            3 => Some(Self::Kept(key)),
            4 => Some(Self::Parting(key)),
            5 => Some(Self::Successor),
            6 => Some(Self::Asker),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_its_number() {
        let key = Key {
            slot: Key::SLOTS - 1,
            generation: u32::MAX,
        };
        for token in [
            Token::Listener(7),
            Token::Host(u32::MAX),
            Token::Peer(key),
            Token::Kept(key),
            Token::Parting(Key {
                slot: 0,
                generation: 1,
            }),
            Token::Successor,
            Token::Asker,
        ] {
            assert_eq!(Token::from_number(token.to_number()), Some(token));
        }
        assert_eq!(Token::from_number(u64::MAX), None);
    }
}
