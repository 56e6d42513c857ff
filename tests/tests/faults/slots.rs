//! Slots of clients (row 32): idle clients make room, clients in the middle of something do not, and root gets in.

use scache_tests::exchange::{find_endp, greeted, no_endp};
use scache_tests::fake_master::FakeMaster;
use scache_tests::wire::Client;

use crate::common::{
    becomes_true, client_of, hears_nothing, hears_the_end, is_served, ours_with, warnings,
};

/// daemon, on every Debian.
const USER: u32 = 1;

const LIMIT: usize = 4;

/// A server with four slots whose clients may take as long as they like over a request.
fn with_few_slots() -> FakeMaster {
    ours_with(&[
        ("connection_cache_client_limit", "4"),
        ("connection_cache_request_timeout", "1h"),
    ])
}

fn closed_idle(master: &FakeMaster) -> u64 {
    let mut client = scache_client::Client::new(master.socket_path());
    client.stats().expect("told").clients_closed_idle
}

/// A client in the middle of a request.
fn busy(master: &FakeMaster) -> Client {
    let client = client_of(master);
    client.send(b"request\0").expect("send");
    client
}

#[test]
fn the_client_that_has_been_idle_the_longest_makes_room() {
    let master = with_few_slots();
    let clients: Vec<Client> = (0..LIMIT).map(|_| client_of(&master)).collect();
    clients.iter().for_each(is_served);
    is_served(&clients[0]);
    let fifth = client_of(&master);
    is_served(&fifth);
    hears_the_end(&clients[1]);
    for stays in [&clients[0], &clients[2], &clients[3], &fifth] {
        is_served(stays);
    }
    // Whoever asks how many were closed is one more for whom another one is.
    assert_eq!(closed_idle(&master), 2);
    hears_the_end(&clients[0]);
    // This is an ordinary thing: nobody has to wait for long.
    assert_eq!(warnings(&master), Vec::<String>::new());
}

#[test]
fn clients_that_never_say_anything_make_room() {
    let master = with_few_slots();
    let silent: Vec<Client> = (0..LIMIT + 1).map(|_| client_of(&master)).collect();
    let last = client_of(&master);
    is_served(&last);
    hears_the_end(&silent[0]);
}

#[test]
fn what_a_client_was_told_can_be_read_after_it_was_closed() {
    let master = with_few_slots();
    let clients: Vec<Client> = (0..LIMIT).map(|_| client_of(&master)).collect();
    for client in &clients {
        client.send(&find_endp("nothing is here")).expect("send");
    }
    // Each of these takes the slot of one that has its answer, whether it was read or not.
    let mut others = Vec::new();
    for _ in 0..2 * LIMIT {
        let other = client_of(&master);
        is_served(&other);
        others.push(other);
    }
    for client in &clients {
        assert_eq!(client.hear_list(), no_endp(2));
        hears_the_end(client);
    }
}

#[cfg(feature = "system")]
#[test]
fn clients_in_the_middle_of_a_request_keep_their_slots_but_not_that_of_root() {
    let master = with_few_slots();
    let (held, waiting) = master.as_user(USER, || {
        let held: Vec<Client> = (0..LIMIT).map(|_| busy(&master)).collect();
        // Many more than may wait without being served.
        let waiting: Vec<Client> = (0..100).map(|_| master.connect()).collect();
        (held, waiting)
    });
    for _ in 0..2 {
        is_served(&client_of(&master));
    }
    held.iter().for_each(hears_nothing);
    // Those who wait get the slots that become free, the first first.
    drop(held);
    for client in waiting.into_iter().take(LIMIT) {
        is_served(&greeted(client));
    }
}

#[cfg(feature = "system")]
#[test]
fn another_user_is_not_locked_out_by_those_who_wait() {
    let master = with_few_slots();
    let held = master.as_user(USER, || {
        let held: Vec<Client> = (0..LIMIT).map(|_| busy(&master)).collect();
        (held, (0..100).map(|_| master.connect()).collect::<Vec<_>>())
    });
    let root: Vec<Client> = vec![busy(&master)];
    let second_user = master.as_user(USER + 1, || master.connect());
    // It waits: nobody is idle.
    hears_nothing(&second_user);
    // Of those before it so many were sent away that its turn comes, though they keep silent for as long as they may.
    let (held, silent) = held;
    drop((held, root));
    is_served(&greeted(second_user));
    drop(silent);
}

#[test]
fn a_client_that_reads_no_replies_does_not_keep_its_slot() {
    let master = ours_with(&[
        ("connection_cache_client_limit", "1"),
        ("connection_cache_request_timeout", "1s"),
    ]);
    // One slot, and the one of root.
    let deaf: Vec<Client> = (0..2).map(|_| client_of(&master)).collect();
    for client in &deaf {
        // Complete requests, so that no time of a request runs, whose answers fill the socket.
        let requests = find_endp("x").repeat(500);
        for _ in 0..20 {
            client.send(&requests).expect("send");
        }
    }
    let next = client_of(&master);
    is_served(&next);
    becomes_true("it is told why one of them was dropped", || {
        let warning = "client takes too long to read its replies while others wait for its slot";
        let warnings = warnings(&master);
        warnings.iter().any(|line| line.contains(warning))
    });
}
