//! What a cache answers.

use std::time::Duration;

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
/// In the reply to a request for inline descriptors: [`Request::Details`](crate::Request::Details) is understood.
const DETAILS: &[u8] = b"details";
pub(crate) const AGE_MILLISECONDS: &[u8] = b"age_ms";
pub(crate) const TAKEN: &[u8] = b"taken";
const TTL_MILLISECONDS: &[u8] = b"ttl_ms";
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

/// The past of a connection that was found, as far as the cache knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// How long ago it was first saved, in whole milliseconds.
    pub age: Duration,
    /// How often it was taken, this time included.
    pub taken: u32,
}

impl History {
    /// Both numbers as they are told; `None` if one is missing or too large.
    pub(crate) fn of(age_milliseconds: Option<u64>, taken: Option<u64>) -> Option<Self> {
        Some(Self {
            age: Duration::from_millis(age_milliseconds?),
            taken: u32::try_from(taken?).ok()?,
        })
    }
}

/// Adds the past of a connection, if it is known.
pub(crate) fn with_history(list: ListWriter<'_>, history: Option<History>) -> ListWriter<'_> {
    match history {
        Some(History { age, taken }) => list
            .number(AGE_MILLISECONDS, age.as_millis())
            .number(TAKEN, taken),
        None => list,
    }
}

/// The properties of a reply: exactly `N` of them. Attributes of other names may follow.
pub fn properties<'a, const N: usize>(mut rest: List<'a>) -> Option<[&'a [u8]; N]> {
    let mut properties = [&b""[..]; N];
    for property in &mut properties {
        let (name, value) = rest.next()?;
        if name != PROPERTY {
            return None;
        }
        *property = value;
    }
    rest.all(|(name, _)| name != PROPERTY).then_some(properties)
}

/// The past of the connection that a reply hands out, if the reply tells it.
pub fn history(rest: List<'_>) -> Option<History> {
    History::of(number(rest, AGE_MILLISECONDS), number(rest, TAKEN))
}

/// How long what was saved will be kept, if the reply tells it; zero if it is not kept at all.
pub fn granted(rest: List<'_>) -> Option<Duration> {
    number(rest, TTL_MILLISECONDS).map(Duration::from_millis)
}

/// Whether the reply to a request for inline descriptors offers [`Request::Details`](crate::Request::Details).
pub fn offers_details(mut rest: List<'_>) -> bool {
    rest.any(|(name, _)| name == DETAILS)
}

fn number(mut rest: List<'_>, wanted: &[u8]) -> Option<u64> {
    let (_, digits) = rest.find(|(name, _)| *name == wanted)?;
    parse_number(digits)
}

pub(crate) fn parse_number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
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

/// Writes status 0 with what belongs to a connection that was found. `details`: also with its past.
pub fn encode_found(buffer: &mut Vec<u8>, kind: Kind, found: &impl HandOut, details: bool) {
    let mut list = ListWriter::new(buffer).attribute(STATUS, Status::Done.digit());
    if kind == Kind::Find {
        list = list.attribute(LABEL, found.endpoint());
    }
    list = found
        .properties()
        .fold(list, |list, property| list.attribute(PROPERTY, property));
    with_history(list, found.history().filter(|_| details)).end();
}

/// Writes status 0 with how long what was saved will be kept.
pub fn encode_saved(buffer: &mut Vec<u8>, ttl: Duration) {
    ListWriter::new(buffer)
        .attribute(STATUS, Status::Done.digit())
        .number(TTL_MILLISECONDS, ttl.as_millis())
        .end();
}

/// Writes status 0 of a request for inline descriptors, with the offer of details.
pub fn encode_inline(buffer: &mut Vec<u8>) {
    ListWriter::new(buffer)
        .attribute(STATUS, Status::Done.digit())
        .attribute(DETAILS, b"yes")
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
