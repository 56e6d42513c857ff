//! Under a service manager: sockets passed, readiness, watchdog, and a cache that survives a restart.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::SealFlags;
use rustix::time::{ClockId, clock_gettime};
use scache_client::Client;
use scache_tests::wire::{self, Connection};

use crate::daemon::{LONG, find, miss, place, save, text};
use crate::manager::{Manager, is_table};

/// A manager with a store and a socket, and where that is.
fn manager(store: usize) -> (Manager, PathBuf) {
    let manager = Manager::new(store);
    let path = PathBuf::from(manager.path("socket"));
    let listener = UnixListener::bind(&path).expect("bound");
    (manager.passing("scached.socket", listener), path)
}

const OPTIONS: [&str; 4] = ["--ttl-limit", "1h", "--goodbye", "QUIT"];

fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("a time")
}

#[test]
fn sockets_that_were_passed_are_served_and_stay() {
    let manager = Manager::new(0);
    let paths = ["one", "other"].map(|name| PathBuf::from(manager.path(name)));
    let [one, other] = [0, 1].map(|place: usize| UnixListener::bind(&paths[place]).expect("bound"));
    let manager = manager.passing("one", one).passing("other", other);
    let mut daemon = manager.start_ready(&OPTIONS);
    let line = daemon.wait_for("listening on");
    assert!(paths.iter().all(|path| line.contains(text(path))), "{line}");
    let connection = save(&mut Client::new(&paths[0]), LONG, "e", "p");
    find(&mut Client::new(&paths[1]), "e", "p", &connection);
    let (code, _) = daemon.terminate();
    assert_eq!(code, Some(0));
    manager.wait_for("STOPPING=1", 1);
    // Who comes now waits for the next daemon.
    let early = wire::Client::connect(&paths[0]).expect("connected");
    let _daemon = manager.start_ready(&OPTIONS);
    assert_eq!(early.hear_list(), wire::announcement());
}

#[test]
fn a_socket_of_its_own_is_announced_when_it_is_served() {
    let manager = Manager::new(0);
    let path = manager.path("socket");
    let daemon = manager.start_ready(&["--socket", &path]);
    Client::new(&path).find_endpoint(b"e").expect("asked");
    assert_eq!(daemon.terminate().0, Some(0));
    assert!(!PathBuf::from(path).exists());
}

#[test]
fn a_manager_with_an_abstract_name_is_told() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};
    let name = format!("scache-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let socket = UnixDatagram::bind_addr(&address).expect("bound");
    socket.set_read_timeout(Some(wire::DEADLINE)).expect("set");
    let (_directory, path) = place();
    let manager = Manager::deaf().saying("NOTIFY_SOCKET", &format!("@{name}"));
    let _daemon = manager.start(&["--socket", text(&path)]);
    let mut heard = [0; 100];
    let length = socket.recv(&mut heard).expect("told");
    assert_eq!(&heard[..length], b"READY=1\n");
}

#[test]
fn a_manager_that_is_not_there_is_said_and_done_without() {
    for name in ["/proc/none/notify", "vsock:2:1"] {
        let (_directory, path) = place();
        let manager = Manager::deaf().saying("NOTIFY_SOCKET", name);
        let mut daemon = manager.start(&["--socket", text(&path)]);
        let warning = daemon.wait_for("NOTIFY_SOCKET");
        assert!(warning.contains(name), "{warning}");
        daemon.wait_for("listening on");
        assert_eq!(daemon.terminate().0, Some(0));
    }
}

#[test]
fn an_idle_daemon_says_in_time_that_it_is_alive() {
    let (_directory, path) = place();
    let manager = Manager::new(0).saying("WATCHDOG_USEC", "300000");
    let daemon = manager.start_ready(&["--socket", text(&path)]);
    manager.wait_for("WATCHDOG=1", 4);
    daemon.signal(rustix::process::Signal::STOP);
    std::thread::sleep(Duration::from_millis(300));
    let before = manager.heard("WATCHDOG=1");
    std::thread::sleep(Duration::from_millis(700));
    assert_eq!(manager.heard("WATCHDOG=1"), before, "it is stopped");
    daemon.signal(rustix::process::Signal::CONT);
    manager.wait_for("WATCHDOG=1", before + 2);
}

#[test]
fn what_is_cached_survives_restarts_with_its_order_and_its_time() {
    const TTL: Duration = Duration::from_secs(300);
    let (manager, path) = manager(1000);
    let daemon = manager.start_ready(&OPTIONS);
    let mut client = Client::new(&path);
    let before = monotonic();
    let connections: Vec<_> = (0..20)
        .map(|number: u32| {
            let endpoint = format!("e{}", number % 3);
            let property = number.to_string();
            let connection = save(&mut client, TTL, &endpoint, &property);
            (endpoint, property, connection)
        })
        .collect();
    for endpoint in ["e2", "e0", "e1"] {
        client
            .save_destination(TTL, b"d", endpoint.as_bytes(), endpoint.as_bytes())
            .expect("bound");
    }
    let after = monotonic();
    let mut daemon = Some(daemon);
    for restarts in 1..=3 {
        let (code, said) = daemon.take().expect("it runs").terminate();
        assert_eq!((code, said.contains("warning")), (Some(0), false), "{said}");
        assert_eq!(manager.stored().len(), connections.len() + 1);
        // Each hop rounds up to the next millisecond.
        let late = Duration::from_millis(restarts);
        let mut times = 0;
        for (name, value) in manager.table() {
            if name == "until" {
                let until = Duration::from_nanos(value.parse().expect("a number"));
                assert!((before + TTL..=after + TTL + late).contains(&until));
                times += 1;
            }
        }
        assert_eq!(times, connections.len() + 3);
        daemon = Some(manager.start_ready(&OPTIONS));
        assert_eq!(manager.stored(), Vec::<String>::new(), "all taken back");
    }
    let mut client = Client::new(&path);
    let through = client
        .find_destination(b"d")
        .expect("asked")
        .expect("bound");
    assert_eq!(&*through.destination_property, b"e2", "the first binding");
    let taken = String::from_utf8_lossy(&through.found.property).into_owned();
    let first = connections.iter().find(|(endpoint, ..)| endpoint == "e2");
    let (_, property, connection) = first.expect("it was saved");
    assert_eq!(taken, *property);
    assert!(connection.check(&through.found.connection));
    for (endpoint, property, connection) in &connections {
        if *property != taken {
            find(&mut client, endpoint, property, connection);
        }
    }
    for endpoint in ["e0", "e1", "e2"] {
        miss(&mut client, endpoint);
    }
}

#[test]
fn all_of_a_thousand_connections_survive_a_restart() {
    let (manager, path) = manager(2000);
    let daemon = manager.start_ready(&OPTIONS);
    let mut client = Client::new(&path);
    let connections: Vec<_> = (0..1000)
        .map(|number| {
            let endpoint = number.to_string();
            let connection = save(&mut client, LONG, &endpoint, "p");
            (endpoint, connection)
        })
        .collect();
    assert_eq!(daemon.terminate().0, Some(0));
    let _daemon = manager.start_ready(&OPTIONS);
    let mut client = Client::new(&path);
    for (endpoint, connection) in &connections {
        find(&mut client, endpoint, "p", connection);
    }
}

#[test]
fn what_the_store_has_no_room_for_is_said_goodbye_to() {
    let (manager, path) = manager(3);
    let daemon = manager.start_ready(&OPTIONS);
    let mut client = Client::new(&path);
    let connections: Vec<_> = [60u64, 600, 30, 300]
        .into_iter()
        .map(|ttl| {
            let property = ttl.to_string();
            save(&mut client, Duration::from_secs(ttl), "e", &property)
        })
        .collect();
    assert_eq!(daemon.terminate().0, Some(0));
    for place in [0, 2] {
        let heard = connections[place].far_hears_to_the_end();
        assert_eq!(heard.as_deref(), Some(&b"QUIT\r\n"[..]));
    }
    let _daemon = manager.start_ready(&OPTIONS);
    let mut client = Client::new(&path);
    find(&mut client, "e", "600", &connections[1]);
    find(&mut client, "e", "300", &connections[3]);
    miss(&mut client, "e");
}

#[test]
fn without_a_store_or_without_hand_over_all_are_said_goodbye_to() {
    let no_handover = [&OPTIONS[..], &["--handover", "no"]].concat();
    for (store, options) in [(0, &OPTIONS[..]), (100, &no_handover)] {
        let (manager, path) = manager(store);
        let daemon = manager.start_ready(options);
        let connection = save(&mut Client::new(&path), LONG, "e", "p");
        assert_eq!(daemon.terminate().0, Some(0));
        let heard = connection.far_hears_to_the_end();
        assert_eq!(heard.as_deref(), Some(&b"QUIT\r\n"[..]));
        assert_eq!(manager.stored(), Vec::<String>::new());
    }
}

#[test]
fn connections_that_died_in_the_store_are_dropped() {
    let (manager, path) = manager(100);
    let daemon = manager.start_ready(&OPTIONS);
    let mut client = Client::new(&path);
    let mut connections: Vec<_> = (0..5)
        .map(|number| Some(save(&mut client, LONG, "e", &number.to_string())))
        .collect();
    assert_eq!(daemon.terminate().0, Some(0));
    // One is noticed by the manager, the others are not.
    let stored = manager.stored();
    let first = stored.iter().find(|name| !is_table(name));
    manager.lose(first.expect("a connection"));
    for place in [0, 1, 3] {
        connections[place] = None;
    }
    let mut daemon = manager.start_ready(&[&OPTIONS[..], &["--verbose"]].concat());
    let mut client = Client::new(&path);
    for number in [2, 4] {
        let connection = connections[number].as_ref().expect("it lives");
        find(&mut client, "e", &number.to_string(), connection);
    }
    miss(&mut client, "e");
    daemon.wait_for("closed by peer");
}

#[test]
fn a_table_that_makes_no_sense_is_refused_and_its_connections_are_closed() {
    let sealed = |bytes: &[u8]| -> OwnedFd {
        let table = unsealed(bytes);
        let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&table, seals).expect("sealed");
        table
    };
    let connection_row =
        b"connection\0scache-1-0\0until\x0018446744073709551615\0endpoint\0e\0property\0p\0\0";
    let of_version = |version: &str, end: &str| {
        [
            format!("scache descriptor store\0{version}\0\0").as_bytes(),
            connection_row,
            end.as_bytes(),
        ]
        .concat()
    };
    for (table, said) in [
        (sealed(b"nonsense"), "damaged"),
        (sealed(b""), "damaged"),
        (sealed(&of_version("2", "end\x001\0\0")), "version"),
        (sealed(&of_version("1", "end\x002\0\0")), "damaged"),
        (sealed(&of_version("1", "")), "damaged"),
        (unsealed(&of_version("1", "end\x001\0\0")), "not sealed"),
        (
            OwnedFd::from(fs::File::open("/dev/null").expect("open")),
            "no table",
        ),
    ] {
        let (manager, path) = manager(100);
        let mut connection = Connection::new();
        manager.keep("scache-1-table", table);
        manager.keep(
            "scache-1-0",
            connection.near().try_clone_to_owned().expect("a copy"),
        );
        connection.let_go();
        let mut daemon = manager.start_ready(&OPTIONS);
        let warning = daemon.wait_for("scache-1-table");
        assert!(warning.contains(said), "{warning}");
        daemon.wait_for("nothing is known of 1 connections");
        assert_eq!(connection.far_hears_to_the_end().as_deref(), Some(&b""[..]));
        miss(&mut Client::new(&path), "e");
        assert_eq!(manager.stored(), Vec::<String>::new());
    }
}

fn unsealed(bytes: &[u8]) -> OwnedFd {
    let flags = rustix::fs::MemfdFlags::ALLOW_SEALING | rustix::fs::MemfdFlags::CLOEXEC;
    let table = rustix::fs::memfd_create("table", flags).expect("a file");
    rustix::io::pwrite(&table, bytes, 0).expect("written");
    table
}

#[test]
fn what_the_manager_may_still_have_is_never_handed_out() {
    let (manager, path) = manager(100);
    let daemon = manager.start_ready(&OPTIONS);
    let _connection = save(&mut Client::new(&path), LONG, "e", "p");
    assert_eq!(daemon.terminate().0, Some(0));
    manager.do_not_forget();
    let mut daemon = manager.start_ready(&OPTIONS);
    let warning = daemon.wait_for("descriptor store");
    assert!(warning.contains("may still have"), "{warning}");
    miss(&mut Client::new(&path), "e");
}

#[test]
fn a_manager_that_does_not_read_holds_nobody_up() {
    let manager = Manager::deaf()
        .saying("WATCHDOG_USEC", "20000")
        .saying("FDSTORE", "100");
    let path = manager.path("socket");
    let filler = std::os::unix::net::UnixDatagram::unbound().expect("a socket");
    filler.set_nonblocking(true).expect("set");
    while filler.send_to(b"x", manager.path("notify")).is_ok() {}
    let options = [&["--socket", &path], &OPTIONS[..]].concat();
    let mut daemon = manager.start(&options);
    daemon.wait_for("not told of the start");
    let mut client = Client::new(&path);
    for number in 0..100 {
        let property = number.to_string();
        let connection = save(&mut client, LONG, "e", &property);
        find(&mut client, "e", &property, &connection);
    }
    let connection = save(&mut client, LONG, "e", "p");
    let (code, said) = daemon.terminate();
    assert_eq!(code, Some(0));
    assert!(said.contains("took 0 of 1"), "{said}");
    let heard = connection.far_hears_to_the_end();
    assert_eq!(heard.as_deref(), Some(&b"QUIT\r\n"[..]));
}

#[test]
fn what_is_passed_and_of_no_use_is_named() {
    let (socket, _other) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let manager = Manager::new(0).passing("strange", socket);
    let (code, said) = manager.start(&[]).end();
    assert_eq!(code, Some(1));
    assert!(
        said.contains("strange") && said.contains("ListenStream="),
        "{said}"
    );
    let (manager, _path) = self::manager(0);
    let (code, said) = manager.start(&["--takeover"]).end();
    assert_eq!(code, Some(1));
    assert!(said.contains("--takeover"), "{said}");
    let mut daemon = manager.start(&["--mode", "0666"]);
    let warning = daemon.wait_for("warning");
    assert!(warning.contains("SocketMode="), "{warning}");
}
