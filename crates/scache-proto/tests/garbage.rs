//! Random bytes, and valid streams that were spoiled, into everything that reads from a peer: no panic, no
//! more remembered than the limits allow, and no descriptor with two owners or none.
//!
//! `scache_seeds` has the variables that say which seeds are taken.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "virtual time has to begin somewhere"
)]

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use scache_proto::administration::{
    Administration, Entry, Listed, Names, Page, Purged, encode_entry, encode_next,
};
use scache_proto::attr::{Attributes, Framer, List};
use scache_proto::entries::{
    BindingEntry, ConnectionEntry, DestinationEntry, EventEntry, Happening,
};
use scache_proto::request::Labels;
use scache_proto::server::{Answer, Event, HandOut, Unfinished};
use scache_proto::stats::Stats;
use scache_proto::{Descriptors, Label, Property, Request, Ttl, client, limits, server};
use scache_seeds::RandomTest;

/// A descriptor: open from its making to its drop, and closed once.
#[derive(Debug)]
struct Descriptor {
    number: u64,
    open: Rc<RefCell<HashSet<u64>>>,
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        assert!(self.open.borrow_mut().remove(&self.number), "closed twice");
    }
}

#[derive(Debug)]
struct Kept(Descriptor);

impl HandOut for Kept {
    fn properties(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&b"p"[..])
    }

    fn endpoint(&self) -> &[u8] {
        b"e"
    }
}

/// Where descriptors come from.
#[derive(Default)]
struct Source {
    made: u64,
    open: Rc<RefCell<HashSet<u64>>>,
}

impl Source {
    fn make(&mut self) -> Descriptor {
        self.made += 1;
        self.open.borrow_mut().insert(self.made);
        Descriptor {
            number: self.made,
            open: Rc::clone(&self.open),
        }
    }

    fn open(&self) -> usize {
        self.open.borrow().len()
    }

    /// What may come with a read.
    fn attached(&mut self, random: &mut fastrand::Rng, odds: u8) -> Descriptors<Descriptor> {
        match random.u8(..) {
            roll if roll >= odds => Descriptors::None,
            0..2 => Descriptors::Several,
            2..4 => Descriptors::Truncated,
            _ => Descriptors::One(self.make()),
        }
    }
}

/// Runs a round for each seed.
fn rounds(test: &str, round: impl Fn(&mut fastrand::Rng) + Sync) {
    let test = RandomTest {
        name: "GARBAGE",
        seeds: 5_000,
        failed: "",
        command: &format!("cargo test -p scache-proto --test garbage {test}"),
    };
    test.run(|seed| round(&mut fastrand::Rng::with_seed(seed.number)));
}

/// Requests that clients need not ask for, then those for which a client asks to be inline first.
const STOCK_REQUESTS: usize = 12;

fn requests() -> [Request<'static>; STOCK_REQUESTS + 3] {
    let ttl = Ttl::from_remaining(Duration::from_millis(1500)).unwrap();
    let label = Label::new(b"smtp\n[127.0.0.1]:25").unwrap();
    let property = Property::new(b"p\xff").unwrap();
    [
        Request::SaveEndpoint {
            ttl,
            endpoint: label,
            property,
            history: None,
        },
        Request::FindEndpoint { endpoint: label },
        Request::SaveDestination {
            ttl,
            destination: label,
            property,
            endpoint: label,
        },
        Request::FindDestination { destination: label },
        Request::TakeOver,
        Request::Administer(Administration::Stats),
        Request::Administer(Administration::List {
            what: Listed::Bindings,
            prefix: property,
            from: 1 << 40,
        }),
        Request::Administer(Administration::Events { from: u64::MAX }),
        Request::Administer(Administration::Purge {
            names: Names::Is(label),
            from: 0,
        }),
        Request::Administer(Administration::Purge {
            names: Names::Begin(property),
            from: 7,
        }),
        Request::Administer(Administration::Drain { on: true }),
        Request::Inline,
        Request::Details,
        Request::Save {
            ttl,
            destination: label,
            destination_property: property,
            endpoint: label,
            property,
        },
        Request::Find {
            destination: label,
            endpoints: Labels::new(&[]).unwrap(),
        },
    ]
}

fn encoded() -> Vec<Vec<u8>> {
    let requests = requests();
    let encode = |request: &Request<'_>| {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        bytes
    };
    requests.iter().map(encode).collect()
}

/// Parts of what a peer might say, one after the other and spoiled here and there.
fn stream(random: &mut fastrand::Rng, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..random.usize(1..40) {
        match random.u16(0..800) {
            0..20 => stream.extend((0..random.usize(1..50)).map(|_| random.u8(..))),
            20 => stream.extend(vec![b'x'; random.usize(1..2 * limits::VALUE_BYTES)]),
            21 => stream.extend(b"n\0v\0".repeat(random.usize(1..limits::LIST_BYTES / 3))),
            _ => stream.extend_from_slice(&parts[random.usize(..parts.len())]),
        }
    }
    for _ in 0..random.usize(0..4) {
        let at = random.usize(..stream.len());
        match random.u8(0..4) {
            0 => stream[at] = random.u8(..),
            1 => stream[at] = 0,
            2 => stream.insert(at, random.u8(..) & 1),
            _ if stream.len() > 1 => drop(stream.remove(at)),
            _ => {}
        }
    }
    stream
}

/// Cuts a stream as reads might.
fn reads<'a>(random: &mut fastrand::Rng, mut stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut reads = Vec::new();
    let most = match random.u8(0..4) {
        0 => 3,
        1 => 100,
        _ => 65536,
    };
    // Who dribbles much takes long.
    while !stream.is_empty() && reads.len() < 2000 {
        let (read, rest) = stream.split_at(random.usize(1..=most).min(stream.len()));
        reads.push(read);
        stream = rest;
    }
    reads
}

#[test]
fn lists_are_found_or_the_stream_is_too_long() {
    rounds("lists", |random| {
        let stream = stream(random, &encoded());
        let mut framer = Framer::default();
        let mut said = 0;
        'stream: for read in reads(random, &stream) {
            framer.extend(read);
            said += read.len() as u64;
            loop {
                let before = framer.consumed();
                match framer.advance() {
                    Ok(true) => {
                        let mut bytes = 1;
                        for (name, value) in framer.list() {
                            assert!(!name.is_empty() && !name.contains(&0) && !value.contains(&0));
                            assert!(name.len().max(value.len()) <= limits::VALUE_BYTES);
                            bytes += name.len() + value.len() + 2;
                        }
                        assert_eq!(framer.consumed() - before, bytes as u64);
                        assert!(bytes <= limits::LIST_BYTES);
                    }
                    Ok(false) => break,
                    Err(_) => break 'stream,
                }
                if random.u8(0..8) == 0 {
                    framer.next_byte();
                }
            }
            assert_eq!(framer.waiting() as u64, said - framer.consumed());
            assert!(framer.waiting() < limits::LIST_BYTES);
        }
    });
}

#[test]
fn a_server_keeps_no_more_than_it_may_and_gives_nothing_to_two() {
    let mut parts = encoded();
    parts.extend([b"dummy\0\0\0".to_vec(), b"\0".to_vec()]);
    rounds("server", |random| {
        let stream = stream(random, &parts);
        let mut source = Source::default();
        let mut server = Server::new(random);
        let odds = random.u8(..);
        for read in reads(random, &stream) {
            let attached = source.attached(random, odds);
            server.now += Duration::from_millis(random.u64(0..100));
            server.session.handle_input(server.now, read, attached);
            server.unanswered += read.len();
            server.run(random);
            if server.broken {
                break;
            }
            if server.session.awaits_reader() {
                // Nothing more is read from it before it has read.
                server.session.limit_unread(random.usize(1..20));
                server.session.handle_read(server.now);
                server.run(random);
            }
            let held = source.open() - server.cache.len();
            // Those that are on their way to the client, and those that it sent ahead.
            let most = limits::DESCRIPTORS + 1 + limits::AHEAD_DESCRIPTORS;
            assert!(held <= most, "{held} are held");
            let most = limits::LIST_BYTES + limits::AHEAD_BYTES;
            assert!(server.unanswered <= most, "it remembers too much");
        }
        for left in server.session.close() {
            match left {
                Unfinished::Unsent(Kept(descriptor)) => {
                    assert!(!server.sent.contains(&descriptor.number));
                }
                Unfinished::Sent(Kept(descriptor)) => {
                    assert!(server.sent.contains(&descriptor.number));
                }
            }
        }
        assert_eq!(source.open(), server.cache.len(), "leaked");
    });
}

/// A session with a cache that is a stack, and a client that reads or not.
struct Server {
    session: server::Session<Descriptor, Kept>,
    cache: Vec<Descriptor>,
    now: Instant,
    /// Whose descriptors the client was given.
    sent: HashSet<u64>,
    reads: bool,
    broken: bool,
    /// Bytes that were said since something came of them.
    unanswered: usize,
}

impl Server {
    fn new(random: &mut fastrand::Rng) -> Self {
        Self {
            session: server::Session::new(random.bool(), Duration::from_secs(10)),
            cache: Vec::new(),
            now: Instant::now(),
            sent: HashSet::new(),
            reads: random.bool(),
            broken: false,
            unanswered: 0,
        }
    }

    fn run(&mut self, random: &mut fastrand::Rng) {
        loop {
            self.carry_out(random);
            if random.u8(0..20) == 0 {
                while let Some(Kept(descriptor)) = self.session.withdraw_last() {
                    assert!(!self.sent.contains(&descriptor.number), "it was sent");
                    self.cache.push(descriptor);
                }
            }
            if self.session.awaits_reader() && self.reads {
                self.session.handle_read(self.now);
                continue;
            }
            let Some(transmit) = self.session.poll_transmit() else {
                return;
            };
            assert!(!transmit.bytes.is_empty());
            // One reply may come on top, with what it has in properties.
            assert!(transmit.bytes.len() < limits::REPLY_BYTES + 100);
            if self.broken {
                return;
            }
            if !self.reads && random.u8(0..20) > 0 {
                self.session.handle_blocked();
                return self.carry_out(random);
            }
            if let Some(Kept(descriptor)) = transmit.descriptor {
                assert!(self.sent.insert(descriptor.number), "sent twice");
            }
            let written = random.usize(1..=transmit.bytes.len());
            self.session.handle_written(written);
        }
    }

    fn carry_out(&mut self, random: &mut fastrand::Rng) {
        while let Some(event) = self.session.poll_event() {
            self.unanswered = 0;
            match event {
                Event::Save(_, descriptor) if random.u8(0..8) > 0 => {
                    self.cache.push(descriptor);
                    self.session.reply(Answer::Done);
                }
                Event::Save(..) => self.session.reply(Answer::Failed),
                Event::Request(
                    Request::FindEndpoint { .. }
                    | Request::FindDestination { .. }
                    | Request::Find { .. },
                ) => {
                    let found = self.cache.pop().map(Kept);
                    let answer = found.map_or(Answer::Failed, Answer::Found);
                    self.session.reply(answer);
                }
                Event::Request(Request::Administer(_)) => {
                    let mut report = Attributes::default();
                    encode_next(&mut report, random.u64(..));
                    self.session.reply(Answer::Report(report));
                }
                Event::Request(_) => self.session.reply(Answer::Done),
                Event::Declined(Kept(descriptor)) => {
                    assert!(!self.sent.contains(&descriptor.number), "it was sent");
                    self.cache.push(descriptor);
                }
                Event::Delivered(Kept(descriptor)) => {
                    assert!(self.sent.contains(&descriptor.number), "it was not sent");
                }
                Event::Refused(_) => {}
                Event::Broken(_) => self.broken = true,
            }
        }
    }
}

#[test]
fn a_client_gets_what_it_asked_for_or_an_error() {
    let parts = [
        &b"protocol\0connection_cache_protocol\0\0"[..],
        b"dummy\0\0\0",
        b"status\x000\0\0",
        b"status\x000\0property\0p\0\0",
        b"status\x000\0property\0p\0property\0q\0\0",
        b"status\x000\0label\0e\0property\0p\0property\0q\0\0",
        b"status\x002\0property\0\0\0",
        b"status\x001\0\0",
        b"\0",
    ]
    .map(<[u8]>::to_vec);
    let parts = [&parts[..], &reports()].concat();
    let requests = requests();
    rounds("client", |random| {
        let stream = stream(random, &parts);
        let mut source = Source::default();
        let mut session = client::Session::default();
        let odds = random.u8(..);
        let mut found = Vec::new();
        let mut unanswered = 0;
        session.start(&requests[random.usize(..STOCK_REQUESTS)]);
        for read in reads(random, &stream) {
            while let Some(transmit) = session.poll_transmit() {
                let written = random.usize(1..=transmit.bytes.len());
                session.handle_written(written);
            }
            let attached = source.attached(random, odds);
            unanswered += read.len();
            if session.handle_input(read, attached).is_err() {
                break;
            }
            if let Some(outcome) = session.poll_outcome() {
                unanswered = 0;
                match outcome {
                    client::Outcome::Found { descriptor, .. } => found.push(descriptor),
                    client::Outcome::Report(report) => read_report(random, report.list()),
                    client::Outcome::Done
                    | client::Outcome::Saved { .. }
                    | client::Outcome::Refused(_) => {}
                }
                let known = if session.is_inline() {
                    requests.len()
                } else {
                    STOCK_REQUESTS
                };
                session.start(&requests[random.usize(..known)]);
            }
            // The end of an inline reply may be to come, and outcomes of which none was asked for.
            let held = source.open() - found.len();
            assert!(
                held <= usize::from(session.is_inline()),
                "held without being asked for"
            );
            assert!(unanswered <= limits::LIST_BYTES, "it remembers too much");
        }
        drop(session);
        assert_eq!(source.open(), found.len(), "leaked");
    });
}

/// What a server tells of itself.
fn reports() -> Vec<Vec<u8>> {
    let answer = |tell: &dyn Fn(&mut Attributes)| {
        let mut attributes = Attributes::default();
        attributes.number("status", 0);
        tell(&mut attributes);
        let mut bytes = Vec::new();
        for (name, value) in attributes.list() {
            bytes.extend([name, b"\0", value, b"\0"].concat());
        }
        bytes.push(0);
        bytes
    };
    let label: Box<[u8]> = b"smtp\n[127.0.0.1]:25"[..].into();
    vec![
        answer(&|attributes| {
            let mut stats = Stats {
                version: "1.2.3".to_owned(),
                ..Stats::default()
            };
            stats.lag_microseconds.observe(11, u64::MAX);
            stats.taken_times.observe(2, 3);
            stats.encode(attributes);
        }),
        answer(&|attributes| {
            for number in 0..3 {
                let entry = ConnectionEntry {
                    number,
                    endpoint: label.clone(),
                    taken: number,
                    peer: "192.0.2.1:25".to_owned(),
                    ..ConnectionEntry::default()
                };
                encode_entry(attributes, &entry);
            }
            encode_next(attributes, 3);
        }),
        answer(&|attributes| {
            for what in Happening::ALL {
                let entry = EventEntry {
                    number: 7,
                    what: Some(what),
                    label: label.clone(),
                    text: "421 bye".to_owned(),
                    ..EventEntry::default()
                };
                encode_entry(attributes, &entry);
            }
            encode_next(attributes, 8);
        }),
        answer(&|attributes| {
            let purged = Purged {
                connections: 1,
                bindings: 2,
                next: Some(1 << 32),
            };
            purged.encode(attributes);
        }),
    ]
}

/// Reads it as something that it might be.
fn read_report(random: &mut fastrand::Rng, list: List<'_>) {
    fn read_page<T: Entry>(list: List<'_>, strings: impl Fn(&T) -> usize) {
        let (mut attributes, mut bytes) = (0, 0);
        for (_, value) in list {
            attributes += 1;
            bytes += value.len();
        }
        let page = Page::<T>::parse(list);
        assert!(page.entries.len() <= attributes);
        // What is no text may take three times as much when it is made one.
        assert!(page.entries.iter().map(strings).sum::<usize>() <= 3 * bytes);
    }
    match random.u8(0..6) {
        0 => read_stats(list),
        1 => {
            Purged::parse(list);
        }
        2 => read_page::<ConnectionEntry>(list, |entry| entry.endpoint.len() + entry.peer.len()),
        3 => {
            read_page::<BindingEntry>(list, |entry| entry.destination.len() + entry.endpoint.len())
        }
        4 => read_page::<DestinationEntry>(list, |entry| entry.destination.len()),
        _ => read_page::<EventEntry>(list, |entry| entry.label.len() + entry.text.len()),
    }
}

fn read_stats(list: List<'_>) {
    let stats = Stats::parse(list);
    for distribution in Stats::DISTRIBUTIONS {
        let mut histogram = stats.histogram(distribution).clone();
        assert!(histogram.buckets.len() <= limits::VALUE_BYTES / 4);
        assert!(matches!(histogram.buckets.last(), Some((None, _))));
        for share in [0.0, 0.5, 1.0] {
            let _ = histogram.quantile(share);
        }
        let _ = (histogram.count(), histogram.to_string());
        histogram.observe(u64::MAX, u64::MAX);
    }
}

#[test]
fn whatever_a_server_tells_of_itself_can_be_read() {
    let parts = reports();
    rounds("whatever", |random| {
        let mut framer = Framer::default();
        framer.extend(&stream(random, &parts));
        while let Ok(true) = framer.advance() {
            read_report(random, framer.list());
        }
    });
}
