//! The load: requests as Postfix's smtp(8) makes them, with names and properties as it has them.
//!
//! A generator of its own, on the state machine of the protocol: it does nothing that is not needed to ask.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};
use scache_proto::client::{Outcome, Session};
use scache_proto::request::{Labels, Request};
use scache_proto::{Descriptors, Label, Property, Ttl};

use crate::samples::{Samples, micros};
use crate::server::Server;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// As scache(8) always did.
    Stock,
    /// Descriptors ride on requests and replies.
    Inline,
}

/// A destination and an endpoint of it, as smtp(8) names them, and what it stores with them.
#[derive(Clone, Debug)]
pub(crate) struct Names {
    destination: Vec<u8>,
    destination_property: Vec<u8>,
    endpoint: Vec<u8>,
    property: Vec<u8>,
}

impl Names {
    /// The destination and the endpoint of this number.
    pub(crate) fn numbered(number: usize) -> Self {
        let (high, low) = (number / 250 % 250, number % 250);
        let (domain, address) = (
            format!("d{number}.example.com"),
            format!("10.{high}.{low}.25"),
        );
        Self {
            destination: format!("smtp\n{domain}\n").into(),
            destination_property: format!(
                "destination={domain}\nhost_name=mx.{domain}\nhost_addr={address}\n\
                 destination_features=4096\n\n"
            )
            .into(),
            endpoint: format!("smtp\n{address}\n25\n{}\n", number / 62_500).into(),
            property: b"tls_level=0\nreuse_count=24\nendpoint_features=34695\n\
                expire_time=1795562111\n\n"
                .to_vec(),
        }
    }

    /// Another destination with the same endpoint.
    pub(crate) fn at_endpoint_of(self, other: Self) -> Self {
        Self {
            endpoint: other.endpoint,
            ..self
        }
    }

    pub(crate) fn save_destination(&self) -> Request<'_> {
        Request::SaveDestination {
            ttl: ttl(),
            destination: label(&self.destination),
            property: property(&self.destination_property),
            endpoint: label(&self.endpoint),
        }
    }

    pub(crate) fn save_endpoint(&self) -> Request<'_> {
        Request::SaveEndpoint {
            ttl: ttl(),
            endpoint: label(&self.endpoint),
            property: property(&self.property),
            history: None,
        }
    }

    pub(crate) fn find_destination(&self) -> Request<'_> {
        Request::FindDestination {
            destination: label(&self.destination),
        }
    }

    /// A cycle: what is saved, and how it is found again.
    pub(crate) fn cycle(&self, protocol: Protocol) -> Vec<Request<'_>> {
        match protocol {
            Protocol::Stock => vec![
                self.save_destination(),
                self.save_endpoint(),
                self.find_destination(),
            ],
            Protocol::Inline => vec![
                Request::Save {
                    ttl: ttl(),
                    destination: label(&self.destination),
                    destination_property: property(&self.destination_property),
                    endpoint: label(&self.endpoint),
                    property: property(&self.property),
                },
                Request::Find {
                    destination: label(&self.destination),
                    endpoints: Labels::new(&[]).expect("not too many"),
                },
            ],
        }
    }
}

fn ttl() -> Ttl {
    Ttl::from_secs(3600).expect("a time to live")
}

fn label(bytes: &[u8]) -> Label<'_> {
    Label::new(bytes).expect("a label")
}

fn property(bytes: &[u8]) -> Property<'_> {
    Property::new(bytes).expect("a property")
}

/// A client: it waits for each answer.
#[derive(Debug)]
pub(crate) struct Client {
    socket: UnixStream,
    session: Session<OwnedFd>,
    buffer: [u8; 4096],
}

impl Client {
    pub(crate) fn connect(server: &Server) -> Self {
        let socket = UnixStream::connect(server.master.socket_path()).expect("the server listens");
        let mut client = Self {
            socket,
            session: Session::default(),
            buffer: [0; 4096],
        };
        if server.protocol == Protocol::Inline {
            check(&Request::Inline, &client.ask(&Request::Inline, None));
        }
        client
    }

    /// Asks and waits for the answer. A request that saves a connection needs one.
    pub(crate) fn ask(
        &mut self,
        request: &Request<'_>,
        connection: Option<BorrowedFd<'_>>,
    ) -> Outcome<OwnedFd> {
        self.session.start(request);
        loop {
            self.write(connection);
            self.read();
            if let Some(outcome) = self.session.poll_outcome() {
                // Stock waits for the receipt of a connection before it serves anybody else.
                self.write(None);
                return outcome;
            }
        }
    }

    fn write(&mut self, connection: Option<BorrowedFd<'_>>) {
        while let Some(transmit) = self.session.poll_transmit() {
            let written = if transmit.descriptor {
                let connection = [connection.expect("a connection to be saved")];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&connection));
                let bytes = IoSlice::new(transmit.bytes);
                sendmsg(&self.socket, &[bytes], &mut control, SendFlags::NOSIGNAL)
            } else {
                send(&self.socket, transmit.bytes, SendFlags::NOSIGNAL)
            };
            self.session
                .handle_written(written.expect("the server reads"));
        }
    }

    fn read(&mut self) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let room = &mut [IoSliceMut::new(&mut self.buffer)];
        let message = recvmsg(&self.socket, room, &mut control, RecvFlags::CMSG_CLOEXEC);
        let bytes = message.expect("the server answers").bytes;
        assert!(bytes > 0, "the server closed the connection");
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let descriptors = descriptor.map_or(Descriptors::None, Descriptors::One);
        self.session
            .handle_input(&self.buffer[..bytes], descriptors)
            .expect("the server speaks the protocol");
    }
}

/// What some cycles took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Processor time of the server per cycle, in microseconds.
    pub(crate) processor: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// How long one of two requests took at most, in microseconds.
    pub(crate) half: f64,
    /// The same of 99 of 100.
    pub(crate) nearly_all: f64,
}

impl Pace {
    fn of(processor: Duration, elapsed: Duration, latencies: Vec<Duration>, cycles: usize) -> Self {
        let rate = latencies.len() as f64 / elapsed.as_secs_f64();
        let mut samples = Samples::default();
        samples.extend(latencies);
        Self {
            processor: micros(processor) / cycles as f64,
            rate,
            half: samples.median(),
            nearly_all: samples.quantile(0.99),
        }
    }
}

/// A connection to be cached.
pub(crate) struct Connection {
    near: OwnedFd,
    _far: OwnedFd,
}

impl Connection {
    pub(crate) fn unix() -> Self {
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        Self {
            near: near.into(),
            _far: far.into(),
        }
    }

    pub(crate) fn tcp() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let near = TcpStream::connect(address).expect("a connection");
        let (far, _) = listener.accept().expect("its other end");
        Self {
            near: near.into(),
            _far: far.into(),
        }
    }
}

/// Runs cycles, one after the other, with a connection that is saved and found again in each.
pub(crate) fn pace(
    server: &Server,
    client: &mut Client,
    connection: &Connection,
    names: &Names,
    cycles: usize,
) -> Pace {
    let requests = names.cycle(server.protocol);
    let mut latencies = Vec::with_capacity(cycles * requests.len());
    let (before, began) = (server.processor_time(), Instant::now());
    for _ in 0..cycles {
        for request in &requests {
            let asked = Instant::now();
            let outcome = client.ask(request, Some(connection.near.as_fd()));
            latencies.push(asked.elapsed());
            check(request, &outcome);
        }
    }
    let elapsed = began.elapsed();
    Pace::of(server.processor_time() - before, elapsed, latencies, cycles)
}

/// Runs cycles of many clients at once, each with names of its own: each asks again as soon as it has its answer.
pub(crate) fn pace_of_all(server: &Server, clients: &mut [Client], cycles: usize) -> Pace {
    let (connection, _far) = UnixStream::pair().expect("a pair of sockets");
    let names: Vec<Names> = (0..clients.len()).map(Names::numbered).collect();
    let cycle_of = |names| Names::cycle(names, server.protocol);
    let requests: Vec<Vec<Request<'_>>> = names.iter().map(cycle_of).collect();
    let poll = epoll::create(CreateFlags::CLOEXEC).expect("an epoll");
    for (place, client) in (0..).zip(&*clients) {
        let data = EventData::new_u64(place);
        epoll::add(&poll, &client.socket, data, EventFlags::IN).expect("a place in it");
    }
    let all = cycles * requests[0].len();
    let mut answered = vec![0; clients.len()];
    let mut asked = vec![Instant::now(); clients.len()];
    let mut latencies = Vec::with_capacity(all * clients.len());
    let mut room = [MaybeUninit::uninit(); 64];
    let (before, began) = (server.processor_time(), Instant::now());
    for (client, requests) in clients.iter_mut().zip(&requests) {
        client.session.start(&requests[0]);
        client.write(Some(connection.as_fd()));
    }
    while latencies.len() < all * clients.len() {
        let (events, _) = epoll::wait(&poll, &mut room, None).expect("events");
        for event in events {
            let place = event.data.u64() as usize;
            let (client, requests) = (&mut clients[place], &requests[place]);
            client.read();
            if let Some(outcome) = client.session.poll_outcome() {
                check(&requests[answered[place] % requests.len()], &outcome);
                latencies.push(asked[place].elapsed());
                answered[place] += 1;
                // Stock waits for the receipt of a connection before it serves anybody else.
                client.write(Some(connection.as_fd()));
                if answered[place] < all {
                    asked[place] = Instant::now();
                    client
                        .session
                        .start(&requests[answered[place] % requests.len()]);
                }
            }
            client.write(Some(connection.as_fd()));
        }
    }
    let elapsed = began.elapsed();
    Pace::of(
        server.processor_time() - before,
        elapsed,
        latencies,
        cycles * clients.len(),
    )
}

fn check(request: &Request<'_>, outcome: &Outcome<OwnedFd>) {
    let sound = match request {
        Request::FindDestination { .. } | Request::Find { .. } => {
            matches!(outcome, Outcome::Found { .. })
        }
        _ => matches!(outcome, Outcome::Done),
    };
    assert!(sound, "{request:?}: {outcome:?}");
}

/// Saves entries with numbers of their own, from what is there to what shall be.
pub(crate) fn fill(
    client: &mut Client,
    far_ends: &mut FarEnds,
    from: usize,
    to: usize,
) -> Duration {
    let began = Instant::now();
    for number in from..to {
        let names = Names::numbered(number);
        let connection = far_ends.connect();
        for request in [names.save_destination(), names.save_endpoint()] {
            check(&request, &client.ask(&request, Some(connection.as_fd())));
        }
    }
    began.elapsed()
}

/// Saves bindings of destinations with numbers of their own to endpoints that have connections.
pub(crate) fn bind(client: &mut Client, endpoints: usize, from: usize, to: usize) -> Duration {
    let began = Instant::now();
    for number in from..to {
        let names = Names::numbered(number).at_endpoint_of(Names::numbered(number % endpoints));
        let request = names.save_destination();
        check(&request, &client.ask(&request, None));
    }
    began.elapsed()
}

/// The other ends of connections that are cached: they wait to be accepted, which costs no descriptor here and
/// looks from there like a peer that has nothing to say.
#[derive(Debug)]
pub(crate) struct FarEnds {
    directory: tempfile::TempDir,
    listeners: Vec<OwnedFd>,
    /// How many wait for the last listener, and may.
    waiting: usize,
    backlog: usize,
}

impl FarEnds {
    pub(crate) fn new() -> Self {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn");
        let most = most.ok().and_then(|text| text.trim().parse().ok());
        Self {
            directory: tempfile::tempdir().expect("a directory for sockets"),
            listeners: Vec::new(),
            waiting: 0,
            backlog: most.unwrap_or(128).min(4096),
        }
    }

    /// A connection of its own.
    pub(crate) fn connect(&mut self) -> UnixStream {
        if self.listeners.is_empty() || self.waiting == self.backlog {
            let path = self.path(self.listeners.len());
            let listener = std::os::unix::net::UnixListener::bind(path).expect("a socket");
            rustix::net::listen(&listener, self.backlog as i32).expect("a backlog");
            self.listeners.push(listener.into());
            self.waiting = 0;
        }
        self.waiting += 1;
        UnixStream::connect(self.path(self.listeners.len() - 1)).expect("a connection")
    }

    fn path(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(number.to_string())
    }
}
