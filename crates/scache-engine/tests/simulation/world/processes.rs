//! Descriptors, as processes have them: limited, watched, and told of events.

use std::time::Duration;

use scache_engine::{Failure, Interest, Token};

use super::{Descriptor, Fd, Kind, Process, Socket, Successor, World};
use crate::faults::Call;
use crate::trace::Event;

impl World {
    pub fn start_process(&mut self) -> usize {
        let process = Process {
            may_yield: self.random.u8(0..8) > 0,
            ..Process::default()
        };
        self.processes.push(process);
        self.processes.len() - 1
    }

    /// Gives a process a descriptor; the hold goes over to it.
    pub fn install(&mut self, process: usize, socket: Socket) -> Fd {
        self.processes[process].open += 1;
        self.fds.push(Descriptor {
            process,
            socket,
            open: true,
            registration: None,
            is_ready: false,
        });
        self.fds.len() - 1
    }

    /// How many more descriptors a process may have.
    pub fn spare(&self, process: usize) -> usize {
        let process = &self.processes[process];
        process
            .limit
            .map_or(usize::MAX, |limit| limit.saturating_sub(process.open))
    }

    pub fn socket(&self, fd: Fd) -> Socket {
        assert!(self.fds[fd].open, "descriptor {fd} is closed");
        self.fds[fd].socket
    }

    /// The socket of a descriptor that may have been closed meanwhile.
    pub fn former_socket(&self, fd: Fd) -> Socket {
        self.fds[fd].socket
    }

    pub fn close(&mut self, fd: Fd) {
        let descriptor = &mut self.fds[fd];
        assert!(std::mem::take(&mut descriptor.open), "{fd} is closed twice");
        let (process, socket) = (descriptor.process, descriptor.socket);
        self.processes[process].open -= 1;
        if !self.processes[process].exits {
            self.trace.push(Event::Close(fd));
            assert!(
                self.fds[fd].registration.is_none() || self.sockets[socket].holders == 1,
                "descriptor {fd} is closed while it is watched and others hold the socket"
            );
        }
        self.unwatch(fd);
        self.let_go(socket);
    }

    pub fn watch(&mut self, fd: Fd, token: Token, interest: Interest) -> Result<(), Failure> {
        let socket = self.socket(fd);
        assert!(
            self.fds[fd].registration.is_none(),
            "{fd} is registered twice"
        );
        if matches!(self.sockets[socket].kind, Kind::File { events: false }) {
            return Err(Failure::Unsupported);
        }
        self.fds[fd].registration = Some((token, interest));
        self.processes[self.fds[fd].process].watched.push(fd);
        self.sockets[socket].watchers.push(fd);
        self.wake_one(fd);
        Ok(())
    }

    pub fn watch_for(&mut self, fd: Fd, token: Token, interest: Interest) -> Result<(), Failure> {
        self.socket(fd);
        if self.fds[fd].registration.is_none() {
            return Err(Failure::Lost);
        }
        self.fds[fd].registration = Some((token, interest));
        self.wake_one(fd);
        Ok(())
    }

    pub fn unwatch(&mut self, fd: Fd) {
        let descriptor = &mut self.fds[fd];
        if descriptor.registration.take().is_none() {
            return;
        }
        descriptor.is_ready = false;
        let (process, socket) = (descriptor.process, descriptor.socket);
        let process = &mut self.processes[process];
        for list in [
            &mut process.ready,
            &mut process.watched,
            &mut self.sockets[socket].watchers,
        ] {
            list.retain(|other| *other != fd);
        }
    }

    pub fn is_watched(&self, fd: Fd) -> bool {
        self.fds[fd].registration.is_some()
    }

    /// Waits, and says what happened to what a process watches.
    pub fn poll(
        &mut self,
        process: usize,
        timeout: Option<Duration>,
        events: &mut Vec<scache_engine::Event>,
    ) {
        let before = self.now;
        let end = self.processes[process].end.is_some();
        if self.processes[process].ready.is_empty() && !end {
            self.now += timeout.map_or(self.patience, |timeout| timeout.min(self.patience));
        } else if self.random.bool() {
            self.now += Duration::from_nanos(self.random.u64(1..2000));
        }
        let first = events.len();
        if end {
            events.push(event(Token::Host(0), true, false));
        }
        let mut ready = std::mem::take(&mut self.processes[process].ready);
        if !self.processes[process].is_calm {
            self.random.shuffle(&mut ready);
            // The others come next time.
            let now = self.random.usize(0..ready.len() * 2 + 1).max(1);
            if now < ready.len() {
                self.processes[process].ready = ready.split_off(now);
            }
            let watched = &self.processes[process].watched;
            if self.random.u8(..) < 4 && !watched.is_empty() {
                let made_up = watched[self.random.usize(..watched.len())];
                // One wait tells of a descriptor once.
                if !ready.contains(&made_up) {
                    ready.push(made_up);
                }
            }
        }
        for fd in ready {
            self.fds[fd].is_ready = self.processes[process].ready.contains(&fd);
            let Some((token, interest)) = self.fds[fd].registration else {
                continue;
            };
            let (readable, ended, writable) = self.readiness(self.fds[fd].socket);
            let wanted = writable && interest == Interest::ReadableOrWritable;
            if readable || ended || wanted {
                events.push(event(token, readable, ended));
            }
        }
        self.trace.push(Event::Poll {
            timeout,
            before,
            delivered: events.len() - first,
        });
    }

    /// Whether a poll would find something.
    pub fn has_events(&self, process: usize) -> bool {
        !self.processes[process].ready.is_empty()
    }

    /// An event for what a call was made to fail about, as if it had not been possible then.
    pub fn promise_event(&mut self, fd: Fd) {
        if self.fds[fd].registration.is_some() {
            self.wake_one(fd);
        }
    }

    pub fn accept(&mut self, process: usize) -> Result<Fd, Failure> {
        if self.waiting_clients() == 0 {
            return Err(Failure::WouldBlock);
        }
        if self.spare(process) == 0 {
            return Err(Failure::Exhausted);
        }
        let socket = self.backlog_mut().pop_front().ok_or(Failure::WouldBlock)?;
        Ok(self.install(process, socket))
    }

    pub fn connect_to_successor(&mut self, process: usize) -> Result<Fd, Failure> {
        if self.spare(process) == 0 {
            return Err(Failure::Exhausted);
        }
        let rooms = [self.random.usize(1..300), self.random.usize(1..3000)];
        match self.successor {
            Successor::Nobody => Err(Failure::Lost),
            Successor::Crowd => Err(Failure::WouldBlock),
            Successor::Listener => {
                let near = self.connect(rooms, Some(0));
                Ok(self.install(process, near))
            }
            Successor::Script => {
                let [near, far] = self.pair(rooms, false);
                self.called.push(far);
                Ok(self.install(process, near))
            }
        }
    }

    /// A connection whose other end is closed, which takes two descriptors to make.
    pub fn closed_connection(&mut self, process: usize) -> Result<Fd, Failure> {
        if self.spare(process) < 2 {
            return Err(Failure::Exhausted);
        }
        let [near, far] = self.pair([1, 1], false);
        self.let_go(far);
        Ok(self.install(process, near))
    }

    pub fn strike(&mut self, call: Call) -> Option<Failure> {
        self.faults.strike(call, &mut self.random)
    }
}

fn event(token: Token, readable: bool, ended: bool) -> scache_engine::Event {
    scache_engine::Event {
        token,
        readable,
        ended,
    }
}
