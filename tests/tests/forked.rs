//! Clients and pools in a child process. The test is the whole program: the harness has threads, and a process with
//! threads is not divided.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::process::{Pid, WaitOptions, waitpid};
use scache_client::{Client, Pool};
use scache_sys::processes::{Side, fork};
use scache_tests::scached::Scached;
use scache_tests::wire::Identity;

const TTL: Duration = Duration::from_secs(60);

type Test = (&'static str, fn(&Scached));

const TESTS: [Test; 4] = [
    ("a pool is used by parent and child", a_pool),
    ("a checkout stays with its process", a_checkout),
    (
        "a pool works in the child of a child",
        generations_of_a_pool,
    ),
    (
        "a child that drops a client of tokio leaves the parent alone",
        a_client_of_tokio,
    ),
];

fn main() {
    for (name, test) in TESTS {
        test(&Scached::for_all_users(&["--ttl-limit", "60s"]));
        println!("test {name} ... ok");
    }
    println!("test result: ok. {} passed; 0 failed", TESTS.len());
}

/// Runs one piece of work in a child and another one here at the same time; both must go well.
fn both(in_child: impl FnOnce(), here: impl FnOnce()) {
    match fork().expect("one thread only") {
        Side::Child => {
            in_child();
            // A panic has ended it with another status.
            std::process::exit(0);
        }
        Side::Parent { child } => {
            here();
            let number = i32::try_from(child.get()).ok().and_then(Pid::from_raw);
            let status = waitpid(number, WaitOptions::empty()).expect("its child");
            let (_, status) = status.expect("it has ended");
            assert_eq!(status.exit_status(), Some(0), "the child failed");
        }
    }
}

/// Puts connections into the cache and takes them out, each time another one.
fn work(pool: &Pool, name: &str) {
    for _ in 0..50 {
        let (near, _far) = UnixStream::pair().expect("a pair");
        let identity = Identity::of(&near);
        let mut near = Some(near);
        let made = pool.checkout(name.as_bytes(), &[name], |_| near.take().ok_or(()));
        assert!(made.expect("connected").release(TTL).is_kept(), "{name}");
        let none = |_: &&str| Err::<UnixStream, ()>(());
        let found = pool
            .checkout(name.as_bytes(), &[name], none)
            .expect("cached");
        assert_eq!(Identity::of(&*found), identity, "{name}");
        // Dropped, so closed: the next round has another one.
    }
    let counters = pool.counters();
    assert_eq!((counters.hits, counters.misses), (50, 50), "{name}");
}

fn a_pool(scached: &Scached) {
    let pool = Pool::new(scached.path()).with_timeout(Duration::from_secs(10));
    // It has an idle client at the fork.
    let (near, _far) = UnixStream::pair().expect("a pair");
    let mut near = Some(near);
    let made = pool.checkout(b"before", &["before"], |_| near.take().ok_or(()));
    assert!(made.expect("connected").release(TTL).is_kept());
    assert_eq!(pool.counters().misses, 1);
    both(
        || work(&pool, "child"),
        || {
            let none = |_: &&str| Err::<UnixStream, ()>(());
            for _ in 0..50 {
                let found = pool.checkout(b"before", &["before"], none);
                assert!(found.expect("cached").release(TTL).is_kept());
            }
        },
    );
    assert_eq!(pool.counters().hits, 50);
}

fn a_checkout(scached: &Scached) {
    let pool = Pool::new(scached.path()).with_timeout(Duration::from_secs(10));
    let (near, far) = UnixStream::pair().expect("a pair");
    let mut near = Some(near);
    let made = pool.checkout(b"d", &["e"], |_| near.take().ok_or(()));
    let checkout = std::cell::Cell::new(Some(made.expect("connected")));
    let release = || {
        let checkout = checkout.take().expect("not released yet");
        checkout.release(TTL)
    };
    // Of the two only the parent puts it back, and the child has not closed it for the parent.
    both(
        || assert!(!release().is_kept()),
        || assert!(release().is_kept()),
    );
    let mut client = Client::new(scached.path());
    assert!(client.find_endpoint(b"e").expect("answered").is_some());
    assert!(client.find_endpoint(b"e").expect("answered").is_none());
    drop(far);
}

fn generations_of_a_pool(scached: &Scached) {
    let pool = Pool::new(scached.path()).with_timeout(Duration::from_secs(10));
    both(
        || {
            let [child, grandchild] = ["child", "grandchild"];
            both(|| work(&pool, grandchild), || work(&pool, child));
        },
        || work(&pool, "parent"),
    );
}

fn a_client_of_tokio(scached: &Scached) {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    };
    let accepted = || {
        let mut client = Client::new(scached.path());
        client.stats().expect("counters").clients_accepted
    };
    let parents = runtime();
    let mut client = scache_client::tokio::Client::new(scached.path());
    let found = parents.block_on(client.find_endpoint(b"e"));
    assert!(found.expect("answered").is_none());
    let before = accepted();
    let client = std::cell::Cell::new(Some(client));
    both(
        || {
            let mut client = client.take().expect("a client");
            let found = runtime().block_on(client.find_endpoint(b"e"));
            assert!(found.expect("answered").is_none());
            drop(client);
        },
        || {},
    );
    let mut client = client.take().expect("a client");
    let found = parents.block_on(client.find_endpoint(b"e"));
    assert!(found.expect("answered").is_none());
    // The child's own, and the two that counted.
    assert_eq!(accepted(), before + 2);
}
