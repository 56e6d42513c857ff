//! The dumps of docs/PROTOCOL.md are what they say, and what this crate says.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use scache_proto::administration::{Administration, Listed, Page, encode_entry};
use scache_proto::attr::{Attributes, Framer};
use scache_proto::client::{Outcome, Session};
use scache_proto::entries::{ConnectionEntry, SettingEntry};
use scache_proto::reply::History;
use scache_proto::{Descriptors, Label, Property, Request, Ttl, request::Labels};

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

/// Has a client make a request, which must be the next dump, and read the dump behind it.
fn ask(
    session: &mut Session<u32>,
    dumps: &mut std::slice::Iter<'_, Dump>,
    request: &Request<'_>,
    came: Descriptors<u32>,
) -> Outcome<u32> {
    session.start(request);
    let mut written = Vec::new();
    while let Some(transmit) = session.poll_transmit() {
        written.extend_from_slice(transmit.bytes);
        let bytes = transmit.bytes.len();
        session.handle_written(bytes);
    }
    assert_eq!(written, dumps.next().unwrap().bytes);
    let reply = dumps.next().unwrap();
    session.handle_input(&reply.bytes, came).unwrap();
    session.poll_outcome().unwrap()
}

#[test]
fn a_client_reads_the_details_as_dumped() {
    let dumps = dumps();
    let at = |said: &str| dumps.iter().position(|dump| dump.said == said).unwrap();
    let mut session = Session::default();
    let mut inline = dumps[at("request=inline")..].iter();
    let none = || Descriptors::None;
    ask(&mut session, &mut inline, &Request::Inline, none());
    assert!(session.is_inline() && session.offers_details());
    let mut details = dumps[at("request=details")..].iter();
    ask(&mut session, &mut details, &Request::Details, none());
    let label = |name| Label::new(name).unwrap();
    let property = |bytes| Property::new(bytes).unwrap();
    let endpoints = [label(b"e")];
    let find = Request::Find {
        destination: label(b"d"),
        endpoints: Labels::new(&endpoints).unwrap(),
    };
    let found = ask(&mut session, &mut details, &find, Descriptors::One(7));
    let expected = Outcome::Found {
        descriptor: 7,
        endpoint: Some(b"e"[..].into()),
        properties: vec![b"q"[..].into(), b"p"[..].into()],
        history: Some(History {
            age: Duration::from_millis(1500),
            taken: 2,
        }),
    };
    assert_eq!(found, expected);
    let save = Request::Save {
        ttl: Ttl::from_secs(9).unwrap(),
        destination: label(b"d"),
        destination_property: property(b"q"),
        endpoint: label(b"e"),
        property: property(b"p"),
    };
    let saved = ask(&mut session, &mut details, &save, none());
    let ttl = Duration::from_secs(2);
    assert_eq!(saved, Outcome::Saved { ttl });
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

#[test]
fn settings_are_asked_for_and_told_as_dumped() {
    let dumps = dumps();
    let at = dumps
        .iter()
        .position(|dump| dump.said.starts_with("request=list what=settings"))
        .unwrap();
    let mut request = Vec::new();
    Request::Administer(Administration::List {
        what: Listed::Settings,
        prefix: Property::new(b"ttl").unwrap(),
        from: 0,
    })
    .encode(&mut request);
    assert_eq!(request, dumps[at].bytes);
    let entry = SettingEntry {
        number: 2,
        ..SettingEntry::new("ttl-limit", "30s", "file")
    };
    let mut attributes = Attributes::default();
    attributes.number("status", 0);
    encode_entry(&mut attributes, &entry);
    let mut framer = Framer::default();
    framer.extend(&dumps[at + 1].bytes);
    assert!(framer.advance().unwrap());
    assert!(framer.list().eq(attributes.list()));
    let page = Page {
        entries: vec![entry],
        next: None,
    };
    assert_eq!(Page::parse(framer.list()), page);
}
