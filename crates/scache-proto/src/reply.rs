//! What a cache answers.

use crate::attr::{Attributes, List, ListWriter};
use crate::request::Kind;
use crate::server::HandOut;

/// The outcome of a request, as a number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// 0: done.
    Done,
    /// 1: the request was malformed or is unknown.
    Malformed,
    /// 2: not found, or not possible.
    Failed,
}

const STATUS: &[u8] = b"status";
const PROPERTY: &[u8] = b"property";
const LABEL: &[u8] = b"label";
const DUMMY: &[u8] = b"dummy";
const PROTOCOL: &[u8] = b"protocol";
const PROTOCOL_NAME: &[u8] = b"connection_cache_protocol";

/// What a list says to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply<'a> {
    /// The name of the protocol, said once when a client connects.
    Announcement,
    /// Go on: the next step of handing over a descriptor.
    Dummy,
    /// The outcome, with the properties that belong to it (as many as the request asks for).
    Outcome {
        /// How it went.
        status: Status,
        /// The attributes behind the status, in their order.
        rest: List<'a>,
    },
}

impl<'a> Reply<'a> {
    /// Reads what a server says.
    pub fn parse(mut list: List<'a>) -> Option<Self> {
        let (name, value) = list.next()?;
        match name {
            DUMMY => Some(Self::Dummy),
            PROTOCOL if value == PROTOCOL_NAME => Some(Self::Announcement),
            STATUS => Some(Self::Outcome {
                status: Status::parse(value)?,
                rest: list,
            }),
            _ => None,
        }
    }
}

/// The properties of a reply: exactly `N` of them, and nothing else.
pub fn properties<'a, const N: usize>(mut rest: List<'a>) -> Option<[&'a [u8]; N]> {
    let mut properties = [&b""[..]; N];
    for property in &mut properties {
        let (name, value) = rest.next()?;
        if name != PROPERTY {
            return None;
        }
        *property = value;
    }
    rest.next().is_none().then_some(properties)
}

/// What the reply to a [`Kind::Find`] has: the endpoint, then the properties.
pub fn found<'a>(mut rest: List<'a>) -> Option<(&'a [u8], [&'a [u8]; 2])> {
    let (name, endpoint) = rest.next()?;
    (name == LABEL).then_some((endpoint, properties(rest)?))
}

/// Whether a list is the dummy that a descriptor waits for.
pub fn is_dummy(mut list: List<'_>) -> bool {
    list.next().is_some_and(|(name, _)| name == DUMMY)
}

/// Writes the name of the protocol.
pub fn encode_announcement(buffer: &mut Vec<u8>) {
    ListWriter::new(buffer)
        .attribute(PROTOCOL, PROTOCOL_NAME)
        .end();
}

/// Writes a dummy.
pub fn encode_dummy(buffer: &mut Vec<u8>) {
    ListWriter::new(buffer).attribute(DUMMY, b"").end();
}

/// Writes an outcome with its properties.
pub fn encode_outcome<'a>(
    buffer: &mut Vec<u8>,
    status: Status,
    properties: impl IntoIterator<Item = &'a [u8]>,
) {
    properties
        .into_iter()
        .fold(
            ListWriter::new(buffer).attribute(STATUS, status.digit()),
            |list, property| list.attribute(PROPERTY, property),
        )
        .end();
}

/// Writes status 0 with what belongs to a connection that was found.
pub fn encode_found(buffer: &mut Vec<u8>, kind: Kind, found: &impl HandOut) {
    let mut list = ListWriter::new(buffer).attribute(STATUS, Status::Done.digit());
    if kind == Kind::Find {
        list = list.attribute(LABEL, found.endpoint());
    }
    found
        .properties()
        .fold(list, |list, property| list.attribute(PROPERTY, property))
        .end();
}

/// Writes status 0 with an answer about the cache.
pub fn encode_report(buffer: &mut Vec<u8>, report: &Attributes) {
    ListWriter::new(buffer)
        .attribute(STATUS, Status::Done.digit())
        .attributes(report)
        .end();
}

/// Writes a refusal: the status, and what the reply would have had besides, empty.
pub fn encode_refusal(buffer: &mut Vec<u8>, status: Status, kind: Kind) {
    let mut list = ListWriter::new(buffer).attribute(STATUS, status.digit());
    if kind == Kind::Find {
        list = list.attribute(LABEL, b"");
    }
    std::iter::repeat_n(&b""[..], kind.properties())
        .fold(list, |list, property| list.attribute(PROPERTY, property))
        .end();
}

impl Status {
    fn digit(self) -> &'static [u8] {
        match self {
            Self::Done => b"0",
            Self::Malformed => b"1",
            Self::Failed => b"2",
        }
    }

    fn parse(digit: &[u8]) -> Option<Self> {
        [Self::Done, Self::Malformed, Self::Failed]
            .into_iter()
            .find(|status| status.digit() == digit)
    }
}
