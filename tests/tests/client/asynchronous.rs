//! The same for programs that run on tokio, and futures that are dropped.

use std::convert::Infallible;
use std::io::{self, Read};
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use scache_client::tokio::{Client, Pool};
use scache_client::{Properties, Save};
use scache_tests::wire::{Connection, dummy, list};
use tokio::net::UnixStream;

use crate::cut::{Act, First};
use crate::servers::{KINDS, Kind, PROTOCOLS, Protocol, Server, TTL};

pub fn on_tokio<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(work)
}

fn client(server: &Server, protocol: Protocol) -> Client {
    let client = Client::new(server.path());
    match protocol {
        Protocol::Best => client,
        Protocol::Stock => client.without_inline(),
    }
}

/// Each server, with a client that speaks each protocol.
fn with_each(test: impl AsyncFn(&mut Server, Client)) {
    for kind in KINDS {
        for protocol in PROTOCOLS {
            println!("{kind:?}, {protocol:?} protocol");
            let mut server = Server::start(kind);
            let client = client(&server, protocol);
            on_tokio(test(&mut server, client));
        }
    }
}

#[test]
fn all_that_can_be_asked_for_is_asked_for_with_futures() {
    with_each(async |_, mut client| {
        let connections = [(); 3].map(|()| Connection::new());
        let [first, second, third] = &connections;
        let saved = client.save_endpoint(TTL, b"e", b"1", &first.near()).await;
        saved.expect("saved");
        let bound = client.save_destination(TTL, b"d", b"of d", b"e").await;
        bound.expect("bound");
        for (connection, property) in [(second, b"2"), (third, b"3")] {
            let save = Save {
                destination_property: b"of d",
                property,
                ..Save::new(TTL, b"d", b"e")
            };
            client.save(&save, &connection.near()).await.expect("saved");
        }
        let found = client
            .find_endpoint(b"e")
            .await
            .expect("asked")
            .expect("there");
        assert_eq!(&*found.property, b"1");
        assert!(first.check(&found.connection));
        let through = client
            .find_destination(b"d")
            .await
            .expect("asked")
            .expect("there");
        assert_eq!(&*through.found.property, b"2");
        assert_eq!(&*through.destination_property, b"of d");
        assert!(second.check(&through.found.connection));
        let through = client.find(b"none", &["none", "e"]).await;
        let through = through.expect("asked").expect("there");
        assert_eq!(through.endpoint.as_deref(), Some(&b"e"[..]));
        assert!(third.check(&through.found.connection));
        assert!(client.find(b"d", &["e"]).await.expect("asked").is_none());
    });
}

#[test]
fn a_server_that_is_killed_goes_unnoticed_by_tasks() {
    with_each(async |server, mut client| {
        for kind in KINDS {
            let connection = Connection::new();
            let save = Save::new(TTL, b"d", b"e");
            client.save(&save, &connection.near()).await.expect("saved");
            server.replace(kind);
            assert!(client.find(b"d", &["e"]).await.expect("asked").is_none());
        }
    });
}

#[test]
fn a_future_that_is_dropped_takes_its_answer_along() {
    let status = |digit| Act::Say(list(&[("status", digit)]));
    // Nothing of this is ever answered; the first server keeps its client until that goes.
    for (protocol, acts) in [
        (Protocol::Best, vec![Act::Hear]),
        (Protocol::Best, vec![Act::Hear, status("0"), Act::Hear]),
        (Protocol::Stock, vec![Act::Hear]),
        (
            Protocol::Stock,
            vec![
                Act::Hear,
                Act::Say(list(&[("status", "0"), ("property", "")])),
                Act::Hear,
            ],
        ),
    ] {
        let server = Server::start(crate::servers::Kind::Scached);
        let connection = Connection::new();
        on_tokio(async {
            let mut client = client(&server, protocol);
            client
                .save_endpoint(TTL, b"e", b"p", &connection.near())
                .await
                .expect("saved");
        });
        let acts = acts.into_iter().chain([Act::HearEnd]).collect();
        let first = First::in_front_of(&server, acts);
        on_tokio(async {
            let mut client = client(&server, protocol);
            tokio::select! {
                biased;
                found = client.find_endpoint(b"e") => panic!("{found:?}"),
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
            let found = client.find_endpoint(b"e").await.expect("asked");
            assert!(connection.check(&found.expect("there").connection));
        });
        first.end();
    }
}

#[test]
fn a_save_that_is_dropped_is_not_repeated() {
    let status = |digit| Act::Say(list(&[("status", digit)]));
    for (protocol, acts) in [
        (Protocol::Best, vec![Act::Hear, status("0"), Act::Hear]),
        (
            Protocol::Stock,
            vec![Act::Hear, Act::Say(dummy()), Act::HearDescriptor],
        ),
    ] {
        let server = Server::start(crate::servers::Kind::Scached);
        let acts = acts.into_iter().chain([Act::HearEnd]).collect();
        let first = First::in_front_of(&server, acts);
        let connection = Connection::new();
        on_tokio(async {
            let mut client = client(&server, protocol);
            let near = connection.near();
            tokio::select! {
                biased;
                saved = client.save_endpoint(TTL, b"e", b"p", &near) => panic!("{saved:?}"),
                () = first.has_one() => {}
            }
            assert!(client.find_endpoint(b"e").await.expect("asked").is_none());
        });
        let (got, _) = first.end();
        assert!(matches!(&got[..], [one] if connection.check(one)));
    }
}

#[test]
fn tasks_check_out_and_release() {
    for kind in KINDS {
        let server = Server::start(kind);
        let pool = Pool::new(server.path()).with_timeout(Duration::from_secs(10));
        on_tokio(async {
            let (near, mut far) = StdStream::pair().expect("a pair");
            near.set_nonblocking(true).expect("set");
            let mut near = Some(near);
            let fresh = pool
                .checkout(b"d", &["e"], |_| {
                    let near = near.take();
                    async { UnixStream::from_std(near.ok_or(io::ErrorKind::AddrInUse)?) }
                })
                .await
                .expect("connected");
            assert!(fresh.reused().is_none());
            let properties = Properties::new(*b"of d", *b"of e").expect("no NUL");
            assert!(fresh.release_with(TTL, &properties).await.is_kept());
            let again = pool.checkout(b"d", &["e"], async |_| Err::<UnixStream, _>(()));
            let again = again.await.expect("it is in the cache");
            let properties = again.reused().expect("used before");
            assert_eq!(properties.connection(), b"of e");
            again.writable().await.expect("it is open");
            assert_eq!(again.try_write(b"nonce").expect("written"), 5);
            let mut nonce = [0; 5];
            far.read_exact(&mut nonce).expect("it arrives");
            assert_eq!(&nonce, b"nonce");
        });
        assert_eq!((pool.counters().hits, pool.counters().misses), (1, 1));
    }
}

#[test]
fn an_idle_client_of_a_pool_is_closed_by_a_task() {
    let server = Server::start(Kind::Scached);
    let mut watcher = scache_client::Client::new(server.path());
    let mut clients = || watcher.stats().expect("counters").clients;
    let limit = Duration::from_millis(20);
    let pool = Pool::new(server.path()).with_idle_limit(limit);
    // Also on a runtime that comes after the one on which the task was.
    for _ in 0..2 {
        on_tokio(async {
            for _ in 0..2 {
                let checkout = pool.checkout(b"d", &["e"], async |_| {
                    tokio::net::UnixStream::pair().map(|(near, _)| near)
                });
                drop(checkout.await.expect("connected"));
                while clients() > 1 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            let checkout = pool.checkout(b"d", &["e"], async |_| {
                tokio::net::UnixStream::pair().map(|(near, _)| near)
            });
            drop(checkout.await.expect("connected"));
        });
    }
}

#[test]
fn tasks_go_on_without_a_cache() {
    let pool = Pool::new("/nonexistent/scache").with_rest(Duration::from_secs(3600));
    on_tokio(async {
        for _ in 0..2 {
            let checkout = pool.checkout(b"d", &["e"], async |_| {
                Ok::<_, Infallible>(StdStream::pair().expect("a pair").0)
            });
            assert!(
                !checkout
                    .await
                    .expect("connected")
                    .release(TTL)
                    .await
                    .is_kept()
            );
        }
    });
    let counters = pool.counters();
    assert_eq!((counters.cache_errors, counters.unasked), (1, 3));
}

#[test]
fn the_futures_may_move_between_threads() {
    fn assert_send(_: impl Send) {}
    let mut client = Client::new("/nonexistent/scache");
    assert_send(client.find_endpoint(b"e"));
    let (connection, _) = StdStream::pair().expect("a pair");
    let save = Save::new(TTL, b"d", b"e");
    assert_send(client.save(&save, &connection));
    assert_send(client.find(b"d", &["e"]));
}
