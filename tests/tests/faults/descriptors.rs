//! Descriptors where they do not belong, and those that are left alone (rows 6, 7, 15, 16, 29).

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::sockopt::{
    Timeout, set_socket_linger, set_socket_timeout, socket_linger, socket_timeout,
};
use scache_tests::exchange::{
    ask, bind, find_endp, found_endp, miss, save, save_endp, saved, status, take, try_find,
    try_save,
};
use scache_tests::fake_master::{Setup, ours, stock};
use scache_tests::process::Process;
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, Identity, dummy};

use crate::common::{Side, client_of, hears_the_end, is_served, warnings, with_both};

#[test]
fn surplus_descriptors_are_closed() {
    const MESSAGES: usize = 50;
    with_both(|side, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let before = master.process().descriptors().len();
        let mut connections: Vec<Connection> = (0..3).map(|_| Connection::new()).collect();
        for _ in 0..MESSAGES {
            ask(&client, &save_endp("60", "endp", "p"), &dummy());
            let near: Vec<BorrowedFd<'_>> = connections.iter().map(Connection::near).collect();
            client.send_descriptors(&near).expect("send descriptors");
            assert_eq!(client.hear_list(), status(2));
        }
        for connection in &mut connections {
            connection.let_go();
        }
        miss(&client, "endp");
        let leaked = master.process().descriptors().len() - before;
        match side {
            Side::Stock => assert!(leaked >= MESSAGES, "stock leaks {leaked}"),
            Side::Ours => {
                assert_eq!(leaked, 0);
                for connection in connections {
                    assert_eq!(connection.far_hears_to_the_end(), Some(Vec::new()));
                }
            }
        }
    });
}

#[test]
fn as_many_descriptors_as_a_message_carries_are_closed() {
    let master = Setup::new(&ours()).start();
    let client = client_of(&master);
    let before = master.process().descriptors().len();
    let connection = Connection::new();
    for count in [2, 64, 252, 253] {
        ask(&client, &save_endp("60", "endp", "p"), &dummy());
        client
            .send_descriptors(&vec![connection.near(); count])
            .expect("send descriptors");
        assert_eq!(client.hear_list(), status(2), "{count}");
        assert_eq!(master.process().descriptors().len(), before, "{count}");
    }
    is_served(&client);
}

#[test]
fn a_descriptor_where_none_belongs_is_closed_and_ends_its_client() {
    const CLIENTS: usize = 150;
    /// What was said before the descriptor comes.
    type Words = fn(&Client);
    let before_it: [(&str, Words); 3] = [
        ("at first", |_| {}),
        ("between requests", is_served),
        ("in place of a dummy", |client| {
            ask(client, &find_endp("kept"), &found_endp("p"));
        }),
    ];
    let master = Setup::new(&ours()).start();
    let witness = client_of(&master);
    let kept = Connection::new();
    save(&witness, &kept, "kept", "p");
    let before = master.process().descriptors().len();
    let began = Instant::now();
    for _ in 0..CLIENTS / before_it.len() {
        for (what, words) in before_it {
            let client = client_of(&master);
            words(&client);
            let mut stray = Connection::new();
            client
                .send_descriptors(&[stray.near()])
                .expect("send a descriptor");
            stray.let_go();
            hears_the_end(&client);
            let heard = stray.far_hears_to_the_end();
            assert_eq!(heard, Some(Vec::new()), "{what}");
        }
    }
    assert_eq!(master.process().settles_at(before), before);
    take(&witness, "kept", &kept);
    let warnings = warnings(&master);
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("not so long");
    assert!(!warnings.is_empty(), "nothing is said of it");
    assert!(warnings.len() <= seconds + 2, "{warnings:#?}");
}

#[test]
fn a_descriptor_inside_a_request_ends_its_client_at_once() {
    // Nothing else ends it: the request has an hour to be completed.
    let master = Setup::new(&ours())
        .setting("connection_cache_request_timeout", "1h")
        .start();
    for words in [&b"request\0find_"[..], b"request\0find_endp\0", b"req"] {
        let client = client_of(&master);
        client.send(words).expect("send");
        let mut stray = Connection::new();
        client
            .send_descriptors(&[stray.near()])
            .expect("send a descriptor");
        stray.let_go();
        // The byte that it came with may have ended the request, which is answered then.
        let deadline = Instant::now() + DEADLINE;
        while let heard @ (Heard::Byte(..) | Heard::Nothing) = client.hear(deadline) {
            assert!(matches!(heard, Heard::Byte(_, None)), "{heard:?}");
        }
        assert_eq!(stray.far_hears_to_the_end(), Some(Vec::new()));
    }
}

#[cfg(feature = "system")]
#[test]
fn stock_goes_on_with_one_who_sent_a_descriptor_where_none_belongs() {
    let master = Setup::new(&stock()).start();
    let client = client_of(&master);
    let stray = Connection::new();
    client
        .send_descriptors(&[stray.near()])
        .expect("send a descriptor");
    is_served(&client);
}

#[test]
fn a_client_cannot_save_its_own_connection() {
    with_both(|side, program| {
        let master = Setup::new(program).start();
        let witness = client_of(&master);
        let before = master.process().descriptors().len();
        let client = client_of(&master);
        bind(&client, "dest", "d", "endp");
        let copy = client.as_fd().try_clone_to_owned().expect("a copy");
        for own in [client.as_fd(), copy.as_fd()] {
            let status = try_save(&client, 60, "endp", "p", own);
            let expected = if side == Side::Stock { 0 } else { 2 };
            assert_eq!(status, Ok(expected), "{side:?}");
        }
        drop((client, copy));
        match side {
            // The server holds it open itself, and never hears that its client is gone.
            Side::Stock => {
                is_served(&witness);
                assert!(master.process().descriptors().len() > before);
            }
            Side::Ours => {
                assert_eq!(master.process().settles_at(before), before);
                miss(&witness, "endp");
            }
        }
    });
}

#[test]
fn a_cached_connection_is_left_as_it_is() {
    with_both(|_, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        for (index, flags) in [OFlags::empty(), OFlags::NONBLOCK].into_iter().enumerate() {
            let connection = Connection::tcp();
            let seconds = |count| Some(Duration::from_secs(count));
            fcntl_setfl(connection.near(), flags).expect("set the flags");
            set_socket_timeout(connection.near(), Timeout::Recv, seconds(7)).expect("set it");
            set_socket_timeout(connection.near(), Timeout::Send, seconds(9)).expect("set it");
            set_socket_linger(connection.near(), seconds(3)).expect("set it");
            let state = |socket: BorrowedFd<'_>| {
                (
                    fcntl_getfl(socket).expect("the flags"),
                    socket_timeout(socket, Timeout::Recv).expect("the timeout"),
                    socket_timeout(socket, Timeout::Send).expect("the timeout"),
                    socket_linger(socket).expect("the time to linger"),
                )
            };
            let before = state(connection.near());
            let label = format!("endp{index}");
            save(&client, &connection, &label, "p");
            is_served(&client);
            assert!(connection.far_hears_nothing(Duration::from_millis(300)));
            assert_eq!(state(connection.near()), before, "while it is cached");
            ask(&client, &find_endp(&label), &found_endp("p"));
            client.send(&dummy()).expect("send a dummy");
            let Heard::Byte(0, Some(taken)) = client.hear(Instant::now() + DEADLINE) else {
                panic!("no descriptor")
            };
            assert_eq!(state(taken.as_fd()), before, "when it comes back");
            assert!(connection.check(&taken));
            client.send(&dummy()).expect("send a dummy");
            is_served(&client);
            // What is sent before the last close may linger, the flags and timeouts are the client's for good.
            let now = state(taken.as_fd());
            assert_eq!((now.0, now.1, now.2), (before.0, before.1, before.2));
        }
    });
}

#[test]
fn files_are_kept_and_never_written_to() {
    let master = Setup::new(&ours()).start();
    let client = client_of(&master);
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("file");
    std::fs::write(&path, "its content").expect("write a file");
    let open = || {
        std::fs::File::options()
            .read(true)
            .append(true)
            .open(&path)
            .expect("open the file")
    };
    for ttl in [60, 1] {
        let file = open();
        assert_eq!(try_save(&client, ttl, "file", "f", &file), Ok(0));
        if ttl == 60 {
            let found = try_find(&client, "file").expect("answered");
            assert!(found.is_some(), "the file is not found");
        } else {
            drop(file);
            let left = open();
            assert!(
                master.process().lets_go_of(Identity::of(&left)),
                "it does not expire"
            );
        }
    }
    // What a pipe carries belongs to its reader, and a goodbye is none of his business.
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    assert_eq!(try_save(&client, 1, "pipe", "p", &writer), Ok(0));
    drop(writer);
    let mut heard = Vec::new();
    std::io::Read::read_to_end(&mut reader, &mut heard).expect("read the pipe to its end");
    assert_eq!(heard.escape_ascii().to_string(), "");
    let content = std::fs::read_to_string(&path).expect("read the file");
    assert_eq!(content, "its content");
}

#[test]
fn no_descriptor_is_left_to_a_program_that_is_started() {
    with_both(|side, program| {
        let master = Setup::new(program).sockets(2).start();
        let client = client_of(&master);
        let cached = saved(&client, 60, Connection::tcp(), "cached");
        let file = tempfile::tempfile().expect("a file");
        assert_eq!(try_save(&client, 60, "file", "f", &file), Ok(0));
        let on_its_way = saved(&client, 60, Connection::new(), "on its way");
        let other = client_of(&master);
        ask(&other, &find_endp("on its way"), &found_endp("on its way"));
        is_served_unless_frozen(side, &client);
        // What the test itself left open to its child is not the child's fault.
        let mine = Process::new(std::process::id()).inheritable();
        let mut inheritable = master.process().inheritable();
        inheritable.retain(|descriptor| !mine.contains(descriptor));
        match side {
            Side::Stock => assert!(!inheritable.is_empty(), "stock closes all as well"),
            Side::Ours => assert_eq!(inheritable, [""; 0]),
        }
        drop((cached, on_its_way));
    });
}

/// Stock serves nobody while a descriptor is on its way.
fn is_served_unless_frozen(side: Side, client: &Client) {
    if side == Side::Ours {
        is_served(client);
    }
}
