//! The dumps of docs/PROTOCOL.md are what they say, and what this crate says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use scache_proto::administration::{Administration, Listed, Page, encode_entry};
use scache_proto::attr::{Attributes, Framer};
use scache_proto::entries::ConnectionEntry;
use scache_proto::{Property, Request};

/// One message: what is said of it, and its bytes.
#[derive(Debug)]
struct Dump {
    said: String,
    bytes: Vec<u8>,
}

/// All dumps of the document. They are indented; the first line begins with who says it, and has the bytes at its
/// end or in the lines below.
fn dumps() -> Vec<Dump> {
    let text = include_str!("../../../docs/PROTOCOL.md");
    let mut dumps: Vec<Dump> = Vec::new();
    for line in text.lines() {
        let Some(line) = line.strip_prefix("    ") else {
            continue;
        };
        if let Some(line) = line.strip_prefix("C  ").or(line.strip_prefix("S  ")) {
            let (said, hexadecimal) = line.split_once("  ").unwrap_or((line, ""));
            dumps.push(Dump {
                said: said.trim().to_owned(),
                bytes: bytes(hexadecimal).unwrap(),
            });
        } else if let (Some(dump), Some(more)) = (dumps.last_mut(), bytes(line)) {
            dump.bytes.extend(more);
        }
    }
    dumps
}

fn bytes(hexadecimal: &str) -> Option<Vec<u8>> {
    let bytes = hexadecimal.split_whitespace();
    bytes
        .map(|byte| {
            u8::from_str_radix(byte, 16)
                .ok()
                .filter(|_| byte.len() == 2)
        })
        .collect()
}

/// The attributes that a text like `request=find label=d` tells.
fn list(said: &str) -> Vec<u8> {
    let (said, _) = said.split_once(", ").unwrap_or((said, ""));
    let mut bytes = Vec::new();
    for attribute in said.split(' ') {
        let (name, value) = attribute.split_once('=').unwrap();
        bytes.extend([name.as_bytes(), b"\0", value.as_bytes(), b"\0"].concat());
    }
    bytes.push(0);
    bytes
}

#[test]
fn each_dump_is_what_it_says() {
    let dumps = dumps();
    assert!(dumps.len() >= 24, "{dumps:#?}");
    for Dump { said, bytes } in dumps {
        let expected = match &said[..] {
            "NUL + descriptor" => vec![0],
            said => list(said),
        };
        assert_eq!(bytes, expected, "{said}");
    }
}

#[test]
fn requests_about_the_cache_and_their_answers_are_as_dumped() {
    let dumps = dumps();
    let at = dumps
        .iter()
        .position(|dump| dump.said.starts_with("request=list"))
        .unwrap();
    let mut request = Vec::new();
    Request::Administer(Administration::List {
        what: Listed::Connections,
        prefix: Property::new(b"smtp").unwrap(),
        from: 0,
    })
    .encode(&mut request);
    assert_eq!(request, dumps[at].bytes);
    let entry = ConnectionEntry {
        number: 3,
        endpoint: b"smtp"[..].into(),
        age: Duration::from_millis(7),
        left: Duration::from_millis(1993),
        taken: 0,
        peer: "192.0.2.1:25".to_owned(),
    };
    let answer = &dumps[at + 1].bytes;
    let mut attributes = Attributes::default();
    attributes.number("status", 0);
    encode_entry(&mut attributes, &entry);
    let mut framer = Framer::default();
    framer.extend(answer);
    assert!(framer.advance().unwrap());
    assert!(framer.list().eq(attributes.list()));
    let page = Page {
        entries: vec![entry],
        next: None,
    };
    assert_eq!(Page::parse(framer.list()), page);
}
