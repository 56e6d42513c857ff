//! Reloads of Postfix (row 24) with a real successor, ours and stock: what was cached is still there.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use scache_tests::exchange::{
    ask, bind, find_dest, found_dest, miss, no_dest, receive, save, saved, take, try_find,
};
use scache_tests::fake_master::{FakeMaster, Program, Setup, ours, programs, stock};
use scache_tests::wire::{Client, Connection, QUIET, announcement};

use crate::common::{becomes_true, client_of, is_served, last_words, logged, ours_with, warnings};

/// Reloads, and waits for the predecessor to be done.
fn reloaded(master: &mut FakeMaster, successor: &Program) {
    master.reload(successor);
    let pid = master.pid();
    becomes_true("the predecessor is done", || {
        let others = master.servers();
        others.iter().all(|process| process.pid() == pid)
    });
}

#[test]
fn everything_is_there_after_a_reload_in_its_order() {
    for (name, successor) in programs() {
        let mut master = Setup::new(&ours()).start();
        let client = client_of(&master);
        let connections: Vec<(String, Connection)> = (0..200)
            .map(|index| {
                let label = format!("endp {}", index % 20);
                let connection = saved(&client, 60, Connection::new(), &label);
                (label, connection)
            })
            .collect();
        for index in 0..60 {
            let endpoint = format!("endp {}", (index * 7) % 20);
            bind(
                &client,
                &format!("dest {}", index % 6),
                &index.to_string(),
                &endpoint,
            );
        }
        drop(client);
        reloaded(&mut master, &successor);
        let client = client_of(&master);
        // One by each destination: its first binding.
        for index in 0..6 {
            let endpoint = format!("endp {}", (index * 7) % 20);
            let reply = found_dest(&index.to_string(), &endpoint);
            ask(&client, &find_dest(&format!("dest {index}")), &reply);
            let first = connections.iter().find(|(label, _)| *label == endpoint);
            receive(&client, &first.expect("it was saved").1);
        }
        let mut taken_before: Vec<String> = (0..6)
            .map(|index| format!("endp {}", (index * 7) % 20))
            .collect();
        for (label, connection) in &connections {
            if let Some(place) = taken_before.iter().position(|taken| taken == label) {
                taken_before.remove(place);
                continue;
            }
            take(&client, label, connection);
        }
        for index in 0..20 {
            miss(&client, &format!("endp {index}"));
        }
        ask(&client, &find_dest("dest 0"), &no_dest(2));
        for (label, connection) in &connections {
            assert_eq!(connection.far_has_heard(), b"", "{name}, {label}");
        }
    }
}

#[cfg(feature = "system")]
#[test]
fn stock_loses_everything_without_a_word() {
    let mut master = Setup::new(&stock()).start();
    let client = client_of(&master);
    let connection = saved(&client, 60, Connection::new(), "endp");
    drop(client);
    assert_eq!(master.dismiss().code(), Some(0));
    assert!(!master.somebody_connects(QUIET), "it hands something over");
    assert_eq!(last_words(&connection), "");
    master.start_successor(&ours());
    miss(&client_of(&master), "endp");
}

#[test]
fn a_reload_buys_no_time() {
    for (name, successor) in programs() {
        let mut master = Setup::new(&ours()).start();
        let client = client_of(&master);
        let short = saved(&client, 3, Connection::new(), "short");
        let saved_at = Instant::now();
        let long = saved(&client, 60, Connection::new(), "long");
        drop(client);
        sleep(Duration::from_millis(900));
        reloaded(&mut master, &successor);
        // Stock is told whole seconds, and adds up to one of its own.
        let over = if name == "stock" { 7_000 } else { 3_050 };
        sleep(Duration::from_millis(over).saturating_sub(saved_at.elapsed()));
        let client = client_of(&master);
        miss(&client, "short");
        take(&client, "long", &long);
        assert_ne!(last_words(&short), "no end", "{name}");
    }
}

#[cfg(feature = "system")]
#[test]
fn a_stock_successor_has_nothing_to_complain_of_for_each_entry() {
    let mut master = Setup::new(&ours()).start();
    let client = client_of(&master);
    let connections: Vec<Connection> = (0..30)
        .map(|index| {
            bind(&client, "dest", &index.to_string(), "endp");
            saved(&client, 60, Connection::new(), "endp")
        })
        .collect();
    drop(client);
    reloaded(&mut master, &stock());
    let client = client_of(&master);
    take(&client, "endp", &connections[0]);
    let warnings = warnings(&master);
    assert!(warnings.len() <= 1, "{warnings:#?}");
}

#[test]
fn entries_survive_one_reload_after_another() {
    let mut master = Setup::new(&ours()).start();
    let connections: Vec<Connection> = {
        let client = client_of(&master);
        bind(&client, "dest", "d", "endp");
        (0..20)
            .map(|_| saved(&client, 60, Connection::new(), "endp"))
            .collect()
    };
    for _ in 0..5 {
        reloaded(&mut master, &ours());
    }
    let client = client_of(&master);
    for connection in &connections {
        ask(&client, &find_dest("dest"), &found_dest("d", "endp"));
        receive(&client, connection);
    }
    ask(&client, &find_dest("dest"), &no_dest(2));
}

#[test]
fn the_past_of_a_connection_goes_with_it() {
    let mut master = ours_with(&[("connection_cache_reuse_limit", "2")]);
    let client = client_of(&master);
    let connection = Connection::new();
    save(&client, &connection, "endp", "p");
    take(&client, "endp", &connection);
    save(&client, &connection, "endp", "p");
    drop(client);
    reloaded(&mut master, &ours());
    let client = client_of(&master);
    take(&client, "endp", &connection);
    save(&client, &connection, "endp", "p");
    miss(&client, "endp");
    assert_eq!(connection.far_has_heard(), b"QUIT\r\n");
}

#[test]
fn the_successor_counts_what_it_was_given_as_saved() {
    let mut master = Setup::new(&ours()).start();
    let client = client_of(&master);
    bind(&client, "dest", "d", "endp");
    let connection = saved(&client, 60, Connection::new(), "endp");
    drop(client);
    reloaded(&mut master, &ours());
    reloaded(&mut master, &ours());
    let lines = logged(&master);
    let most: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("max simultaneous"))
        .collect();
    let expected = "statistics: max simultaneous domains=1 addresses=1 connection=1";
    assert_eq!(most, [expected; 2], "{lines:#?}");
    assert!(
        lines.iter().all(|line| line.starts_with("statistics: ")),
        "{lines:#?}"
    );
    drop(connection);
}

#[test]
fn clients_go_on_during_reloads_and_each_connection_has_one_taker() {
    const CONNECTIONS: usize = 300;
    const TAKERS: usize = 3;
    let mut master = Setup::new(&ours()).start();
    let connections: Vec<Connection> = {
        let client = client_of(&master);
        (0..CONNECTIONS)
            .map(|index| saved(&client, 60, Connection::new(), &format!("endp {index}")))
            .collect()
    };
    let path = master.socket_path().to_owned();
    let over = AtomicBool::new(false);
    let taken: Vec<AtomicUsize> = (0..CONNECTIONS).map(|_| AtomicUsize::new(0)).collect();
    let uncertain: Vec<AtomicBool> = (0..CONNECTIONS).map(|_| AtomicBool::new(false)).collect();
    let answers = AtomicUsize::new(0);
    thread::scope(|scope| {
        for taker in 0..TAKERS {
            let (path, over, taken, uncertain) = (&path, &over, &taken, &uncertain);
            let (connections, answers) = (&connections, &answers);
            scope.spawn(move || {
                let mut client = None;
                // Only the first third is asked for, over and over.
                for index in (0..CONNECTIONS / 3).cycle().skip(taker * 17) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let connected = client.get_or_insert_with(|| {
                        let client = Client::connect(path).expect("master listens");
                        (client.hear_list() == announcement()).then_some(client)
                    });
                    let found = connected
                        .as_ref()
                        .map(|client| try_find(client, format!("endp {index}")));
                    match found {
                        Some(Ok(Some(found))) => {
                            assert!(connections[index].check(&found.descriptor));
                            taken[index].fetch_add(1, Ordering::Relaxed);
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        Some(Ok(None)) => {
                            answers.fetch_add(1, Ordering::Relaxed);
                        }
                        // The server went in the middle: it may have been on its way to us.
                        Some(Err(_)) => {
                            uncertain[index].store(true, Ordering::Relaxed);
                            client = None;
                        }
                        None => client = None,
                    }
                    sleep(Duration::from_millis(2));
                }
            });
        }
        for _ in 0..3 {
            let before = answers.load(Ordering::Relaxed);
            becomes_true("clients are answered", || {
                answers.load(Ordering::Relaxed) > before + TAKERS
            });
            reloaded(&mut master, &ours());
        }
        over.store(true, Ordering::Relaxed);
    });
    let client = client_of(&master);
    let mut lost = 0;
    for (index, connection) in connections.iter().enumerate() {
        let found = try_find(&client, format!("endp {index}")).expect("answered");
        let there = found.is_some_and(|found| connection.check(&found.descriptor));
        let owners = taken[index].load(Ordering::Relaxed) + usize::from(there);
        assert!(owners <= 1, "endp {index} has {owners} owners");
        if owners == 0 {
            assert!(
                uncertain[index].load(Ordering::Relaxed),
                "endp {index} is lost"
            );
            lost += 1;
        }
        assert_eq!(connection.far_has_heard(), b"", "endp {index}");
    }
    assert!(lost <= 3 * TAKERS, "{lost} are lost");
    is_served(&client);
}

#[cfg(feature = "system")]
#[test]
fn the_hand_over_works_for_a_process_without_privileges() {
    scache_tests::needs_root();
    use std::os::unix::fs::{PermissionsExt, chown};
    let mut master = Setup::new(&ours()).arguments(&["-u"]).start();
    // As Postfix has it: private/ belongs to mail_owner, here daemon, and nobody else gets in.
    let root = master.directory().to_owned();
    let passable = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&root, passable).expect("set the mode");
    let daemon = 1;
    chown(root.join("private"), Some(daemon), None).expect("chown");
    let all = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(master.socket_path(), all).expect("set the mode");
    let client = client_of(&master);
    let connection = saved(&client, 60, Connection::new(), "endp");
    drop(client);
    reloaded(&mut master, &ours());
    take(&client_of(&master), "endp", &connection);
}
