//! Scripts of requests, and how they are played to a server and compared.
//!
//! A script says what each client sends and what it must hear. It is played to the stock program and to ours; both
//! must say exactly what the script expects. Only where the script names a difference may they say different things.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use scache_tests::fake_master::{Program, Setup, ours, stock};
use scache_tests::stock::announces;
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, QUIET, announcement, dummy};

use scache_tests::exchange::shown;
pub use scache_tests::exchange::{
    find_dest, find_endp, found_dest, found_endp, no_dest, no_endp, save_dest, save_endp, status,
};

use crate::differences::Difference;

/// Which of the two programs is played to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Stock,
    Ours,
}

/// A client, by letter.
type ClientId = char;

/// A cached connection, by number.
type ConnectionId = usize;

#[derive(Debug)]
pub enum Step {
    /// The client connects and hears the announcement, if this version of Postfix has one.
    Open(ClientId),
    /// The client says these bytes.
    Send(ClientId, Vec<u8>),
    /// The client sends one NUL with these connections.
    SendFds(ClientId, Vec<ConnectionId>),
    /// The client sends one NUL with its own connection to the server.
    SendItself(ClientId),
    /// The client hears this list.
    Reply(ClientId, Vec<u8>),
    /// The client hears a NUL that carries this connection.
    TakeFd(ClientId, ConnectionId),
    /// The client hears nothing for a while.
    Quiet(ClientId),
    /// The client hears the end.
    End(ClientId),
    /// The client says that it will say no more, and listens on.
    NoMore(ClientId),
    /// The client is gone.
    Leave(ClientId),
    Sleep(Duration),
    /// The remote server of a cached connection speaks.
    FarSays(ConnectionId, &'static [u8]),
    /// The remote server of a cached connection closes it.
    FarCloses(ConnectionId),
    /// The remote server hears this and then the end.
    FarHears(ConnectionId, &'static [u8]),
    /// The remote server hears nothing for a while, not even the end.
    FarStays(ConnectionId),
    /// The two programs do different things here, on purpose.
    Either {
        difference: Difference,
        stock: Vec<Step>,
        ours: Vec<Step>,
    },
}

/// One thing heard, and by whom.
#[derive(Clone, PartialEq, Eq)]
enum Event {
    Bytes(ClientId, Vec<u8>),
    Descriptor(ClientId, Option<ConnectionId>),
    End(ClientId),
    Nothing(ClientId),
    NotHeard(ClientId, String),
    Far(ConnectionId, Option<Vec<u8>>),
    FarStays(ConnectionId),
}

impl fmt::Debug for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(client, bytes) => write!(out, "{client} hears {}", shown(bytes)),
            Self::Descriptor(client, Some(id)) => write!(out, "{client} takes connection {id}"),
            Self::Descriptor(client, None) => write!(out, "{client} takes an unknown descriptor"),
            Self::End(client) => write!(out, "{client} hears the end"),
            Self::Nothing(client) => write!(out, "{client} hears nothing"),
            Self::NotHeard(client, what) => write!(out, "{client}: {what}"),
            Self::Far(id, Some(bytes)) => {
                write!(out, "the remote of {id} hears {} and the end", shown(bytes))
            }
            Self::FarStays(id) => write!(out, "the remote of {id} hears nothing"),
            Self::Far(id, None) => write!(out, "the remote of {id} hears something else"),
        }
    }
}

/// A named script with the main.cf it needs.
#[derive(Debug)]
pub struct Script {
    name: &'static str,
    settings: Vec<(&'static str, &'static str)>,
    steps: Vec<Step>,
}

/// A script with one client, `a`, already there.
pub fn script(name: &'static str) -> Script {
    bare_script(name).open('a')
}

/// A script without any client.
pub fn bare_script(name: &'static str) -> Script {
    Script {
        name,
        settings: Vec::new(),
        steps: Vec::new(),
    }
}

impl Script {
    pub fn setting(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.push((name, value));
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    pub fn open(self, client: ClientId) -> Self {
        self.step(Step::Open(client))
    }

    pub fn send(self, client: ClientId, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Send(client, bytes.into()))
    }

    pub fn send_fd(self, client: ClientId, connection: ConnectionId) -> Self {
        self.step(Step::SendFds(client, vec![connection]))
    }

    pub fn send_fds(self, client: ClientId, connections: &[ConnectionId]) -> Self {
        self.step(Step::SendFds(client, connections.to_vec()))
    }

    pub fn send_itself(self, client: ClientId) -> Self {
        self.step(Step::SendItself(client))
    }

    pub fn reply(self, client: ClientId, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Reply(client, bytes.into()))
    }

    pub fn take_fd(self, client: ClientId, connection: ConnectionId) -> Self {
        self.step(Step::TakeFd(client, connection))
    }

    pub fn quiet(self, client: ClientId) -> Self {
        self.step(Step::Quiet(client))
    }

    pub fn end(self, client: ClientId) -> Self {
        self.step(Step::End(client))
    }

    pub fn no_more(self, client: ClientId) -> Self {
        self.step(Step::NoMore(client))
    }

    pub fn leave(self, client: ClientId) -> Self {
        self.step(Step::Leave(client))
    }

    pub fn sleep_ms(self, ms: u64) -> Self {
        self.step(Step::Sleep(Duration::from_millis(ms)))
    }

    pub fn far_says(self, connection: ConnectionId, text: &'static [u8]) -> Self {
        self.step(Step::FarSays(connection, text))
    }

    pub fn far_closes(self, connection: ConnectionId) -> Self {
        self.step(Step::FarCloses(connection))
    }

    pub fn far_hears(self, connection: ConnectionId, text: &'static [u8]) -> Self {
        self.step(Step::FarHears(connection, text))
    }

    pub fn far_stays(self, connection: ConnectionId) -> Self {
        self.step(Step::FarStays(connection))
    }

    pub fn differs(
        self,
        difference: Difference,
        stock: impl FnOnce(Self) -> Self,
        ours: impl FnOnce(Self) -> Self,
    ) -> Self {
        let (stock, ours) = (stock(bare_script("")).steps, ours(bare_script("")).steps);
        self.step(Step::Either {
            difference,
            stock,
            ours,
        })
    }

    /// A request and its whole reply.
    pub fn asks(
        self,
        client: ClientId,
        request: impl Into<Vec<u8>>,
        reply: impl Into<Vec<u8>>,
    ) -> Self {
        self.send(client, request).reply(client, reply)
    }

    /// A connection saved for a minute.
    pub fn saves(
        self,
        client: ClientId,
        label: &str,
        property: &str,
        connection: ConnectionId,
    ) -> Self {
        self.saves_for(client, "60", label, property, connection)
    }

    pub fn saves_for(
        self,
        client: ClientId,
        ttl: &str,
        label: impl AsRef<[u8]>,
        property: impl AsRef<[u8]>,
        connection: ConnectionId,
    ) -> Self {
        self.asks(client, save_endp(ttl, label, property), dummy())
            .send_fd(client, connection)
            .reply(client, status(0))
    }

    /// A binding saved for a minute.
    pub fn binds(
        self,
        client: ClientId,
        destination: &str,
        property: &str,
        endpoint: &str,
    ) -> Self {
        self.binds_for(client, "60", destination, property, endpoint)
    }

    pub fn binds_for(
        self,
        client: ClientId,
        ttl: &str,
        destination: &str,
        property: &str,
        endpoint: &str,
    ) -> Self {
        self.asks(
            client,
            save_dest(ttl, destination, property, endpoint),
            status(0),
        )
    }

    /// The rest of an exchange whose status was 0.
    pub fn receives(self, client: ClientId, connection: ConnectionId) -> Self {
        self.send(client, dummy())
            .take_fd(client, connection)
            .send(client, dummy())
    }

    /// A connection found by its endpoint.
    pub fn takes(
        self,
        client: ClientId,
        label: impl AsRef<[u8]>,
        property: impl AsRef<[u8]>,
        connection: ConnectionId,
    ) -> Self {
        self.asks(client, find_endp(label), found_endp(property))
            .receives(client, connection)
    }

    /// A connection found by its destination.
    pub fn takes_for(
        self,
        client: ClientId,
        destination: &str,
        properties: (&str, &str),
        connection: ConnectionId,
    ) -> Self {
        self.asks(
            client,
            find_dest(destination),
            found_dest(properties.0, properties.1),
        )
        .receives(client, connection)
    }

    pub fn misses(self, client: ClientId, label: impl AsRef<[u8]>) -> Self {
        self.asks(client, find_endp(label), no_endp(2))
    }

    pub fn misses_for(self, client: ClientId, destination: &str) -> Self {
        self.asks(client, find_dest(destination), no_dest(2))
    }

    fn differences(&self) -> Vec<Difference> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Either { difference, .. } => Some(*difference),
                _ => None,
            })
            .collect()
    }
}

/// Plays every script to both programs and reports all that went wrong at once.
/// `SCACHE_SCRIPT` names a part of the names of those to be played.
pub fn check_all(scripts: &[Script]) {
    let wanted = std::env::var("SCACHE_SCRIPT").unwrap_or_default();
    let scripts: Vec<&Script> = scripts
        .iter()
        .filter(|script| script.name.contains(&wanted))
        .collect();
    let programs = programs();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        // Scripts mostly wait; a few at a time keep two processors busy without starving any.
        for _ in 0..6 {
            scope.spawn(|| {
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(failure) = check(script, &programs) {
                        failures
                            .lock()
                            .expect("no player panics")
                            .insert(script.name, failure);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no player panicked");
    let report: String = failures
        .iter()
        .map(|(name, failure)| format!("\n=== {name}\n{failure}"))
        .collect();
    assert!(
        failures.is_empty(),
        "{} of {} scripts failed:{report}",
        failures.len(),
        scripts.len()
    );
}

/// What scripts are played to: without the feature `system` only ours.
fn programs() -> Vec<(Side, Program)> {
    let stock = cfg!(feature = "system").then(|| (Side::Stock, stock()));
    stock.into_iter().chain([(Side::Ours, ours())]).collect()
}

fn check(script: &Script, programs: &[(Side, Program)]) -> Result<(), String> {
    let said: Vec<_> = thread::scope(|scope| {
        let players: Vec<_> = programs
            .iter()
            .map(|(side, program)| (*side, scope.spawn(|| play(script, program, *side))))
            .collect();
        let said = players.into_iter().map(|(side, player)| {
            let said = player.join();
            (side, said.expect("the program was played to"))
        });
        said.collect()
    });
    let mut failure = String::new();
    for (side, said) in &said {
        let wanted = expected(&script.steps, *side);
        if *said != wanted {
            let _ = writeln!(
                failure,
                "{side:?} was to give {wanted:#?}\nbut gave {said:#?}"
            );
        }
    }
    let differences = script.differences();
    if let [(_, said_by_stock), (_, said_by_ours)] = &said[..] {
        if differences.is_empty() && said_by_stock != said_by_ours {
            failure.push_str("the two differ, and no difference is named\n");
        }
        if !differences.is_empty() && said_by_stock == said_by_ours {
            let _ = writeln!(
                failure,
                "the two do not differ, although the script names {differences:?}"
            );
        }
    }
    if failure.is_empty() {
        Ok(())
    } else {
        Err(failure)
    }
}

fn expected(steps: &[Step], side: Side) -> Vec<Event> {
    let mut events = Vec::new();
    for step in steps {
        match step {
            Step::Open(client) if announces() => events.push(Event::Bytes(*client, announcement())),
            Step::Reply(client, bytes) => events.push(Event::Bytes(*client, bytes.clone())),
            Step::TakeFd(client, connection) => {
                events.push(Event::Descriptor(*client, Some(*connection)))
            }
            Step::Quiet(client) => events.push(Event::Nothing(*client)),
            Step::End(client) => events.push(Event::End(*client)),
            Step::FarHears(connection, text) => {
                events.push(Event::Far(*connection, Some(text.to_vec())))
            }
            Step::FarStays(connection) => events.push(Event::FarStays(*connection)),
            Step::Either { stock, ours, .. } => {
                events.extend(expected(
                    if side == Side::Stock { stock } else { ours },
                    side,
                ));
            }
            Step::Open(..)
            | Step::Send(..)
            | Step::SendFds(..)
            | Step::SendItself(..)
            | Step::NoMore(..)
            | Step::Leave(..)
            | Step::Sleep(..)
            | Step::FarSays(..)
            | Step::FarCloses(..) => {}
        }
    }
    events
}

/// All that the clients and the remote servers heard, in the order of the script. It ends early when something
/// that had to come did not, and goes beyond the script when somebody heard more than that.
fn play(script: &Script, program: &Program, side: Side) -> Vec<Event> {
    let mut setup = Setup::new(program);
    for (name, value) in &script.settings {
        setup = setup.setting(name, value);
    }
    let mut player = Player {
        master: setup.start(),
        side,
        clients: BTreeMap::new(),
        connections: BTreeMap::new(),
        heard: Vec::new(),
    };
    if player.play(&script.steps).is_ok() {
        player.hear_the_rest();
    }
    player.heard
}

struct Player {
    master: scache_tests::fake_master::FakeMaster,
    side: Side,
    clients: BTreeMap<ClientId, Client>,
    connections: BTreeMap<ConnectionId, Connection>,
    heard: Vec<Event>,
}

/// What had to come did not come.
struct Stuck;

impl Player {
    fn play(&mut self, steps: &[Step]) -> Result<(), Stuck> {
        for step in steps {
            match step {
                Step::Open(client) => {
                    self.clients.insert(*client, self.master.connect());
                    if announces() {
                        self.hear_list(*client, &announcement())?;
                    }
                }
                Step::Send(client, bytes) => self.say(*client, |to| to.send(bytes))?,
                Step::SendFds(client, connections) => self.send_fds(*client, connections)?,
                Step::SendItself(client) => {
                    self.say(*client, |to| to.send_descriptors(&[to.as_fd()]))?
                }
                Step::Reply(client, bytes) => self.hear_list(*client, bytes)?,
                Step::TakeFd(client, _) => self.take_fd(*client)?,
                Step::Quiet(client) => self.hear_nothing(*client)?,
                Step::End(client) => self.hear_end(*client)?,
                Step::NoMore(client) => self.say(*client, |to| {
                    Ok(rustix::net::shutdown(to, rustix::net::Shutdown::Write)?)
                })?,
                Step::Leave(client) => {
                    self.clients.remove(client);
                }
                Step::Sleep(time) => thread::sleep(*time),
                Step::FarSays(connection, text) => self.connection(*connection).far_says(text),
                Step::FarCloses(connection) => {
                    let far = self.connection(*connection).far();
                    far.shutdown(std::net::Shutdown::Both)
                        .expect("shut the far end down");
                }
                Step::FarHears(connection, _) => {
                    let heard = self.connection(*connection).far_hears_to_the_end();
                    self.heard.push(Event::Far(*connection, heard));
                }
                Step::FarStays(id) => {
                    let stays = self.connection(*id).far_hears_nothing(QUIET);
                    self.heard.push(if stays {
                        Event::FarStays(*id)
                    } else {
                        Event::Far(*id, None)
                    });
                }
                Step::Either { stock, ours, .. } => {
                    self.play(if self.side == Side::Stock {
                        stock
                    } else {
                        ours
                    })?;
                }
            }
        }
        Ok(())
    }

    fn client(&self, id: ClientId) -> &Client {
        self.clients
            .get(&id)
            .expect("the script opens a client before it uses it")
    }

    fn connection(&mut self, id: ConnectionId) -> &mut Connection {
        self.connections.entry(id).or_insert_with(Connection::new)
    }

    fn say(
        &mut self,
        id: ClientId,
        words: impl FnOnce(&Client) -> std::io::Result<()>,
    ) -> Result<(), Stuck> {
        match words(self.client(id)) {
            Ok(()) => Ok(()),
            // A server may close before it has read all; what the client hears then belongs to the script.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
                ) =>
            {
                Ok(())
            }
            Err(error) => {
                self.heard
                    .push(Event::NotHeard(id, format!("cannot send: {error}")));
                Err(Stuck)
            }
        }
    }

    fn send_fds(&mut self, client: ClientId, ids: &[ConnectionId]) -> Result<(), Stuck> {
        for id in ids {
            self.connection(*id);
        }
        let descriptors: Vec<BorrowedFd<'_>> =
            ids.iter().map(|id| self.connections[id].near()).collect();
        let sent = self.client(client).send_descriptors(&descriptors);
        for id in ids {
            self.connection(*id).let_go();
        }
        self.say(client, |_| sent)
    }

    fn hear_list(&mut self, id: ClientId, wanted: &[u8]) -> Result<(), Stuck> {
        let bytes = self.client(id).hear_list();
        let as_wanted = bytes == wanted;
        self.heard.push(Event::Bytes(id, bytes));
        if as_wanted { Ok(()) } else { Err(Stuck) }
    }

    fn take_fd(&mut self, id: ClientId) -> Result<(), Stuck> {
        let event = match self.client(id).hear(Instant::now() + DEADLINE) {
            Heard::Byte(0, Some(descriptor)) => {
                let known = self
                    .connections
                    .iter()
                    .find(|(_, connection)| connection.check(&descriptor));
                Event::Descriptor(id, known.map(|(number, _)| *number))
            }
            other => Event::NotHeard(id, format!("no descriptor on a NUL but {other:?}")),
        };
        let taken = matches!(event, Event::Descriptor(..));
        self.heard.push(event);
        if taken { Ok(()) } else { Err(Stuck) }
    }

    fn hear_nothing(&mut self, id: ClientId) -> Result<(), Stuck> {
        match self.client(id).hear(Instant::now() + QUIET) {
            Heard::Nothing => {
                self.heard.push(Event::Nothing(id));
                Ok(())
            }
            other => {
                self.heard
                    .push(Event::NotHeard(id, format!("not silence but {other:?}")));
                Err(Stuck)
            }
        }
    }

    fn hear_end(&mut self, id: ClientId) -> Result<(), Stuck> {
        match self.client(id).hear(Instant::now() + DEADLINE) {
            Heard::End => {
                self.heard.push(Event::End(id));
                Ok(())
            }
            other => {
                self.heard
                    .push(Event::NotHeard(id, format!("not the end but {other:?}")));
                Err(Stuck)
            }
        }
    }

    /// What comes after the last step belongs to the transcript too, though no script expects any.
    fn hear_the_rest(&mut self) {
        let deadline = Instant::now() + QUIET;
        let ended = |heard: &[Event], id| heard.contains(&Event::End(id));
        for (id, client) in &self.clients {
            let mut surplus = Vec::new();
            loop {
                match client.hear(deadline) {
                    Heard::Byte(byte, None) => surplus.push(byte),
                    Heard::Byte(_, Some(_)) => self.heard.push(Event::Descriptor(*id, None)),
                    Heard::Nothing => break,
                    Heard::End => {
                        if !ended(&self.heard, *id) {
                            self.heard.push(Event::End(*id));
                        }
                        break;
                    }
                }
            }
            if !surplus.is_empty() {
                self.heard.push(Event::Bytes(*id, surplus));
            }
        }
    }
}
