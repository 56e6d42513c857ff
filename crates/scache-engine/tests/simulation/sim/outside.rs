//! What the outside does at random.

use std::time::Duration;

use scache_engine::{End, Goodbyes, Phase, Settings, Transport};
use scache_proto::entries::SettingEntry;
use scache_store::Order;

use super::Sim;
use crate::clients::Client;
use crate::faults::PLAUSIBLE;
use crate::successors::Script;
use crate::wire::list;
use crate::world::{Socket, Successor};

impl Sim {
    pub(super) fn act(&mut self) {
        match self.random.u32(0..1000) {
            0..60 => self.connect(),
            60..640 => self.client_acts(),
            640..670 => self.client_dies(),
            670..780 => self.far_end_acts(),
            780..800 => self.owner_acts(),
            800..812 => self.limit_changes(),
            812..830 => self.storm_changes(),
            830..833 => self.end(),
            833..843 => self.settle(),
            843..900 => self.successor_acts(),
            900..902 => self.crowd_comes(),
            _ => {}
        }
    }

    fn connect(&mut self) {
        if self.clients.len() > 14 {
            return;
        }
        let user = match self.random.u8(0..8) {
            0 => None,
            1..4 => Some(self.random.u32(0..4)),
            _ => Some(0),
        };
        let room = if self.random.u8(0..4) == 0 { 40 } else { 4000 };
        let socket = match self.transport {
            Transport::Pass => self.hand_on([room, 100_000], user),
            _ => self.world.borrow_mut().connect([room, 100_000], user),
        };
        self.clients.push(if self.random.bool() {
            Client::polite(socket)
        } else {
            Client::careless(socket)
        });
    }

    /// More clients than there are slots and places to wait come at once, each with the beginning of a request.
    fn crowd_comes(&mut self) {
        if self.clients.len() > 14 || self.transport == Transport::Pass {
            return;
        }
        for _ in 0..self.random.usize(18..40) {
            let user = self.random.bool().then(|| self.random.u32(0..4));
            let world = &mut *self.world.borrow_mut();
            let socket = world.connect([4000, 100_000], user);
            let _ = world.write(socket, b"request", &[]);
            self.clients.push(Client::careless(socket));
        }
    }

    /// Somebody accepts a client and hands it on, or does not get it right.
    fn hand_on(&mut self, rooms: [usize; 2], user: Option<u32>) -> Socket {
        let world = &mut *self.world.borrow_mut();
        let [near, far] = world.pair(rooms, false);
        let hand = world.connect([100, 1000], user);
        let attributes = list(&[(b"client_address", b"127.0.0.1"), (b"client_port", b"1")]);
        let passed = match self.random.u8(0..12) {
            0 => vec![],
            1 => vec![far, far],
            _ => vec![far],
        };
        let said = match self.random.u8(0..12) {
            0 => self.random.usize(..attributes.len()),
            _ => attributes.len(),
        };
        let _ = world.write(hand, b"\0", &passed);
        for piece in attributes[..said].chunks(self.random.usize(1..attributes.len())) {
            let surplus = if self.random.u8(0..30) == 0 {
                &[far][..]
            } else {
                &[]
            };
            let _ = world.write(hand, piece, surplus);
        }
        world.let_go(far);
        // Who did not say everything may stay, or leave.
        if said == attributes.len() || self.random.bool() {
            world.let_go(hand);
        } else {
            self.requests.connections.lingering.push(hand);
        }
        near
    }

    fn client_acts(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.random.usize(..self.clients.len());
        let client = &mut self.clients[index];
        let world = &mut *self.world.borrow_mut();
        if self.random.u8(0..100) == 0 {
            client.reads = !client.reads;
        }
        if self.random.u8(0..3) > 0 {
            client.ask(world, &mut self.requests);
        }
        let most = match self.random.u8(0..8) {
            0 => 1,
            1..4 => self.random.usize(1..60),
            _ => 200_000,
        };
        client.go_on(world, &mut self.requests, most);
        if client.is_gone {
            self.clients.swap_remove(index).die(world);
        }
    }

    fn client_dies(&mut self) {
        if self.clients.is_empty() {
            return;
        }
        let index = self.random.usize(..self.clients.len());
        let world = &mut *self.world.borrow_mut();
        if self.random.u8(0..4) == 0 {
            // It sends nothing more, but may read on.
            let peer = world.peer(self.clients[index].socket);
            world.end(peer);
        } else {
            self.clients.swap_remove(index).die(world);
        }
    }

    /// The other end of a connection does something.
    pub(super) fn far_end_acts(&mut self) {
        let far = &mut self.requests.connections.far;
        if far.is_empty() {
            return;
        }
        let world = &mut *self.world.borrow_mut();
        let index = self.random.usize(..far.len());
        let end = far[index];
        let near = world.peer(end);
        if !world.is_open(near) || self.random.u8(0..6) == 0 {
            far.swap_remove(index);
            if self.random.u8(0..3) == 0 {
                world.reset(near);
            }
            world.let_go(end);
            return;
        }
        match world.read(end, 1000) {
            Ok((heard, _)) if !heard.is_empty() => {
                let answer: &[u8] = match self.random.u8(0..4) {
                    0 => b"",
                    1 => b"221",
                    _ => b" bye\r\n",
                };
                let _ = world.write(end, answer, &[]);
            }
            _ if self.random.u8(0..3) == 0 => {
                let said = b"421 timeout\r\n".repeat(self.random.usize(1..20));
                let _ = world.write(end, &said, &[]);
            }
            _ => {}
        }
    }

    /// Who took connections, or saved them, lets go of them.
    fn owner_acts(&mut self) {
        let connections = &mut self.requests.connections;
        let list = if self.random.bool() {
            &mut connections.owned
        } else {
            &mut connections.lingering
        };
        if !list.is_empty() {
            let index = self.random.usize(..list.len());
            let socket = list.swap_remove(index);
            self.world.borrow_mut().let_go(socket);
        }
    }

    fn limit_changes(&mut self) {
        if let Some(running) = self.engines.first() {
            let process = &mut self.world.borrow_mut().processes[running.oracle.process];
            let spare = self.random.usize(0..4);
            process.limit = self.random.bool().then_some(process.open + spare);
        }
    }

    fn storm_changes(&mut self) {
        let (call, failure) = PLAUSIBLE[self.random.usize(..PLAUSIBLE.len())];
        let odds = 1 << self.random.u32(0..6);
        let storm = self.random.bool().then_some((call, failure, odds));
        self.world.borrow_mut().faults.storm = storm;
    }

    /// A reason to end for the process that serves.
    fn end(&mut self) {
        let end = match self.random.u8(0..4) {
            0 => End::Signal,
            _ => End::Succession,
        };
        self.end_with(end);
        self.world.borrow_mut().successor = match self.random.u8(0..8) {
            0 => Successor::Nobody,
            1 => Successor::Crowd,
            2..4 => Successor::Script,
            _ => Successor::Listener,
        };
    }

    /// The next process starts, or a program that is to stand for it goes on.
    fn successor_acts(&mut self) {
        let is_leaving = self
            .engines
            .iter()
            .all(|running| running.phase != Phase::Serving);
        let mut world = self.world.borrow_mut();
        let mut manners = self.random.fork();
        self.scripts.extend(
            world
                .called
                .drain(..)
                .map(|socket| Script::new(socket, &mut manners)),
        );
        self.scripts.retain_mut(|script| script.go_on(&mut world));
        let starts = is_leaving && world.successor == Successor::Listener;
        if self.random.u8(0..4) == 0 && world.successor == Successor::Crowd {
            world.successor = Successor::Script;
        }
        drop(world);
        if starts && self.engines.len() < 3 && self.random.bool() {
            self.start();
        }
    }
}

pub(super) fn random_settings(random: &mut fastrand::Rng) -> Settings {
    let few = |random: &mut fastrand::Rng, most: usize| random.usize(1..most);
    let ttl_limit = random.u64(1..8);
    Settings {
        ttl_limit: Duration::from_secs(ttl_limit),
        statistics_interval: random
            .bool()
            .then(|| Duration::from_secs(random.u64(1..600))),
        max_idle: (random.u8(0..4) == 0).then(|| Duration::from_secs(random.u64(2..100))),
        request_timeout: Duration::from_secs(random.u64(1..11)),
        announce: random.bool(),
        connection_limit: few(random, 30),
        endpoint_limit: random.usize(0..6),
        binding_limit: few(random, 12),
        client_limit: few(random, 14),
        unread_limit: match random.u8(0..4) {
            0 => random.usize(0..80),
            _ => 1000,
        },
        descriptor_limit: random.bool().then_some(1000),
        parting_limit: few(random, 5),
        order: if random.bool() {
            Order::Oldest
        } else {
            Order::Newest
        },
        watch: random.u8(0..4) > 0,
        goodbyes: match random.u8(0..4) {
            0 => Goodbyes::default(),
            1 => Goodbyes {
                default: b"QUIT".to_vec(),
                by_prefix: vec![
                    (b"e".to_vec(), Vec::new()),
                    (b"e1".to_vec(), b"bye bye".to_vec()),
                ],
            },
            _ => Goodbyes::all(b"QUIT"),
        },
        goodbye_timeout: Duration::from_millis(random.u64(1..2000)),
        reuse_limit: random.u32(0..4) * u32::from(random.bool()),
        lifetime_limit: random
            .bool()
            .then(|| Duration::from_millis(random.u64(1..20_000))),
        hand_over: random.u8(0..4) > 0,
        expects_entries: random.bool(),
        allowed_users: (random.u8(0..4) == 0).then(|| vec![2, 3]),
        own_user: 1,
        // With the greatest limit there are more than one answer tells.
        described: (0..ttl_limit * ttl_limit * 2)
            .map(|number| SettingEntry::new(&format!("e{number}"), number.to_string(), "file"))
            .collect(),
    }
}
