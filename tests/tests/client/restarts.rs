//! Servers that are killed, between requests and in the middle of them.

use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use scache_client::{Client, Error, Save};
use scache_tests::wire::Connection;

use crate::servers::{KINDS, Kind, PROTOCOLS, Server, TTL};

#[test]
fn a_server_that_is_killed_between_requests_goes_unnoticed() {
    for before in KINDS {
        for after in KINDS {
            for protocol in PROTOCOLS {
                println!("{before:?}, then {after:?}, {protocol:?} protocol");
                let mut server = Server::start(before);
                let mut client = server.client(protocol);
                let connection = Connection::new();
                let save = Save::new(TTL, b"d", b"e");
                client.save(&save, &connection.near()).expect("saved");
                server.replace(after);
                assert!(client.find(b"d", &["e"]).expect("asked").is_none());
                server.replace(before);
                client.save(&save, &connection.near()).expect("saved");
                let found = client.find(b"d", &["e"]).expect("asked").expect("there");
                assert!(connection.check(&found.found.connection));
            }
        }
    }
}

#[test]
fn servers_that_are_killed_in_the_middle_lose_no_request_and_double_nothing() {
    let (clients, kills) = (3, 12);
    for kind in KINDS {
        let mut server = Server::start(kind);
        let (path, over) = (server.path(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            let work: Vec<_> = (0..clients)
                .map(|number| {
                    let client = Client::new(&path);
                    let client = if number == 0 {
                        client.without_inline()
                    } else {
                        client
                    };
                    let over = &over;
                    scope.spawn(move || save_and_find(client, number, over))
                })
                .collect();
            for _ in 0..kills {
                server.replace(kind);
            }
            over.store(true, Ordering::Relaxed);
            for thread in work {
                let (found, lost) = thread.join().expect("no request fails");
                println!("{kind:?}: {found} found again, {lost} lost on the way");
                assert!(found > 0);
            }
        });
    }
}

/// Saves connections and finds them until it is over. Says how many were found, and how many were on their way to a
/// server that was killed.
fn save_and_find(mut client: Client, number: usize, over: &AtomicBool) -> (u64, u64) {
    let (mut found, mut lost) = (0, 0);
    let (destination, endpoint) = (format!("d{number}"), format!("e{number}"));
    while !over.load(Ordering::Relaxed) {
        let connection = Connection::new();
        let save = Save::new(TTL, destination.as_bytes(), endpoint.as_bytes());
        match client.save(&save, &connection.near()) {
            Ok(_) => {}
            Err(Error::Lost(_)) => {
                lost += 1;
                // It may be there all the same.
            }
            Err(error) => panic!("{error}: {error:?}"),
        }
        let through = client.find(destination.as_bytes(), &[&endpoint]);
        if let Some(through) = through.expect("a find is repeated until it is answered") {
            assert!(connection.check(&through.found.connection), "another one");
            found += 1;
        }
        let again = client.find_endpoint(endpoint.as_bytes()).expect("asked");
        assert!(again.is_none(), "it was there twice");
    }
    (found, lost)
}

#[test]
fn a_server_that_turns_clients_away_for_a_moment_is_asked_again() {
    let server = Server::start(Kind::Scached);
    let own = server.path().with_extension("first");
    let listener = UnixListener::bind(&own).expect("a socket");
    server.lead_to(&own);
    let real = server.own_path();
    let mut client = Client::new(server.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..4 {
                drop(listener.accept().expect("a client"));
            }
            server.lead_to(&real);
            // Who came in between is turned away as well.
            drop(listener);
        });
        assert!(client.find_endpoint(b"e").expect("asked").is_none());
    });
}

#[test]
fn where_nobody_listens_any_more_the_client_gives_up_in_the_end() {
    let server = Server::start(Kind::Scached);
    let mut client = Client::new(server.path());
    assert!(client.find_endpoint(b"e").expect("asked").is_none());
    drop(server);
    let refused = client.find_endpoint(b"e");
    assert!(matches!(refused, Err(Error::Connect { .. })), "{refused:?}");
}

#[test]
fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let server = Server::start(Kind::Scached);
    let next = Server::start(Kind::Scached);
    let mut client = Client::new(server.path());
    assert!(client.find_endpoint(b"e").expect("asked").is_none());
    server.signal(Signal::KILL);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // A tenth of the time that it is given.
            std::thread::sleep(Duration::from_millis(60));
            server.lead_to(&next.own_path());
        });
        assert!(client.find_endpoint(b"e").expect("asked").is_none());
    });
}
