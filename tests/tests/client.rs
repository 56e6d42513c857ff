//! The client library against stock scache(8) and against ours.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use scache_client::{Client, Error};
use scache_tests::fake_master::{FakeMaster, Setup, ours, stock};

const TTL: Duration = Duration::from_secs(60);

fn with_both(test: impl Fn(FakeMaster)) {
    for program in [stock(), ours()] {
        test(Setup::new(&program).start());
    }
}

/// That a connection is the one whose other end this is.
fn assert_connected(connection: impl Into<UnixStream>, other_end: &mut UnixStream) {
    connection.into().write_all(b"nonce").expect("it is open");
    let mut nonce = [0; 5];
    other_end.read_exact(&mut nonce).expect("it is connected");
    assert_eq!(&nonce, b"nonce");
}

#[test]
fn connections_are_saved_and_found_by_endpoint_and_by_destination() {
    with_both(|master| {
        let mut client = Client::new(master.socket_path());
        let (first, mut first_end) = UnixStream::pair().expect("a pair");
        let (second, mut second_end) = UnixStream::pair().expect("a pair");
        for (connection, property) in [(first, b"1"), (second, b"2")] {
            client
                .save_endpoint(TTL, b"endpoint", property, &connection)
                .expect("saved");
        }
        client
            .save_destination(TTL, b"destination", b"d", b"endpoint")
            .expect("bound");
        let found = client.find_endpoint(b"endpoint").expect("asked");
        let found = found.expect("the first is there");
        assert_eq!(&*found.property, b"1");
        assert_connected(found.connection, &mut first_end);
        let through = client.find_destination(b"destination").expect("asked");
        let through = through.expect("the second is there");
        assert_eq!(&*through.destination_property, b"d");
        assert_eq!(&*through.found.property, b"2");
        assert_connected(through.found.connection, &mut second_end);
        assert!(client.find_endpoint(b"endpoint").expect("asked").is_none());
        assert!(
            client
                .find_destination(b"destination")
                .expect("asked")
                .is_none()
        );
    });
}

#[test]
fn what_cannot_be_said_is_refused_before_it_is_said() {
    with_both(|master| {
        let mut client = Client::new(master.socket_path());
        let (connection, _other_end) = UnixStream::pair().expect("a pair");
        for (ttl, name) in [(TTL, &b"a\0b"[..]), (Duration::ZERO, b"a")] {
            let refused = client.save_endpoint(ttl, name, b"", &connection);
            assert!(matches!(refused, Err(Error::Value(_))), "{refused:?}");
        }
        assert!(client.find_endpoint(b"a").expect("asked").is_none());
    });
}

#[test]
fn nobody_there_is_an_error_that_names_the_socket() {
    let refused = Client::new("/nonexistent/scache").find_endpoint(b"a");
    let message = refused.expect_err("nobody is there").to_string();
    assert!(message.contains("/nonexistent/scache"), "{message}");
}

#[test]
fn a_server_that_restarts_goes_unnoticed() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("socket");
    let serve_one = |path: &std::path::Path| {
        let listener = std::os::unix::net::UnixListener::bind(path).expect("bound");
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let mut request = [0; 100];
            let length = client.read(&mut request).expect("a request");
            assert!(request[..length].starts_with(b"request\0find_endp\0"));
            client
                .write_all(b"status\x002\0property\0\0\0")
                .expect("a reply");
        })
    };
    let first = serve_one(&path);
    let mut client = Client::new(&path);
    assert!(client.find_endpoint(b"a").expect("asked").is_none());
    first.join().expect("the first server ends well");
    std::fs::remove_file(&path).expect("the first server's socket");
    let second = serve_one(&path);
    assert!(client.find_endpoint(b"a").expect("asked again").is_none());
    second.join().expect("the second server ends well");
}
