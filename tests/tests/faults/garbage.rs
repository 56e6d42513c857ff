//! What nobody should say: huge values, floods of bad requests, noise (rows 5, 22, 23, 27).

use std::time::Instant;

use scache_tests::exchange::{
    ask, find_endp, no_endp, save, save_dest, saved, status, take, try_find, try_save,
};
use scache_tests::fake_master::{Setup, ours};
use scache_tests::wire::{Connection, Heard, attributes_of, list};

use crate::common::{Side, client_of, hears_the_end, is_served, logged, warnings, with_both};

/// The longest value and the longest request, with all their NULs.
const VALUE_BYTES: usize = 65_536;
const REQUEST_BYTES: usize = 262_144;

#[test]
fn the_longest_value_and_the_longest_request_are_served() {
    with_both(|_, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let (label, property) = ("l".repeat(VALUE_BYTES), "p".repeat(VALUE_BYTES));
        let connection = Connection::new();
        save(&client, &connection, &label, &property);
        take(&client, &label, &connection);
        ask(&client, &request_of(REQUEST_BYTES), &no_endp(2));
    });
}

#[test]
fn one_byte_more_is_refused_and_the_client_dropped() {
    let master = Setup::new(&ours()).start();
    let long = "l".repeat(VALUE_BYTES + 1);
    for (what, request) in [
        ("a label", find_endp(&long)),
        ("a property", save_dest("60", "d", &long, "e")),
        ("an unknown value", list(&[("x", &long)])),
        ("a name", list(&[(&long, "x")])),
        ("a request", request_of(REQUEST_BYTES + 1)),
    ] {
        let client = client_of(&master);
        client.send(&request).expect("the server reads it");
        let heard = client.hear_list();
        assert!(
            heard.starts_with(&status(1)[..9]),
            "{what}: {:?}",
            heard.escape_ascii().to_string()
        );
        hears_the_end(&client);
    }
    is_served(&client_of(&master));
}

/// A miss of so many bytes.
fn request_of(bytes: usize) -> Vec<u8> {
    let end = list(&[("request", "find_endp"), ("label", "nothing is here")]);
    let mut request = attributes_of(&vec![("x", "y".repeat(60_000)); 4]);
    let left = bytes - end.len() - request.len() - "x".len() - 2;
    request.extend(attributes_of(&[("x", "y".repeat(left))]));
    request.extend(end);
    assert_eq!(request.len(), bytes);
    request
}

#[test]
fn a_huge_value_costs_no_memory() {
    const VALUE: usize = 64 << 20;
    const LITTLE: u64 = 8 << 20;
    with_both(|side, program| {
        let master = Setup::new(program).start();
        let witness = client_of(&master);
        is_served(&witness);
        let before = master.process().memory();
        let client = client_of(&master);
        client.send(b"request\0find_endp\0label\0").expect("send");
        let piece = vec![b'x'; 1 << 20];
        let taken = (0..VALUE / piece.len())
            .take_while(|_| client.send(&piece).is_ok())
            .count();
        if side == Side::Stock {
            client.send(&[0, 0]).expect("send");
            assert_eq!(client.hear_list(), no_endp(2));
        }
        drop(client);
        is_served(&witness);
        let grown = master.process().memory().saturating_sub(before);
        match side {
            Side::Stock => assert!(grown >= VALUE as u64 / 2, "stock kept only {grown} bytes"),
            Side::Ours => {
                assert!(taken <= 2, "{taken} MiB were taken");
                assert!(grown < LITTLE, "{grown} bytes were kept");
            }
        }
    });
}

#[test]
fn memory_of_unfinished_requests_is_returned() {
    const CLIENTS: usize = 200;
    let master = Setup::new(&ours()).start();
    let witness = client_of(&master);
    is_served(&witness);
    let before = master.process().memory();
    let unfinished = request_of(REQUEST_BYTES);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let client = client_of(&master);
            client
                .send(&unfinished[..REQUEST_BYTES - 1])
                .expect("the server reads it");
            client
        })
        .collect();
    is_served(&witness);
    let held = master.process().descriptors().len();
    drop(clients);
    assert_eq!(master.process().settles_at(held - CLIENTS), held - CLIENTS);
    is_served(&witness);
    let grown = master.process().memory().saturating_sub(before);
    let sent = (CLIENTS * REQUEST_BYTES) as u64;
    assert!(grown < sent / 4, "{grown} bytes of {sent} are still held");
}

#[test]
fn a_flood_of_bad_requests_does_not_flood_the_log() {
    const REQUESTS: usize = 2_000;
    with_both(|side, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let before = Instant::now();
        for _ in 0..REQUESTS {
            let bad = list(&[("request", "find_endp"), ("wrong\nname\x1b[2J", "\x07\n")]);
            ask(&client, &bad, &no_endp(1));
        }
        let seconds = usize::try_from(before.elapsed().as_secs()).expect("not so long");
        let warnings = warnings(&master);
        match side {
            Side::Stock => assert!(warnings.len() >= REQUESTS, "{}", warnings.len()),
            // One for each second that began, and none of the bytes that could do something.
            Side::Ours => {
                assert!(!warnings.is_empty(), "nothing is said of it");
                assert!(warnings.len() <= seconds + 2, "{warnings:#?}");
            }
        }
        if side == Side::Ours {
            for line in master.log_lines(0) {
                assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    });
}

#[test]
fn with_more_logging_no_byte_of_a_client_gets_into_the_log_unescaped() {
    let master = Setup::new(&ours()).arguments(&["-v"]).start();
    let client = client_of(&master);
    let label = b"\n\r\x1b[2J\x7f\x80\xff\x9b fatal: ";
    ask(&client, &find_endp(label), &no_endp(2));
    let connection = Connection::new();
    let saved = try_save(&client, 60, label, label, connection.near());
    assert_eq!(saved, Ok(0));
    let lines = logged(&master);
    let of_label: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("find_endp") || line.contains("fatal: "))
        .collect();
    assert!(!of_label.is_empty(), "-v says nothing of requests");
    for line in lines {
        let harmless = |character: char| character == ' ' || character.is_ascii_graphic();
        assert!(line.chars().all(harmless), "{line:?}");
    }
}

#[test]
fn noise_ends_the_one_who_makes_it_at_most() {
    const MESSAGES: u64 = 2_000;
    let mut master = Setup::new(&ours()).start();
    let pid = master.pid();
    let witness = client_of(&master);
    let kept = Connection::new();
    save(&witness, &kept, "kept", "p");
    let held = master.process().descriptors().len();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for message in 0..MESSAGES {
        let client = client_of(&master);
        let noise = random.noise();
        // The server may have dropped the client before it has said all.
        let _ = client.send(&noise);
        if message % 16 == 0 {
            is_served(&witness);
        }
    }
    assert!(master.runs() && master.pid() == pid, "it is gone");
    assert_eq!(master.process().settles_at(held), held, "descriptors");
    take(&witness, "kept", &kept);
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        // xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Words of the protocol, NULs and bytes in any order.
    fn noise(&mut self) -> Vec<u8> {
        const WORDS: &[&[u8]] = &[
            b"request\0",
            b"find_endp\0",
            b"save_endp\0",
            b"find_dest\0",
            b"save_dest\0",
            b"label\0",
            b"property\0",
            b"ttl\0",
            b"60\0",
            b"dummy\0",
            b"\0",
            b"\0\0",
            b"99999999999999999999\0",
            b"-1\0",
            b"kept",
            b"\xff\xfe",
            b"status\0",
        ];
        let mut noise = Vec::new();
        for _ in 0..1 + self.next() % 30 {
            let choice = usize::try_from(self.next() % (WORDS.len() as u64 + 1)).expect("small");
            match WORDS.get(choice) {
                // Nobody but the witness is to find what is kept.
                Some(word) => noise.extend_from_slice(word),
                None => noise.extend((0..self.next() % 300).map(|byte| byte as u8 ^ 0x5a)),
            }
        }
        while let Some(place) = noise.windows(4).position(|window| window == b"kept") {
            noise[place] = b'w';
        }
        noise
    }
}

#[test]
fn labels_that_resemble_each_other_are_told_apart() {
    with_both(|_, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        // Lengths, prefixes and permutations on which weak hashes collide.
        let labels: Vec<String> = [
            "Aa", "BB", "AaAa", "AaBB", "BBAa", "BBBB", "ab", "ba", "a", "aa",
        ]
        .iter()
        .flat_map(|label| {
            [
                (*label).to_owned(),
                label.repeat(500),
                format!("{label}\n*"),
            ]
        })
        .collect();
        let connections: Vec<Connection> = labels
            .iter()
            .map(|label| saved(&client, 60, Connection::new(), label))
            .collect();
        for (label, connection) in labels.iter().zip(&connections).rev() {
            take(&client, label, connection);
        }
        for label in &labels {
            assert!(matches!(try_find(&client, label), Ok(None)), "{label}");
        }
        let heard = client.hear(Instant::now());
        assert!(matches!(heard, Heard::Nothing), "{heard:?}");
    });
}
