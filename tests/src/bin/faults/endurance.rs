//! Many exchanges, good and bad, and what the server holds afterwards.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use scache_tests::exchange::{find_endp, greeted, save_endp, status, try_find, try_save};
use scache_tests::fake_master::{FakeMaster, Program, Setup, ours, stock};
use scache_tests::wire::{Client, Connection, DEADLINE, Heard, announcement, dummy, list};

use crate::Counts;
use crate::report::Report;

/// Stock needs longer for the same, and it does not last: a part is enough to see it.
const STOCK_PART: usize = 10;

pub fn measure(counts: &Counts, report: &mut Report) {
    report.part("Descriptors of the server before and after");
    for (name, program, part) in [("stock", stock(), STOCK_PART), ("ours", ours(), 1)] {
        let pairs = good(name, &program, counts.pairs / part, report);
        let messages = bad(name, &program, counts.hostile_messages / part, report);
        if name == "ours" {
            report.promise(
                "save/find pairs leave the number of descriptors unchanged",
                pairs,
            );
            report.promise(
                "hostile messages leave the number of descriptors unchanged and the server alive",
                messages,
            );
        }
    }
}

/// Whether nothing is left of as many pairs.
fn good(name: &str, program: &Program, pairs: usize, report: &Report) -> bool {
    let master = Setup::new(program).start();
    let client = greeted(master.connect());
    let before = master.process().descriptors().len();
    let connection = Connection::new();
    let began = Instant::now();
    for pair in 0..pairs {
        let label = format!("endp {}", pair % 256);
        let saved = try_save(&client, 60, &label, "p", connection.near());
        assert_eq!(saved, Ok(0), "pair {pair}");
        let found = try_find(&client, &label).expect("answered");
        let found = found.expect("what was just saved is found");
        assert!(connection.check(&found.descriptor), "another connection");
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / pairs.max(1) as f64;
    let after = master.process().settles_at(before);
    report.row(
        name,
        &format!("{pairs:>8} save/find pairs: {before} before, {after} after, {each:.0} µs each"),
    );
    before == after
}

/// Whether nothing is left of as many messages, and somebody to ask.
fn bad(name: &str, program: &Program, messages: usize, report: &Report) -> bool {
    let mut master = Setup::new(program).start();
    let witness = greeted(master.connect());
    let before = master.process().descriptors().len();
    let connection = Connection::new();
    let mut sent = 0;
    while sent < messages && master.runs() {
        if Hostility::ALL[sent % Hostility::ALL.len()]
            .act(&master, &connection)
            .is_none()
        {
            break;
        }
        sent += 1;
    }
    let alive =
        master.runs() && witness.send(&find_endp("x")).is_ok() && !witness.hear_list().is_empty();
    let after = if alive {
        master.process().settles_at(before).to_string()
    } else if master.runs() {
        "frozen".to_owned()
    } else {
        let log = master.all_log_lines();
        format!("dead ({})", log.last().map_or("", String::as_str))
    };
    report.row(
        name,
        &format!("{sent:>8} hostile messages: {before} before, {after} after"),
    );
    sent == messages && after == before.to_string()
}

/// What nobody should send.
#[derive(Clone, Copy, Debug)]
enum Hostility {
    Garbage,
    SurplusDescriptors,
    StrayDescriptor,
    Oversize,
    HalfARequest,
    HalfASave,
    HalfAFind,
}

impl Hostility {
    const ALL: [Self; 7] = [
        Self::Garbage,
        Self::SurplusDescriptors,
        Self::StrayDescriptor,
        Self::Oversize,
        Self::HalfARequest,
        Self::HalfASave,
        Self::HalfAFind,
    ];

    /// Sends it over a connection of its own, which dies then. `None`: there is no server any more.
    fn act(self, master: &FakeMaster, connection: &Connection) -> Option<()> {
        let client = Client::connect(master.socket_path()).ok()?;
        if client.hear_list() != announcement() {
            return None;
        }
        let near = connection.near();
        // A server may drop the client before all is said: it is its right.
        let _ = match self {
            Self::Garbage => client.send(&[0xff, 0, 0, 1, 0, 0xfe, 0, 0, 0, b'r', 0, 0]),
            Self::SurplusDescriptors => surplus(&client, near),
            Self::StrayDescriptor => client.send_descriptors(&[near]),
            Self::Oversize => client.send(&list(&[("x", "y".repeat(70_000))])),
            Self::HalfARequest => client.send(b"request\0find_endp\0lab"),
            Self::HalfASave => client.send(&save_endp("60", "half", "p")),
            Self::HalfAFind => return half_a_find(&client, near),
        };
        Some(())
    }
}

fn surplus(client: &Client, near: BorrowedFd<'_>) -> std::io::Result<()> {
    client.send(&save_endp("60", "surplus", "p"))?;
    if client.hear_list() == dummy() {
        client.send_descriptors(&[near, near, near])?;
        if client.hear_list() != status(2) {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    }
    Ok(())
}

/// Takes a connection and dies before the last dummy.
fn half_a_find(client: &Client, near: BorrowedFd<'_>) -> Option<()> {
    if try_save(client, 60, "half", "p", near) != Ok(0) {
        return None;
    }
    client.send(&find_endp("half")).ok()?;
    if client.hear_list().is_empty() {
        return None;
    }
    client.send(&dummy()).ok()?;
    let deadline = Instant::now() + DEADLINE;
    matches!(client.hear(deadline), Heard::Byte(0, Some(_))).then_some(())
}
