//! What an entry costs when there are many (row 20). Only ratios of the server's own time are judged.

use std::time::Duration;

use scache_tests::exchange::{ask, save_dest, status};
use scache_tests::fake_master::{FakeMaster, Setup};
use scache_tests::wire::Client;

use crate::common::{Side, client_of, with_both};

#[test]
fn a_save_costs_the_same_with_few_entries_and_with_many() {
    const FEW: u32 = 500;
    const MANY: u32 = 16_000;
    const SAVES: u32 = 1_000;
    with_both(|side, program| {
        let master = Setup::new(program).start();
        let client = client_of(&master);
        let mut saved = 0;
        let mut save_until = |count| {
            while saved < count {
                save(&client, saved);
                saved += 1;
            }
        };
        save_until(FEW);
        let few = time_of(&master, || save_until(FEW + SAVES));
        save_until(MANY);
        let many = time_of(&master, || save_until(MANY + SAVES));
        match side {
            Side::Stock => assert!(many > 2 * few, "stock needs {few:?}, then {many:?}"),
            Side::Ours => assert!(many < 2 * few, "it needs {few:?}, then {many:?}"),
        }
    });
}

fn save(client: &Client, number: u32) {
    // Each to a destination of its own, none to expire soon.
    let destination = format!("dest {number}");
    ask(
        client,
        &save_dest("60", &destination, "d", "endp"),
        &status(0),
    );
}

fn time_of(master: &FakeMaster, act: impl FnOnce()) -> Duration {
    let before = master.process().processor_time();
    act();
    master.process().processor_time() - before
}
