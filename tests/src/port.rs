//! Ports for programs that have to be told theirs.
//!
//! A port that the kernel gives out and takes back may be gone before the program listens there: every connection
//! of another test takes one of the same. These are from below that range, and claimed by a name that one process
//! can have at a time.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};

/// A port of 127.0.0.1 where nobody listens yet. No other test is given it while this value lives.
#[derive(Debug)]
pub struct Port {
    _claim: UnixListener,
    address: SocketAddr,
}

/// The first port that may be given out.
const FIRST: u16 = 10_000;

impl Port {
    /// Claims a port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn claim() -> Self {
        let end = first_of_the_kernel();
        assert!(
            FIRST < end,
            "the tests need ports from {FIRST} up that the kernel does not give out by itself: \
             raise the first number of net.ipv4.ip_local_port_range"
        );
        let ports = end - FIRST;
        // Processes begin at different places, so that none is used again soon.
        let start = std::process::id() % u32::from(ports);
        (0..ports)
            .map(|step| FIRST + ((start + u32::from(step)) % u32::from(ports)) as u16)
            .find_map(Self::claim_one)
            .expect("no port is free")
    }

    /// Where a program may listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn claim_one(port: u16) -> Option<Self> {
        let name = format!("scache-tests-port-{port}");
        let claim = UnixAddress::from_abstract_name(name).expect("a short name");
        let claim = UnixListener::bind_addr(&claim).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let is_free = TcpListener::bind(address).is_ok();
        is_free.then_some(Self {
            _claim: claim,
            address,
        })
    }
}

/// The lowest port that the kernel gives out by itself.
fn first_of_the_kernel() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let first = range.ok().and_then(|range| {
        let first = range.split_whitespace().next()?;
        first.parse().ok()
    });
    first.unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_claimed_once_and_can_be_listened_at() {
        let ports = [(); 3].map(|()| Port::claim());
        for port in &ports {
            assert!(TcpListener::bind(port.address()).is_ok());
            assert!(Port::claim_one(port.address().port()).is_none());
        }
    }
}
