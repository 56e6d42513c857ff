//! One daemon takes the place of another, without systemd.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use rustix::time::{ClockId, clock_gettime};
use scache_client::Client;
use scache_tests::fake_master::{Setup, built, ours, stock};
use scache_tests::wire::{self, Connection, Heard};

use crate::daemon::{Daemon, LONG, find, miss, place, refused, save, text};
use crate::manager::Manager;

const OPTIONS: [&str; 4] = ["--ttl-limit", "1h", "--goodbye", "QUIT"];

/// A daemon that takes over; the one before it has ended when this returns.
fn take_over(old: Daemon, path: &Path) -> Daemon {
    let new = Daemon::listening(path, &[&OPTIONS[..], &["--takeover"]].concat());
    let (code, said) = old.end();
    assert_eq!((code, said.contains("warning")), (Some(0), false), "{said}");
    new
}

fn files_beside(path: &Path) -> Vec<std::ffi::OsString> {
    let directory = path.parent().expect("a directory");
    fs::read_dir(directory)
        .expect("it can be read")
        .map(|entry| entry.expect("an entry").file_name())
        .collect()
}

/// Waits until the socket is the only file: the lock on its path goes when the daemon that took over has noticed
/// that the one before it is gone.
fn comes_to_rest(path: &Path) {
    let deadline = Instant::now() + wire::DEADLINE;
    while files_beside(path) != ["socket"] {
        assert!(Instant::now() < deadline, "{:?}", files_beside(path));
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn take_over_request() -> Vec<u8> {
    wire::list(&[("request", "take_over")])
}

fn status(status: &str) -> Vec<u8> {
    wire::list(&[("status", status)])
}

#[test]
fn everything_comes_over_in_its_order_however_often() {
    let (_directory, path) = place();
    let mut daemon = Daemon::listening(&path, &OPTIONS);
    let mut client = Client::new(&path);
    let mut connections: Vec<Vec<Connection>> = (0..30).map(|_| Vec::new()).collect();
    for number in 0..300 {
        let endpoint = format!("e{}", number % 30);
        let property = (number / 30).to_string();
        connections[number % 30].push(save(&mut client, LONG, &endpoint, &property));
    }
    for endpoint in ["e7", "e3", "e5"] {
        client
            .save_destination(LONG, b"d", endpoint.as_bytes(), endpoint.as_bytes())
            .expect("bound");
    }
    for _ in 0..3 {
        daemon = take_over(daemon, &path);
        comes_to_rest(&path);
    }
    let through = client
        .find_destination(b"d")
        .expect("asked")
        .expect("bound");
    assert_eq!(&*through.destination_property, b"e7", "the first binding");
    assert!(connections[7][0].check(&through.found.connection));
    for (number, all) in connections.iter().enumerate() {
        let endpoint = format!("e{number}");
        for (place, connection) in all.iter().enumerate() {
            if (number, place) != (7, 0) {
                find(&mut client, &endpoint, &place.to_string(), connection);
            }
        }
        miss(&mut client, &endpoint);
    }
    assert_eq!(daemon.terminate().0, Some(0));
    assert_eq!(files_beside(&path), Vec::<std::ffi::OsString>::new());
}

#[test]
fn the_time_that_is_left_comes_over() {
    const TTL: Duration = Duration::from_secs(300);
    let monotonic = || Duration::try_from(clock_gettime(ClockId::Monotonic)).expect("a time");
    let (_directory, path) = place();
    let daemon = Daemon::listening(&path, &OPTIONS);
    let mut client = Client::new(&path);
    let before = monotonic();
    let _connection = save(&mut client, TTL, "e", "p");
    client
        .save_destination(TTL, b"d", b"", b"e")
        .expect("bound");
    let after = monotonic();
    // Whoever began to count anew would be so late.
    std::thread::sleep(Duration::from_secs(2));
    let began = monotonic();
    let manager = Manager::new(10);
    let options = [&OPTIONS[..], &["--takeover", "--socket", text(&path)]].concat();
    let new = manager.start_ready(&options);
    assert_eq!(daemon.end().0, Some(0));
    // On its way a deadline is late by as long as the way takes.
    let late = monotonic() - began + Duration::from_millis(1);
    // What it has it tells the service manager.
    assert_eq!(new.terminate().0, Some(0));
    let times: Vec<_> = manager
        .table()
        .into_iter()
        .filter(|(name, _)| name == "until")
        .map(|(_, value)| Duration::from_nanos(value.parse().expect("a number")))
        .collect();
    assert_eq!(times.len(), 2);
    for until in times {
        let range = before + TTL..=after + TTL + late;
        assert!(range.contains(&until), "{until:?} is not in {range:?}");
    }
}

#[test]
fn where_nobody_listens_it_starts_as_usual() {
    let (_directory, path) = place();
    for stale in [false, true] {
        if stale {
            drop(UnixListener::bind(&path).expect("bound"));
        }
        let daemon = Daemon::listening(&path, &["--takeover"]);
        miss(&mut Client::new(&path), "e");
        assert_eq!(daemon.terminate().0, Some(0));
    }
}

#[test]
fn a_daemon_that_does_not_hand_over_goes_on_undisturbed() {
    let (_directory, path) = place();
    let options = [&OPTIONS[..], &["--handover", "no"]].concat();
    let daemon = Daemon::listening(&path, &options);
    let mut client = Client::new(&path);
    let connection = save(&mut client, LONG, "e", "p");
    let inode = path.metadata().expect("a socket").ino();
    let message = refused(&["--takeover", "--socket", text(&path)]);
    for part in [text(&path), "refuses", "--handover no", "it goes on"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(path.metadata().expect("a socket").ino(), inode);
    assert_eq!(files_beside(&path), ["socket"]);
    // Over the connection from before, and over a new one.
    miss(&mut client, "none");
    find(&mut Client::new(&path), "e", "p", &connection);
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn a_daemon_whose_socket_is_systemds_is_not_displaced() {
    let manager = Manager::new(0);
    let path = std::path::PathBuf::from(manager.path("socket"));
    let manager = manager.passing("socket", UnixListener::bind(&path).expect("bound"));
    let _daemon = manager.start_ready(&OPTIONS);
    let connection = save(&mut Client::new(&path), LONG, "e", "p");
    let message = refused(&["--takeover", "--socket", text(&path)]);
    assert!(message.contains("refuses"), "{message}");
    find(&mut Client::new(&path), "e", "p", &connection);
}

#[cfg(feature = "system")]
#[test]
fn a_daemon_whose_socket_is_masters_is_not_displaced() {
    let master = Setup::new(&ours()).start();
    let connection = save(&mut Client::new(master.socket_path()), LONG, "e", "p");
    let message = refused(&["--takeover", "--socket", text(master.socket_path())]);
    assert!(message.contains("refuses"), "{message}");
    let mut client = Client::new(master.socket_path());
    find(&mut client, "e", "p", &connection);
}

#[cfg(feature = "system")]
#[test]
fn stock_goes_on_undisturbed() {
    let master = Setup::new(&stock()).start();
    let client = master.connect();
    assert_eq!(client.hear_list(), wire::announcement());
    let message = refused(&["--takeover", "--socket", text(master.socket_path())]);
    assert!(message.contains("does not know how"), "{message}");
    let again = master.connect();
    let find = wire::list(&[("request", "find_endp"), ("label", "e")]);
    assert_eq!(again.hear_list(), wire::announcement());
    for client in [client, again] {
        client.send(&find).expect("sent");
        let miss = wire::list(&[("status", "2"), ("property", "")]);
        assert_eq!(client.hear_list(), miss);
    }
}

#[cfg(feature = "system")]
#[test]
fn somebody_elses_listener_keeps_its_place() {
    scache_tests::needs_root();
    let (directory, path) = place();
    // One that hangs up at once.
    let listener = UnixListener::bind(&path).expect("bound");
    let copy = listener.try_clone().expect("a copy");
    let hangs_up = std::thread::spawn(move || drop(copy.accept()));
    let message = refused(&["--takeover", "--socket", text(&path)]);
    assert!(message.contains("did not answer"), "{message}");
    hangs_up.join().expect("it hung up");
    assert_eq!(files_beside(&path), ["socket"]);
    drop(listener);
    fs::remove_file(&path).expect("removed");
    // One of another user.
    let set_mode = |mode| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(directory.path(), mode).expect("set the mode");
    };
    set_mode(0o1777);
    let place = path.clone();
    let listener = std::thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(60_001);
        // Of this thread alone; and only root may.
        rustix::thread::set_thread_res_uid(user, user, user).expect("the tests run as root");
        UnixListener::bind(place).expect("bound")
    });
    let _listener = listener.join().expect("it listens");
    // That user may replace it, and may not.
    for (mode, part) in [(0o1777, "is not safe"), (0o755, "is of user 60001")] {
        set_mode(mode);
        let message = refused(&["--takeover", "--socket", text(&path)]);
        for part in [part, "60001"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(files_beside(&path), ["socket"]);
    }
}

#[test]
fn who_asks_and_leaves_has_not_taken_over() {
    let (_directory, path) = place();
    let daemon = Daemon::listening(&path, &OPTIONS);
    let connection = save(&mut Client::new(&path), LONG, "e", "p");
    let client = wire::Client::connect(&path).expect("connected");
    assert_eq!(client.hear_list(), wire::announcement());
    daemon.signal(Signal::STOP);
    client.send(&take_over_request()).expect("sent");
    drop(client);
    daemon.signal(Signal::CONT);
    // The first may be answered by one that is about to go, the second not.
    miss(&mut Client::new(&path), "none");
    find(&mut Client::new(&path), "e", "p", &connection);
    assert_eq!(daemon.terminate().0, Some(0));
}

#[test]
fn thousands_of_requests_to_take_over_are_answered_one_by_one() {
    const REQUESTS: usize = 3000;
    let (_directory, path) = place();
    // Not with a turn inside a turn inside a turn.
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -s 512 && exec \"$@\"", "sh"])
        .arg(built("scached"))
        .args(["--handover", "no", "--socket", text(&path)]);
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for("listening on");
    let mut client = UnixStream::connect(&path).expect("connected");
    client
        .write_all(&take_over_request().repeat(REQUESTS))
        .expect("sent");
    let client = wire::Client::from(std::os::fd::OwnedFd::from(client));
    assert_eq!(client.hear_list(), wire::announcement());
    for _ in 0..REQUESTS {
        assert_eq!(client.hear_list(), status("2"));
    }
}

#[cfg(feature = "system")]
#[test]
fn a_user_who_is_only_allowed_may_not_take_over() {
    scache_tests::needs_root();
    let (directory, path) = place();
    fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("open to all");
    let mut daemon = Daemon::listening(&path, &["--allow-user", "60001", "--mode", "0666"]);
    let place = path.clone();
    let client = std::thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(60_001);
        rustix::thread::set_thread_res_uid(user, user, user).expect("the tests run as root");
        wire::Client::connect(&place).expect("the mode lets it")
    });
    let client = client.join().expect("a client");
    assert_eq!(client.hear_list(), wire::announcement());
    client.send(&take_over_request()).expect("sent");
    assert_eq!(client.hear_list(), status("2"));
    let warning = daemon.wait_for("warning");
    assert!(warning.contains("may not take over"), "{warning}");
    miss(&mut Client::new(&path), "e");
}

#[test]
fn a_request_under_way_is_finished_by_the_one_that_goes() {
    let (_directory, path) = place();
    let old = Daemon::listening(&path, &[&OPTIONS[..], &["--verbose"]].concat());
    let client = wire::Client::connect(&path).expect("connected");
    assert_eq!(client.hear_list(), wire::announcement());
    let save = wire::list(&[
        ("request", "save_endp"),
        ("ttl", "600"),
        ("label", "e"),
        ("property", "p"),
    ]);
    client.send(&save).expect("sent");
    assert_eq!(client.hear_list(), wire::dummy());
    let _new = Daemon::listening(&path, &[&OPTIONS[..], &["--takeover"]].concat());
    let mut connection = Connection::new();
    client.send_descriptors(&[connection.near()]).expect("sent");
    connection.let_go();
    assert_eq!(client.hear_list(), status("0"));
    let heard = client.hear(Instant::now() + wire::DEADLINE);
    assert!(matches!(heard, Heard::End), "{heard:?}");
    let (code, said) = old.end();
    assert_eq!(code, Some(0));
    for line in ["taken over", "handed over 1 connections and 0 bindings"] {
        assert!(said.contains(line), "{said}");
    }
    find(&mut Client::new(&path), "e", "p", &connection);
}

#[test]
fn clients_that_come_meanwhile_are_served_by_one_of_the_two() {
    const CLIENTS: usize = 4;
    const TAKEOVERS: usize = 8;
    let (_directory, path) = place();
    let mut daemon = Daemon::listening(&path, &OPTIONS);
    let mut client = Client::new(&path);
    let kept: Vec<_> = (0..200)
        .map(|number: u32| save(&mut client, LONG, &format!("kept{number}"), "p"))
        .collect();
    let over = AtomicBool::new(false);
    let (rounds, again) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (path, over, rounds, again) = (&path, &over, &rounds, &again);
            scope.spawn(move || {
                let endpoint = format!("busy{number}");
                // Each with how often it may come back.
                let mut saved: Vec<(Connection, u32)> = Vec::new();
                while !over.load(Ordering::Relaxed) {
                    let connection = Connection::new();
                    let near = connection.near();
                    let (_, tries) = twice(path, again, |client| {
                        client.save_endpoint(LONG, endpoint.as_bytes(), b"", &near)
                    });
                    // Of a save that broke off nobody knows whether it came to pass.
                    saved.push((connection, tries));
                    let (found, _) = twice(path, again, |client| {
                        client.find_endpoint(endpoint.as_bytes())
                    });
                    // It may be on its way from one to the other; but it is nobody else's, and comes once.
                    if let Some(found) = found {
                        let place = saved
                            .iter()
                            .position(|(mine, _)| mine.check(&found.connection))
                            .expect("a connection that may come");
                        saved[place].1 -= 1;
                        if saved[place].1 == 0 {
                            saved.remove(place);
                        }
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..TAKEOVERS {
            let before = rounds.load(Ordering::Relaxed);
            daemon = take_over_quietly(&path, &mut daemon);
            while rounds.load(Ordering::Relaxed) < before + 20 {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let mut client = Client::new(&path);
    for (number, connection) in kept.iter().enumerate() {
        find(&mut client, &format!("kept{number}"), "p", connection);
    }
    println!(
        "{} rounds, {} connected again",
        rounds.load(Ordering::Relaxed),
        again.load(Ordering::Relaxed)
    );
}

/// As [`take_over`], of one that is kept in its place.
fn take_over_quietly(path: &Path, old: &mut Daemon) -> Daemon {
    let new = Daemon::listening(path, &[&OPTIONS[..], &["--takeover"]].concat());
    let status = old.child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0));
    new
}

/// Asks over a fresh connection, and if that breaks, over one more. Says how often it asked.
fn twice<T>(
    path: &Path,
    again: &AtomicU32,
    mut ask: impl FnMut(&mut Client) -> Result<T, scache_client::Error>,
) -> (T, u32) {
    match ask(&mut Client::new(path)) {
        Ok(answer) => (answer, 1),
        Err(_) => {
            again.fetch_add(1, Ordering::Relaxed);
            let answer = ask(&mut Client::new(path));
            (answer.expect("one reconnect is enough"), 2)
        }
    }
}
