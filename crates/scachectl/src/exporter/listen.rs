//! The value of `--listen`: an address, a name or a port.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

/// `ADDRESS:PORT`, `NAME:PORT`, or `:PORT` for all addresses of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Listen {
    All { port: u16 },
    Address(SocketAddr),
    Name { host: String, port: u16 },
}

impl Listen {
    /// Binds and listens.
    ///
    /// # Errors
    /// The error of resolving the name, or of the last address that was tried.
    pub(super) fn bind(&self) -> io::Result<TcpListener> {
        match self {
            Self::Address(address) => TcpListener::bind(address),
            // IPv4 comes that way, too, unless this machine has no IPv6.
            Self::All { port } => TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port))
                .or_else(|_| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port))),
            Self::Name { host, port } => {
                let mut addresses: Vec<SocketAddr> =
                    (host.as_str(), *port).to_socket_addrs()?.collect();
                // IPv4 first: `localhost` is then the address that is the default.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                TcpListener::bind(addresses.as_slice())
            }
        }
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let wrong = "write ADDRESS:PORT, as in 127.0.0.1:19525, or :PORT for all addresses";
        let (host, port) = text.rsplit_once(':').ok_or(wrong)?;
        let port = port.parse().map_err(|_| wrong)?;
        if host.contains([':', '[', ']']) {
            return Err(wrong);
        }
        Ok(match host {
            "" => Self::All { port },
            host => Self::Name {
                host: host.to_owned(),
                port,
            },
        })
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { port } => write!(f, ":{port}"),
            Self::Address(address) => address.fmt(f),
            Self::Name { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Listen;

    #[test]
    fn an_address_a_name_or_all_addresses() {
        for text in ["127.0.0.1:19525", "[::1]:9000", ":9528", "localhost:9528"] {
            let listen: Listen = text.parse().unwrap();
            assert_eq!(listen.to_string(), text);
        }
        assert_eq!(":9528".parse(), Ok(Listen::All { port: 9528 }));
        for text in [
            "",
            "9528",
            "localhost",
            "localhost:",
            "::1:9000",
            "[::1]",
            "a:70000",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
