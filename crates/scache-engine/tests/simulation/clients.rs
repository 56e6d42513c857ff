//! Clients: those that speak through a session of the client library, and those that say anything.

use std::collections::VecDeque;

use scache_engine::Failure;
use scache_proto::Descriptors;
use scache_proto::client::{Outcome, Session};

use crate::about::About;
use crate::requests::{Piece, Requests};
use crate::trace::Asked;
use crate::wire::number;
use crate::world::{Socket, World};

#[derive(Debug)]
pub struct Client {
    pub socket: Socket,
    manner: Manner,
    pub reads: bool,
    pub is_gone: bool,
    /// Listening sockets that it took over.
    listeners: Vec<Socket>,
}

#[derive(Debug)]
enum Manner {
    /// One request after the other, each as the protocol wants it.
    Polite {
        session: Box<Session<Socket>>,
        asked: Option<Asked>,
        saving: Option<Socket>,
        /// An answer was not all there is.
        further: Option<About>,
    },
    /// Whatever there is to write, without a look at the answers.
    Careless {
        outbox: VecDeque<Piece>,
        /// It has asked for descriptors on the bytes that they belong to.
        inline: bool,
    },
}

impl Client {
    pub fn polite(socket: Socket) -> Self {
        let manner = Manner::Polite {
            session: Box::default(),
            asked: None,
            saving: None,
            further: None,
        };
        Self::new(socket, manner)
    }

    pub fn careless(socket: Socket) -> Self {
        let outbox = VecDeque::new();
        let inline = false;
        Self::new(socket, Manner::Careless { outbox, inline })
    }

    fn new(socket: Socket, manner: Manner) -> Self {
        Self {
            socket,
            manner,
            reads: true,
            is_gone: false,
            listeners: Vec::new(),
        }
    }

    /// Whether it goes by the protocol, and what it reads is what it was owed.
    pub fn is_well_behaved(&self) -> bool {
        matches!(self.manner, Manner::Polite { .. }) && self.reads && !self.is_gone
    }

    /// Whether it waits for the answer to a request.
    pub fn waits(&self) -> bool {
        matches!(&self.manner, Manner::Polite { asked: Some(_), .. })
    }

    /// Begins a request, if it is in the middle of none.
    pub fn ask(&mut self, world: &mut World, requests: &mut Requests) {
        match &mut self.manner {
            Manner::Polite {
                session, further, ..
            } => {
                let request = match further.take() {
                    Some(about) => Asked::Administer(about),
                    None => requests.sensible(session.is_inline()),
                };
                self.ask_for(world, requests, request);
            }
            Manner::Careless { outbox, inline } => {
                if outbox.len() < 10 {
                    outbox.extend(requests.pipelined(world, self.socket, inline));
                }
            }
        }
    }

    /// Has much to say, if it is careless.
    pub fn flood(&mut self, world: &mut World, requests: &mut Requests) {
        if let Manner::Careless { outbox, .. } = &mut self.manner {
            for _ in 0..40 {
                let passed = vec![requests.connection(world)];
                let bytes = requests.encode_save();
                outbox.push_back(Piece { bytes, passed });
            }
        }
    }

    /// Wants to know what is cached, over and over, if it is careless.
    pub fn flood_with_looks(&mut self, requests: &mut Requests) {
        if let Manner::Careless { outbox, .. } = &mut self.manner {
            if outbox.len() < 3 {
                outbox.push_back(requests.many_looks());
            }
        }
    }

    /// Begins this request, if it is polite and in the middle of none.
    pub fn ask_for(&mut self, world: &mut World, requests: &mut Requests, request: Asked) {
        if let Manner::Polite {
            session,
            asked: asked @ None,
            saving,
            ..
        } = &mut self.manner
        {
            if request.brings_connection() {
                *saving = Some(requests.connection(world));
            }
            request.start(session);
            *asked = Some(request);
        }
    }

    /// Writes so many bytes at most, and reads, if it does.
    pub fn go_on(&mut self, world: &mut World, requests: &mut Requests, most: usize) {
        if self.is_gone {
            return;
        }
        self.write(world, requests, most);
        while self.reads && !self.is_gone {
            match world.read(self.socket, 4096) {
                Ok((bytes, _)) if bytes.is_empty() => self.is_gone = true,
                Ok((bytes, passed)) => self.hear(world, requests, &bytes, passed),
                Err(Failure::WouldBlock) => break,
                Err(_) => self.is_gone = true,
            }
            self.write(world, requests, most);
        }
    }

    fn write(&mut self, world: &mut World, requests: &mut Requests, most: usize) {
        let mut left = most;
        while left > 0 && !self.is_gone {
            let result = match &mut self.manner {
                Manner::Polite {
                    session, saving, ..
                } => {
                    let Some(transmit) = session.poll_transmit() else {
                        return;
                    };
                    let bytes = &transmit.bytes[..transmit.bytes.len().min(left)];
                    let passed = saving.filter(|_| transmit.descriptor);
                    let result = world.write(self.socket, bytes, passed.as_slice());
                    if let Ok(bytes) = result {
                        session.handle_written(bytes);
                    }
                    result
                }
                Manner::Careless { outbox, .. } => {
                    let Some(piece) = outbox.front_mut() else {
                        return;
                    };
                    // Who has much to say does not dribble: reading it again and again takes long.
                    let is_much = piece.bytes.len() > 10_000;
                    let length = if is_much { piece.bytes.len() } else { left };
                    let bytes = &piece.bytes[..piece.bytes.len().min(length)];
                    let result = world.write(self.socket, bytes, &piece.passed);
                    if let Ok(bytes) = result {
                        piece.bytes.drain(..bytes);
                        for socket in piece.passed.drain(..) {
                            requests.saved(world, socket);
                        }
                        if piece.bytes.is_empty() {
                            outbox.pop_front();
                        }
                    }
                    result
                }
            };
            match result {
                Ok(bytes) => left = left.saturating_sub(bytes),
                Err(Failure::WouldBlock) => return,
                Err(_) => self.is_gone = true,
            }
        }
    }

    fn hear(
        &mut self,
        world: &mut World,
        requests: &mut Requests,
        bytes: &[u8],
        passed: Vec<Socket>,
    ) {
        let Manner::Polite {
            session,
            asked,
            saving,
            further,
        } = &mut self.manner
        else {
            let listener = world.listener;
            let (listeners, connections): (Vec<_>, Vec<_>) =
                passed.into_iter().partition(|socket| *socket == listener);
            self.listeners.extend(listeners);
            requests.connections.owned.extend(connections);
            return;
        };
        let descriptors = match passed[..] {
            [] => Descriptors::None,
            [one] => Descriptors::One(one),
            _ => panic!("several descriptors at once"),
        };
        session.handle_input(bytes, descriptors).unwrap();
        let Some(outcome) = session.poll_outcome() else {
            return;
        };
        let asked = asked.take().expect("an answer to nothing");
        if let Some(saving) = saving.take() {
            requests.saved(world, saving);
        }
        if let Outcome::Report(report) = &outcome {
            let Asked::Administer(about) = &asked else {
                panic!("told much, asked for {asked:?}");
            };
            let next = report.list().find(|(name, _)| *name == b"next");
            let next = next.and_then(|(_, next)| number(next));
            // There is always a next event.
            let is_over = matches!(about, About::Events { .. }) && requests.has_enough();
            *further = next
                .filter(|_| !is_over)
                .and_then(|next| about.further(next));
        }
        if let Outcome::Found {
            descriptor,
            endpoint,
            properties,
            ..
        } = outcome
        {
            if asked == Asked::TakeOver {
                assert_eq!(descriptor, world.listener);
                self.listeners.push(descriptor);
                return;
            }
            assert_eq!(properties.len(), asked.properties());
            assert_eq!(endpoint.is_some(), matches!(asked, Asked::Find { .. }));
            requests.connections.owned.push(descriptor);
        }
    }

    /// Dies: everything that it holds is closed.
    pub fn die(self, world: &mut World) {
        match self.manner {
            Manner::Polite { saving, .. } => saving.into_iter().for_each(|s| world.let_go(s)),
            Manner::Careless { outbox, .. } => {
                for socket in outbox.into_iter().flat_map(|piece| piece.passed) {
                    world.let_go(socket);
                }
            }
        }
        for listener in self.listeners {
            world.let_go(listener);
        }
        world.let_go(self.socket);
    }
}
