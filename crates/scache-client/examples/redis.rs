//! The `redis` crate over connections that outlive its processes.
//!
//! ```sh
//! redis-server --port 6380 --requirepass secret &
//! scached --socket /tmp/scache.sock --ttl-limit 30s &
//! cargo run -p scache-client --features tokio --example redis -- /tmp/scache.sock 127.0.0.1:6380 secret
//! ```
//!
//! Ten processes, one after the other, count in Redis and end: first each over a connection of its own, then over one
//! that the cache keeps. The server's own statistics say what that saves. What the processes do is in [`count`].
//!
//! Any client library that takes a connected stream can be used like this. It gets a duplicate of the descriptor that it
//! cannot shut down ([`Lent`]): when it is done with that, this process still has the connection to put back.

use std::error::Error;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::process::{Command, ExitCode};
use std::task::{Context, Poll};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands, AsyncConnectionConfig, RedisConnectionInfo, RedisResult};
use scache_client::tokio::Pool;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PROCESSES: u32 = 10;

/// How long a connection may wait for the next process.
const TTL: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [cache, server, password] => compare(cache, server, password).await,
        ["count", cache, server, password] => count(cache, server, password).await,
        _ => Err("usage: redis SOCKET_OF_THE_CACHE SERVER PASSWORD".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("redis: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One process: a connection that somebody else has set up, or a new one; a command; and the connection for the next
/// one.
async fn count(cache: &str, server: &str, password: &str) -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(cache);
    // Who may use the connection is part of its name: the password was said over it.
    let destination = format!("redis:default@{server}");
    let session = pool
        .checkout(destination.as_bytes(), &[&destination], async |_| {
            TcpStream::connect(server).await
        })
        .await?;
    let setup = match session.reused() {
        // It is logged in, and has told its name.
        Some(_) => RedisConnectionInfo::default().set_skip_set_lib_name(),
        None => RedisConnectionInfo::default().set_password(password),
    };
    let (mut redis, driver) = over(Lent::of(&session)?, setup).await?;
    let _: i64 = redis.incr("counted", 1).await?;
    // The driver ends with the last handle, every reply has been read then.
    drop(redis);
    driver.await?;
    session.release(TTL).await;
    Ok(())
}

/// A client over a connection, and what runs for it.
async fn over(
    stream: Lent,
    setup: RedisConnectionInfo,
) -> RedisResult<(MultiplexedConnection, JoinHandle<()>)> {
    let config = AsyncConnectionConfig::new();
    let (redis, driver) = MultiplexedConnection::new_with_config(&setup, stream, config).await?;
    Ok((redis, tokio::spawn(driver)))
}

/// The same connection for the crate, which may do with it what it likes, but not end it.
struct Lent(TcpStream);

impl Lent {
    fn of(stream: &TcpStream) -> io::Result<Self> {
        let duplicate = stream.as_fd().try_clone_to_owned()?;
        TcpStream::from_std(duplicate.into()).map(Self)
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    /// The crate ends a connection that it is done with. That would end it for whoever gets it next, too.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Lets processes count, without the cache and with it, and says what the server saw.
async fn compare(cache: &str, server: &str, password: &str) -> Result<(), Box<dyn Error>> {
    let setup = RedisConnectionInfo::default().set_password(password);
    let stream = TcpStream::connect(server).await?;
    let (mut redis, _driver) = over(Lent(stream), setup).await?;
    println!("{PROCESSES} processes        connections   logins   commands");
    for (title, cache) in [
        ("without the cache", "/nonexistent"),
        ("with the cache", cache),
    ] {
        let before = Seen::by(&mut redis).await?;
        for _ in 0..PROCESSES {
            let mut process = Command::new(std::env::current_exe()?);
            if !process
                .args(["count", cache, server, password])
                .status()?
                .success()
            {
                return Err("a process failed".into());
            }
        }
        let after = Seen::by(&mut redis).await?;
        println!(
            "{title:17} {:14} {:8} {:10}",
            after.connections - before.connections,
            after.logins - before.logins,
            // This question is one of them.
            after.commands - before.commands - 1,
        );
    }
    let counted: u32 = redis.get("counted").await?;
    println!("counted to {counted}");
    Ok(())
}

/// What the server has seen since it started.
struct Seen {
    connections: u64,
    logins: u64,
    commands: u64,
}

impl Seen {
    async fn by(redis: &mut MultiplexedConnection) -> Result<Self, Box<dyn Error>> {
        let mut ask = redis::cmd("INFO");
        let text: String = ask.arg("everything").query_async(redis).await?;
        let number = |name: &str, field: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.into_iter()
                .flat_map(|line| line.split(','))
                .find_map(|part| part.strip_prefix(field)?.trim().parse().ok())
                .unwrap_or(0)
        };
        Ok(Self {
            connections: number("total_connections_received", ""),
            logins: number("cmdstat_auth", "calls="),
            commands: number("total_commands_processed", ""),
        })
    }
}
