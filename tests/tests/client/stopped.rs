//! A cache that is there and answers nothing: its process is stopped.

use std::convert::Infallible;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scache_client::{Pool, Released};
use scache_tests::wire::DEADLINE;

use crate::asynchronous::on_tokio;
use crate::servers::{Kind, PROTOCOLS, Protocol, Server, TTL};

/// A request may take half a second, and this is many times as long. It is less than a client without a pool waits.
const PATIENCE: Duration = Duration::from_secs(6);

fn connect(_: &&str) -> io::Result<UnixStream> {
    UnixStream::pair().map(|(near, _)| near)
}

fn pool(server: &Server, protocol: Protocol) -> Pool {
    let pool = Pool::new(server.path());
    match protocol {
        Protocol::Best => pool,
        Protocol::Stock => pool.without_inline(),
    }
}

/// Stops the server until the test is over.
struct Stopped<'a>(&'a Server);

impl<'a> Stopped<'a> {
    fn new(server: &'a Server) -> Self {
        server.signal(Signal::STOP);
        Self(server)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

#[test]
fn a_stopped_cache_delays_one_checkout_and_is_not_asked_for_a_while() {
    for protocol in PROTOCOLS {
        for is_connected in [false, true] {
            let server = Server::start(Kind::Scached);
            let pool = pool(&server, protocol).with_rest(Duration::from_secs(3600));
            if is_connected {
                let patient = pool.clone().with_timeout(PATIENCE);
                let first = patient.checkout(b"d", &["e"], connect);
                assert!(first.expect("connected").release(TTL).is_kept());
            }
            let before = pool.counters();
            let _stopped = Stopped::new(&server);
            let began = Instant::now();
            for _ in 0..20 {
                let made = pool.checkout(b"d", &["e"], connect).expect("connected");
                made.release(TTL);
            }
            let took = began.elapsed();
            println!("{protocol:?}, connected: {is_connected}: {took:?}");
            assert!(took < PATIENCE, "{took:?}");
            let after = pool.counters();
            assert_eq!(after.cache_errors - before.cache_errors, 1);
            assert_eq!(after.unasked - before.unasked, 39);
        }
    }
}

#[test]
fn a_cache_that_stops_before_a_release_delays_that_release_only() {
    for protocol in PROTOCOLS {
        let server = Server::start(Kind::Scached);
        let pool = pool(&server, protocol).with_rest(Duration::from_secs(3600));
        let (near, _far) = UnixStream::pair().expect("a pair");
        let made = pool.adopt(b"d", b"e", near).expect("names");
        let _stopped = Stopped::new(&server);
        let began = Instant::now();
        assert_eq!(made.release(TTL), Released::Failed);
        for _ in 0..20 {
            let made = pool.checkout(b"d", &["e"], connect).expect("connected");
            made.release(TTL);
        }
        let took = began.elapsed();
        println!("{protocol:?}: {took:?}");
        assert!(took < PATIENCE, "{took:?}");
        let counters = pool.counters();
        assert_eq!((counters.cache_errors, counters.unasked), (1, 40));
    }
}

#[test]
fn threads_that_ask_a_stopped_cache_wait_for_it_once() {
    let threads = 8;
    let server = Server::start(Kind::Scached);
    let pool = Pool::new(server.path()).with_rest(Duration::from_secs(3600));
    let _stopped = Stopped::new(&server);
    let start = Barrier::new(threads);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                start.wait();
                for _ in 0..100 {
                    drop(pool.checkout(b"d", &["e"], connect).expect("connected"));
                }
            });
        }
    });
    let counters = pool.counters();
    println!("{counters:?}");
    assert!((1..=threads as u64).contains(&counters.cache_errors));
    assert_eq!(counters.cache_errors + counters.unasked, 800);
}

#[test]
fn a_cache_that_goes_on_is_used_again() {
    let server = Server::start(Kind::Scached);
    let pool = Pool::new(server.path())
        .with_timeout(Duration::from_millis(50))
        .with_rest(Duration::from_millis(10));
    let stopped = Stopped::new(&server);
    while pool.counters().cache_errors < 4 {
        drop(pool.checkout(b"d", &["e"], connect).expect("connected"));
    }
    drop(stopped);
    let pool = pool.with_timeout(Duration::from_secs(5));
    let (near, _far) = UnixStream::pair().expect("a pair");
    let deadline = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < deadline, "it is not used again");
        let made = pool.checkout(b"d", &["e"], |_| near.try_clone());
        let made = made.expect("connected");
        if made.reused().is_some() {
            break;
        }
        made.release(TTL);
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_stopped_cache_delays_one_task() {
    let server = Server::start(Kind::Scached);
    let pool = scache_client::tokio::Pool::new(server.path()).with_rest(Duration::from_secs(3600));
    let _stopped = Stopped::new(&server);
    let began = Instant::now();
    on_tokio(async {
        for _ in 0..20 {
            let made = pool.checkout(b"d", &["e"], async |_| {
                Ok::<_, Infallible>(UnixStream::pair().expect("a pair").0)
            });
            made.await.expect("connected").release(TTL).await;
        }
    });
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let counters = pool.counters();
    assert_eq!((counters.cache_errors, counters.unasked), (1, 39));
}
