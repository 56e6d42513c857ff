//! A server that goes away at each step of a request, and another one in its place.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use scache_client::{Error, Found, Save, Saved};
use scache_tests::wire::{Client as Peer, Connection, DEADLINE, Heard, dummy, list};

use crate::servers::{KINDS, Protocol, Server, TTL, lead};

/// What the first server does before it goes away.
pub enum Act {
    /// Hears a list, perhaps with a descriptor.
    Hear,
    /// Hears a NUL byte with a descriptor.
    HearDescriptor,
    Say(Vec<u8>),
    /// Says it with a connection of its own on the first byte.
    SayDescriptor(Vec<u8>),
    /// Waits until its client goes, whatever that says before.
    HearEnd,
}

use Act::{Hear, HearDescriptor, HearEnd, Say, SayDescriptor};

/// How a request ends whose first server has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The second server has carried it out, the first one has got nothing.
    Repeated,
    /// It was not repeated, because the first server has got the connection.
    Lost,
    /// The first server had carried it out.
    Carried,
}

use End::{Carried, Lost, Repeated};

type Case = (fn() -> Vec<Act>, End);

/// A server in whose place `server` is as soon as it has its first client.
pub struct First {
    thread: JoinHandle<Vec<OwnedFd>>,
    /// How many descriptors it has got.
    received: Arc<AtomicUsize>,
    connection: Connection,
}

impl First {
    pub fn in_front_of(server: &Server, acts: Vec<Act>) -> Self {
        let own = server.path().with_extension("first");
        let listener = UnixListener::bind(&own).expect("a socket");
        server.lead_to(&own);
        let (path, next) = (server.path(), server.own_path());
        let connection = Connection::new();
        let given = connection.near().try_clone_to_owned().expect("a copy");
        let received = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&received);
        let thread = std::thread::spawn(move || {
            let (peer, _) = listener.accept().expect("a client");
            lead(&path, &next);
            play(&Peer::from(OwnedFd::from(peer)), acts, &given, &count)
        });
        Self {
            thread,
            received,
            connection,
        }
    }

    /// Until it has got a descriptor.
    pub async fn has_one(&self) {
        while self.received.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The descriptors that it got, and the connection that it gave away.
    pub fn end(self) -> (Vec<OwnedFd>, Connection) {
        let got = self.thread.join().expect("the first server ends well");
        (got, self.connection)
    }
}

fn play(peer: &Peer, acts: Vec<Act>, given: &OwnedFd, count: &AtomicUsize) -> Vec<OwnedFd> {
    let mut got = Vec::new();
    for act in acts {
        match act {
            Hear => got.extend(hear_list(peer)),
            HearDescriptor => match peer.hear(Instant::now() + DEADLINE) {
                Heard::Byte(0, Some(descriptor)) => got.push(descriptor),
                other => panic!("{other:?} instead of a descriptor"),
            },
            HearEnd => loop {
                match peer.hear(Instant::now() + DEADLINE) {
                    Heard::End => break,
                    Heard::Byte(_, descriptor) => got.extend(descriptor),
                    Heard::Nothing => panic!("the client stays"),
                }
            },
            Say(bytes) => peer.send(&bytes).expect("said"),
            SayDescriptor(bytes) => {
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                let descriptors = [given.as_fd()];
                assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
                let bytes = [IoSlice::new(&bytes)];
                sendmsg(peer, &bytes, &mut control, SendFlags::NOSIGNAL).expect("said");
            }
        }
        count.store(got.len(), Ordering::Relaxed);
    }
    got
}

/// A list that has more than its end in it, and what came with it.
fn hear_list(peer: &Peer) -> Vec<OwnedFd> {
    let mut got = Vec::new();
    let mut bytes = Vec::new();
    // The names and values are text, so an empty name is the end; a value may be empty.
    let ended = |bytes: &[u8]| {
        let strings = bytes.split_inclusive(|&byte| byte == 0);
        strings
            .enumerate()
            .any(|(index, string)| index % 2 == 0 && string == [0])
    };
    while !ended(&bytes) {
        match peer.hear(Instant::now() + DEADLINE) {
            Heard::Byte(byte, descriptor) => {
                bytes.push(byte);
                got.extend(descriptor);
            }
            other => panic!("{other:?} behind {}", bytes.escape_ascii()),
        }
    }
    got
}

fn status(digit: &str) -> Act {
    Say(list(&[("status", digit)]))
}

/// The answer to a request for inline descriptors.
fn offer() -> Act {
    Say(list(&[("status", "0"), ("details", "yes")]))
}

fn found_endp() -> Vec<u8> {
    list(&[("status", "0"), ("property", "p")])
}

fn found_dest() -> Vec<u8> {
    list(&[("status", "0"), ("property", "d"), ("property", "p")])
}

fn found() -> Vec<u8> {
    list(&[
        ("status", "0"),
        ("label", "e"),
        ("property", "d"),
        ("property", "p"),
    ])
}

fn found_with_details() -> Vec<u8> {
    list(&[
        ("status", "0"),
        ("label", "e"),
        ("property", "d"),
        ("property", "p"),
        ("age_ms", "12"),
        ("taken", "3"),
    ])
}

/// Runs `save` with the first server in front of each real one.
fn saves(
    protocol: Protocol,
    cases: &[Case],
    save: impl Fn(&mut scache_client::Client, &Connection) -> Result<Saved, Error>,
) {
    for kind in KINDS {
        for (number, (acts, end)) in cases.iter().enumerate() {
            println!("{kind:?}, {protocol:?} protocol, case {number}: {end:?}");
            let server = Server::start(kind);
            let first = First::in_front_of(&server, acts());
            let mut client = server.client(protocol);
            let connection = Connection::new();
            let result = save(&mut client, &connection);
            let (got, _) = first.end();
            let kept = client.find_endpoint(b"e").expect("asked");
            match end {
                Repeated => {
                    result.expect("saved");
                    assert!(got.is_empty(), "it was sent twice");
                    let kept = kept.expect("the second server has it");
                    assert!(connection.check(&kept.connection));
                }
                Lost | Carried => {
                    let lost = matches!(result, Err(Error::Lost(_)));
                    assert_eq!(lost, *end == Lost, "{result:?}");
                    assert!(kept.is_none(), "it was sent twice");
                    assert!(matches!(&got[..], [one] if connection.check(one)));
                }
            }
            assert!(client.find_endpoint(b"e").expect("asked").is_none());
        }
    }
}

/// Runs `find` with the first server in front of each real one, which has a connection.
fn finds(
    protocol: Protocol,
    cases: &[Case],
    find: impl Fn(&mut scache_client::Client) -> Result<Option<Found>, Error>,
) {
    for kind in KINDS {
        for (number, (acts, end)) in cases.iter().enumerate() {
            println!("{kind:?}, {protocol:?} protocol, case {number}: {end:?}");
            let server = Server::start(kind);
            let mut client = server.client(protocol);
            let connection = Connection::new();
            let save = Save::new(TTL, b"d", b"e");
            client.save(&save, &connection.near()).expect("saved");
            let mut client = server.client(protocol);
            let first = First::in_front_of(&server, acts());
            let found = find(&mut client).expect("asked").expect("found");
            let (_, given) = first.end();
            let expected = if *end == Carried { &given } else { &connection };
            assert!(expected.check(&found.connection), "another connection");
            let rest = client.find_endpoint(b"e").expect("asked");
            assert_eq!(rest.is_some(), *end == Carried);
        }
    }
}

#[test]
fn a_connection_is_saved_once_in_the_stock_protocol() {
    saves(
        Protocol::Stock,
        &[
            (Vec::new, Repeated),
            (|| vec![Hear], Repeated),
            (|| vec![Hear, Say(dummy()), HearDescriptor], Lost),
            (
                || vec![Hear, Say(dummy()), HearDescriptor, Say(b"stat".to_vec())],
                Lost,
            ),
            (
                || {
                    vec![
                        Hear,
                        Say(dummy()),
                        HearDescriptor,
                        Say(b"what\0?\0\0".to_vec()),
                    ]
                },
                Lost,
            ),
            (
                || vec![Hear, Say(dummy()), HearDescriptor, status("0")],
                Carried,
            ),
        ],
        |client, connection| client.save_endpoint(TTL, b"e", b"p", &connection.near()),
    );
}

#[test]
fn a_connection_is_saved_once_with_its_binding_in_the_stock_protocol() {
    saves(
        Protocol::Stock,
        &[
            (|| vec![Hear], Repeated),
            (|| vec![Hear, status("0")], Repeated),
            (|| vec![Hear, status("0"), Hear], Repeated),
            (
                || vec![Hear, status("0"), Hear, Say(dummy()), HearDescriptor],
                Lost,
            ),
        ],
        |client, connection| client.save(&Save::new(TTL, b"d", b"e"), &connection.near()),
    );
}

#[test]
fn a_connection_is_saved_once_inline() {
    saves(
        Protocol::Best,
        &[
            (Vec::new, Repeated),
            (|| vec![Hear], Repeated),
            // Refused, as stock does, and gone in the stock protocol.
            (|| vec![Hear, status("1"), Hear], Repeated),
            (
                || vec![Hear, status("1"), Hear, status("0"), Hear],
                Repeated,
            ),
            (|| vec![Hear, status("0"), Hear], Lost),
            (
                || vec![Hear, status("0"), Hear, Say(b"status\0".to_vec())],
                Lost,
            ),
            (|| vec![Hear, status("0"), Hear, status("0")], Carried),
            // The request for details comes first, and is answered or not.
            (|| vec![Hear, offer(), Hear, Hear], Lost),
            (|| vec![Hear, offer(), Hear, Hear, status("0")], Lost),
            (
                || vec![Hear, offer(), Hear, Hear, status("0"), status("0")],
                Carried,
            ),
            (
                || vec![Hear, offer(), Hear, Hear, status("1"), status("0")],
                Carried,
            ),
        ],
        |client, connection| client.save(&Save::new(TTL, b"d", b"e"), &connection.near()),
    );
}

#[test]
fn a_connection_is_found_once_in_the_stock_protocol() {
    finds(
        Protocol::Stock,
        &[
            (Vec::new, Repeated),
            (|| vec![Hear], Repeated),
            (|| vec![Hear, Say(found_endp())], Repeated),
            (|| vec![Hear, Say(found_endp()), Hear], Repeated),
            (
                || vec![Hear, Say(found_endp()), Hear, SayDescriptor(vec![0])],
                Carried,
            ),
            (
                || vec![Hear, Say(found_endp()), Hear, SayDescriptor(vec![0]), Hear],
                Carried,
            ),
        ],
        |client| client.find_endpoint(b"e"),
    );
    finds(
        Protocol::Stock,
        &[
            (|| vec![Hear], Repeated),
            (|| vec![Hear, Say(found_dest()), Hear], Repeated),
            (
                || vec![Hear, Say(found_dest()), Hear, SayDescriptor(vec![0])],
                Carried,
            ),
            (
                || {
                    vec![
                        Hear,
                        Say(list(&[("status", "2"), ("property", ""), ("property", "")])),
                        Hear,
                    ]
                },
                Repeated,
            ),
        ],
        |client| Ok(client.find(b"d", &["e"])?.map(|through| through.found)),
    );
}

#[test]
fn a_connection_is_found_once_inline() {
    finds(
        Protocol::Best,
        &[
            (Vec::new, Repeated),
            (|| vec![Hear], Repeated),
            (|| vec![Hear, status("0"), Hear], Repeated),
            (
                || vec![Hear, status("0"), Hear, SayDescriptor(b"status\0".to_vec())],
                Repeated,
            ),
            (
                || vec![Hear, status("0"), Hear, SayDescriptor(found())],
                Carried,
            ),
            (|| vec![Hear, offer(), Hear, Hear], Repeated),
            (|| vec![Hear, offer(), Hear, Hear, status("0")], Repeated),
            (
                || {
                    let found = SayDescriptor(found_with_details());
                    vec![Hear, offer(), Hear, Hear, status("0"), found]
                },
                Carried,
            ),
        ],
        |client| Ok(client.find(b"d", &["e"])?.map(|through| through.found)),
    );
}
