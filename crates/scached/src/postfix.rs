//! Under Postfix's master(8): its command line, environment, descriptors and main.cf.

mod command_line;
mod described;
mod one_shot;
mod parameters;
mod start;
mod status_channel;

pub use start::main;
pub use status_channel::StatusChannel;
