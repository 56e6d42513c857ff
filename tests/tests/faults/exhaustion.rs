//! No descriptor left (rows 8 and 9): stock gives up, ours makes room, waits without spinning, and goes on.

use std::thread::sleep;
use std::time::{Duration, Instant};

use scache_tests::exchange::{
    find_endp, greeted, miss, no_endp, save, saved, take, try_find, try_save,
};
use scache_tests::fake_master::{Setup, ours, stock};
use scache_tests::wire::{Client, Connection, DEADLINE};

use crate::common::{
    QUIT, Side, client_of, hears_nothing, is_served, last_words, warnings, with_both, with_settings,
};

/// More clients than there can be descriptors, and no limit that would keep them out before.
const UNLIMITED: &[(&str, &str)] = &[
    ("connection_cache_client_limit", "100000"),
    ("connection_cache_connection_limit", "100000"),
];

#[cfg(feature = "system")]
#[test]
fn in_stock_too_many_clients_end_the_service() {
    // It wants a number from 128 on for itself.
    let mut master = Setup::new(&stock()).descriptor_limit(160).start();
    let witness = client_of(&master);
    let kept = saved(&witness, 60, Connection::new(), "endp");
    let clients: Vec<Client> = (0..200).map(|_| master.connect()).collect();
    // It tries again until it has had enough.
    assert_eq!(master.wait_for_exit().code(), Some(1));
    assert_eq!(last_words(&kept), "");
    drop(clients);
}

#[test]
fn too_many_clients_wait_without_spinning_and_are_served_when_others_leave() {
    // Where there is a limit on clients, idle ones make room (`slots`): here it is descriptors that are missing.
    let setup = Setup::new(&ours()).descriptor_limit(80);
    let mut master = with_settings(setup, UNLIMITED).start();
    let witness = client_of(&master);
    let mut clients: Vec<Client> = (0..160).map(|_| master.connect()).collect();
    for client in &clients {
        client.send(&find_endp("nothing is here")).expect("send");
    }
    is_served(&witness);
    // Those who are in were served; the last is not in.
    let last = clients.pop().expect("a client");
    hears_nothing(&last);
    let before = master.process().processor_time();
    sleep(Duration::from_secs(2));
    let used = master.process().processor_time() - before;
    assert!(used < Duration::from_millis(100), "{used:?} in 2 s");
    is_served(&witness);
    drop(clients);
    let last = greeted(last);
    assert_eq!(last.hear_list(), no_endp(2));
    is_served(&last);
    is_served(&client_of(&master));
    assert!(master.runs());
}

#[test]
fn a_limit_that_is_raised_is_noticed() {
    let master = with_settings(Setup::new(&ours()), UNLIMITED).start();
    let witness = client_of(&master);
    master.process().exhaust_descriptors();
    // Only the first few may find a reserve.
    let waiting: Vec<Client> = (0..20).map(|_| master.connect()).collect();
    is_served(&witness);
    let last = waiting.last().expect("a client");
    hears_nothing(last);
    master.process().limit_descriptors(1_000);
    for client in waiting {
        is_served(&greeted(client));
    }
}

#[test]
fn cached_connections_make_room_for_clients_soonest_to_expire_first() {
    let master = with_settings(Setup::new(&ours()), UNLIMITED).start();
    let client = client_of(&master);
    // None of them expires before the test is over.
    let ttls = [50, 40, 55, 45, 60];
    let fars = ttls.map(|ttl| saved(&client, ttl, Connection::tcp(), &ttl.to_string()));
    master.process().exhaust_descriptors();
    let mut clients: Vec<Client> = Vec::new();
    // Each needs room; two at least have to be given up for three.
    for _ in 0..3 {
        clients.push(client_of(&master));
        clients.iter().for_each(is_served);
    }
    let mut there: Vec<(u32, bool)> = ttls
        .iter()
        .zip(&fars)
        .map(|(ttl, far)| {
            let found = try_find(&client, ttl.to_string()).expect("answered");
            if let Some(found) = &found {
                assert!(far.check(&found.descriptor));
            } else {
                assert_eq!(last_words(far), QUIT);
            }
            (*ttl, found.is_some())
        })
        .collect();
    there.sort_unstable();
    let given_up = there.iter().take_while(|(_, found)| !found).count();
    assert!((1..=4).contains(&given_up), "{there:?}");
    let kept = &there[given_up..];
    assert!(kept.iter().all(|(_, found)| *found), "{there:?}");
}

#[test]
fn a_save_without_room_fails_and_makes_room_for_the_next() {
    with_both(|side, program| {
        let master = with_settings(Setup::new(program), UNLIMITED).start();
        let client = client_of(&master);
        let fars = [40, 50, 60].map(|ttl| saved(&client, ttl, Connection::tcp(), &ttl.to_string()));
        master.process().exhaust_descriptors();
        let first = Connection::tcp();
        let status = try_save(&client, 60, "first", "p", first.near());
        let expected = if side == Side::Stock {
            &[2][..]
        } else {
            &[0, 2]
        };
        let status = status.expect("answered");
        assert!(expected.contains(&status), "{side:?}: status {status}");
        let second = Connection::tcp();
        let status = try_save(&client, 60, "second", "p", second.near());
        match side {
            Side::Stock => assert_eq!(status, Ok(2)),
            Side::Ours => {
                assert_eq!(status, Ok(0), "there is room now");
                take(&client, "second", &second);
                assert_eq!(last_words(&fars[0]), QUIT);
                take(&client, "60", &fars[2]);
            }
        }
        is_served(&client);
    });
}

#[test]
fn finds_go_on_without_descriptors() {
    with_both(|_, program| {
        let master = with_settings(Setup::new(program), UNLIMITED).start();
        let client = client_of(&master);
        let far = saved(&client, 60, Connection::tcp(), "endp");
        master.process().exhaust_descriptors();
        take(&client, "endp", &far);
        miss(&client, "endp");
    });
}

#[test]
fn a_flood_of_saves_fits_into_a_few_descriptors() {
    const SAVES: u32 = 600;
    for settings in [UNLIMITED, &[]] {
        let setup = Setup::new(&ours()).descriptor_limit(64);
        let mut master = with_settings(setup, settings).start();
        let client = client_of(&master);
        let mut refused = 0;
        let mut last = None;
        for ttl in 0..SAVES {
            let connection = Connection::new();
            let label = format!("endp {ttl}");
            match try_save(&client, 10 + ttl, &label, "p", connection.near()) {
                Ok(0) => last = Some((label, connection)),
                Ok(2) => refused += 1,
                other => panic!("save {ttl}: {other:?}"),
            }
            // Others come and go meanwhile.
            if ttl % 20 == 0 {
                is_served(&client_of(&master));
            }
        }
        let (label, connection) = last.expect("some are saved");
        take(&client, &label, &connection);
        assert!(refused <= SAVES / 2, "{refused} of {SAVES} are refused");
        assert!(master.runs());
    }
}

#[test]
fn running_out_is_said_but_not_over_and_over() {
    let began = Instant::now();
    let master = with_settings(Setup::new(&ours()), UNLIMITED).start();
    let witness = client_of(&master);
    master.process().exhaust_descriptors();
    let waiting: Vec<Client> = (0..20).map(|_| master.connect()).collect();
    while began.elapsed() < Duration::from_secs(3) {
        is_served(&witness);
    }
    let connection = Connection::new();
    assert!(try_save(&witness, 60, "endp", "p", connection.near()).is_ok());
    let warnings = warnings(&master);
    let seconds = usize::try_from(began.elapsed().as_secs()).expect("not so long");
    // Of two kinds: who cannot come in, and what cannot be received.
    assert!(
        (1..=2 * (seconds + 2)).contains(&warnings.len()),
        "{warnings:#?}"
    );
    drop(waiting);
}

#[test]
fn what_was_cached_survives_a_time_without_descriptors() {
    let master = with_settings(Setup::new(&ours()), UNLIMITED).start();
    let witness = client_of(&master);
    let connection = Connection::tcp();
    master.process().exhaust_descriptors();
    let waiting: Vec<Client> = (0..5).map(|_| master.connect()).collect();
    is_served(&witness);
    master.process().limit_descriptors(1_000);
    let deadline = Instant::now() + DEADLINE;
    save(&witness, &connection, "endp", "p");
    for client in waiting {
        is_served(&greeted(client));
    }
    assert!(Instant::now() < deadline);
    take(&witness, "endp", &connection);
}
