//! Connections that are checked out and put back.

use std::convert::Infallible;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use scache_client::{CheckoutError, Client, Counters, Error, Pool, Properties, ValueError};
use scache_tests::wire::{Connection, dummy, list};

use crate::cut::{Act, First};
use crate::servers::{KINDS, Kind, PROTOCOLS, Protocol, Server, TTL, with_each};

/// A pool that waits for a server on a machine that has much else to do.
fn patient(server: &Server) -> Pool {
    Pool::new(server.path()).with_timeout(Duration::from_secs(10))
}

fn pool(server: &Server, protocol: Protocol) -> Pool {
    let pool = patient(server);
    match protocol {
        Protocol::Best => pool,
        Protocol::Stock => pool.without_inline(),
    }
}

fn with_each_pool(test: impl Fn(&mut Server, Pool)) {
    for kind in KINDS {
        for protocol in PROTOCOLS {
            println!("{kind:?}, {protocol:?} protocol");
            let mut server = Server::start(kind);
            let pool = pool(&server, protocol);
            test(&mut server, pool);
        }
    }
}

/// What a program connects to: gives its near end once.
fn connect(connection: &mut Connection) -> Result<OwnedFd, Infallible> {
    let near = connection.near().try_clone_to_owned().expect("a copy");
    connection.let_go();
    Ok(near)
}

fn nobody(_: &&str) -> Result<OwnedFd, &'static str> {
    Err("not this time")
}

/// Counters with some of them set.
fn counters(set: impl FnOnce(&mut Counters)) -> Counters {
    let mut counters = Counters::default();
    set(&mut counters);
    counters
}

#[test]
fn what_is_released_is_checked_out_again() {
    with_each_pool(|_, pool| {
        let mut connection = Connection::new();
        let fresh = pool
            .checkout(b"d", &["e"], |_| connect(&mut connection))
            .expect("connected");
        assert_eq!(fresh.reused(), None);
        assert_eq!(fresh.endpoint(), b"e");
        let properties = Properties::new(*b"of d", *b"of e").expect("no NUL");
        assert!(fresh.release_with(TTL, &properties).is_kept());
        // By the destination where that says the endpoint, by the endpoint elsewhere.
        let again = pool.clone().checkout(b"d", &["f", "e"], nobody);
        let again = again.expect("it is in the cache");
        let properties = again.reused().expect("used before");
        assert_eq!(properties.connection(), b"of e");
        assert_eq!(again.endpoint(), b"e");
        assert!(connection.check(&again));
        let none = pool.checkout(b"d", &["e"], nobody);
        assert!(matches!(none, Err(CheckoutError::Connect("not this time"))));
        assert!(again.release(TTL).is_kept());
        let last = pool.checkout(b"d", &["e"], nobody).expect("it is back");
        assert!(connection.check(&last.into_inner()));
        let expected = counters(|counters| {
            counters.hits = 2;
            counters.misses = 2;
            counters.saved = 2;
        });
        assert_eq!(pool.counters(), expected);
    });
}

#[test]
fn a_name_that_no_cache_can_have_is_an_error_at_once() {
    // Also without a cache: it would go unnoticed until there is one.
    let pool = Pool::new("/nonexistent/scache");
    for (destination, endpoints) in [
        (&b"a\0b"[..], &["e"][..]),
        (b"d", &["e", "a\0b"]),
        (b"a\0b", &[]),
    ] {
        let checkout = pool.checkout(destination, endpoints, nobody);
        let error = checkout.expect_err("no name");
        assert!(
            matches!(error, CheckoutError::Name(ValueError::Nul)),
            "{error}"
        );
    }
    let long = "x".repeat(65_537);
    let checkout = pool.checkout(long.as_bytes(), &["e"], nobody);
    let error = checkout.expect_err("no name");
    assert!(matches!(error, CheckoutError::Name(ValueError::TooLong)));
    assert_eq!(pool.counters(), Counters::default());
}

#[test]
fn a_checkout_is_shown_as_text() {
    let pool = Pool::new("/nonexistent/scache");
    let made = pool.checkout(b"smtp\nexample.com\n", &["e"], |_| {
        UnixStream::pair().map(|(near, _)| near)
    });
    let shown = format!("{:?}", made.expect("connected"));
    let names = r#"destination: "smtp\nexample.com\n", endpoint: "e", reused: None"#;
    assert!(shown.contains(names), "{shown}");
}

#[test]
fn what_is_not_released_is_closed() {
    with_each_pool(|_, pool| {
        let mut connection = Connection::new();
        let checkout = pool.checkout(b"d", &["e"], |_| connect(&mut connection));
        drop(checkout.expect("connected"));
        assert_eq!(connection.far_hears_to_the_end(), Some(Vec::new()));
        assert!(pool.checkout(b"d", &["e"], nobody).is_err());
    });
}

#[test]
fn endpoints_are_connected_to_in_their_order_until_one_is_there() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server);
    let mut tried = Vec::new();
    let connection = Connection::new();
    let checkout = pool.checkout(b"d", &["away", "there", "spare"], |&endpoint| {
        tried.push(endpoint);
        match endpoint {
            "away" => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            _ => connection.near().try_clone_to_owned(),
        }
    });
    let checkout = checkout.expect("connected");
    assert_eq!(checkout.endpoint(), b"there");
    assert_eq!(tried, ["away", "there"]);
    assert!(checkout.release(TTL).is_kept());
    let mut client = Client::new(server.path());
    assert!(client.find_endpoint(b"there").expect("asked").is_some());
    let none = pool.checkout(b"d", &[] as &[&str], nobody);
    assert!(matches!(none, Err(CheckoutError::NoEndpoint)));
}

#[test]
fn a_connection_that_was_left_non_blocking_blocks_when_it_is_checked_out() {
    with_each_pool(|_, pool| {
        let (near, _far) = UnixStream::pair().expect("a pair");
        near.set_nonblocking(true).expect("set");
        let fresh = pool.checkout(b"d", &["e"], |_| {
            Ok::<_, Infallible>(near.try_clone().expect("a copy"))
        });
        assert!(fresh.expect("connected").release(TTL).is_kept());
        let again = pool.checkout(b"d", &["e"], |_| Err::<UnixStream, _>(()));
        let again = again.expect("it is in the cache");
        let flags = rustix::fs::fcntl_getfl(&*again).expect("flags");
        assert!(!flags.contains(rustix::fs::OFlags::NONBLOCK));
    });
}

#[test]
fn what_is_of_another_kind_is_told_of_and_passed_over() {
    for protocol in PROTOCOLS {
        let server = Server::start(Kind::Scached);
        let told = Arc::new(Mutex::new(0));
        let teller = Arc::clone(&told);
        let pool = pool(&server, protocol).on_error(move |error| {
            assert!(matches!(error, Error::Unsuitable(_)), "{error}");
            *teller.lock().expect("a lock") += 1;
        });
        let mut client = server.client(Protocol::Best);
        let mut unix = Connection::new();
        client
            .save_endpoint(TTL, b"e", b"", &unix.near())
            .expect("saved");
        unix.let_go();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let tcp = TcpStream::connect(address).expect("connected");
        let port = tcp.local_addr().expect("an address");
        client.save_endpoint(TTL, b"e", b"", &tcp).expect("saved");
        let (_far, _) = listener.accept().expect("connected");
        drop(tcp);
        let made = pool.checkout(b"d", &["e"], |_| Err::<TcpStream, _>(()));
        let made = made.expect("the second is one");
        assert_eq!(made.local_addr().expect("an address"), port);
        assert_eq!(unix.far_hears_to_the_end(), Some(Vec::new()));
        assert_eq!(
            (pool.counters().stale, *told.lock().expect("a lock")),
            (1, 1)
        );
    }
}

#[test]
fn what_is_closed_or_has_spoken_is_passed_over() {
    with_each_pool(|server, pool| {
        let mut client = server.client(Protocol::Best);
        let connections = [(); 3].map(|()| {
            let mut connection = Connection::new();
            client
                .save_endpoint(TTL, b"e", b"", &connection.near())
                .expect("saved");
            connection.let_go();
            connection
        });
        let [closed, spoken, sound] = connections;
        // A process that another test is about to start may hold a copy: a mere close might come late.
        closed.far().shutdown(Shutdown::Both).expect("shut down");
        spoken.far_says(b"421 time is over\r\n");
        let checkout = pool.checkout(b"d", &["e"], nobody).expect("one is sound");
        assert!(sound.check(&checkout));
        // Ours looks at them itself.
        assert!([0, 2].contains(&pool.counters().stale));
    });
}

#[test]
fn a_cache_that_is_away_costs_a_connection_and_is_told_of() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    let pool = Pool::new("/nonexistent/scache")
        .with_rest(Duration::from_secs(3600))
        .on_error(move |error: &Error| teller.lock().expect("a lock").push(error.to_string()));
    for _ in 0..3 {
        let mut connection = Connection::new();
        let checkout = pool.checkout(b"d", &["e"], |_| connect(&mut connection));
        assert!(!checkout.expect("connected").release(TTL).is_kept());
        assert_eq!(connection.far_hears_to_the_end(), Some(Vec::new()));
    }
    let expected = counters(|counters| {
        counters.cache_errors = 1;
        counters.unasked = 5;
    });
    assert_eq!(pool.counters(), expected);
    let told = told.lock().expect("a lock");
    assert!(matches!(&told[..], [one] if one.contains("/nonexistent/scache")));
}

#[test]
fn a_cache_that_comes_back_is_used_again() {
    with_each(|server, _| {
        let own = server.own_path();
        server.lead_to(std::path::Path::new("/nonexistent/scache"));
        let pool = patient(server).with_rest(Duration::ZERO);
        let mut connection = Connection::new();
        let checkout = pool
            .checkout(b"d", &["e"], |_| connect(&mut connection))
            .expect("connected");
        server.lead_to(&own);
        assert!(checkout.release(TTL).is_kept());
        let again = pool.checkout(b"d", &["e"], nobody).expect("it is there");
        assert!(connection.check(&again));
        let expected = counters(|counters| {
            counters.cache_errors = 1;
            counters.saved = 1;
            counters.hits = 1;
        });
        assert_eq!(pool.counters(), expected);
    });
}

#[test]
fn what_was_on_its_way_when_the_cache_went_is_closed_and_counted() {
    let status = |digit| Act::Say(list(&[("status", digit)]));
    let miss = || {
        let nothing = [
            ("status", "2"),
            ("label", ""),
            ("property", ""),
            ("property", ""),
        ];
        Act::Say(list(&nothing))
    };
    let stock_miss = || Act::Say(list(&[("status", "2"), ("property", "")]));
    for (protocol, acts) in [
        (
            Protocol::Best,
            vec![Act::Hear, status("0"), Act::Hear, miss(), Act::Hear],
        ),
        (
            Protocol::Stock,
            vec![
                Act::Hear,
                stock_miss(),
                Act::Hear,
                status("0"),
                Act::Hear,
                Act::Say(dummy()),
                Act::HearDescriptor,
            ],
        ),
    ] {
        let server = Server::start(Kind::Scached);
        let first = First::in_front_of(&server, acts);
        let pool = pool(&server, protocol);
        let mut connection = Connection::new();
        let checkout = pool.checkout(b"d", &["e"], |_| connect(&mut connection));
        assert!(!checkout.expect("connected").release(TTL).is_kept());
        let (got, _) = first.end();
        assert_eq!(got.len(), 1);
        drop(got);
        assert_eq!(connection.far_hears_to_the_end(), Some(Vec::new()));
        // A server that died is no reason to leave the next one alone.
        assert!(pool.checkout(b"d", &["e"], nobody).is_err());
        let expected = counters(|counters| {
            counters.misses = 2;
            counters.cache_errors = 1;
        });
        assert_eq!(pool.counters(), expected);
    }
}

/// The clients that the server has, without the one that asks.
fn clients(server: &Server) -> u64 {
    let mut watcher = Client::new(server.path());
    watcher.stats().expect("counters").clients - 1
}

fn use_once(pool: &Pool) {
    let made = pool.checkout(b"d", &["e"], |_| {
        let (near, far) = UnixStream::pair()?;
        FAR_ENDS.lock().expect("a lock").push(far);
        Ok::<_, io::Error>(near)
    });
    assert!(made.expect("connected").release(TTL).is_kept());
}

#[test]
fn a_client_that_is_idle_for_long_is_closed() {
    let server = Server::start(Kind::Scached);
    let limit = Duration::from_millis(50);
    let pool = patient(&server).with_idle_limit(limit);
    for _ in 0..3 {
        use_once(&pool);
        std::thread::sleep(limit);
        pool.close_idle();
        // The daemon sees that a moment later.
        while clients(&server) > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn a_client_that_is_in_use_is_kept() {
    let server = Server::start(Kind::Scached);
    let pool = patient(&server).with_idle_limit(Duration::from_secs(3600));
    let mut watcher = Client::new(server.path());
    let mut accepted = || watcher.stats().expect("counters").clients_accepted;
    use_once(&pool);
    let before = accepted();
    for _ in 0..20 {
        use_once(&pool);
    }
    pool.close_idle();
    use_once(&pool);
    assert_eq!(accepted(), before);
    let keeps_none = patient(&server).with_idle_limit(Duration::ZERO);
    use_once(&keeps_none);
    use_once(&keeps_none);
    // Two for each: to find, to save.
    assert_eq!(accepted(), before + 4);
}

#[test]
fn threads_share_a_pool_and_no_connection() {
    with_each_pool(|_, pool| {
        std::thread::scope(|scope| {
            for number in 0..4 {
                let pool = &pool;
                scope.spawn(move || {
                    for _ in 0..25 {
                        let checkout = pool.checkout(b"d", &["e"], |_| {
                            let (near, far) = UnixStream::pair()?;
                            FAR_ENDS.lock().expect("a lock").push(far);
                            Ok::<_, io::Error>(near)
                        });
                        let checkout = checkout.expect("connected");
                        assert!(checkout.release(TTL).is_kept(), "thread {number}");
                    }
                });
            }
        });
        let counters = pool.counters();
        assert_eq!(counters.hits + counters.misses, 100);
        assert!(
            counters.misses <= 4,
            "each thread holds one at most: {counters:?}"
        );
        assert_eq!(counters.saved, 100);
    });
}

/// Connections stay open until the end.
static FAR_ENDS: Mutex<Vec<UnixStream>> = Mutex::new(Vec::new());

#[test]
fn servers_that_are_killed_in_the_middle_never_fail_a_checkout() {
    for kind in KINDS {
        let mut server = Server::start(kind);
        let pool = patient(&server).with_rest(Duration::ZERO);
        std::thread::scope(|scope| {
            let work = scope.spawn(|| {
                for _ in 0..300 {
                    let checkout = pool.checkout(b"d", &["e"], |_| {
                        let (near, far) = UnixStream::pair()?;
                        FAR_ENDS.lock().expect("a lock").push(far);
                        Ok::<_, io::Error>(near)
                    });
                    checkout.expect("connected").release(TTL);
                }
            });
            while !work.is_finished() {
                server.replace(kind);
            }
        });
        println!("{kind:?}: {:?}", pool.counters());
        assert!(pool.counters().hits > 0);
    }
}
