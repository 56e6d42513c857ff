//! What the program is told of its connection: the variables of ucspi-tcp and ucspi-unix, and one of our own.

use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;

use super::program::Program;
use super::target::Target;

/// How often the connection was used before.
const REUSED: &str = "SCACHE_REUSED";

/// How variables about a connection begin, as the programs of ucspi-tcp, ucspi-unix and s6-networking set them. What an
/// outer one of these has set, about its own connection, is not true here.
const FOREIGN: [&[u8]; 6] = [
    b"TCPREMOTE",
    b"TCPLOCAL",
    b"UNIXREMOTE",
    b"UNIXLOCAL",
    b"IPCREMOTE",
    b"IPCLOCAL",
];

/// Sets the variables for a connection to `target` that was used `reused` times before.
pub(super) fn set(program: &mut Program, target: &Target, connection: &OwnedFd, reused: u64) {
    for (name, _) in std::env::vars_os() {
        let is_foreign = |begin: &&[u8]| name.as_bytes().starts_with(begin);
        if FOREIGN.iter().any(is_foreign) {
            program.unset(&name);
        }
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
