//! What a client can ask for, and what it gets.

use std::time::Duration;

use rustix::process::Signal;
use scache_client::{Client, Error, Found, Save};
use scache_tests::wire::Connection;

use crate::servers::{KINDS, Kind, Protocol, Server, TTL, with_each};

fn assert_is(found: Option<Found>, connection: &Connection, property: &[u8]) {
    let found = found.expect("it is in the cache");
    assert_eq!(&*found.property, property);
    assert!(connection.check(&found.connection), "another connection");
}

#[test]
fn connections_are_saved_and_found_by_endpoint_and_by_destination() {
    with_each(|server, mut client| {
        let (mut first, mut second) = (Connection::new(), Connection::new());
        for (connection, property) in [(&mut first, b"1"), (&mut second, b"2")] {
            client
                .save_endpoint(TTL, b"endpoint", property, &connection.near())
                .expect("saved");
            connection.let_go();
        }
        client
            .save_destination(TTL, b"destination", b"d", b"endpoint")
            .expect("bound");
        // In another process it would be another client, too.
        let mut other = Client::new(server.path());
        assert_is(
            other.find_endpoint(b"endpoint").expect("asked"),
            &first,
            b"1",
        );
        let through = client.find_destination(b"destination").expect("asked");
        let through = through.expect("the second is there");
        assert_eq!(&*through.destination_property, b"d");
        assert_is(Some(through.found), &second, b"2");
        assert!(client.find_endpoint(b"endpoint").expect("asked").is_none());
        let through = client.find_destination(b"destination").expect("asked");
        assert!(through.is_none());
    });
}

#[test]
fn caches_of_ours_tell_age_reuses_and_the_granted_time() {
    for kind in KINDS {
        for protocol in [Protocol::Best, Protocol::Stock] {
            let server = Server::start(kind);
            let mut client = server.client(protocol);
            let tells = kind != Kind::Stock && protocol == Protocol::Best;
            let mut connection = Connection::new();
            let mut near = connection.near().try_clone_to_owned().expect("a copy");
            connection.let_go();
            for taken in 1..=3 {
                let second = Duration::from_secs(1);
                let saved = match taken {
                    1 => client.save_endpoint(second, b"e", b"", &near),
                    _ => client.save(&Save::new(second, b"d", b"e"), &near),
                };
                let saved = saved.expect("saved");
                assert_eq!(saved.ttl(), tells.then_some(second));
                assert!(saved.is_kept());
                let found = client.find(b"d", &["e"]).expect("asked").expect("there");
                let history = found.found.history;
                assert_eq!(history.map(|history| history.taken), tells.then_some(taken));
                near = found.found.connection;
            }
            assert!(connection.check(&near));
            let bound = client.save_destination(2 * TTL * 1000, b"d", b"", b"e");
            let granted = bound.expect("bound").ttl();
            assert_eq!(granted.is_some(), tells);
            assert!(granted.is_none_or(|ttl| ttl <= TTL), "{granted:?}");
        }
    }
}

#[test]
fn a_cache_that_is_drained_tells_that_it_keeps_nothing() {
    let server = Server::start(Kind::Scached);
    let mut client = server.client(Protocol::Best);
    let connection = Connection::new();
    client.drain(true).expect("drained");
    let saved = client.save(&Save::new(TTL, b"d", b"e"), &connection.near());
    let saved = saved.expect("it answers");
    assert_eq!(
        (saved.ttl(), saved.is_kept()),
        (Some(Duration::ZERO), false)
    );
    client.drain(false).expect("no longer");
    let saved = client.save(&Save::new(TTL, b"d", b"e"), &connection.near());
    assert!(saved.expect("it answers").is_kept());
}

#[test]
fn names_and_properties_are_shown_as_text() {
    let server = Server::start(Kind::Scached);
    let mut client = server.client(Protocol::Best);
    let connection = Connection::new();
    let save = Save {
        property: b"tls=none\n",
        ..Save::new(TTL, b"smtp\nexample.com\n", b"e\xff")
    };
    let shown = format!("{save:?}");
    assert!(
        shown.contains(r#"destination: "smtp\nexample.com\n""#),
        "{shown}"
    );
    client.save(&save, &connection.near()).expect("saved");
    let listed = format!("{:?}", client.connections(b"", 0).expect("listed"));
    assert!(listed.contains(r#"endpoint: "e\xff""#), "{listed}");
    let found = format!("{:?}", client.find(b"none", &[b"e\xff"]).expect("asked"));
    assert!(found.contains(r#"property: "tls=none\n""#), "{found}");
    assert!(found.contains(r#"endpoint: Some("e\xff")"#), "{found}");
}

#[test]
fn what_is_saved_in_one_is_found_in_one() {
    with_each(|_, mut client| {
        let connections = [(); 3].map(|()| Connection::new());
        for (connection, name) in connections.iter().zip(["e1", "e2", "e3"]) {
            let save = Save {
                destination_property: b"of d",
                property: name.as_bytes(),
                ..Save::new(TTL, b"d", name.as_bytes())
            };
            client.save(&save, &connection.near()).expect("saved");
        }
        // By the destination first, whatever the endpoints.
        let by_destination = client.find(b"d", &["e3"]).expect("asked").expect("there");
        assert_eq!(&*by_destination.destination_property, b"of d");
        assert!(matches!(
            by_destination.endpoint.as_deref(),
            None | Some(b"e1")
        ));
        assert_is(Some(by_destination.found), &connections[0], b"e1");
        // Then by the endpoints in their order.
        let by_endpoint = client.find(b"none", &["e0", "e3", "e2"]);
        let by_endpoint = by_endpoint.expect("asked").expect("there");
        assert_eq!(&*by_endpoint.destination_property, b"");
        assert_eq!(by_endpoint.endpoint.as_deref(), Some(&b"e3"[..]));
        assert_is(Some(by_endpoint.found), &connections[2], b"e3");
        assert!(client.find(b"none", &["e3"]).expect("asked").is_none());
        let rest = client.find(b"d", &[] as &[&str]).expect("asked");
        assert_is(rest.map(|through| through.found), &connections[1], b"e2");
    });
}

#[test]
fn the_endpoint_is_told_where_the_protocol_tells_it() {
    for kind in KINDS {
        let server = Server::start(kind);
        let mut client = server.client(Protocol::Best);
        let connection = Connection::new();
        client
            .save(&Save::new(TTL, b"d", b"e"), &connection.near())
            .expect("saved");
        let through = client
            .find_destination(b"d")
            .expect("asked")
            .expect("there");
        let told = (kind != Kind::Stock).then_some(&b"e"[..]);
        assert_eq!(through.endpoint.as_deref(), told, "{kind:?}");
    }
}

#[test]
fn more_endpoints_than_a_request_carries_are_asked_for_all_the_same() {
    with_each(|_, mut client| {
        let endpoints: Vec<String> = (0..150).map(|number| format!("e{number}")).collect();
        let connection = Connection::new();
        client
            .save_endpoint(TTL, b"e149", b"p", &connection.near())
            .expect("saved");
        let through = client.find(b"d", &endpoints).expect("asked");
        assert_is(through.map(|through| through.found), &connection, b"p");
        assert!(client.find(b"d", &endpoints).expect("asked").is_none());
    });
}

#[test]
fn values_of_any_size_that_is_allowed_come_back_whole() {
    with_each(|_, mut client| {
        let long = vec![b'x'; 64 * 1024];
        let connection = Connection::new();
        let save = Save {
            destination_property: &long,
            property: &long,
            ..Save::new(TTL, &long, &long)
        };
        client.save(&save, &connection.near()).expect("saved");
        let through = client.find(&long, &[&long, &long, &long, &long]);
        let through = through.expect("asked").expect("there");
        assert!(*through.destination_property == *long);
        assert_is(Some(through.found), &connection, &long);
    });
}

#[test]
fn what_cannot_be_said_is_refused_before_it_is_said() {
    with_each(|_, mut client| {
        let connection = Connection::new();
        let long = vec![b'x'; 64 * 1024 + 1];
        for (ttl, name) in [(TTL, &b"a\0b"[..]), (Duration::ZERO, b"a"), (TTL, &long)] {
            let refused = client.save_endpoint(ttl, name, b"", &connection.near());
            assert!(matches!(refused, Err(Error::Value(_))), "{refused:?}");
            let refused = client.save(&Save::new(ttl, name, b"a"), &connection.near());
            assert!(matches!(refused, Err(Error::Value(_))), "{refused:?}");
        }
        assert!(client.find(b"a", &[b"a"]).expect("asked").is_none());
    });
}

#[test]
fn nobody_there_is_an_error_that_names_the_socket() {
    let refused = Client::new("/nonexistent/scache").find_endpoint(b"a");
    let message = refused.expect_err("nobody is there").to_string();
    assert!(message.contains("/nonexistent/scache"), "{message}");
    let long = format!("/{}", "x".repeat(200));
    let refused = Client::new(&long).find_endpoint(b"a");
    assert!(matches!(refused, Err(Error::Connect { .. })), "{refused:?}");
}

#[test]
fn who_does_not_answer_is_not_waited_for_longer_than_was_said() {
    with_each(|server, client| {
        let mut client = client.with_timeout(Duration::from_millis(100));
        let connection = Connection::new();
        server.signal(Signal::STOP);
        let refused = client.find_endpoint(b"e");
        assert!(matches!(refused, Err(Error::Unanswered(_))), "{refused:?}");
        // Nothing was given away yet: it is asked for inline descriptors, or for a dummy, first.
        let refused = client.save_endpoint(TTL, b"e", b"p", &connection.near());
        assert!(matches!(refused, Err(Error::Unanswered(_))), "{refused:?}");
        server.signal(Signal::CONT);
        let mut client = client.with_timeout(Duration::from_secs(20));
        client
            .save_endpoint(TTL, b"e", b"p", &connection.near())
            .expect("saved");
        assert_is(
            client.find_endpoint(b"e").expect("asked"),
            &connection,
            b"p",
        );
        assert!(client.find_endpoint(b"e").expect("asked").is_none());
    });
}
