//! A whole Postfix delivers mail, once with stock scache(8) and once with ours.

mod advice;
mod container;
mod delivery;
mod goodbye;
mod guardian;
mod kill;
mod mute;
mod reload;
mod slots;

use scache_tests::instance::Instance;
use scache_tests::maillog::{Interval, Maillog};

/// Every line that scache(8) logged has exactly the form that log parsers know; gives what the lines say.
fn statistics(log: &Maillog) -> Vec<Interval> {
    let statistics = log.statistics();
    statistics.unwrap_or_else(|wrong| panic!("{wrong}, among {:#?}", log.scache()))
}

/// How many sessions are open at the receiver, by its log.
fn open_sessions(receiver: &Instance) -> usize {
    let (connects, disconnects) = receiver.log().connects();
    connects - disconnects
}
