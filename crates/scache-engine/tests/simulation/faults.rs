//! Kernel calls that fail though nothing is wrong with what they are about.

use scache_engine::Failure;

/// The calls that can fail, by what is plausible on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Accept,
    Connect,
    Receive,
    /// Bytes only.
    Send,
    /// With a descriptor on them.
    Pass,
    Peek,
    Watch,
}

/// Each call with each failure that it may meet on a healthy descriptor. `WouldBlock` is followed by an
/// event, as the kernel promises; changing a registration cannot fail, nor can forgetting it.
pub const PLAUSIBLE: [(Call, Failure); 19] = [
    (Call::Accept, Failure::WouldBlock),
    (Call::Accept, Failure::Exhausted),
    (Call::Accept, Failure::Lost),
    (Call::Connect, Failure::WouldBlock),
    (Call::Connect, Failure::Exhausted),
    (Call::Connect, Failure::Lost),
    (Call::Receive, Failure::WouldBlock),
    (Call::Receive, Failure::Exhausted),
    (Call::Receive, Failure::Lost),
    (Call::Send, Failure::WouldBlock),
    (Call::Send, Failure::Exhausted),
    (Call::Send, Failure::Lost),
    (Call::Pass, Failure::WouldBlock),
    (Call::Pass, Failure::Exhausted),
    (Call::Pass, Failure::TooManyInFlight),
    (Call::Pass, Failure::Lost),
    (Call::Peek, Failure::Exhausted),
    (Call::Peek, Failure::Lost),
    (Call::Watch, Failure::Exhausted),
];

/// A call that is to fail, how, and after how many others of its kind.
pub type Failing = (Call, Failure, u32);

/// Which calls are made to fail.
#[derive(Debug, Default)]
pub struct Faults {
    /// One in so many calls of this kind.
    pub storm: Option<(Call, Failure, u32)>,
    /// Exactly one: after so many others of its kind.
    pub single: Option<Failing>,
}

impl Faults {
    /// How this call fails, if it is to.
    pub fn strike(&mut self, call: Call, random: &mut fastrand::Rng) -> Option<Failure> {
        let single = self.single.as_mut();
        if let Some((_, failure, left)) = single.filter(|(kind, ..)| *kind == call) {
            if *left == 0 {
                let failure = *failure;
                self.single = None;
                return Some(failure);
            }
            *left -= 1;
        }
        match self.storm {
            Some((kind, failure, odds)) if kind == call && random.u32(0..odds) == 0 => {
                Some(failure)
            }
            _ => None,
        }
    }
}
