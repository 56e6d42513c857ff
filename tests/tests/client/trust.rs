//! Sockets that another user may have put in the place of the cache's.

use std::os::unix::net::UnixStream;

use scache_client::{Client, Distrust, Error, Pool, Trust};
use scache_tests::planted::{OTHER_USER, Planted};

use crate::servers::{Kind, Server, TTL};

#[test]
fn a_client_sends_nothing_to_a_listener_of_another_user() {
    // Root's own directory: only the credentials of the listener tell.
    let planted = Planted::new(0, 0o755);
    let (near, _far) = UnixStream::pair().expect("a pair");
    let mut client = Client::new(planted.socket()).with_trust(Trust::OwnOrRoot);
    let saved = client.save_endpoint(TTL, b"e", b"p", &near);
    let is_named = |error: &Error| {
        matches!(error, Error::Untrusted { path, reason: Distrust::Listener { user: OTHER_USER } }
            if path == planted.socket())
    };
    assert!(saved.as_ref().is_err_and(is_named), "{saved:?}");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let found = runtime.block_on(async {
        let client = scache_client::tokio::Client::new(planted.socket());
        client
            .with_trust(Trust::OwnOrRoot)
            .find_endpoint(b"e")
            .await
    });
    assert!(found.as_ref().is_err_and(is_named), "{found:?}");
    let pool = Pool::new(planted.socket()).with_trust(Trust::OwnOrRoot);
    let checkout = pool.checkout(b"d", &["e"], |_| near.try_clone());
    assert!(!checkout.expect("connected").release(TTL).is_kept());
    assert_eq!(pool.counters().cache_errors, 1);
    drop(pool);
    let (_, bytes) = planted.caught();
    assert_eq!(bytes, 0);
}

#[test]
fn a_directory_of_another_user_is_not_even_connected_to() {
    for (owner, mode) in [(OTHER_USER, 0o755), (0, 0o777)] {
        let planted = Planted::new(owner, mode);
        let mut client = Client::new(planted.socket()).with_trust(Trust::OwnOrRoot);
        let found = client.find_endpoint(b"e");
        assert!(matches!(found, Err(Error::Untrusted { .. })), "{found:?}");
        assert_eq!(planted.caught(), (0, 0));
    }
}

#[test]
fn a_service_may_listen_as_the_owner_of_its_directory_only_if_root_made_that() {
    let planted = Planted::new(OTHER_USER, 0o755);
    let mut client = Client::new(planted.socket()).with_trust(Trust::Service);
    // Others may write to the directory above, as to /tmp.
    let found = client.find_endpoint(b"e");
    assert!(matches!(found, Err(Error::Untrusted { .. })), "{found:?}");
    assert_eq!(planted.caught(), (0, 0));
}

#[test]
fn a_cache_of_this_user_is_trusted() {
    let server = Server::start(Kind::Scached);
    for trust in [Trust::Named, Trust::OwnOrRoot] {
        let mut client = Client::new(server.path()).with_trust(trust);
        let found = client.find_endpoint(b"nothing");
        assert!(matches!(found, Ok(None)), "{trust:?}: {found:?}");
    }
}
