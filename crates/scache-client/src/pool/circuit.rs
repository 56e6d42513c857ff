//! Whether a pool asks the cache or leaves it alone.

use std::time::{Duration, Instant};

use crate::exchange::LONGEST;

/// Consecutive timeouts that double the rest.
const DOUBLINGS: u32 = 5;

/// Open after a failure: the cache is not asked for a while, so that a cache that does not answer costs one request the
/// timeout, not all of them. After the rest one request asks again, and the others go on without the cache until it
/// is known what came of that.
#[derive(Debug, Default)]
pub(super) struct Circuit {
    /// Until then the cache is not asked.
    until: Option<Instant>,
    /// Consecutive rests after requests that were waited for in vain.
    timeouts: u32,
    /// How often it was opened.
    opened: u32,
}

/// Permission to ask the cache, to be given back with what came of the request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Permit {
    /// A request that began before the circuit was opened last says nothing new.
    opened: u32,
}

/// Meaning of a failed request for the next ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Known at once: asking again costs nothing.
    Quick,
    /// Waited for in vain.
    Timeout,
}

impl Circuit {
    /// Permits a request that takes `timeout` at most, unless the cache is to be left alone.
    pub(super) fn permit(&mut self, now: Instant, timeout: Duration) -> Option<Permit> {
        if let Some(until) = self.until {
            if now < until {
                return None;
            }
            // If this request is given up, another one may ask when it would have ended.
            self.until = Some(now + timeout.min(LONGEST));
        }
        Some(Permit {
            opened: self.opened,
        })
    }

    /// Closes the circuit: the cache answered.
    pub(super) fn answered(&mut self, permit: Permit) {
        if permit.opened == self.opened {
            self.until = None;
            self.timeouts = 0;
        }
    }

    /// Opens the circuit for `rest`, or, after consecutive timeouts, for up to 32 times as long.
    pub(super) fn failed(
        &mut self,
        permit: Permit,
        now: Instant,
        rest: Duration,
        failure: Failure,
    ) {
        if permit.opened != self.opened {
            return;
        }
        self.opened = self.opened.wrapping_add(1);
        let factor = match failure {
            Failure::Quick => 1,
            Failure::Timeout => 1 << self.timeouts.min(DOUBLINGS),
        };
        self.timeouts += u32::from(failure == Failure::Timeout && self.timeouts < DOUBLINGS);
        self.until = Some(now + rest.saturating_mul(factor).min(LONGEST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMEOUT: Duration = Duration::from_millis(500);

    #[test]
    fn of_many_requests_that_fail_the_first_opens_it_and_one_asks_again() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let permits = [(); 3].map(|()| circuit.permit(now, TIMEOUT).unwrap());
        for permit in permits {
            circuit.failed(permit, now, SECOND, Failure::Timeout);
        }
        assert!(circuit.permit(now, TIMEOUT).is_none());
        let later = now + SECOND;
        let again = circuit.permit(later, TIMEOUT).unwrap();
        assert!(circuit.permit(later, TIMEOUT).is_none());
        circuit.answered(permits[0]);
        assert!(circuit.permit(later, TIMEOUT).is_none());
        circuit.answered(again);
        assert!(circuit.permit(later, TIMEOUT).is_some());
        assert!(circuit.permit(later, TIMEOUT).is_some());
    }

    #[test]
    fn rests_after_timeouts_become_longer_and_others_do_not() {
        for (failure, rests) in [
            (Failure::Quick, [1, 1, 1, 1, 1, 1, 1, 1]),
            (Failure::Timeout, [1, 2, 4, 8, 16, 32, 32, 32]),
        ] {
            let (mut circuit, mut now) = (Circuit::default(), Instant::now());
            for rest in rests {
                let permit = circuit.permit(now, TIMEOUT).unwrap();
                circuit.failed(permit, now, SECOND, failure);
                now += rest * SECOND;
                let nearly = now - Duration::from_millis(1);
                assert!(circuit.permit(nearly, TIMEOUT).is_none(), "{rest}");
            }
            let permit = circuit.permit(now, TIMEOUT).unwrap();
            circuit.answered(permit);
            let permit = circuit.permit(now, TIMEOUT).unwrap();
            circuit.failed(permit, now, SECOND, failure);
            assert!(circuit.permit(now + SECOND, TIMEOUT).is_some());
        }
    }

    #[test]
    fn a_request_that_is_given_up_lets_another_one_ask_later() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let permit = circuit.permit(now, TIMEOUT).unwrap();
        circuit.failed(permit, now, SECOND, Failure::Timeout);
        let _given_up = circuit.permit(now + SECOND, TIMEOUT).unwrap();
        assert!(circuit.permit(now + SECOND, TIMEOUT).is_none());
        assert!(circuit.permit(now + SECOND + TIMEOUT, TIMEOUT).is_some());
    }
}
