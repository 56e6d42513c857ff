//! Real sockets against a server with small limits. Server and clients are tasks of one thread: what a client has written
//! is there when the server looks.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scache_client::Trust;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{sleep, timeout};

use super::Limits;
use crate::exporter::http::Site;
use crate::exporter::source::Source;
use crate::socket::Socket;

/// Longer than anything here takes.
const NEVER: Duration = Duration::from_secs(3600);

/// A test that takes as long has failed.
const HUNG: Duration = Duration::from_secs(120);

const PATIENT: Limits = Limits {
    connections: 4,
    head: NEVER,
    quiet: NEVER,
    answer: NEVER,
    unread: NEVER,
};

const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Runs a test beside a server of a cache that is not there.
fn with_server(limits: Limits, test: impl AsyncFnOnce(SocketAddr)) {
    with_server_of(Path::new("/nonexistent/cache"), limits, test);
}

fn with_server_of(cache: &Path, limits: Limits, test: impl AsyncFnOnce(SocketAddr)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let socket = Socket {
        path: cache.to_owned(),
        trust: Trust::Named,
    };
    LocalSet::new().block_on(&runtime, async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("its number");
        let site = Site::new(Source::new(&socket), 0, address);
        spawn_local(site.serve_within(limits, listener));
        let ended = timeout(HUNG, test(address)).await;
        assert!(ended.is_ok(), "nothing happens any more");
    });
}

async fn connected(server: SocketAddr) -> TcpStream {
    TcpStream::connect(server).await.expect("it listens")
}

/// Sends a whole request and reads the whole answer; whether there was one.
async fn is_answered(connection: &mut TcpStream) -> bool {
    connection.write_all(SCRAPE).await.is_ok() && hears_answer(connection).await
}

async fn hears_answer(connection: &mut TcpStream) -> bool {
    let mut answer = Vec::new();
    loop {
        match connection.read_buf(&mut answer).await {
            Ok(0) | Err(_) => return false,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&answer);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let mut lines = head.lines();
        let length = lines.find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        if Some(body.len()) == length {
            return head.starts_with("HTTP/1.1 200 ");
        }
    }
}

/// Waits until the server has closed a connection.
async fn closed(connection: &mut TcpStream) {
    let mut bytes = Vec::new();
    let _ = connection.read_to_end(&mut bytes).await;
}

#[test]
fn a_silent_connection_makes_room_for_a_scrape() {
    with_server(PATIENT, async |server| {
        let mut silent = Vec::new();
        for _ in 0..PATIENT.connections {
            silent.push(connected(server).await);
        }
        let mut scrape = connected(server).await;
        assert!(is_answered(&mut scrape).await);
        // The first one had been silent for the longest; the others are there yet.
        closed(&mut silent[0]).await;
        for other in &mut silent[1..] {
            assert!(is_answered(other).await);
        }
    });
}

#[test]
fn a_connection_that_was_answered_and_one_that_dribbles_make_room_too() {
    for already in [SCRAPE, b"GET /metrics HT"] {
        with_server(PATIENT, async |server| {
            let mut idle = Vec::new();
            for _ in 0..PATIENT.connections {
                let mut connection = connected(server).await;
                if already == SCRAPE {
                    assert!(is_answered(&mut connection).await);
                } else {
                    connection.write_all(already).await.expect("written");
                }
                idle.push(connection);
            }
            let mut scrapes = Vec::new();
            for longest_idle in &mut idle {
                let mut scrape = connected(server).await;
                assert!(is_answered(&mut scrape).await);
                closed(longest_idle).await;
                scrapes.push(scrape);
            }
        });
    }
}

#[test]
fn an_answer_that_is_being_made_is_not_given_up_for_another_connection() {
    let cache = MuteCache::new("busy");
    let limits = Limits {
        connections: 2,
        ..PATIENT
    };
    with_server_of(&cache.path.clone(), limits, async |server| {
        let mut scrape = connected(server).await;
        scrape.write_all(SCRAPE).await.expect("written");
        cache.is_asked().await;
        // Each of these takes the place of the one before.
        let mut others = Vec::new();
        for _ in 0..10 {
            others.push(connected(server).await);
        }
        closed(&mut others[8]).await;
        // Now the cache is gone, so there is an answer.
        drop(cache);
        assert!(hears_answer(&mut scrape).await);
    });
}

#[test]
fn connections_that_are_all_busy_end_behind_their_answers() {
    let cache = MuteCache::new("all-busy");
    let limits = Limits {
        connections: 2,
        ..PATIENT
    };
    with_server_of(&cache.path.clone(), limits, async |server| {
        let mut busy = [connected(server).await, connected(server).await];
        for connection in &mut busy {
            connection.write_all(SCRAPE).await.expect("written");
        }
        cache.is_asked().await;
        let mut waiting = connected(server).await;
        waiting.write_all(SCRAPE).await.expect("written");
        // Long enough for it to be seen to: an earlier end of this pause only makes the test easier.
        sleep(Duration::from_millis(300)).await;
        drop(cache);
        for connection in &mut busy {
            let mut answer = [0; 15];
            connection.read_exact(&mut answer).await.expect("an answer");
            assert_eq!(&answer, b"HTTP/1.1 200 OK");
        }
        closed(&mut busy[0]).await;
        assert!(hears_answer(&mut waiting).await);
    });
}

#[test]
fn a_head_has_to_be_complete_in_time_and_an_idle_connection_may_stay() {
    let limits = Limits {
        head: Duration::from_millis(100),
        ..PATIENT
    };
    with_server(limits, async |server| {
        // Its request is there before the server can see the connection, however slow this machine is.
        let mut idle = std::net::TcpStream::connect(server).expect("it listens");
        std::io::Write::write_all(&mut idle, SCRAPE).expect("written");
        idle.set_nonblocking(true).expect("a socket");
        let mut idle = TcpStream::from_std(idle).expect("a socket");
        assert!(hears_answer(&mut idle).await);
        let mut silent = connected(server).await;
        let mut dribbling = connected(server).await;
        dribbling.write_all(b"GET ").await.expect("written");
        closed(&mut silent).await;
        closed(&mut dribbling).await;
        assert!(is_answered(&mut idle).await);
        // Now its second head takes too long.
        idle.write_all(b"GET ").await.expect("written");
        closed(&mut idle).await;
    });
}

#[test]
fn an_idle_connection_is_closed_in_the_end() {
    let limits = Limits {
        quiet: Duration::from_millis(50),
        ..PATIENT
    };
    with_server(limits, async |server| {
        let mut idle = connected(server).await;
        assert!(is_answered(&mut idle).await);
        closed(&mut idle).await;
    });
}

/// A connection that asks for more than the kernel has room for and reads nothing.
async fn stuck(server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("its size");
    let mut connection = socket.connect(server).await.expect("it listens");
    let pages = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(16);
    // The server stops reading when it cannot write.
    while timeout(Duration::from_millis(200), connection.write_all(&pages))
        .await
        .is_ok_and(|written| written.is_ok())
    {
        yield_now().await;
    }
    connection
}

#[test]
fn who_does_not_read_the_answers_is_closed() {
    let limits = Limits {
        answer: Duration::from_millis(50),
        ..PATIENT
    };
    with_server(limits, async |server| {
        let mut stuck = stuck(server).await;
        closed(&mut stuck).await;
    });
}

#[test]
fn who_does_not_read_the_answers_makes_room() {
    let limits = Limits {
        connections: 1,
        unread: Duration::from_millis(100),
        ..PATIENT
    };
    with_server(limits, async |server| {
        let _stuck = stuck(server).await;
        let mut scrape = connected(server).await;
        assert!(is_answered(&mut scrape).await);
    });
}

#[test]
fn a_head_that_is_too_long_is_refused() {
    with_server(PATIENT, async |server| {
        let mut connection = connected(server).await;
        let line = format!("X-Long: {}\r\n", "x".repeat(1000));
        let head = format!("GET / HTTP/1.1\r\n{}", line.repeat(64));
        // It may be closed before all of it is written.
        let _ = connection.write_all(head.as_bytes()).await;
        closed(&mut connection).await;
        assert!(is_answered(&mut connected(server).await).await);
    });
}

/// A cache that accepts and does not answer, until this is dropped.
struct MuteCache {
    path: PathBuf,
    listener: UnixListener,
}

impl MuteCache {
    fn new(name: &str) -> Self {
        let name = format!("scachectl-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        listener.set_nonblocking(true).expect("a socket");
        Self { path, listener }
    }

    /// Waits until somebody asks it.
    async fn is_asked(&self) {
        while rustix::event::poll(
            &mut [rustix::event::PollFd::new(
                &self.listener,
                rustix::event::PollFlags::IN,
            )],
            Some(&rustix::event::Timespec::default()),
        ) == Ok(0)
        {
            sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for MuteCache {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}
