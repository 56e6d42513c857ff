//! Where to connect to, as it is written and as it is found in the cache.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use super::services;
use crate::failure::{Failure, Status};
use crate::labels::Typed;
use crate::socket;

/// What the user wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Tcp {
        /// A name or an address, which has no brackets here.
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

/// One of the addresses of a target, with the name of its endpoint in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    address: Address,
    label: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Target {
    /// The first field of its names in the cache, if no other is asked for.
    pub(super) fn service(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Unix(_) => "unix",
        }
    }

    /// Its name, if it has one and is no address.
    pub(super) fn host_name(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } if host.parse::<std::net::IpAddr>().is_err() => Some(host),
            _ => None,
        }
    }

    pub(super) fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp { .. } => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// All its addresses, in the order in which they are to be tried; `label` replaces the endpoints' names.
    ///
    /// # Errors
    /// When the host's name cannot be found.
    pub(super) fn candidates(
        &self,
        service: &str,
        label: Option<&Typed>,
    ) -> Result<Vec<Candidate>, Failure> {
        let addresses: Vec<Address> = match self {
            Self::Tcp { host, port } => (host.as_str(), *port)
                .to_socket_addrs()
                .map_err(|error| {
                    Failure::new(
                        Status::Unavailable,
                        format!("cannot find the host {host}: {error}"),
                    )
                })?
                .map(Address::Tcp)
                .collect(),
            Self::Unix(path) => vec![Address::Unix(path.clone())],
        };
        Ok(addresses
            .into_iter()
            .map(|address| Candidate {
                label: match label {
                    Some(typed) => typed.0.clone(),
                    None => format!("{service}\n{address}").into_bytes(),
                },
                address,
            })
            .collect())
    }
}

impl Candidate {
    /// Connects anew.
    ///
    /// # Errors
    /// What connect(2) says; `TimedOut`.
    pub(super) fn connect(&self, timeout: Duration) -> io::Result<OwnedFd> {
        match &self.address {
            Address::Tcp(address) => Ok(TcpStream::connect_timeout(address, timeout)?.into()),
            Address::Unix(path) => {
                let stream = UnixStream::from(socket::connect(path, Instant::now() + timeout)?);
                stream.set_nonblocking(false)?;
                Ok(stream.into())
            }
        }
    }
}

impl AsRef<[u8]> for Candidate {
    fn as_ref(&self) -> &[u8] {
        &self.label
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("the path of the socket is missing".to_owned()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let wrong = || "write HOST:PORT, [IPV6]:PORT or unix:/PATH".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = match bare {
            Some(bare) => bare,
            // The last field of an address without brackets is no port.
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        let is_name = port.starts_with(|begin: char| begin.is_ascii_alphabetic());
        let port = if is_name {
            let unknown = || format!("/etc/services has no TCP port {port}: write its number");
            services::port(port).ok_or_else(unknown)?
        } else {
            port.parse().map_err(|_| wrong())?
        };
        if host.is_empty() || port == 0 {
            return Err(wrong());
        }
        Ok(Self::Tcp {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "[{}]:{}", address.ip(), address.port()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl fmt::Display for Candidate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_has_a_host_and_a_port_or_is_a_path() {
        for (text, shown) in [
            ("mail.example.com:25", Some("mail.example.com:25")),
            ("192.0.2.1:25", Some("192.0.2.1:25")),
            ("[192.0.2.1]:25", Some("192.0.2.1:25")),
            ("[2001:db8::1]:25", Some("[2001:db8::1]:25")),
            ("unix:/run/a b", Some("/run/a b")),
            ("2001:db8::1:25", None),
            ("mail.example.com", None),
            (":25", None),
            ("mail.example.com:", None),
            ("mail.example.com:no-such-service", None),
            ("mail.example.com:0", None),
            ("mail.example.com:65536", None),
            ("unix:", None),
        ] {
            let target = Target::from_str(text).ok().map(|target| target.to_string());
            assert_eq!(target.as_deref(), shown, "{text}");
        }
    }

    #[test]
    fn a_port_may_have_its_name() {
        for host in ["mail.example.com", "[2001:db8::1]"] {
            let target = Target::from_str(&format!("{host}:smtp"));
            // A small system has no /etc/services.
            match services::port("smtp") {
                Some(port) => assert_eq!(target.unwrap().to_string(), format!("{host}:{port}")),
                None => assert!(target.unwrap_err().contains("/etc/services")),
            }
        }
    }

    #[test]
    fn endpoints_have_the_names_of_their_addresses_unless_one_is_given() {
        let labels = |text: &str, label: Option<&str>| {
            let target = Target::from_str(text).unwrap();
            let label = label.map(|label| label.parse().unwrap());
            let candidates = target.candidates(target.service(), label.as_ref());
            let names = candidates.unwrap().into_iter();
            names
                .map(|candidate| String::from_utf8(candidate.label).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(labels("192.0.2.1:25", None), ["tcp\n[192.0.2.1]:25"]);
        assert_eq!(labels("[2001:db8::1]:25", None), ["tcp\n[2001:db8::1]:25"]);
        assert_eq!(labels("unix:/socket", None), ["unix\n/socket"]);
        assert_eq!(labels("192.0.2.1:25", Some(r"my\nown")), ["my\nown"]);
    }
}
