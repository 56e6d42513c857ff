//! The kernel and the host of one virtual process. Everything that the engine asks of them is written down.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use scache_engine::{Complaint, End, Failure, Host, Interest, Kernel, Note, Recognised, Token};
use scache_proto::Descriptors;
use scache_store::Statistics;

use crate::faults::Call;
use crate::trace::{Asked, Event, Got};
use crate::world::{Fd, Health, World};

/// A descriptor of a process. Dropping it closes it.
#[derive(Debug)]
pub struct Handle {
    world: Rc<RefCell<World>>,
    fd: Fd,
}

impl Handle {
    pub fn new(world: &Rc<RefCell<World>>, fd: Fd) -> Self {
        Self {
            world: Rc::clone(world),
            fd,
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.world.borrow_mut().close(self.fd);
        }
    }
}

#[derive(Debug)]
pub struct SimKernel {
    pub world: Rc<RefCell<World>>,
    pub process: usize,
}

impl SimKernel {
    fn record(&self, event: Event) {
        self.world.borrow_mut().trace.push(event);
    }
}

impl Kernel for SimKernel {
    type Descriptor = Handle;

    fn now(&mut self) -> Instant {
        self.world.borrow().now
    }

    fn poll(
        &mut self,
        timeout: Option<Duration>,
        events: &mut Vec<scache_engine::Event>,
    ) -> Result<(), Failure> {
        self.world.borrow_mut().poll(self.process, timeout, events);
        Ok(())
    }

    fn accept(&mut self, listener: &Handle) -> Result<Handle, Failure> {
        let mut world = self.world.borrow_mut();
        let result = match world.strike(Call::Accept) {
            Some(failure) => {
                world.promise_event(listener.fd);
                Err(failure)
            }
            None => world.accept(self.process),
        };
        world.trace.push(Event::Accept(result));
        result.map(|fd| Handle::new(&self.world, fd))
    }

    fn connect_to_successor(&mut self) -> Result<Handle, Failure> {
        let mut world = self.world.borrow_mut();
        let result = match world.strike(Call::Connect) {
            Some(failure) => Err(failure),
            None => world.connect_to_successor(self.process),
        };
        world.trace.push(Event::Connect(result));
        result.map(|fd| Handle::new(&self.world, fd))
    }

    fn receive(
        &mut self,
        from: &Handle,
        buffer: &mut [u8],
    ) -> Result<(usize, Descriptors<Handle>), Failure> {
        let mut world = self.world.borrow_mut();
        let result = match world.strike(Call::Receive) {
            Some(failure) => {
                if failure == Failure::WouldBlock {
                    world.promise_event(from.fd);
                }
                Err(failure)
            }
            None => {
                let socket = world.socket(from.fd);
                world.read(socket, buffer.len())
            }
        };
        let result = result.map(|(bytes, passed)| {
            let got = match passed[..] {
                [] => Got::None,
                _ if passed.len() > world.spare(self.process) => Got::Truncated,
                [one] => Got::One(world.install(self.process, one)),
                _ => Got::Several,
            };
            if !matches!(got, Got::One(_)) {
                for socket in passed {
                    world.let_go(socket);
                }
            }
            (bytes, got)
        });
        let fd = from.fd;
        world.trace.push(Event::Receive {
            fd,
            result: result.clone(),
        });
        let (bytes, got) = result?;
        buffer[..bytes.len()].copy_from_slice(&bytes);
        let descriptors = match got {
            Got::None => Descriptors::None,
            Got::One(fd) => Descriptors::One(Handle::new(&self.world, fd)),
            Got::Several => Descriptors::Several,
            Got::Truncated => Descriptors::Truncated,
        };
        Ok((bytes.len(), descriptors))
    }

    fn send(
        &mut self,
        to: &Handle,
        bytes: &[u8],
        passed: Option<&Handle>,
    ) -> Result<usize, Failure> {
        let mut world = self.world.borrow_mut();
        let call = if passed.is_some() {
            Call::Pass
        } else {
            Call::Send
        };
        if let Some(passed) = passed {
            let fd = passed.fd;
            // The listening socket is watched until the end by who gave it away.
            let may = !world.is_watched(fd) || world.socket(fd) == world.listener;
            assert!(may, "{fd} is sent while it is watched");
        }
        let result = match world.strike(call) {
            Some(failure) => {
                if failure == Failure::WouldBlock {
                    // The event comes only if it is asked for after this.
                    world.promise_event(to.fd);
                }
                Err(failure)
            }
            None => {
                let socket = world.socket(to.fd);
                let passed = passed.map(|passed| world.socket(passed.fd));
                world.write(socket, bytes, passed.as_slice())
            }
        };
        world.trace.push(Event::Send {
            fd: to.fd,
            bytes: bytes.to_vec(),
            passed: passed.map(|passed| passed.fd),
            result,
        });
        result
    }

    fn has_unread(&mut self, to: &Handle) -> bool {
        let mut world = self.world.borrow_mut();
        let result = world.has_unread(world.socket(to.fd));
        world.trace.push(Event::Unread { fd: to.fd, result });
        result
    }

    fn hear_no_more(&mut self, from: &Handle) {
        self.record(Event::HearNoMore(from.fd));
        let mut world = self.world.borrow_mut();
        let socket = world.socket(from.fd);
        world.hear_no_more(socket);
    }

    fn say_no_more(&mut self, to: &Handle) {
        self.record(Event::SayNoMore(to.fd));
        let mut world = self.world.borrow_mut();
        let peer = world.peer(world.socket(to.fd));
        world.end(peer);
    }

    fn peek(&mut self, at: &Handle, buffer: &mut [u8]) -> Result<usize, Failure> {
        let mut world = self.world.borrow_mut();
        let health = world.health(world.socket(at.fd));
        let fault = match health {
            // Nobody has a socket here that is lost now and alive later.
            Health::Alive => world.strike(Call::Peek),
            _ => None,
        };
        let result = match (fault, health) {
            (Some(failure), _) => Err(failure),
            (None, Health::Alive) => Err(Failure::WouldBlock),
            (None, Health::NoSocket) => Err(Failure::Unsupported),
            (None, Health::Reset) => Err(Failure::Lost),
            (None, Health::Closed) => Ok(0),
            (None, Health::Spoke(said)) => {
                let length = said.len().min(buffer.len());
                buffer[..length].copy_from_slice(&said[..length]);
                Ok(length)
            }
        };
        world.trace.push(Event::Peek {
            fd: at.fd,
            result,
            injected: fault.is_some(),
        });
        result
    }

    fn closed_connection(&mut self) -> Result<Handle, Failure> {
        let mut world = self.world.borrow_mut();
        let result = world.closed_connection(self.process);
        world.trace.push(Event::Closed(result));
        result.map(|fd| Handle::new(&self.world, fd))
    }

    fn recognise(&mut self, connection: &Handle) -> Recognised {
        let world = self.world.borrow();
        let socket = world.socket(connection.fd);
        Recognised {
            leads_here: world.leads_here(socket),
            identity: Some(socket as u64 + 1),
        }
    }

    fn peer(&mut self, connection: &Handle) -> String {
        format!("socket {}", self.world.borrow().socket(connection.fd))
    }

    fn user(&mut self, client: &Handle) -> Option<u32> {
        let world = self.world.borrow();
        world.user(world.socket(client.fd))
    }

    fn watch(&mut self, what: &Handle, token: Token, interest: Interest) -> Result<(), Failure> {
        let mut world = self.world.borrow_mut();
        let result = match world.strike(Call::Watch) {
            Some(failure) => Err(failure),
            None => world.watch(what.fd, token, interest),
        };
        let fd = what.fd;
        world.trace.push(Event::Watch { fd, result });
        result
    }

    fn watch_for(
        &mut self,
        what: &Handle,
        token: Token,
        interest: Interest,
    ) -> Result<(), Failure> {
        self.world.borrow_mut().watch_for(what.fd, token, interest)
    }

    fn unwatch(&mut self, what: &Handle) {
        self.record(Event::Unwatch(what.fd));
        self.world.borrow_mut().unwatch(what.fd);
    }
}

#[derive(Debug)]
pub struct SimHost {
    pub world: Rc<RefCell<World>>,
    pub process: usize,
}

impl SimHost {
    fn record(&self, event: Event) {
        self.world.borrow_mut().trace.push(event);
    }
}

impl Host for SimHost {
    fn complain(&mut self, _now: Instant, complaint: Complaint) {
        self.record(Event::Complaint(complaint));
    }

    fn note(&mut self, note: Note<'_>) {
        self.record(match note {
            Note::Connected | Note::Disconnected => return,
            Note::Request(request) => Event::Request(Asked::of(request)),
            Note::Released {
                endpoint,
                reason,
                said,
            } => Event::Released {
                endpoint: endpoint.to_vec(),
                reason,
                said: said.to_vec(),
            },
            Note::UnreadLimit => Event::UnreadLimit,
            Note::HandedOver {
                connections,
                bindings,
            } => Event::HandedOver {
                connections,
                bindings,
            },
            Note::Ending(end) => Event::Ending(end),
            Note::Resumed => Event::Resumed,
        });
    }

    fn statistics(&mut self, interval: &Statistics, _last: bool) {
        self.record(Event::Statistics(interval.clone()));
    }

    fn served(&mut self) {}

    fn attend(&mut self, _number: u32) -> Option<End> {
        self.world.borrow_mut().processes[self.process].end.take()
    }

    fn is_alive(&mut self, _now: Instant) {}

    fn may_yield(&mut self) -> bool {
        self.world.borrow().processes[self.process].may_yield
    }
}
