//! The client library against all that it may meet: stock scache(8), ours under master(8), `scached`.

mod asynchronous;
mod c;
mod cut;
mod examples;
mod pool;
mod restarts;
mod servers;
mod surface;
