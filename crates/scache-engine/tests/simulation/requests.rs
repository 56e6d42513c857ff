//! What clients say: well-formed or not, with the descriptors it asks for or others.

use std::time::Duration;

use scache_proto::administration::Listed;

use crate::about::{About, Which};
use crate::trace::Asked;
use crate::wire::list;
use crate::world::{Socket, World};

/// Bytes that are written together, and what rides on the first of them.
#[derive(Debug)]
pub struct Piece {
    pub bytes: Vec<u8>,
    pub passed: Vec<Socket>,
}

impl Piece {
    pub fn bytes(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            passed: Vec::new(),
        }
    }
}

/// Makes requests, no two with the same time to live.
#[derive(Debug)]
pub struct Requests {
    random: fastrand::Rng,
    number: u64,
    ttl_limit: Duration,
    /// Where connections come from.
    pub connections: Connections,
    /// Somebody may purge and drain the cache.
    pub may_change: bool,
}

/// Connections of the outside, by their ends.
#[derive(Debug, Default)]
pub struct Connections {
    /// The ends that nobody saves.
    pub far: Vec<Socket>,
    /// Ends that were taken and may be saved again.
    pub owned: Vec<Socket>,
    /// Ends that were saved and are still held by who saved them.
    pub lingering: Vec<Socket>,
}

const NAMES: [&[u8]; 5] = [b"", b"e1", b"smtp\n[127.0.0.1]:25", b"\xff\n", b"e2"];

impl Requests {
    pub fn new(random: fastrand::Rng, ttl_limit: Duration) -> Self {
        Self {
            random,
            number: 0,
            ttl_limit,
            connections: Connections::default(),
            may_change: true,
        }
    }

    /// A request that makes sense. `inline`: the client has asked for more of them.
    pub fn sensible(&mut self, inline: bool) -> Asked {
        if inline && self.random.bool() {
            return self.only_inline();
        }
        match self.random.u8(0..22) {
            21 => Asked::Administer(self.about()),
            20 => match self.random.u8(0..30) {
                0 => Asked::TakeOver,
                1..12 if inline => Asked::Details,
                _ => Asked::Inline,
            },
            0..=6 => self.save(),
            7..=11 => Asked::FindEndpoint(self.name()),
            12..=14 => Asked::SaveDestination {
                ttl: self.ttl(),
                destination: self.name(),
                property: self.property(),
                endpoint: self.name(),
            },
            _ => Asked::FindDestination(self.name()),
        }
    }

    /// A request that is understood only after [`Asked::Inline`].
    fn only_inline(&mut self) -> Asked {
        if self.random.bool() {
            return Asked::Save {
                ttl: self.ttl(),
                destination: self.name(),
                destination_property: self.property(),
                endpoint: self.name(),
                property: self.property(),
            };
        }
        let count = match self.random.u8(0..20) {
            0 => 64,
            _ => self.random.usize(0..4),
        };
        Asked::Find {
            destination: self.name(),
            endpoints: (0..count).map(|_| self.name()).collect(),
        }
    }

    /// Who could ask for ever wants to know nothing more.
    pub fn has_enough(&mut self) -> bool {
        self.random.u8(0..3) == 0
    }

    /// A request about the cache.
    pub fn about(&mut self) -> About {
        let prefix = match self.random.u8(0..6) {
            0 => b"e".to_vec(),
            1 => self.name(),
            _ => Vec::new(),
        };
        let from = match self.random.u8(0..12) {
            0 => self.random.u64(..),
            1 => self.random.u64(..300),
            _ => 0,
        };
        match self.random.u8(0..20) {
            15.. if !self.may_change => About::Stats,
            0..4 => About::Stats,
            4..10 => About::List {
                what: [
                    Listed::Connections,
                    Listed::Bindings,
                    Listed::Destinations,
                    Listed::Settings,
                ][self.random.usize(0..4)],
                prefix,
                from,
            },
            10..15 => About::Events { from },
            15..17 => About::Purge {
                names: if self.random.bool() {
                    Which::Is(self.name())
                } else {
                    Which::Begin(prefix)
                },
                // What has which place nobody outside knows: everything, all bindings, or nothing.
                from: [0, 0, 0, 1 << 31, u64::MAX][self.random.usize(0..5)],
            },
            17 => About::Drain { on: true },
            _ => About::Drain { on: false },
        }
    }

    /// Much about the cache in one go.
    pub fn many_looks(&mut self) -> Piece {
        let look = Asked::Administer(About::List {
            what: Listed::Connections,
            prefix: Vec::new(),
            from: 0,
        });
        Piece::bytes(self.encode(&look).repeat(self.random.usize(100..400)))
    }

    pub fn save(&mut self) -> Asked {
        Asked::SaveEndpoint {
            ttl: self.ttl(),
            endpoint: self.name(),
            property: self.property(),
            history: (self.random.u8(0..8) == 0)
                .then(|| (self.random.u64(0..20_000), self.random.u64(0..6))),
        }
    }

    /// A save with its byte, in one.
    pub fn encode_save(&mut self) -> Vec<u8> {
        let save = self.save();
        let mut bytes = self.encode(&save);
        bytes.push(0);
        bytes
    }

    /// A connection to be saved. The caller holds it.
    pub fn connection(&mut self, world: &mut World) -> Socket {
        if self.random.u8(0..5) == 0 && !self.connections.owned.is_empty() {
            let index = self.random.usize(..self.connections.owned.len());
            return self.connections.owned.swap_remove(index);
        }
        if self.random.u8(0..30) == 0 {
            return world.file(self.random.bool());
        }
        let room = if self.random.u8(0..12) == 0 { 3 } else { 1000 };
        let [near, far] = world.pair([1000, room], self.random.bool());
        self.connections.far.push(far);
        near
    }

    /// A hold of the outside on a connection that was saved is over, now or later.
    pub fn saved(&mut self, world: &mut World, socket: Socket) {
        if self.random.u8(0..4) == 0 {
            self.connections.lingering.push(socket);
        } else {
            world.let_go(socket);
        }
    }

    /// One request with all that belongs to it, or something like it.
    pub fn pipelined(&mut self, world: &mut World, own: Socket, inline: &mut bool) -> Vec<Piece> {
        match self.random.u16(0..400) {
            0 => return vec![self.many_looks()],
            1..3 => return vec![self.many()],
            _ => {}
        }
        let asked = match self.random.u8(0..60) {
            0 => Asked::TakeOver,
            // What it may not ask for.
            1 => self.only_inline(),
            _ => self.sensible(*inline),
        };
        let mut pieces = vec![Piece::bytes(self.encode(&asked))];
        match asked {
            Asked::SaveEndpoint { .. } | Asked::Save { .. } if *inline => {
                pieces[0].passed = self.descriptor_byte(world, own).passed;
            }
            Asked::Inline => *inline = true,
            Asked::SaveEndpoint { .. } => pieces.push(self.descriptor_byte(world, own)),
            Asked::FindEndpoint(_) | Asked::FindDestination(_) if !*inline => {
                for _ in 0..2 {
                    if self.random.u8(0..12) > 0 {
                        pieces.push(Piece::bytes(list(&[(b"dummy", b"")])));
                    }
                }
            }
            _ => {}
        }
        if self.random.u8(0..6) == 0 {
            self.spoil(world, &mut pieces);
        }
        if self.random.u8(0..4) == 0 {
            join(&mut pieces);
        }
        pieces
    }

    /// More in one go than is carried out in one turn.
    fn many(&mut self) -> Piece {
        let mut bytes = Vec::new();
        for _ in 0..self.random.usize(200..800) {
            let asked = if self.random.bool() {
                // Nothing is cached there, so nothing more belongs to the request.
                Asked::FindEndpoint(b"never saved".to_vec())
            } else {
                Asked::SaveDestination {
                    ttl: self.ttl(),
                    destination: self.name(),
                    property: self.property(),
                    endpoint: self.name(),
                }
            };
            bytes.extend(self.encode(&asked));
        }
        Piece::bytes(bytes)
    }

    /// The byte behind a save, with what it should carry or something else.
    fn descriptor_byte(&mut self, world: &mut World, own: Socket) -> Piece {
        let passed = match self.random.u8(0..24) {
            0 => Vec::new(),
            1 => {
                let surplus = self.random.usize(2..5);
                (0..surplus).map(|_| self.connection(world)).collect()
            }
            // Of one that was handed on nobody can know where it leads.
            2 if world.leads_here(own) => {
                world.hold(own);
                vec![own]
            }
            _ => vec![self.connection(world)],
        };
        Piece {
            bytes: vec![0],
            passed,
        }
    }

    fn spoil(&mut self, world: &mut World, pieces: &mut Vec<Piece>) {
        let index = self.random.usize(..pieces.len());
        match self.random.u16(0..400) {
            0 => {
                let oversize = self.random.usize(65_530..70_000);
                pieces.insert(index, Piece::bytes(vec![b'x'; oversize]));
            }
            1 => {
                let many = b"n\0v\0".repeat(self.random.usize(60_000..66_000));
                pieces.insert(index, Piece::bytes(many));
            }
            2..60 => {
                let stray = self.connection(world);
                pieces[index].passed.push(stray);
            }
            60..100 => drop(
                pieces
                    .remove(index)
                    .passed
                    .drain(..)
                    .map(|s| world.let_go(s))
                    .count(),
            ),
            100..140 => {
                let bytes = (0..self.random.usize(1..40))
                    .map(|_| self.random.u8(..))
                    .collect();
                pieces.insert(index, Piece::bytes(bytes));
            }
            140..200 => {
                let requests: [&[(&[u8], &[u8])]; 14] = [
                    &[(b"request", b"list"), (b"what", b"connections")],
                    &[
                        (b"request", b"list"),
                        (b"what", b"clients"),
                        (b"prefix", b""),
                        (b"from", b"0"),
                    ],
                    &[(b"request", b"events"), (b"from", b"-1")],
                    &[(b"request", b"events"), (b"from", b"18446744073709551616")],
                    &[(b"request", b"purge"), (b"from", b"0")],
                    &[(b"request", b"drain"), (b"on", b"maybe")],
                    &[(b"request", b"what")],
                    &[(b"request", b"find_dest"), (b"lable", b"d")],
                    &[(b"request", b"save_endp"), (b"ttl", b"-1"), (b"label", b"")],
                    &[(b"request", b"save_dest"), (b"ttl", b"4294967297")],
                    &[],
                    &[(b"request", b"find")],
                    &[(b"request", b"save"), (b"ttl", b"1"), (b"label", b"")],
                    &[
                        (b"x", b"y"),
                        (b"request", b"find_endp"),
                        (b"label", b"e1"),
                        (b"z", b""),
                    ],
                ];
                let request = requests[self.random.usize(..requests.len())];
                pieces.insert(index, Piece::bytes(list(request)));
            }
            _ => {
                let bytes = &mut pieces[index].bytes;
                let at = self.random.usize(..bytes.len());
                match self.random.u8(0..3) {
                    0 => bytes[at] = self.random.u8(..),
                    1 => bytes.insert(at, self.random.u8(..) & 1),
                    _ if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => {}
                }
            }
        }
        if pieces.is_empty() {
            pieces.push(Piece::bytes(vec![0]));
        }
    }

    fn encode(&self, asked: &Asked) -> Vec<u8> {
        let seconds = |ttl: &Duration| ttl.as_millis().div_ceil(1000).to_string();
        let milliseconds = |ttl: &Duration| ttl.as_millis().to_string();
        match asked {
            Asked::SaveEndpoint {
                ttl,
                endpoint,
                property,
                history,
            } => {
                let (ttl, ttl_ms) = (seconds(ttl), milliseconds(ttl));
                let told = history.map(|(age, taken)| (age.to_string(), taken.to_string()));
                let mut attributes: Vec<(&[u8], &[u8])> = vec![
                    (b"request", b"save_endp"),
                    (b"ttl", ttl.as_bytes()),
                    (b"label", endpoint),
                    (b"property", property),
                    (b"ttl_ms", ttl_ms.as_bytes()),
                ];
                if let Some((age, taken)) = &told {
                    attributes.extend([
                        (&b"taken"[..], taken.as_bytes()),
                        (b"age_ms", age.as_bytes()),
                    ]);
                }
                list(&attributes)
            }
            Asked::FindEndpoint(endpoint) => {
                list(&[(b"request", b"find_endp"), (b"label", endpoint)])
            }
            Asked::SaveDestination {
                ttl,
                destination,
                property,
                endpoint,
            } => list(&[
                (b"request", b"save_dest"),
                (b"ttl", seconds(ttl).as_bytes()),
                (b"label", destination),
                (b"property", property),
                (b"label", endpoint),
                (b"ttl_ms", milliseconds(ttl).as_bytes()),
            ]),
            Asked::FindDestination(destination) => {
                list(&[(b"request", b"find_dest"), (b"label", destination)])
            }
            Asked::Inline => list(&[(b"request", b"inline")]),
            Asked::Details => list(&[(b"request", b"details")]),
            Asked::Save {
                ttl,
                destination,
                destination_property,
                endpoint,
                property,
            } => list(&[
                (b"request", b"save"),
                (b"ttl", seconds(ttl).as_bytes()),
                (b"label", destination),
                (b"property", destination_property),
                (b"label", endpoint),
                (b"property", property),
                (b"ttl_ms", milliseconds(ttl).as_bytes()),
            ]),
            Asked::Find {
                destination,
                endpoints,
            } => {
                let mut attributes: Vec<(&[u8], &[u8])> =
                    vec![(b"request", b"find"), (b"label", destination)];
                attributes.extend(endpoints.iter().map(|name| (&b"label"[..], &name[..])));
                list(&attributes)
            }
            Asked::TakeOver => list(&[(b"request", b"take_over")]),
            Asked::Administer(about) => {
                let attributes = about.attributes();
                let attributes: Vec<_> = attributes
                    .iter()
                    .map(|(name, value)| (*name, &value[..]))
                    .collect();
                list(&attributes)
            }
        }
    }

    /// Below the limit, and another one each time: who of two bindings of the same instant makes room
    /// nobody outside can see.
    fn ttl(&mut self) -> Duration {
        self.number += 1;
        let most = self.ttl_limit.as_millis() as u64;
        let too_much = if self.number % 32 == 0 { most } else { 0 };
        Duration::from_millis(too_much + 1 + self.number * 7919 % most)
    }

    fn name(&mut self) -> Vec<u8> {
        NAMES[self.random.usize(..NAMES.len())].to_vec()
    }

    fn property(&mut self) -> Vec<u8> {
        match self.random.u8(0..4) {
            0 => b"p".to_vec(),
            _ => format!("p{}", self.number).into_bytes(),
        }
    }
}

/// Everything in one piece, as if it were one message.
fn join(pieces: &mut Vec<Piece>) {
    let mut all = pieces.drain(..);
    if let Some(mut first) = all.next() {
        for piece in all {
            first.bytes.extend(piece.bytes);
            first.passed.extend(piece.passed);
        }
        pieces.push(first);
    }
}
