//! An SMTP server that takes mail and never answers a QUIT.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The server. Its threads end with their connections, the first of them with the test program.
#[derive(Debug)]
pub(crate) struct MuteServer {
    address: SocketAddr,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicUsize,
    closed: AtomicUsize,
    quits: AtomicUsize,
}

impl MuteServer {
    pub(crate) fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = Self {
            address: socket.local_addr().expect("its address"),
            counters: Arc::default(),
        };
        let counters = Arc::clone(&server.counters);
        thread::spawn(move || {
            for stream in socket.incoming().flatten() {
                counters.connections.fetch_add(1, Ordering::Relaxed);
                let counters = Arc::clone(&counters);
                thread::spawn(move || {
                    let _ = serve(stream, &counters.quits);
                    counters.closed.fetch_add(1, Ordering::Release);
                });
            }
        });
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.counters.connections.load(Ordering::Relaxed)
    }

    /// How many of them the client has closed.
    pub(crate) fn closed(&self) -> usize {
        self.counters.closed.load(Ordering::Acquire)
    }

    /// How many QUITs came.
    pub(crate) fn quits(&self) -> usize {
        self.counters.quits.load(Ordering::Relaxed)
    }
}

fn serve(mut stream: TcpStream, quits: &AtomicUsize) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    stream.write_all(b"220 mute.example.org ESMTP\r\n")?;
    while let Some(command) = lines.next().transpose()? {
        match command.as_str() {
            "QUIT" => {
                quits.fetch_add(1, Ordering::Relaxed);
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n")?;
                while lines.next().transpose()?.is_some_and(|line| line != ".") {}
                stream.write_all(b"250 taken\r\n")?;
            }
            _ => stream.write_all(b"250 well\r\n")?,
        }
    }
    Ok(())
}
