//! Lists and what they ask for, read as simply as can be.

use std::ffi::CStr;
use std::time::Duration;

use scache_proto::limits;

use crate::about::About;
use crate::trace::Asked;

pub type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

pub enum Found {
    /// The attributes, and how long the list is with all its NULs.
    List(Attributes, usize),
    Incomplete,
    TooLong,
}

/// The list at the beginning of `bytes`.
pub fn next_list(bytes: &[u8]) -> Found {
    let mut strings: Vec<&[u8]> = Vec::new();
    let mut start = 0;
    loop {
        let end = CStr::from_bytes_until_nul(&bytes[start..]).ok();
        let end = end.map(CStr::count_bytes);
        let length = end.unwrap_or(bytes.len() - start);
        if length > limits::VALUE_BYTES || start + length >= limits::LIST_BYTES {
            return Found::TooLong;
        }
        if end.is_none() {
            return Found::Incomplete;
        }
        let string = &bytes[start..start + length];
        start += length + 1;
        if string.is_empty() && strings.len() % 2 == 0 {
            let pairs = strings.chunks(2);
            let attributes = pairs.map(|pair| (pair[0].to_vec(), pair[1].to_vec()));
            return Found::List(attributes.collect(), start);
        }
        strings.push(string);
    }
}

pub fn list(attributes: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in attributes {
        bytes.extend_from_slice(name);
        bytes.push(0);
        bytes.extend_from_slice(value);
        bytes.push(0);
    }
    bytes.push(0);
    bytes
}

pub enum Meaning {
    Nothing,
    Unknown,
    /// A request whose answer has these attributes behind its status.
    Malformed(&'static [&'static [u8]]),
    Request(Asked),
}

/// `inline`: the client asked for descriptors on the bytes that they belong to.
pub fn meaning(attributes: &[(Vec<u8>, Vec<u8>)], inline: bool) -> Meaning {
    let Some(at) = attributes.iter().position(|(name, _)| name == b"request") else {
        return Meaning::Nothing;
    };
    let rest = &attributes[at + 1..];
    let value = |index: usize| rest[index].1.clone();
    let shape: (&[&[u8]], &[&[u8]]) = match &attributes[at].1[..] {
        b"save_endp" => (&[b"ttl", b"label", b"property"], &[]),
        b"find_endp" => (&[b"label"], &[b"property"]),
        b"save_dest" => (&[b"ttl", b"label", b"property", b"label"], &[]),
        b"find_dest" => (&[b"label"], &[b"property", b"property"]),
        b"save" if inline => (&[b"ttl", b"label", b"property", b"label", b"property"], &[]),
        b"find" if inline => {
            let is_sound =
                (1..=65).contains(&rest.len()) && rest.iter().all(|(name, _)| name == b"label");
            return if is_sound {
                Meaning::Request(Asked::Find {
                    destination: value(0),
                    endpoints: (1..rest.len()).map(value).collect(),
                })
            } else {
                Meaning::Malformed(&[b"label", b"property", b"property"])
            };
        }
        b"details" if inline => return Meaning::Request(Asked::Details),
        b"inline" => return Meaning::Request(Asked::Inline),
        b"take_over" => return Meaning::Request(Asked::TakeOver),
        name => {
            return match About::meaning(name, rest) {
                Some(Some(about)) => Meaning::Request(Asked::Administer(about)),
                Some(None) => Meaning::Malformed(&[]),
                None => Meaning::Unknown,
            };
        }
    };
    let (names, answer) = shape;
    let fits = rest.len() >= names.len()
        && rest
            .iter()
            .zip(names)
            .all(|((name, _), wanted)| name == wanted);
    if !fits {
        return Meaning::Malformed(answer);
    }
    if names.len() == 1 {
        return Meaning::Request(match answer.len() {
            1 => Asked::FindEndpoint(value(0)),
            _ => Asked::FindDestination(value(0)),
        });
    }
    let Some(ttl) = ttl(&rest[0].1, &rest[names.len()..]) else {
        return Meaning::Malformed(answer);
    };
    Meaning::Request(match names.len() {
        3 => Asked::SaveEndpoint {
            ttl,
            endpoint: value(1),
            property: value(2),
            history: history(&rest[names.len()..]),
        },
        4 => Asked::SaveDestination {
            ttl,
            destination: value(1),
            property: value(2),
            endpoint: value(3),
        },
        _ => Asked::Save {
            ttl,
            destination: value(1),
            destination_property: value(2),
            endpoint: value(3),
            property: value(4),
        },
    })
}

pub fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    (text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// The first of each, if both are numbers.
fn history(rest: &[(Vec<u8>, Vec<u8>)]) -> Option<(u64, u64)> {
    let first = |wanted: &[u8]| {
        let (_, value) = rest.iter().find(|(name, _)| name == wanted)?;
        number(value)
    };
    Some((first(b"age_ms")?, first(b"taken")?))
}

fn ttl(seconds: &[u8], behind: &[(Vec<u8>, Vec<u8>)]) -> Option<Duration> {
    let seconds = number(seconds).filter(|seconds| (1..=0x7fff_ffff).contains(seconds))?;
    let milliseconds = behind
        .iter()
        .find(|(name, _)| name == b"ttl_ms")
        .and_then(|(_, digits)| number(digits))
        .filter(|milliseconds| milliseconds.div_ceil(1000) == seconds);
    Some(Duration::from_millis(
        milliseconds.unwrap_or(seconds * 1000),
    ))
}
