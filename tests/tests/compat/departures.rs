//! Clients that leave or stop in the middle, and what the others see of it.

use scache_tests::wire::dummy;

use crate::differences::Difference;
use crate::script::{
    Script, check_all, find_dest, find_endp, found_dest, found_endp, save_dest, save_endp, script,
};

/// Long enough for the server to have noticed.
const NOTICED_MS: u64 = 700;

#[test]
fn a_client_that_leaves_leaves_what_it_does_in_stock() {
    check_all(&departures());
}

#[test]
fn a_client_that_stops_stops_nobody_else() {
    check_all(&stops());
}

/// A second client looks on.
fn watched(name: &'static str) -> Script {
    script(name).open('b')
}

fn departures() -> Vec<Script> {
    let save = save_endp("60", "endp", "p");
    vec![
        watched("gone without a word")
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .misses('b', "endp"),
        watched("gone in the middle of a name")
            .send('a', *b"requ")
            .leave('a')
            .misses('b', "endp"),
        watched("gone in the middle of a request")
            .send('a', &save[..30])
            .leave('a')
            .misses('b', "endp"),
        watched("gone before the last NUL of a request")
            .send('a', {
                let request = save_dest("60", "dest", "d", "endp");
                request[..request.len() - 1].to_vec()
            })
            .leave('a')
            .saves('b', "endp", "p", 1)
            .misses_for('b', "dest"),
        watched("gone before the status of a saved binding")
            .send('a', save_dest("60", "dest", "d", "endp"))
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .saves('b', "endp", "p", 1)
            .takes_for('b', "dest", ("d", "p"), 1),
        watched("gone after the request to save")
            .send('a', save.clone())
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .misses('b', "endp"),
        watched("gone before the descriptor")
            .asks('a', save.clone(), dummy())
            .leave('a')
            .misses('b', "endp"),
        watched("gone before the status of a saved connection")
            .asks('a', save.clone(), dummy())
            .send_fd('a', 1)
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .takes('b', "endp", "p", 1),
        watched("gone after a miss was asked for")
            .send('a', find_endp("endp"))
            .leave('a')
            .misses('b', "endp"),
        watched("gone before the status of a find")
            .saves('a', "endp", "p", 1)
            .send('a', find_endp("endp"))
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .differs(
                Difference::ClientGone,
                |stock| stock.misses('b', "endp").far_hears(1, b""),
                |ours| ours.takes('b', "endp", "p", 1),
            ),
        watched("gone before the first dummy of a find")
            .saves('a', "endp", "p", 1)
            .saves('a', "endp", "q", 2)
            .asks('a', find_endp("endp"), found_endp("p"))
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .differs(
                Difference::ClientGone,
                |stock| stock.takes('b', "endp", "q", 2).misses('b', "endp"),
                |ours| ours.takes('b', "endp", "p", 1).takes('b', "endp", "q", 2),
            ),
        watched("gone before the first dummy of a find by destination")
            .binds('a', "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .asks('a', find_dest("dest"), found_dest("d", "p"))
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .differs(
                Difference::ClientGone,
                |stock| stock.misses_for('b', "dest"),
                |ours| ours.takes_for('b', "dest", ("d", "p"), 1),
            ),
        watched("gone before the descriptor was looked at")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', dummy())
            .sleep_ms(NOTICED_MS)
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .misses('b', "endp")
            .far_hears(1, b""),
        watched("gone before the last dummy of a find")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', dummy())
            .take_fd('a', 1)
            .leave('a')
            .sleep_ms(NOTICED_MS)
            .misses('b', "endp")
            .far_hears(1, b""),
        watched("gone after a find")
            .saves('a', "endp", "p", 1)
            .takes('a', "endp", "p", 1)
            .leave('a')
            .misses('b', "endp")
            .far_hears(1, b""),
    ]
}

fn stops() -> Vec<Script> {
    let stopped = |script: Script| {
        script.send('b', find_endp("x")).differs(
            Difference::OnlyItselfStalled,
            |stock| stock.quiet('b'),
            |ours| ours.misses_heard('b'),
        )
    };
    vec![
        stopped(watched("stopped in the middle of a request").send('a', *b"request\0find_e"))
            .leave('a')
            .differs(
                Difference::OnlyItselfStalled,
                |stock| stock.misses_heard('b'),
                |ours| ours,
            )
            .misses('b', "x"),
        stopped(watched("stopped before the descriptor").asks(
            'a',
            save_endp("60", "endp", "p"),
            dummy(),
        ))
        .send_fd('a', 1)
        .reply('a', crate::script::status(0))
        .differs(
            Difference::OnlyItselfStalled,
            |stock| stock.misses_heard('b'),
            |ours| ours,
        )
        .takes('b', "endp", "p", 1),
        stopped(
            watched("stopped before the first dummy")
                .saves('a', "endp", "p", 1)
                .asks('a', find_endp("endp"), found_endp("p")),
        )
        .receives('a', 1)
        .differs(
            Difference::OnlyItselfStalled,
            |stock| stock.misses_heard('b'),
            |ours| ours,
        )
        .misses('b', "endp"),
    ]
}

impl Script {
    /// The reply to a `find_endp` that was asked for before.
    fn misses_heard(self, client: char) -> Self {
        self.reply(client, crate::script::no_endp(2))
    }
}
