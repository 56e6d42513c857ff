//! Which connections a pool uses again: limits on age and reuse, the program's own check, a second try, adoption.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use scache_client::{Checkout, Client, Pool, Released, ValueError};
use scache_tests::wire::Connection;

use crate::asynchronous::on_tokio;
use crate::servers::{KINDS, Kind, Protocol, Server, TTL};

fn patient(server: &Server) -> Pool {
    Pool::new(server.path()).with_timeout(Duration::from_secs(10))
}

/// What a program connects to when nothing may be used again.
fn nobody(_: &&str) -> Result<OwnedFd, &'static str> {
    Err("not this time")
}

/// A connection whose near end the pool has checked out.
fn adopted(pool: &Pool) -> (Checkout<OwnedFd>, Connection) {
    let mut connection = Connection::new();
    let near = connection.near().try_clone_to_owned().expect("a copy");
    connection.let_go();
    (pool.adopt(b"d", b"e", near).expect("names"), connection)
}

fn found(pool: &Pool) -> Checkout<OwnedFd> {
    pool.checkout(b"d", &["e"], nobody).expect("it is cached")
}

#[test]
fn a_connection_that_was_taken_so_often_is_not_put_back() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server).with_max_reuse(2);
    let (made, connection) = adopted(&pool);
    assert_eq!(made.history(), None);
    assert!(made.release(TTL).is_kept());
    for taken in 1..=2 {
        let again = found(&pool);
        assert_eq!(again.history().map(|history| history.taken), Some(taken));
        let released = again.release(TTL);
        assert_eq!(released == Released::Worn, taken == 2, "{released:?}");
    }
    assert_eq!(connection.far_hears_to_the_end(), Some(Vec::new()));
    assert!(pool.checkout(b"d", &["e"], nobody).is_err());
    assert_eq!((pool.counters().worn, pool.counters().saved), (1, 2));
    let none = patient(&server).with_max_reuse(0);
    let (made, _) = adopted(&none);
    assert_eq!(made.release(TTL), Released::Worn);
}

#[test]
fn a_connection_that_others_have_taken_too_often_is_passed_over() {
    let server = Server::start(Kind::Scached);
    let generous = patient(&server);
    let (made, worn) = adopted(&generous);
    made.release(TTL);
    found(&generous).release(TTL);
    let (made, sound) = adopted(&generous);
    made.release(TTL);
    let strict = patient(&server).with_max_reuse(1);
    assert!(sound.check(&found(&strict)));
    assert_eq!(worn.far_hears_to_the_end(), Some(Vec::new()));
    assert_eq!((strict.counters().worn, strict.counters().hits), (1, 1));
}

#[test]
fn a_connection_that_is_too_old_is_neither_taken_nor_put_back() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server);
    let (made, old) = adopted(&pool);
    made.release(TTL);
    let mut watcher = Client::new(server.path());
    let mut age = || watcher.connections(b"", 0).expect("listed").entries[0].age;
    while age().is_zero() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let strict = pool.clone().with_max_age(Duration::ZERO);
    assert!(strict.checkout(b"d", &["e"], nobody).is_err());
    assert_eq!(old.far_hears_to_the_end(), Some(Vec::new()));
    assert_eq!(strict.counters().worn, 1);
    let (made, _) = adopted(&strict);
    assert_eq!(made.release(TTL), Released::Worn);
    // What has still some time stays no longer than that.
    let limit = Duration::from_secs(5);
    let (made, _connection) = adopted(&pool.with_max_age(limit));
    let released = made.release(TTL);
    assert_eq!(released, Released::Kept { ttl: Some(limit) });
}

#[test]
fn limits_do_not_hold_where_the_cache_does_not_tell() {
    for (kind, protocol) in KINDS
        .map(|kind| (kind, Protocol::Stock))
        .into_iter()
        .chain(KINDS.map(|kind| (kind, Protocol::Best)))
        .filter(|(kind, protocol)| *kind == Kind::Stock || *protocol == Protocol::Stock)
    {
        let server = Server::start(kind);
        let pool = patient(&server).with_max_reuse(1);
        let pool = match protocol {
            Protocol::Stock => pool.without_inline(),
            Protocol::Best => pool,
        };
        let (made, _connection) = adopted(&pool);
        assert_eq!(made.release(TTL), Released::Kept { ttl: None });
        for _ in 0..3 {
            let again = found(&pool);
            assert_eq!(again.history(), None);
            assert!(again.release(TTL).is_kept());
        }
    }
}

#[test]
fn what_a_check_rejects_is_closed_and_the_next_one_tried() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server);
    let connections = [(); 3].map(|()| {
        let (made, connection) = adopted(&pool);
        made.release(TTL);
        connection
    });
    let mut checked = 0;
    let check = |found: &mut Checkout<OwnedFd>| {
        assert!(found.reused().is_some());
        checked += 1;
        checked == 2
    };
    let fit = pool.checkout_checked(b"d", &["e"], nobody, check);
    assert!(connections[1].check(&fit.expect("the second")));
    assert_eq!(connections[0].far_hears_to_the_end(), Some(Vec::new()));
    let counters = pool.counters();
    assert_eq!(
        (counters.rejected, counters.hits, counters.misses),
        (1, 1, 0)
    );
    // What is new is not checked.
    let connect = |_: &&str| UnixStream::pair().map(|(near, _)| near);
    let made = pool.checkout_checked(b"d", &["e"], connect, |_| false);
    assert!(made.expect("connected").reused().is_none());
    assert_eq!(pool.counters().rejected, 2);
}

#[test]
fn a_task_checks_what_it_finds() {
    let server = Server::start(Kind::Scached);
    let pool = scache_client::tokio::Pool::new(server.path())
        .with_timeout(Duration::from_secs(10))
        .with_max_reuse(1);
    on_tokio(async {
        let mut far = Vec::new();
        for _ in 0..2 {
            let (near, other) = UnixStream::pair().expect("a pair");
            far.push(other);
            let made = pool.adopt(b"d", b"e", near).expect("names");
            assert!(made.release(TTL).await.is_kept());
        }
        let mut checked = 0;
        let check = |found| {
            checked += 1;
            let is_fit = checked == 2;
            async move { is_fit.then_some(found) }
        };
        let connect = async |_: &&str| Err::<UnixStream, _>(());
        let fit = pool.checkout_checked(b"d", &["e"], connect, check).await;
        let fit = fit.expect("the second");
        assert_eq!(fit.history().map(|history| history.taken), Some(1));
        assert_eq!(fit.release(TTL).await, Released::Worn);
        let counters = pool.counters();
        assert_eq!((counters.rejected, counters.worn), (1, 1));
        let connect = async |_: &&str| io::Result::Ok(UnixStream::pair()?.0);
        let made = pool.checkout_fresh(b"d", &["e"], connect).await;
        assert!(made.expect("connected").reused().is_none());
    });
}

#[test]
fn a_second_try_does_not_ask_the_cache() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server);
    let (made, cached) = adopted(&pool);
    made.release(TTL);
    let connection = Connection::new();
    let fresh = pool.checkout_fresh(b"d", &["e"], |_| connection.near().try_clone_to_owned());
    let fresh = fresh.expect("connected");
    assert!(connection.check(&fresh));
    assert!(fresh.reused().is_none());
    assert!(fresh.release(TTL).is_kept());
    assert!(cached.check(&found(&pool)));
    assert!(connection.check(&found(&pool)));
    let none = pool.checkout_fresh(b"d", &["e\0"], nobody);
    assert!(none.is_err());
}

#[test]
fn an_adopted_connection_has_names_that_a_cache_can_have() {
    let pool = Pool::new("/nonexistent/scache");
    for (destination, endpoint) in [(&b"a\0b"[..], &b"e"[..]), (b"d", b"a\0b")] {
        let adopted = pool.adopt(destination, endpoint, ());
        assert_eq!(adopted.err(), Some(ValueError::Nul));
    }
}

#[test]
fn a_release_tells_why_a_connection_was_not_kept() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server);
    let (made, connection) = adopted(&pool);
    Client::new(server.path()).drain(true).expect("drained");
    assert_eq!(made.release(TTL), Released::Declined);
    assert_eq!(connection.far_hears_to_the_end(), Some(Vec::new()));
    assert_eq!((pool.counters().declined, pool.counters().saved), (1, 0));
    let away = Pool::new("/nonexistent/scache").with_rest(Duration::from_secs(3600));
    assert_eq!(adopted(&away).0.release(TTL), Released::Failed);
    assert_eq!(adopted(&away).0.release(TTL), Released::Unasked);
}
