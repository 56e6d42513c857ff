//! What the protocol costs by itself: a loop that makes the system calls that a client makes necessary, in either
//! way of passing descriptors, and remembers one connection. It reads no configuration, checks nothing, trusts everybody.
//!
//! Started as master(8) starts scache(8), for `bench` only.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, accept_with, recv, recvmsg, send, sendmsg,
};
use scache_sys::descriptors::adopt;

const LISTENER: i32 = 6;
const HELLO: &[u8] = b"protocol\0connection_cache_protocol\0\0";
const DUMMY: &[u8] = b"dummy\0\0\0";
const DONE: &[u8] = b"status\x000\0\0";
const FAILED: &[u8] = b"status\x002\0property\0\0property\0\0\0";

/// One client.
struct Client {
    socket: OwnedFd,
    state: State,
    /// Descriptors ride on the requests and replies that they belong to.
    inline: bool,
}

enum State {
    Idle,
    AwaitDescriptor,
    AwaitDummy,
    /// Closed when the client has it.
    AwaitReceipt(OwnedFd),
}

/// What is remembered: one connection, and what was saved with it.
#[derive(Default)]
struct Place {
    connection: Option<OwnedFd>,
    /// The reply to a find, ready to be sent.
    reply: Vec<u8>,
}

fn main() -> Result<(), Errno> {
    let listener = adopt(LISTENER).map_err(|_| Errno::BADF)?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, EventData::new_u64(0), EventFlags::IN)?;
    let mut clients: Vec<Option<Client>> = vec![None];
    let mut place = Place::default();
    let mut buffer = vec![0; 4096];
    let mut room = [MaybeUninit::uninit(); 64];
    loop {
        let (events, _) = match epoll::wait(&poll, &mut room, None) {
            // A debugger came.
            Err(Errno::INTR) => continue,
            result => result?,
        };
        for event in events {
            let number = event.data.u64() as usize;
            if number == 0 {
                let socket = accept_with(&listener, SocketFlags::CLOEXEC)?;
                let data = EventData::new_u64(clients.len() as u64);
                epoll::add(&poll, &socket, data, EventFlags::IN)?;
                say(&socket, HELLO)?;
                let state = State::Idle;
                clients.push(Some(Client {
                    socket,
                    state,
                    inline: false,
                }));
            } else if let Some(client) = &mut clients[number]
                && client.turn(&mut place, &mut buffer).is_none()
            {
                clients[number] = None;
            }
        }
    }
}

impl Client {
    /// Reads once and answers. `None`: the client is gone.
    fn turn(&mut self, place: &mut Place, buffer: &mut [u8]) -> Option<()> {
        if self.inline {
            return self.inline_turn(place, buffer);
        }
        if let State::AwaitDescriptor = self.state {
            let (_, connection) = receive(&self.socket, &mut [0])?;
            place.connection = Some(connection?);
            self.state = State::Idle;
            return say(&self.socket, DONE).ok();
        }
        let (_, bytes) = recv(&self.socket, &mut *buffer, RecvFlags::DONTWAIT).ok()?;
        let mut list = buffer[..bytes].get(..).filter(|list| !list.is_empty())?;
        match std::mem::replace(&mut self.state, State::Idle) {
            State::AwaitDummy => {
                let connection = place.connection.take()?;
                give(&self.socket, &[0], connection.as_fd())?;
                self.state = State::AwaitReceipt(connection);
                return Some(());
            }
            State::AwaitReceipt(connection) => {
                drop(connection);
                list = list.strip_prefix(DUMMY)?;
            }
            State::Idle | State::AwaitDescriptor => {}
        }
        if list.is_empty() {
            return Some(());
        }
        let mut strings = list.split(|byte| *byte == 0).skip(1);
        match strings.next()? {
            b"save_dest" => say(&self.socket, DONE),
            b"inline" => {
                self.inline = true;
                say(&self.socket, DONE)
            }
            b"save_endp" => {
                place.reply.clear();
                place
                    .reply
                    .extend_from_slice(b"status\x000\0property\0\0property\0");
                place.reply.extend_from_slice(strings.nth(5)?);
                place.reply.extend_from_slice(b"\0\0");
                self.state = State::AwaitDescriptor;
                say(&self.socket, DUMMY)
            }
            _ if place.connection.is_some() => {
                self.state = State::AwaitDummy;
                say(&self.socket, &place.reply)
            }
            _ => say(&self.socket, FAILED),
        }
        .ok()
    }
}

impl Client {
    /// The same with inline descriptors.
    fn inline_turn(&mut self, place: &mut Place, buffer: &mut [u8]) -> Option<()> {
        let (bytes, descriptor) = receive(&self.socket, buffer)?;
        let list = buffer[..bytes].get(..).filter(|list| !list.is_empty())?;
        let mut strings = list.split(|byte| *byte == 0).skip(1);
        if strings.next()? == b"save" {
            place.connection = Some(descriptor?);
            let values: Vec<_> = strings.skip(1).step_by(2).collect();
            let &[
                _ttl,
                _destination,
                destination_property,
                endpoint,
                property,
                ..,
            ] = &values[..]
            else {
                return None;
            };
            place.reply.clear();
            for part in [
                b"status\x000\0label\0",
                endpoint,
                b"\0property\0",
                destination_property,
                b"\0property\0",
                property,
                b"\0\0",
            ] {
                place.reply.extend_from_slice(part);
            }
            return say(&self.socket, DONE).ok();
        }
        match place.connection.take() {
            Some(connection) => give(&self.socket, &place.reply, connection.as_fd()),
            None => say(&self.socket, FAILED).ok(),
        }
    }
}

fn say(socket: &OwnedFd, bytes: &[u8]) -> Result<(), Errno> {
    send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).map(drop)
}

/// Reads, and the descriptor that came with it.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let mut room = [IoSliceMut::new(buffer)];
    let message = recvmsg(socket, &mut room, &mut control, flags).ok()?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Some((message.bytes, descriptor))
}

fn give(socket: &OwnedFd, bytes: &[u8], connection: BorrowedFd<'_>) -> Option<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let connection = [connection];
    control.push(SendAncillaryMessage::ScmRights(&connection));
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    let bytes = std::io::IoSlice::new(bytes);
    sendmsg(socket, &[bytes], &mut control, flags)
        .ok()
        .map(drop)
}
