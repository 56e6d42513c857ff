//! What the program is told of its connection: the variables of ucspi-tcp and ucspi-unix, and one of our own.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;

use super::program::Program;
use super::target::Target;

/// How often the connection was used before.
const REUSED: &str = "SCACHE_REUSED";

/// Those that are set only if they are known: what an outer tcpclient(1) has set is not true here.
const OPTIONAL: [&str; 9] = [
    "TCPREMOTEHOST",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPREMOTEINFO",
    "TCPLOCALHOST",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "UNIXREMOTEPATH",
    "UNIXLOCALPATH",
];

/// Sets the variables for a connection to `target` that was used `reused` times before.
pub(super) fn set(program: &mut Program, target: &Target, connection: &OwnedFd, reused: u64) {
    for name in OPTIONAL {
        program.unset(name);
    }
    program.set(REUSED, reused.to_string());
    if let Some(path) = target.path() {
        program.set("PROTO", "UNIX");
        program.set("UNIXREMOTEPATH", path);
        return;
    }
    program.set("PROTO", "TCP");
    if let Some(name) = target.host_name() {
        program.set("TCPREMOTEHOST", name);
    }
    // A cached one may lead somewhere else than the name leads now, and knows where.
    let [remote, local] = addresses(connection);
    for (address, ip, port) in [
        (remote, "TCPREMOTEIP", "TCPREMOTEPORT"),
        (local, "TCPLOCALIP", "TCPLOCALPORT"),
    ] {
        if let Some(address) = address {
            program.set(ip, address.ip().to_string());
            program.set(port, address.port().to_string());
        }
    }
}

/// The peer's address and our own, as far as it is a TCP socket.
fn addresses(connection: &OwnedFd) -> [Option<SocketAddr>; 2] {
    let Ok(copy) = connection.try_clone() else {
        return [None; 2];
    };
    let stream = TcpStream::from(copy);
    [stream.peer_addr().ok(), stream.local_addr().ok()]
}
