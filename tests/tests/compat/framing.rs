//! Requests that are not what they should be, and good ones in unusual pieces.

use scache_tests::wire::{attributes_of, dummy, list};

use crate::differences::Difference;
use crate::script::{
    Script, check_all, find_dest, find_endp, found_dest, found_endp, no_dest, no_endp, save_dest,
    save_endp, script, status,
};

#[test]
fn malformed_requests_are_refused_as_in_stock() {
    check_all(&malformed_requests());
}

#[test]
fn times_to_live_are_judged_as_in_stock() {
    check_all(&times_to_live());
}

#[test]
fn odd_framing_is_taken_as_in_stock() {
    check_all(&odd_framing());
}

#[test]
fn requests_in_pieces_and_in_heaps_are_answered_as_in_stock() {
    check_all(&pieces_and_heaps());
}

#[test]
fn descriptors_come_and_go_as_in_stock() {
    check_all(&descriptors());
}

type Attributes = Vec<(&'static str, &'static str)>;

/// The four requests in good form, and what each says when it is malformed.
fn requests() -> [(Attributes, Vec<u8>); 4] {
    [
        (
            vec![
                ("request", "save_endp"),
                ("ttl", "60"),
                ("label", "endp"),
                ("property", "p"),
            ],
            status(1),
        ),
        (
            vec![("request", "find_endp"), ("label", "endp")],
            no_endp(1),
        ),
        (
            vec![
                ("request", "save_dest"),
                ("ttl", "60"),
                ("label", "dest"),
                ("property", "d"),
                ("label", "endp"),
            ],
            status(1),
        ),
        (
            vec![("request", "find_dest"), ("label", "dest")],
            no_dest(1),
        ),
    ]
}

/// What is asked last, to see that the client can go on.
fn goes_on(script: Script) -> Script {
    script.misses('a', "nothing")
}

/// One script for each of the requests, given each of the malformed lists in turn.
fn each_request(name: &'static str, mistakes: impl Fn(&Attributes) -> Vec<Attributes>) -> Script {
    let mut script = script(name);
    for (attributes, refusal) in requests() {
        for malformed in mistakes(&attributes) {
            script = goes_on(script.asks('a', list(&malformed), refusal.clone()));
        }
    }
    script
}

fn malformed_requests() -> Vec<Script> {
    vec![
        each_request("each attribute missing", |good| {
            (1..good.len())
                .map(|index| {
                    let mut bad = good.clone();
                    bad.remove(index);
                    bad
                })
                .collect()
        }),
        each_request("all attributes missing", |good| vec![good[..1].to_vec()]),
        each_request(
            "an attribute that nobody knows in each place but the last",
            |good| {
                (1..good.len())
                    .map(|index| {
                        let mut bad = good.clone();
                        bad.insert(index, ("unknown", "value"));
                        bad
                    })
                    .collect()
            },
        ),
        each_request("each attribute under a wrong name", |good| {
            (1..good.len())
                .map(|index| {
                    let mut bad = good.clone();
                    bad[index].0 = "wrong";
                    bad
                })
                .collect()
        }),
        each_request("each attribute under an almost right name", |good| {
            (1..good.len())
                .flat_map(|index| {
                    let mut shouted = good.clone();
                    shouted[index].0 = match good[index].0 {
                        "ttl" => "TTL",
                        "label" => "Label",
                        _ => "property ",
                    };
                    let mut cut = good.clone();
                    cut[index].0 = &good[index].0[1..];
                    [shouted, cut]
                })
                .collect()
        }),
        each_request("neighbouring attributes that differ exchanged", |good| {
            (1..good.len() - 1)
                .map(|index| {
                    let mut bad = good.clone();
                    bad.swap(index, index + 1);
                    bad
                })
                .collect()
        }),
        each_request("the request named twice", |good| {
            let mut bad = good.clone();
            bad.insert(1, good[0]);
            vec![bad]
        }),
        each_request("the request last", |good| {
            let mut bad = good.clone();
            bad.rotate_left(1);
            bad.push(("more", "of it"));
            vec![bad]
        }),
        script("each attribute twice")
            .asks(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", "60"),
                    ("ttl", "60"),
                    ("label", "l"),
                    ("property", "p"),
                    ("label", "m"),
                ]),
                status(1),
            )
            .asks(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", "60"),
                    ("label", "l"),
                    ("label", "l"),
                    ("property", "p"),
                    ("label", "m"),
                ]),
                status(1),
            )
            .asks(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", "60"),
                    ("label", "l"),
                    ("property", "p"),
                    ("property", "p"),
                    ("label", "m"),
                ]),
                status(1),
            )
            .misses_for('a', "l"),
        script("surplus attributes at the end of what needs no descriptor afterwards")
            .asks(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", "60"),
                    ("label", "dest"),
                    ("property", "d"),
                    ("label", "endp"),
                    ("label", "twice"),
                ]),
                status(0),
            )
            .asks(
                'a',
                list(&[
                    ("request", "find_endp"),
                    ("label", "none"),
                    ("label", "endp"),
                ]),
                no_endp(2),
            )
            .asks(
                'a',
                list(&[
                    ("request", "find_dest"),
                    ("label", "none"),
                    ("x", "y"),
                    ("z", ""),
                ]),
                no_dest(2),
            )
            .asks(
                'a',
                list(&[
                    ("request", "save_endp"),
                    ("ttl", "60"),
                    ("label", "endp"),
                    ("property", "p"),
                    ("more", "1"),
                ]),
                dummy(),
            )
            .send_fd('a', 1)
            .reply('a', status(0))
            .takes_for('a', "dest", ("d", "p"), 1),
        script("surplus attributes at the end of a find that succeeds")
            .saves('a', "endp", "p", 1)
            .asks(
                'a',
                list(&[("request", "find_endp"), ("label", "endp"), ("more", "1")]),
                found_endp("p"),
            )
            .receives('a', 1)
            .misses('a', "endp"),
        script("requests that nobody knows")
            .asks('a', list(&[("request", "save")]), status(1))
            .asks('a', list(&[("request", "")]), status(1))
            .asks(
                'a',
                list(&[("request", "FIND_ENDP"), ("label", "x")]),
                status(1),
            )
            .asks(
                'a',
                list(&[("request", "find_endp "), ("label", "x")]),
                status(1),
            )
            .asks(
                'a',
                list(&[("request", "\n\u{1}%s%n"), ("ttl", "0"), ("property", "")]),
                status(1),
            )
            .misses('a', "x"),
        script("an old request that is gone")
            .asks(
                'a',
                list(&[
                    ("request", "find_dest_endp"),
                    ("label", "x"),
                    ("label", "y"),
                ]),
                status(1),
            )
            .misses('a', "x"),
        script("malformed requests save nothing")
            .asks(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", "60"),
                    ("label", "dest"),
                    ("property", "d"),
                ]),
                status(1),
            )
            .saves('a', "endp", "p", 1)
            .misses_for('a', "dest")
            .takes('a', "endp", "p", 1),
    ]
}

fn times_to_live() -> Vec<Script> {
    let mut refused = script("times to live that both refuse");
    for ttl in [
        "0",
        "-1",
        "-0",
        "abc",
        "",
        "5x",
        "5 ",
        "0x10",
        "1.5",
        "2147483648",
        "4294967295",
        "4294967296",
        &"1".repeat(100),
        "\u{661}",
    ] {
        refused = refused
            .asks('a', save_endp(ttl, "endp", "p"), status(1))
            .asks('a', save_dest(ttl, "dest", "d", "endp"), status(1));
    }
    let mut accepted = script("times to live that both accept");
    for ttl in ["1", "60", "007", "2147483647"] {
        accepted = accepted.asks('a', save_dest(ttl, "dest", "d", "endp"), status(0));
    }
    let mut scripts = vec![
        goes_on(refused),
        goes_on(
            accepted
                .saves('a', "endp", "p", 1)
                .takes_for('a', "dest", ("d", "p"), 1),
        ),
    ];
    for (name, ttl) in [
        ("a ttl with a leading blank", " 60"),
        ("a ttl with a leading newline", "\n60"),
        ("a ttl with a sign", "+60"),
        ("a ttl that wraps around", "4294967298"),
        ("a negative ttl that wraps around", "-4294967294"),
    ] {
        scripts.push(goes_on(
            script(name)
                .send('a', save_dest(ttl, "dest", "d", "endp"))
                .differs(
                    Difference::TtlIsDigits,
                    |stock| stock.reply('a', status(0)),
                    |ours| ours.reply('a', status(1)),
                ),
        ));
    }
    scripts
}

fn odd_framing() -> Vec<Script> {
    vec![
        script("a request that says nothing at all")
            .send('a', [0])
            .quiet('a')
            .misses('a', "x"),
        script("many empty lists before a request")
            .send('a', vec![0; 100])
            .misses('a', "x"),
        script("an empty list glued to a request").asks(
            'a',
            [vec![0], find_endp("x")].concat(),
            no_endp(2),
        ),
        script("a dummy before a request")
            .send('a', dummy())
            .quiet('a')
            .misses('a', "x"),
        script("dummies glued to a request").asks(
            'a',
            [dummy(), dummy(), find_endp("x")].concat(),
            no_endp(2),
        ),
        script("a list without a request")
            .send('a', list(&[("label", "x"), ("property", "p")]))
            .quiet('a')
            .misses('a', "x"),
        script("a list without a request glued to a request").asks(
            'a',
            [list(&[("label", "x")]), find_dest("x")].concat(),
            no_dest(2),
        ),
        script("attributes in front of the request")
            .asks(
                'a',
                list(&[
                    ("extra", "1"),
                    ("more", ""),
                    ("request", "find_endp"),
                    ("label", "x"),
                ]),
                no_endp(2),
            )
            .asks(
                'a',
                list(&[("ttl", "60"), ("request", "find_dest"), ("label", "x")]),
                no_dest(2),
            ),
        script("a request named by the value of an attribute in front")
            .send(
                'a',
                list(&[
                    ("extra", "request"),
                    ("request", "find_endp"),
                    ("label", "x"),
                ]),
            )
            .differs(
                Difference::SkippedInPairs,
                |stock| stock.reply('a', status(1)),
                |ours| ours.reply('a', no_endp(2)),
            )
            .misses('a', "x"),
        script("a request in the values of a list without a request")
            .send(
                'a',
                list(&[("extra", "request"), ("find_endp", "label"), ("x", "")]),
            )
            .differs(
                Difference::SkippedInPairs,
                |stock| stock.reply('a', no_endp(2)),
                |ours| ours.quiet('a'),
            )
            .misses('a', "x"),
        script("a request after a mistake in the same list")
            .send(
                'a',
                list(&[
                    ("request", "find_endp"),
                    ("wrong", "x"),
                    ("request", "find_dest"),
                    ("label", "y"),
                ]),
            )
            .reply('a', no_endp(1))
            .misses('a', "x"),
        script("a request after surplus attributes in the same list")
            .send(
                'a',
                list(&[
                    ("request", "find_endp"),
                    ("label", "x"),
                    ("more", "1"),
                    ("request", "find_dest"),
                    ("label", "y"),
                ]),
            )
            .reply('a', no_endp(2))
            .misses('a', "x"),
        script("a request as surplus attribute")
            .asks(
                'a',
                list(&[
                    ("request", "find_endp"),
                    ("label", "x"),
                    ("request", "find_dest"),
                    ("label", "y"),
                ]),
                no_endp(2),
            )
            .misses('a', "x"),
        script("a value that is the word request after a mistake")
            .send(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", "0x"),
                    ("label", "request"),
                    ("property", "d"),
                    ("label", "endp"),
                ]),
            )
            .reply('a', status(1))
            .misses('a', "x"),
        script("empty values after a mistake")
            .asks(
                'a',
                list(&[("request", "find_endp"), ("wrong", ""), ("", "")]),
                no_endp(1),
            )
            .asks(
                'a',
                list(&[
                    ("request", "save_dest"),
                    ("ttl", ""),
                    ("label", ""),
                    ("property", ""),
                    ("label", ""),
                ]),
                status(1),
            )
            .misses('a', "x"),
        script("a mistake in a list that goes on")
            .send(
                'a',
                attributes_of(&[("request", "find_endp"), ("wrong", "x")]),
            )
            .differs(
                Difference::JudgedWhenComplete,
                |stock| stock.reply('a', no_endp(1)).send('a', [0]),
                |ours| ours.quiet('a').send('a', [0]).reply('a', no_endp(1)),
            )
            .misses('a', "x"),
        script("an unknown request in a list that goes on")
            .send('a', attributes_of(&[("request", "unknown")]))
            .differs(
                Difference::JudgedWhenComplete,
                |stock| stock.reply('a', status(1)).send('a', [0]),
                |ours| ours.quiet('a').send('a', [0]).reply('a', status(1)),
            )
            .misses('a', "x"),
        script("surplus attributes in a list that goes on")
            .send(
                'a',
                attributes_of(&[("request", "find_endp"), ("label", "x"), ("more", "1")]),
            )
            .differs(
                Difference::JudgedWhenComplete,
                |stock| stock.reply('a', no_endp(2)).send('a', [0]),
                |ours| ours.quiet('a').send('a', [0]).reply('a', no_endp(2)),
            )
            .misses('a', "x"),
        script("a value over the limit")
            .send('a', save_dest("60", "dest", &"d".repeat(70_000), "endp"))
            .differs(
                Difference::Limits,
                |stock| stock.reply('a', status(0)),
                |ours| ours.reply('a', status(1)).end('a'),
            ),
        script("a request over the limit")
            .send(
                'a',
                list(&vec![("unknown".to_owned(), "z".repeat(60_000)); 5]),
            )
            .differs(
                Difference::Limits,
                |stock| stock.misses('a', "x"),
                |ours| ours.reply('a', status(1)).end('a'),
            ),
    ]
}

fn pieces_and_heaps() -> Vec<Script> {
    let save = save_dest("60", "dest", "d", "endp");
    let mut dribbled = script("a request byte by byte");
    for byte in &save {
        dribbled = dribbled.send('a', [*byte]);
    }
    vec![
        dribbled.reply('a', status(0)),
        script("a request in two pieces with a pause between")
            .send('a', &save[..20])
            .sleep_ms(300)
            .send('a', &save[20..])
            .reply('a', status(0))
            .saves('a', "endp", "p", 1)
            .takes_for('a', "dest", ("d", "p"), 1),
        script("the last NUL of a request late")
            .send('a', &save[..save.len() - 1])
            .quiet('a')
            .send('a', [0])
            .reply('a', status(0)),
        script("a good request without its last NUL is not answered")
            .send(
                'a',
                attributes_of(&[("request", "find_endp"), ("label", "x")]),
            )
            .quiet('a')
            .send('a', [0])
            .reply('a', no_endp(2)),
        script("several requests in one write")
            .send(
                'a',
                [
                    find_endp("x"),
                    find_dest("y"),
                    save.clone(),
                    find_dest("dest"),
                    list(&[("request", "z")]),
                ]
                .concat(),
            )
            .reply('a', no_endp(2))
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a'),
                |ours| {
                    ours.reply('a', no_dest(2))
                        .reply('a', status(0))
                        .reply('a', no_dest(2))
                        .reply('a', status(1))
                },
            )
            .misses('a', "x"),
        script("good and malformed requests in one write")
            .send(
                'a',
                [
                    list(&[("request", "find_endp"), ("wrong", "x")]),
                    find_endp("x"),
                    dummy(),
                    save_endp("0", "endp", "p"),
                    vec![0],
                    save.clone(),
                    list(&[("request", "find_dest")]),
                ]
                .concat(),
            )
            .reply('a', no_endp(1))
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a'),
                |ours| {
                    ours.reply('a', no_endp(2))
                        .reply('a', status(1))
                        .reply('a', status(0))
                        .reply('a', no_dest(1))
                },
            )
            .misses('a', "x"),
        script("a hundred requests in one write")
            .send('a', find_endp("x").repeat(100))
            .reply('a', no_endp(2))
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a'),
                |mut ours| {
                    for _ in 1..100 {
                        ours = ours.reply('a', no_endp(2));
                    }
                    ours
                },
            ),
        script("one request and a half in one write")
            .send('a', [&find_endp("x")[..], &save[..18]].concat())
            .reply('a', no_endp(2))
            .send('a', &save[18..])
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a'),
                |ours| ours.reply('a', status(0)),
            )
            .misses('a', "x"),
        script("the last dummy glued to the next request")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', dummy())
            .take_fd('a', 1)
            .send('a', [dummy(), find_endp("endp")].concat())
            .reply('a', no_endp(2)),
        script("the last dummy glued to two requests")
            .binds('a', "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .saves('a', "endp", "q", 2)
            .asks('a', find_dest("dest"), found_dest("d", "p"))
            .send('a', dummy())
            .take_fd('a', 1)
            .send('a', [dummy(), find_endp("x"), find_endp("endp")].concat())
            .reply('a', no_endp(2))
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a').takes('a', "endp", "q", 2),
                |ours| ours.reply('a', found_endp("q")).receives('a', 2),
            )
            .misses('a', "endp"),
        script("the last dummy late")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', dummy())
            .take_fd('a', 1)
            .sleep_ms(300)
            .send('a', dummy())
            .misses('a', "endp"),
        script("both dummies late and in pieces")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .sleep_ms(300)
            .send('a', *b"dum")
            .sleep_ms(300)
            .send('a', *b"my\0\0\0")
            .take_fd('a', 1)
            .send('a', *b"dummy\0")
            .sleep_ms(300)
            .send('a', *b"\0\0")
            .misses('a', "endp"),
        script("the first dummy glued to the request")
            .saves('a', "endp", "p", 1)
            .asks('a', [find_endp("endp"), dummy()].concat(), found_endp("p"))
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a').receives('a', 1),
                |ours| ours.take_fd('a', 1).send('a', dummy()),
            )
            .misses('a', "endp"),
        script("both dummies glued to the request")
            .saves('a', "endp", "p", 1)
            .asks(
                'a',
                [find_endp("endp"), dummy(), dummy()].concat(),
                found_endp("p"),
            )
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a').receives('a', 1),
                |ours| ours.take_fd('a', 1),
            )
            .misses('a', "endp"),
        script("a whole find and the next request in one write")
            .saves('a', "endp", "p", 1)
            .asks(
                'a',
                [find_endp("endp"), dummy(), dummy(), find_endp("endp")].concat(),
                found_endp("p"),
            )
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a').receives('a', 1),
                |ours| ours.take_fd('a', 1).reply('a', no_endp(2)),
            )
            .misses('a', "endp"),
        script("a request in place of the last dummy")
            .saves('a', "endp", "p", 1)
            .saves('a', "endp", "q", 2)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', dummy())
            .take_fd('a', 1)
            .send('a', find_endp("endp"))
            .quiet('a')
            .takes('a', "endp", "q", 2),
        script("a last dummy under a wrong name")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', dummy())
            .take_fd('a', 1)
            .send('a', list(&[("gummy", "")]))
            .misses('a', "endp"),
        script("a first dummy under a wrong name")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', list(&[("gummy", "")]))
            .quiet('a')
            .differs(
                Difference::ClientGone,
                |stock| stock.misses('a', "endp"),
                |ours| ours.takes('a', "endp", "p", 1),
            ),
        script("a first dummy with a value")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', list(&[("dummy", "value")]))
            .take_fd('a', 1)
            .send('a', list(&[("dummy", "value")]))
            .misses('a', "endp"),
        script("a request in place of the first dummy")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send('a', find_endp("x"))
            .quiet('a')
            .misses('a', "x"),
        script("replies are given to one who will say no more")
            .send('a', [find_endp("x"), save.clone()].concat())
            .no_more('a')
            .reply('a', no_endp(2))
            .differs(
                Difference::Pipelining,
                |stock| stock,
                |ours| ours.reply('a', status(0)),
            )
            .end('a'),
        script("one reply is given to one who will say no more")
            .send('a', find_endp("x"))
            .no_more('a')
            .reply('a', no_endp(2))
            .end('a'),
        script("one who says nothing and will say no more")
            .no_more('a')
            .end('a'),
    ]
}

fn descriptors() -> Vec<Script> {
    vec![
        script("a NUL without a descriptor")
            .asks('a', save_endp("60", "endp", "p"), dummy())
            .asks('a', [0], status(2))
            .misses('a', "endp"),
        script("another byte without a descriptor")
            .asks('a', save_endp("60", "endp", "p"), dummy())
            .asks('a', *b"x", status(2))
            .misses('a', "endp"),
        script("a request in place of the descriptor")
            .asks('a', save_endp("60", "endp", "p"), dummy())
            .asks('a', find_endp("x"), status(2))
            .quiet('a')
            .misses('a', "endp"),
        script("a descriptor that comes late")
            .asks('a', save_endp("60", "endp", "p"), dummy())
            .sleep_ms(500)
            .send_fd('a', 1)
            .reply('a', status(0))
            .takes('a', "endp", "p", 1),
        script("a save does not wait for its dummy to be read")
            .send('a', save_endp("60", "endp", "p"))
            .sleep_ms(300)
            .send_fd('a', 1)
            .reply('a', dummy())
            .reply('a', status(0))
            .takes('a', "endp", "p", 1),
        script("a save and the next request before its status is read")
            .asks('a', save_endp("60", "endp", "p"), dummy())
            .send_fd('a', 1)
            .send('a', find_endp("endp"))
            .reply('a', status(0))
            .reply('a', found_endp("p"))
            .receives('a', 1),
        script("a find and a save in one write")
            .asks(
                'a',
                [find_endp("x"), save_endp("60", "endp", "p")].concat(),
                no_endp(2),
            )
            .differs(
                Difference::Pipelining,
                |stock| stock.quiet('a').misses('a', "endp"),
                |ours| {
                    ours.reply('a', dummy())
                        .send_fd('a', 1)
                        .reply('a', status(0))
                        .takes('a', "endp", "p", 1)
                },
            ),
        script("several descriptors on one NUL")
            .asks('a', save_endp("60", "endp", "p"), dummy())
            .send_fds('a', &[1, 2, 3])
            .reply('a', status(2))
            .misses('a', "endp")
            .far_hears(3, b"")
            .differs(
                Difference::DescriptorsReturned,
                |stock| stock.far_stays(1).far_stays(2),
                |ours| ours.far_hears(1, b"").far_hears(2, b""),
            ),
        script("a descriptor before any request")
            .send_fd('a', 1)
            .differs(
                Difference::StrayDescriptor,
                |stock| stock.misses('a', "x").far_hears(1, b""),
                |ours| ours.end('a').far_hears(1, b""),
            ),
        script("a descriptor in place of a dummy")
            .saves('a', "endp", "p", 1)
            .asks('a', find_endp("endp"), found_endp("p"))
            .send_fd('a', 2)
            .differs(
                Difference::StrayDescriptor,
                |stock| stock.quiet('a').misses('a', "x").far_hears(2, b""),
                |ours| ours.end('a').far_hears(2, b""),
            ),
    ]
}
