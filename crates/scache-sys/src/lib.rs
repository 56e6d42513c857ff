//! What the kernel does for a connection cache.
//!
//! All `unsafe` of the project is here, behind functions that cannot be misused. Nothing here knows
//! what is cached or why.

mod accounts;
pub mod closer;
pub mod descriptors;
pub mod generation;
pub mod local_time;
pub mod memory;
pub mod passing;
pub mod places;
pub mod privileges;
pub mod processes;
pub mod signals;
pub mod sockets;
pub mod trust;
pub mod watchdog;
