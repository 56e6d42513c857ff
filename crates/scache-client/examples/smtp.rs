//! Short-lived senders that share one SMTP session.
//!
//! ```sh
//! scached --socket /tmp/scache.sock --ttl-limit 30s --goodbye QUIT &
//! cargo run -p scache-client --example smtp -- /tmp/scache.sock
//! ```
//!
//! A small SMTP server runs in this process. Ten processes, one after the other, send it a message each and end:
//! first without the cache, then with it. What they do is in [`send`]; the rest is the stage for it.

use std::error::Error;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use scache_client::{Checkout, CheckoutError, Pool};

const MESSAGES: u32 = 10;

/// How long a session may wait for the next sender. SMTP servers give up after some minutes.
const TTL: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        [cache] => compare(cache),
        ["send", server, cache, number] => send(server, cache, number),
        _ => Err("usage: smtp SOCKET_OF_THE_CACHE".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("smtp: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One sender: a session that somebody else began, or a new one; a message; and the session for the next one.
fn send(server: &str, cache: &str, number: &str) -> Result<(), Box<dyn Error>> {
    let pool = Pool::new(cache).on_error(|error| eprintln!("smtp: {error}"));
    let destination = format!("smtp:{server}");
    let fresh = |_: &&str| greet(TcpStream::connect(server)?);
    // A connection that the server has closed a moment ago is passed over.
    let check = |session: &mut Checkout<TcpStream>| say(session, "RSET", "250").is_ok();
    let session = pool.checkout_checked(destination.as_bytes(), &[&*destination], fresh, check);
    let session = match session {
        Ok(session) => session,
        Err(CheckoutError::Connect(error)) => return Err(error.into()),
        Err(error) => return Err(error.to_string().into()),
    };
    let how = match session.reused() {
        Some(_) => "goes on in a session",
        None => "begins a session",
    };
    deliver(&session, number)?;
    println!("  sender {number} (process {}) {how}", std::process::id());
    // The reply to the message was read to its end, and nothing else is under way.
    if !session.release(TTL).is_kept() {
        println!("  sender {number} closes it");
    }
    Ok(())
}

/// What it costs to begin: a connection, a greeting, an EHLO.
fn greet(stream: TcpStream) -> io::Result<TcpStream> {
    hear(&stream, "220")?;
    say(&stream, "EHLO sender.example.com", "250")?;
    Ok(stream)
}

fn deliver(stream: &TcpStream, number: &str) -> io::Result<()> {
    say(stream, "MAIL FROM:<sender@example.com>", "250")?;
    say(stream, "RCPT TO:<recipient@example.com>", "250")?;
    say(stream, "DATA", "354")?;
    say(
        stream,
        &format!("Subject: message {number}\r\n\r\nHello.\r\n."),
        "250",
    )
}

fn say(mut stream: &TcpStream, line: &str, code: &str) -> io::Result<()> {
    stream.write_all(format!("{line}\r\n").as_bytes())?;
    hear(stream, code)
}

/// Reads a reply of one line, byte by byte: what is read beyond it would not be there for the next process.
fn hear(stream: &TcpStream, code: &str) -> io::Result<()> {
    let mut reply = Vec::new();
    BufReader::with_capacity(1, stream).read_until(b'\n', &mut reply)?;
    if reply.starts_with(code.as_bytes()) {
        return Ok(());
    }
    let reply = String::from_utf8_lossy(&reply).into_owned();
    Err(io::Error::other(format!("{reply:?} instead of {code}")))
}

/// Lets senders send, without the cache and with it, and says what the server saw.
fn compare(cache: &str) -> Result<(), Box<dyn Error>> {
    for (title, cache) in [("without", "/nonexistent"), ("with", cache)] {
        let server = Server::start()?;
        println!("{title} the cache:");
        for number in 1..=MESSAGES {
            let mut sender = Command::new(std::env::current_exe()?);
            sender.args(["send", &server.address, cache, &number.to_string()]);
            if title == "without" {
                // That there is none is said by each.
                sender.stderr(std::process::Stdio::null());
            }
            if !sender.status()?.success() {
                return Err(format!("sender {number} failed").into());
            }
        }
        println!(
            "{title} the cache: {} messages, sessions at the server: {}",
            server.messages.load(Ordering::Relaxed),
            server.sessions.load(Ordering::Relaxed),
        );
    }
    Ok(())
}

/// A server that takes every message and forgets it.
struct Server {
    address: String,
    sessions: Arc<AtomicU32>,
    messages: Arc<AtomicU32>,
}

impl Server {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let server = Self {
            address: listener.local_addr()?.to_string(),
            sessions: Arc::default(),
            messages: Arc::default(),
        };
        let (sessions, messages) = (Arc::clone(&server.sessions), Arc::clone(&server.messages));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                sessions.fetch_add(1, Ordering::Relaxed);
                let messages = Arc::clone(&messages);
                std::thread::spawn(move || serve(stream, &messages));
            }
        });
        Ok(server)
    }
}

fn serve(mut stream: TcpStream, messages: &AtomicU32) -> io::Result<()> {
    stream.write_all(b"220 server.example.com ESMTP\r\n")?;
    let mut in_message = false;
    for line in BufReader::new(stream.try_clone()?).lines() {
        let line = line?;
        let reply = match (in_message, line.get(..4).unwrap_or(&line)) {
            (true, ".") => {
                in_message = false;
                messages.fetch_add(1, Ordering::Relaxed);
                "250 taken"
            }
            (true, _) => continue,
            (false, "DATA") => {
                in_message = true;
                "354 go on"
            }
            (false, "QUIT") => "221 bye",
            (false, "EHLO" | "RSET" | "MAIL" | "RCPT") => "250 ok",
            (false, _) => "500 what?",
        };
        stream.write_all(format!("{reply}\r\n").as_bytes())?;
        if line == "QUIT" {
            break;
        }
    }
    Ok(())
}
