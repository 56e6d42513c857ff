//! One life: a world, the processes in it, and what the outside does to them.

mod ordinary;
mod outside;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use scache_engine::{End, Engine, Listener, Phase, Settings, Stats, Transport};

use crate::clients::Client;
use crate::kernel::{Handle, SimHost, SimKernel};
use crate::oracle::{Oracle, RELIEF};
use crate::requests::Requests;
use crate::successors::Script;
use crate::world::{Successor, World};
use outside::random_settings;

pub struct Sim {
    pub world: Rc<RefCell<World>>,
    pub random: fastrand::Rng,
    pub settings: Settings,
    /// How clients come.
    transport: Transport,
    pub requests: Requests,
    pub clients: Vec<Client>,
    pub engines: Vec<Running>,
    scripts: Vec<Script>,
    /// What engines that have left did.
    pub done: Vec<Stats>,
}

/// A process with an engine, and who looks over its shoulder.
pub struct Running {
    pub engine: Engine<SimKernel, SimHost>,
    pub oracle: Oracle,
    pub phase: Phase,
}

/// Passes that may be needed until nothing happens any more.
const SETTLING: usize = 3000;

impl Sim {
    pub fn new(seed: u64, origin: Instant) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = random_settings(&mut random);
        let transport = match random.u8(0..6) {
            0 => Transport::Pass,
            _ => Transport::Unix,
        };
        Self::with_settings(random, settings, transport, origin)
    }

    pub fn with_settings(
        mut random: fastrand::Rng,
        settings: Settings,
        transport: Transport,
        origin: Instant,
    ) -> Self {
        let world = World::new(origin, random.fork());
        let requests = Requests::new(random.fork(), settings.ttl_limit);
        let mut sim = Self {
            world: Rc::new(RefCell::new(world)),
            random,
            settings,
            transport,
            requests,
            clients: Vec::new(),
            engines: Vec::new(),
            scripts: Vec::new(),
            done: Vec::new(),
        };
        sim.start();
        sim
    }

    /// Another process begins to listen.
    pub fn start(&mut self) {
        let mut world = self.world.borrow_mut();
        let process = world.start_process();
        let socket = world.listener;
        world.hold(socket);
        let fd = world.install(process, socket);
        world.trace.clear();
        let now = world.now;
        drop(world);
        let kernel = SimKernel {
            world: Rc::clone(&self.world),
            process,
        };
        let host = SimHost {
            world: Rc::clone(&self.world),
            process,
        };
        let listener = Listener {
            socket: Handle::new(&self.world, fd),
            transport: self.transport,
        };
        // A process that cannot even watch its listener does not start.
        let faults = std::mem::take(&mut self.world.borrow_mut().faults);
        let engine = Engine::new(self.settings.clone(), kernel, host, vec![listener]).unwrap();
        self.world.borrow_mut().faults = faults;
        self.world.borrow_mut().trace.clear();
        self.engines.push(Running {
            engine,
            oracle: Oracle::new(process, &self.settings, fd, self.transport, now),
            phase: Phase::Serving,
        });
    }

    /// A random action, and a pass of each process.
    pub fn step(&mut self) {
        self.act();
        let patience = match self.random.u8(0..32) {
            0..=17 => 0,
            18..=22 => self.random.u64(1..5_000),
            23..=26 => self.random.u64(1..30_000_000),
            27..=30 => self.random.u64(1..400_000_000),
            _ => self.random.u64(1..5_000_000_000),
        };
        let mut world = self.world.borrow_mut();
        world.patience = Duration::from_nanos(patience);
        world.now += Duration::from_nanos(self.random.u64(1..1000));
        drop(world);
        for index in (0..self.engines.len()).rev() {
            if self.random.u8(0..8) > 0 {
                self.pass(index);
            }
        }
        if self.engines.is_empty() {
            self.world.borrow_mut().successor = Successor::Listener;
            self.start();
        }
    }

    /// Lets one process do one pass, and checks it.
    pub fn pass(&mut self, index: usize) {
        let running = &mut self.engines[index];
        let phase = running.engine.pass().unwrap();
        running.phase = phase;
        running.check(&self.world);
        let is_over = phase == Phase::Left;
        let (counts, clients) = (running.engine.counts(), running.engine.clients());
        if let Phase::Finished(_) = phase {
            running
                .oracle
                .end_pass(&self.world.borrow(), counts, clients, false);
            running.oracle.assert_numbers(&running.engine.stats());
            running.oracle.leave();
            running.engine.begin_to_leave();
            running.check(&self.world);
        }
        let (counts, clients) = (running.engine.counts(), running.engine.clients());
        let world = self.world.borrow();
        running.oracle.end_pass(&world, counts, clients, is_over);
        drop(world);
        if is_over {
            let running = self.engines.remove(index);
            let process = running.oracle.process;
            self.done.push(running.engine.stats());
            self.world.borrow_mut().processes[process].exits = true;
            drop(running);
            assert_eq!(self.world.borrow().processes[process].open, 0);
        }
    }

    pub fn end_with(&mut self, end: End) {
        for running in &mut self.engines {
            if running.phase == Phase::Serving || end == End::Signal {
                let process = running.oracle.process;
                self.world.borrow_mut().processes[process].end = Some(end);
                running.oracle.asked_to_end = Some(end);
            }
        }
    }

    /// Lets everything come to rest, and checks that nobody was forgotten.
    pub fn settle(&mut self) {
        let mut world = self.world.borrow_mut();
        world.faults.storm = None;
        for process in &mut world.processes {
            process.limit = None;
            process.is_calm = true;
        }
        let begins = world.now;
        drop(world);
        // What failed is tried again, and what idles is watched.
        for _ in 0..SETTLING {
            let mut world = self.world.borrow_mut();
            let elapsed = world.now - begins;
            if elapsed >= 2 * RELIEF || self.engines.is_empty() {
                break;
            }
            world.patience = RELIEF;
            drop(world);
            (0..self.engines.len())
                .rev()
                .for_each(|index| self.pass(index));
        }
        let mut rounds = 0;
        loop {
            self.world.borrow_mut().patience = Duration::ZERO;
            let mut world = self.world.borrow_mut();
            for client in &mut self.clients {
                let most = if client.is_well_behaved() {
                    usize::MAX
                } else {
                    0
                };
                client.go_on(&mut world, &mut self.requests, most);
            }
            drop(world);
            let mut is_quiet = true;
            for index in (0..self.engines.len()).rev() {
                let process = self.engines[index].oracle.process;
                let happened = self.engines[index].oracle.happened;
                self.pass(index);
                let is_same = |running: &Running| running.oracle.happened == happened;
                is_quiet &= !self.world.borrow().has_events(process)
                    && self.engines.get(index).is_none_or(is_same);
            }
            // Those who had their pass may have been called by the others since.
            let world = self.world.borrow();
            let mut engines = self.engines.iter();
            is_quiet &= engines.all(|running| !world.has_events(running.oracle.process));
            drop(world);
            if is_quiet {
                break;
            }
            rounds += 1;
            assert!(rounds < SETTLING, "it does not come to rest");
        }
        let world = self.world.borrow();
        for running in &self.engines {
            running.oracle.assert_settled(&world);
            running.oracle.assert_numbers(&running.engine.stats());
            for (fd, peer) in &running.oracle.peers {
                if peer.postponed_at.is_some() {
                    continue;
                }
                let socket = world.peer(world.socket(*fd));
                let mut clients = self.clients.iter();
                let client = clients.find(|client| client.socket == socket);
                assert!(
                    client.is_none_or(|client| !client.is_well_behaved() || !client.waits()),
                    "a client with a complete request waits"
                );
            }
        }
        drop(world);
        for process in &mut self.world.borrow_mut().processes {
            process.is_calm = false;
        }
    }

    /// Everything outside is closed, then the last process. Says what they did.
    pub fn finish(mut self) -> Vec<Stats> {
        self.settle();
        let mut world = self.world.borrow_mut();
        for client in self.clients.drain(..) {
            client.die(&mut world);
        }
        drop(world);
        self.settle();
        self.end_with(End::Signal);
        for _ in 0..SETTLING {
            self.world.borrow_mut().patience = Duration::from_millis(50);
            (0..self.engines.len())
                .rev()
                .for_each(|index| self.pass(index));
            if self.engines.is_empty() {
                let world = self.world.borrow();
                assert!(world.processes.iter().all(|process| process.open == 0));
                return std::mem::take(&mut self.done);
            }
        }
        panic!("it does not end");
    }
}

impl Running {
    fn check(&mut self, world: &Rc<RefCell<World>>) {
        let trace = std::mem::take(&mut world.borrow_mut().trace);
        if std::env::var_os("SCACHE_SIM_TRACE").is_some() {
            for event in &trace {
                println!("process {}: {event:?}", self.oracle.process);
            }
        }
        self.oracle.check(&mut world.borrow_mut(), &trace);
    }
}
