//! Requests and replies, and whole exchanges as a client has them that behaves.
//!
//! The functions that do something fail the test when the reply is not what they are told; those that begin with
//! `try` report what happened. Nothing here knows what is cached.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use crate::wire::{Client, Connection, DEADLINE, Heard, announcement, dummy, list};

/// The client has heard the announcement, if there is to be one.
///
/// # Panics
/// When that does not come.
#[must_use]
pub fn greeted(client: Client) -> Client {
    if !client.is_announced_to() {
        return client;
    }
    assert_eq!(
        client.hear_list().escape_ascii().to_string(),
        announcement().escape_ascii().to_string(),
        "the announcement"
    );
    client
}

/// A request and its whole reply.
///
/// # Panics
/// When the reply is another one.
pub fn ask(client: &Client, request: &[u8], reply: &[u8]) {
    client.send(request).expect("send a request");
    let heard = client.hear_list();
    assert!(
        heard == reply,
        "asked {}, heard {}, not {}",
        shown(request),
        shown(&heard),
        shown(reply)
    );
}

/// Bytes for people to read, cut where there are too many.
#[must_use]
pub fn shown(bytes: &[u8]) -> String {
    let mut text = bytes.escape_ascii().to_string().replace("\\x00", "|");
    if text.len() > 240 {
        text.truncate(120);
        text.push_str(&format!("... ({} bytes in all)", bytes.len()));
    }
    text
}

/// Saves a connection for a minute.
///
/// # Panics
/// When it is refused.
pub fn save(client: &Client, connection: &Connection, label: &str, property: &str) {
    save_for(client, 60, connection, label, property);
}

/// Saves a connection.
///
/// # Panics
/// When it is refused.
pub fn save_for(client: &Client, ttl: u32, connection: &Connection, label: &str, property: &str) {
    let status = try_save(client, ttl, label, property, connection.near());
    assert_eq!(status, Ok(0), "the status of a save of {label}");
}

/// Saves a connection of which the test keeps only the far end.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn saved(client: &Client, ttl: u32, mut connection: Connection, label: &str) -> Connection {
    save_for(client, ttl, &connection, label, label);
    connection.let_go();
    connection
}

/// Saves a binding for a minute.
///
/// # Panics
/// When it is refused.
pub fn bind(client: &Client, destination: &str, property: &str, endpoint: &str) {
    ask(
        client,
        &save_dest("60", destination, property, endpoint),
        &status(0),
    );
}

/// Takes a connection by its endpoint, and checks that it is this one.
///
/// # Panics
/// When there is none, or another one.
pub fn take(client: &Client, label: &str, connection: &Connection) -> OwnedFd {
    let found = try_find(client, label);
    let Ok(Some(found)) = found else {
        panic!("not found by {label}: {found:?}")
    };
    assert!(
        connection.check(&found.descriptor),
        "another connection was found by {label}"
    );
    found.descriptor
}

/// Nothing is found by this endpoint.
///
/// # Panics
/// When something is.
pub fn miss(client: &Client, label: &str) {
    let found = try_find(client, label);
    assert!(
        matches!(found, Ok(None)),
        "something was found by {label}: {found:?}"
    );
}

/// The part of an exchange that follows a find's status 0.
///
/// # Panics
/// When the descriptor does not come, or is another one.
pub fn receive(client: &Client, connection: &Connection) {
    client.send(&dummy()).expect("send a dummy");
    match client.hear(Instant::now() + DEADLINE) {
        Heard::Byte(0, Some(descriptor)) => {
            assert!(connection.check(&descriptor), "another connection");
        }
        other => panic!("no descriptor but {other:?}"),
    }
    client.send(&dummy()).expect("send a dummy");
}

/// The server is gone, or it was silent until the deadline, or it said what makes no sense.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Broken(Vec<u8>);

impl fmt::Debug for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "the exchange broke off after {:?}",
            self.0.escape_ascii().to_string()
        )
    }
}

/// What a find brought.
#[derive(Debug)]
pub struct Found {
    /// The properties, that of the destination first if it was asked for.
    pub properties: Vec<Vec<u8>>,
    /// The connection.
    pub descriptor: OwnedFd,
}

/// Saves a connection: the status.
///
/// # Errors
/// When the server does not answer.
pub fn try_save(
    client: &Client,
    ttl: u32,
    label: impl AsRef<[u8]>,
    property: impl AsRef<[u8]>,
    descriptor: impl AsFd,
) -> Result<u8, Broken> {
    try_say(client, &save_endp(&ttl.to_string(), label, property))?;
    let heard = client.hear_list();
    if heard != dummy() {
        return only_status(heard);
    }
    let descriptor: BorrowedFd<'_> = descriptor.as_fd();
    client
        .send_descriptors(&[descriptor])
        .map_err(|_| Broken(Vec::new()))?;
    only_status(client.hear_list())
}

/// Saves a binding: the status.
///
/// # Errors
/// When the server does not answer.
pub fn try_bind(
    client: &Client,
    ttl: u32,
    destination: &str,
    property: &str,
    endpoint: &str,
) -> Result<u8, Broken> {
    try_say(
        client,
        &save_dest(&ttl.to_string(), destination, property, endpoint),
    )?;
    only_status(client.hear_list())
}

/// Takes a connection by its endpoint, if there is one.
///
/// # Errors
/// When the server does not answer.
pub fn try_find(client: &Client, label: impl AsRef<[u8]>) -> Result<Option<Found>, Broken> {
    try_take(client, &find_endp(label))
}

/// Takes a connection by its destination, if there is one.
///
/// # Errors
/// When the server does not answer.
pub fn try_find_for(client: &Client, destination: &str) -> Result<Option<Found>, Broken> {
    try_take(client, &find_dest(destination))
}

fn try_take(client: &Client, request: &[u8]) -> Result<Option<Found>, Broken> {
    try_say(client, request)?;
    let heard = client.hear_list();
    let strings: Vec<&[u8]> = heard.split(|byte| *byte == 0).collect();
    match strings[..] {
        [b"status", b"2", ..] => return Ok(None),
        [b"status", b"0", ..] if heard.ends_with(&[0, 0]) => {}
        _ => return Err(Broken(heard)),
    }
    // What is left behind the last value are the two NULs that end it and the list.
    let properties = strings[2..strings.len() - 2]
        .chunks_exact(2)
        .map(|pair| pair[1].to_vec())
        .collect();
    try_say(client, &dummy())?;
    match client.hear(Instant::now() + DEADLINE) {
        Heard::Byte(0, Some(descriptor)) => {
            // The connection is ours whether or not the server hears this.
            let _ = client.send(&dummy());
            Ok(Some(Found {
                properties,
                descriptor,
            }))
        }
        _ => Err(Broken(heard)),
    }
}

fn try_say(client: &Client, words: &[u8]) -> Result<(), Broken> {
    client.send(words).map_err(|_| Broken(Vec::new()))
}

fn only_status(heard: Vec<u8>) -> Result<u8, Broken> {
    (0..=2)
        .find(|code| heard == status(*code))
        .ok_or(Broken(heard))
}

/// A request.
#[must_use]
pub fn save_endp(ttl: &str, label: impl AsRef<[u8]>, property: impl AsRef<[u8]>) -> Vec<u8> {
    list(&[
        ("request", &b"save_endp"[..]),
        ("ttl", ttl.as_bytes()),
        ("label", label.as_ref()),
        ("property", property.as_ref()),
    ])
}

/// A request.
#[must_use]
pub fn save_dest(ttl: &str, destination: &str, property: &str, endpoint: &str) -> Vec<u8> {
    list(&[
        ("request", "save_dest"),
        ("ttl", ttl),
        ("label", destination),
        ("property", property),
        ("label", endpoint),
    ])
}

/// A request.
#[must_use]
pub fn find_endp(label: impl AsRef<[u8]>) -> Vec<u8> {
    list(&[("request", &b"find_endp"[..]), ("label", label.as_ref())])
}

/// A request.
#[must_use]
pub fn find_dest(destination: &str) -> Vec<u8> {
    list(&[("request", "find_dest"), ("label", destination)])
}

/// Asks for inline descriptors, which our servers grant with an offer of more details in replies.
pub fn ask_inline(client: &Client) {
    let granted = list(&[("status", "0"), ("details", "yes")]);
    ask(client, &list(&[("request", "inline")]), &granted);
}

/// A reply that is a status alone.
#[must_use]
pub fn status(code: u8) -> Vec<u8> {
    list(&[("status", code.to_string())])
}

/// A reply to `find_endp`, behind which the descriptor comes.
#[must_use]
pub fn found_endp(property: impl AsRef<[u8]>) -> Vec<u8> {
    list(&[("status", &b"0"[..]), ("property", property.as_ref())])
}

/// A reply to `find_dest`, behind which the descriptor comes.
#[must_use]
pub fn found_dest(destination_property: &str, endpoint_property: &str) -> Vec<u8> {
    list(&[
        ("status", "0"),
        ("property", destination_property),
        ("property", endpoint_property),
    ])
}

/// The failure of a `find_endp`.
#[must_use]
pub fn no_endp(code: u8) -> Vec<u8> {
    list(&[("status", code.to_string().as_str()), ("property", "")])
}

/// The failure of a `find_dest`.
#[must_use]
pub fn no_dest(code: u8) -> Vec<u8> {
    list(&[
        ("status", code.to_string().as_str()),
        ("property", ""),
        ("property", ""),
    ])
}
