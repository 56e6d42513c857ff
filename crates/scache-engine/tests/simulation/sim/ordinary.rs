//! What ordinary clients do, and one that floods.

use std::time::Duration;

use super::Sim;
use crate::clients::Client;
use crate::failures::Flood;

impl Sim {
    /// Ordinary clients come, ask, and go; one dies in the middle of a request, and time passes.
    pub fn ordinary_round(&mut self, round: usize) {
        while self.clients.len() < 6 {
            let socket = self.world.borrow_mut().connect([4000, 4000], Some(0));
            self.clients.push(Client::polite(socket));
        }
        for client in &mut self.clients {
            client.ask(&mut self.world.borrow_mut(), &mut self.requests);
        }
        self.somebody_dies(round);
        self.run_for(Duration::from_millis(60));
        self.far_end_acts();
        let world = &mut *self.world.borrow_mut();
        let leaves = round % self.clients.len();
        self.clients.swap_remove(leaves).die(world);
        for index in (0..self.clients.len()).rev() {
            if self.clients[index].is_gone {
                self.clients.swap_remove(index).die(world);
            }
        }
    }

    /// A client dies: with a request said by half, without its answer, or on the way to its connection.
    fn somebody_dies(&mut self, round: usize) {
        let mut client = self.clients.swap_remove(round % self.clients.len());
        let most = if round % 3 == 0 { 10 } else { usize::MAX };
        for _ in 0..=round % 3 {
            client.go_on(&mut self.world.borrow_mut(), &mut self.requests, most);
            (0..self.engines.len())
                .rev()
                .for_each(|index| self.pass(index));
        }
        client.die(&mut self.world.borrow_mut());
    }

    /// A client says more than it can be listened to, and another one asks something now and then.
    pub fn somebody_floods(&mut self, what: Flood, passes: usize) {
        let mut world = self.world.borrow_mut();
        let flooder = Client::careless(world.connect([4000, 1_000_000], Some(0)));
        let other = Client::polite(world.connect([4000, 4000], Some(0)));
        world.patience = Duration::ZERO;
        drop(world);
        self.clients.extend([flooder, other]);
        for _ in 0..passes {
            let mut world = self.world.borrow_mut();
            let [flooder, other] = &mut self.clients[..] else {
                panic!("somebody else is here");
            };
            assert!(!flooder.is_gone && !other.is_gone);
            match what {
                Flood::Saves => flooder.flood(&mut world, &mut self.requests),
                Flood::Looks => flooder.flood_with_looks(&mut self.requests),
            }
            other.ask(&mut world, &mut self.requests);
            for client in &mut self.clients {
                client.go_on(&mut world, &mut self.requests, usize::MAX);
            }
            drop(world);
            self.pass(0);
        }
    }

    /// Each client that is there saves a connection.
    pub fn everybody_saves(&mut self) {
        for client in &mut self.clients {
            let world = &mut *self.world.borrow_mut();
            let save = self.requests.save();
            client.ask_for(world, &mut self.requests, save);
            client.go_on(world, &mut self.requests, usize::MAX);
        }
        self.run_for(Duration::from_millis(10));
    }

    /// A client that comes now gets its answer.
    pub fn somebody_is_served(&mut self) {
        let mut world = self.world.borrow_mut();
        let socket = world.connect([4000, 4000], Some(0));
        let mut client = Client::polite(socket);
        client.ask(&mut world, &mut self.requests);
        client.go_on(&mut world, &mut self.requests, usize::MAX);
        assert!(client.waits());
        self.clients.push(client);
        drop(world);
        self.settle();
        let client = self.clients.last().unwrap();
        assert!(!client.waits() && !client.is_gone, "it is not served");
    }

    /// Lets processes and clients do what they can while so much time passes.
    fn run_for(&mut self, time: Duration) {
        let end = self.world.borrow().now + time;
        loop {
            let mut world = self.world.borrow_mut();
            world.patience = Duration::from_millis(12);
            if world.now >= end {
                return;
            }
            for client in &mut self.clients {
                client.go_on(&mut world, &mut self.requests, 0);
                client.go_on(&mut world, &mut self.requests, usize::MAX);
            }
            drop(world);
            (0..self.engines.len())
                .rev()
                .for_each(|index| self.pass(index));
        }
    }
}
