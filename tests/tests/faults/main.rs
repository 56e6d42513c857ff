//! Faults and attacks on a running scache, stock and ours, seen from outside.
//!
//! Each row of the project's table of faults is tried here, or in the place named beside it. Where the stock program
//! can be put to the same test it is, and the difference is asserted: a test of a fault that stock has too, and
//! that stock would pass, would be no test of it.
//!
//! | row | fault | where |
//! |---|---|---|
//! | 1, 2 | a client stops in a request, or before its descriptor | `stalls` |
//! | 3 | replies are not read | `stalls` |
//! | 4 | bytes are dribbled | `stalls` |
//! | 5 | huge attributes | `garbage` |
//! | 6, 7 | surplus and stray descriptors | `descriptors` |
//! | 8 | no descriptor left for accept(2) | `exhaustion` |
//! | 9 | no descriptor left for recvmsg(2) | `exhaustion` |
//! | 10 | growth without limit | `limits` |
//! | 11, 12 | dead connections, and peers that spoke | `liveness` |
//! | 13 | events of a connection that was handed out | `liveness` |
//! | 14 | SO_LINGER | `linger` |
//! | 15 | a client's own connection | `descriptors` |
//! | 16 | flags and timeouts | `descriptors` |
//! | 17 | a client dies in a find | `departures` |
//! | 18 | too many descriptors in flight | `in_flight` |
//! | 19 | a full status channel; a full or missing log | `surroundings` |
//! | 20 | cost per entry | `timers` |
//! | 21 | the clock is set | the pure crates read no clock (their clippy.toml); the simulation |
//! | 22 | colliding labels | `garbage`; the model test of `scache-store` |
//! | 23 | the log is flooded | `garbage` |
//! | 24 | reload, hand-over, end | `handover`, `successor`, `ending` |
//! | 25 | goodbyes | `goodbye`, `ending` |
//! | 26 | killed at any moment | `killed` |
//! | 27 | garbage | `garbage`; the fuzzers |
//! | 28 | users who may not | `users`: the mode of the socket; `about`: purge and drain |
//! | 29 | descriptors left to a child | `descriptors` |
//! | 30 | closes that wait for something else | `closes` |
//! | 31 | connections that were handed out and are not read | `unread` |
//! | 32 | clients hold every slot | `slots` |
//! | 33 | half requests of many clients; memory that is not given back | `memory` |
//! | 34 | sockets that another user planted | `trust` of `scachectl`, `places` of `standalone` |
//! | 35 | two daemons at one path | `races` and `takeover` of `standalone` |
//! | 36 | connections that end or expire between reply and descriptor | `late` |
//!
//! Nothing here depends on how fast the machine is: what must happen has twenty seconds, and what must not happen
//! is listened for a while.

#![cfg_attr(
    not(feature = "system"),
    allow(
        dead_code,
        unused_imports,
        reason = "tests that need root or Debian are left out"
    )
)]

mod about;
mod closes;
mod common;
mod departures;
mod descriptors;
mod ending;
mod exhaustion;
mod garbage;
mod goodbye;
mod handover;
mod in_flight;
mod killed;
mod late;
mod limits;
mod linger;
mod liveness;
mod measurements;
mod memory;
mod slots;
mod stalls;
mod successor;
mod surroundings;
mod timers;
#[cfg(feature = "system")]
mod unread;
mod users;
