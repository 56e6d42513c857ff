//! Too many descriptors of one user on their way (row 18): sendmsg(2) refuses to send one more, and the server lives.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use scache_tests::exchange::{
    ask, ask_inline, find_endp, found_endp, no_endp, saved, take, try_find,
};
use scache_tests::fake_master::{Setup, ours};
use scache_tests::wire::{Connection, dummy};

use crate::common::{OtherUser, becomes_true, client_of, hears_the_end, is_served};

/// A user whom no other test needs, by number and name: games, on every Debian.
const USER: u32 = 5;
const USER_NAME: &str = "games";

/// Far above the limit of the server, below that of this process.
const IN_FLIGHT: usize = 1_500;

/// A process of the same user that keeps descriptors on their way.
struct Holder {
    child: Child,
    sent: usize,
}

impl Holder {
    fn start() -> Self {
        let user = OtherUser::new(USER);
        let mut child = user
            .command()
            .args(["hold-in-flight", &IN_FLIGHT.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("these tests need root, to be another user");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its standard output"))
            .read_line(&mut line)
            .expect("a line");
        let sent = line.trim().parse().expect("a number");
        Self { child, sent }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(feature = "system")]
#[test]
fn a_connection_that_cannot_be_sent_stays_cached_and_the_server_lives() {
    scache_tests::needs_root();
    let owner = format!("mail_owner={USER_NAME}");
    let mut master = Setup::new(&ours())
        .arguments(&["-u", "-o", &owner])
        .descriptor_limit(200)
        .start();
    let witness = client_of(&master);
    let connections =
        ["first", "second"].map(|label| saved(&witness, 60, Connection::new(), label));
    let inline = client_of(&master);
    ask_inline(&inline);
    let held = master.process().descriptors().len();
    let holder = Holder::start();
    assert_eq!(holder.sent, IN_FLIGHT, "not so many are on their way");
    for _ in 0..5 {
        let client = client_of(&master);
        client.send(&find_endp("first")).expect("send a request");
        let heard = client.hear_list();
        if heard == found_endp("first") {
            client.send(&dummy()).expect("send a dummy");
            // The status was 0 already: all that is left is to hang up, at once.
            hears_the_end(&client);
            // Who tries again is told that nothing is there: two failures would end smtp(8)'s use of the cache.
            ask(&client_of(&master), &find_endp("first"), &no_endp(2));
        } else {
            assert_eq!(heard, no_endp(2));
        }
        drop(client);
        // An inline client can still be told when the descriptor cannot be sent.
        ask(&inline, &find_endp("first"), &no_endp(2));
        is_served(&witness);
        assert_eq!(master.process().settles_at(held), held);
    }
    // Saves do not send.
    let third = saved(&witness, 60, Connection::new(), "third");
    drop(holder);
    becomes_true("descriptors can be sent again", || {
        let client = client_of(&master);
        matches!(try_find(&client, "third"), Ok(Some(_)))
    });
    for (label, connection) in ["first", "second"].iter().zip(&connections) {
        take(&client_of(&master), label, connection);
    }
    assert!(master.runs());
    drop(third);
}
