//! Programs that stand for the next process: those that speak stock's protocol or ours, and others that do
//! worse.

use scache_engine::Failure;

use crate::wire::{Found, list, next_list};
use crate::world::{Socket, World};

#[derive(Debug)]
pub struct Script {
    socket: Socket,
    heard: Vec<u8>,
    /// What it was given.
    taken: Vec<Socket>,
    awaits_connection: bool,
    /// It takes connections with their requests, and was asked to.
    knows_inline: bool,
    inline: bool,
    manner: Manner,
    /// Requests until it does what it is here for.
    left: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// As it should: one reply for each request.
    Plain,
    Hangs,
    Dies,
    Refuses(u8),
    Babbles,
}

impl Script {
    pub fn new(socket: Socket, random: &mut fastrand::Rng) -> Self {
        let manner = match random.u8(0..8) {
            0 => Manner::Hangs,
            1 => Manner::Dies,
            2 => Manner::Refuses(random.u8(1..3)),
            3 => Manner::Babbles,
            _ => Manner::Plain,
        };
        Self {
            socket,
            heard: Vec::new(),
            taken: Vec::new(),
            awaits_connection: false,
            knows_inline: random.bool(),
            inline: false,
            manner,
            left: random.u32(0..8),
        }
    }

    /// Reads and answers what is there. Whether it is still there afterwards.
    pub fn go_on(&mut self, world: &mut World) -> bool {
        loop {
            match world.read(self.socket, 1000) {
                Ok((bytes, _)) if bytes.is_empty() => break,
                Ok((bytes, passed)) => {
                    self.heard.extend(bytes);
                    self.taken.extend(passed);
                }
                Err(Failure::WouldBlock) => return true,
                Err(_) => break,
            }
            if !self.answer(world) {
                break;
            }
        }
        for socket in self.taken.drain(..) {
            world.let_go(socket);
        }
        world.let_go(self.socket);
        false
    }

    fn answer(&mut self, world: &mut World) -> bool {
        loop {
            let request = if std::mem::take(&mut self.awaits_connection) {
                if self.heard.is_empty() {
                    self.awaits_connection = true;
                    return true;
                }
                self.heard.remove(0);
                Vec::new()
            } else if let Found::List(attributes, length) = next_list(&self.heard) {
                self.heard.drain(..length);
                assert!(
                    self.inline || attributes.iter().all(|(name, _)| name != b"ttl_ms"),
                    "stock would warn of it"
                );
                attributes[0].1.clone()
            } else {
                return true;
            };
            let mut status = b'0';
            if request == b"inline" {
                self.inline = self.knows_inline;
                status += u8::from(!self.inline);
            }
            if self.left == 0 {
                match self.manner {
                    Manner::Plain => {}
                    Manner::Hangs => {
                        self.heard.clear();
                        return true;
                    }
                    Manner::Dies => return false,
                    Manner::Babbles => {
                        let _ = world.write(self.socket, b"hello\0\0\0\0", &[]);
                        continue;
                    }
                    Manner::Refuses(with) => status = b'0' + with,
                }
            }
            self.left = self.left.saturating_sub(1);
            let reply = if request == b"save_endp" && !self.inline && status == b'0' {
                self.awaits_connection = true;
                list(&[(b"dummy", b"")])
            } else {
                list(&[(b"status", &[status])])
            };
            // There is always room for one reply.
            let _ = world.write(self.socket, &reply, &[]);
        }
    }
}
