//! What is remembered, in what order, and for how long.

use scache_tests::wire::dummy;

use crate::differences::Difference;
use crate::script::{
    Script, bare_script, check_all, find_dest, find_endp, found_dest, found_endp, no_endp,
    save_dest, save_endp, script, status,
};

/// Longer than any entry with a ttl of one second lives: stock's timers fire up to a second late.
const PAST_ONE_SECOND_MS: u64 = 2600;

#[test]
fn connections_are_found_as_in_stock() {
    check_all(&lookups());
}

#[test]
fn values_are_opaque_as_in_stock() {
    check_all(&values());
}

#[test]
fn useless_connections_are_neither_taken_in_nor_handed_out() {
    check_all(&useless_connections());
}

#[test]
fn entries_expire_as_in_stock() {
    check_all(&expiries());
}

fn lookups() -> Vec<Script> {
    vec![
        script("each client hears the announcement")
            .open('b')
            .open('c'),
        script("nothing is in an empty cache")
            .misses('a', "endp")
            .misses_for('a', "dest"),
        script("a connection is found by its endpoint, once")
            .saves('a', "endp", "p", 1)
            .takes('a', "endp", "p", 1)
            .misses('a', "endp"),
        script("a connection is found by its destination, once, and the binding stays")
            .binds('a', "dest", "d", "endp")
            .misses_for('a', "dest")
            .saves('a', "endp", "p", 1)
            .takes_for('a', "dest", ("d", "p"), 1)
            .misses_for('a', "dest")
            .saves('a', "endp", "q", 2)
            .takes_for('a', "dest", ("d", "q"), 2),
        script("a connection can be saved again after it was taken")
            .saves('a', "endp", "p", 1)
            .takes('a', "endp", "p", 1)
            .saves('a', "endp", "p again", 2)
            .takes('a', "endp", "p again", 2),
        script("endpoints and destinations do not share names")
            .saves('a', "name", "p", 1)
            .misses_for('a', "name")
            .binds('a', "other", "d", "endp")
            .misses('a', "other")
            .takes('a', "name", "p", 1),
        script("endpoints are told apart")
            .saves('a', "endp1", "p1", 1)
            .saves('a', "endp2", "p2", 2)
            .saves('a', "endp", "p", 3)
            .takes('a', "endp2", "p2", 2)
            .takes('a', "endp", "p", 3)
            .misses('a', "endp")
            .takes('a', "endp1", "p1", 1),
        script("names differ by case")
            .saves('a', "Endp", "p", 1)
            .misses('a', "endp")
            .takes('a', "Endp", "p", 1),
        script("the oldest connection of an endpoint comes first")
            .saves('a', "endp", "first", 1)
            .saves('a', "endp", "second", 2)
            .saves('a', "endp", "third", 3)
            .takes('a', "endp", "first", 1)
            .takes('a', "endp", "second", 2)
            .saves('a', "endp", "fourth", 4)
            .takes('a', "endp", "third", 3)
            .takes('a', "endp", "fourth", 4)
            .misses('a', "endp"),
        script("the order is that of saving, not that of expiry")
            .saves_for('a', "50", "endp", "first", 1)
            .saves_for('a', "20", "endp", "second", 2)
            .saves_for('a', "40", "endp", "third", 3)
            .takes('a', "endp", "first", 1)
            .takes('a', "endp", "second", 2)
            .takes('a', "endp", "third", 3),
        script("equal connections of an endpoint are both kept")
            .saves('a', "endp", "same", 1)
            .saves('a', "endp", "same", 2)
            .takes('a', "endp", "same", 1)
            .takes('a', "endp", "same", 2),
        script("bindings are walked oldest first")
            .binds('a', "dest", "d1", "endp1")
            .binds('a', "dest", "d2", "endp2")
            .binds('a', "dest", "d3", "endp3")
            .saves('a', "endp3", "p3", 3)
            .saves('a', "endp2", "p2", 2)
            .saves('a', "endp1", "p1", 1)
            .takes_for('a', "dest", ("d1", "p1"), 1)
            .takes_for('a', "dest", ("d2", "p2"), 2)
            .takes_for('a', "dest", ("d3", "p3"), 3)
            .misses_for('a', "dest"),
        script("bindings without a connection are passed over")
            .binds('a', "dest", "d1", "endp1")
            .binds('a', "dest", "d2", "endp2")
            .saves('a', "endp2", "p2", 2)
            .takes_for('a', "dest", ("d2", "p2"), 2)
            .saves('a', "endp1", "p1", 1)
            .saves('a', "endp2", "p2", 3)
            .takes_for('a', "dest", ("d1", "p1"), 1)
            .takes_for('a', "dest", ("d2", "p2"), 3),
        script("all connections of the oldest binding come before those of the next")
            .binds('a', "dest", "d1", "endp1")
            .binds('a', "dest", "d2", "endp2")
            .saves('a', "endp2", "p", 1)
            .saves('a', "endp1", "q", 2)
            .saves('a', "endp1", "r", 3)
            .takes_for('a', "dest", ("d1", "q"), 2)
            .takes_for('a', "dest", ("d1", "r"), 3)
            .takes_for('a', "dest", ("d2", "p"), 1),
        script("a renewed binding keeps its place")
            .binds('a', "dest", "d1", "endp1")
            .binds('a', "dest", "d2", "endp2")
            .binds('a', "dest", "d1", "endp1")
            .saves('a', "endp2", "p2", 2)
            .saves('a', "endp1", "p1", 1)
            .takes_for('a', "dest", ("d1", "p1"), 1)
            .takes_for('a', "dest", ("d2", "p2"), 2),
        script("a binding with another property is another binding")
            .binds('a', "dest", "old", "endp")
            .binds('a', "dest", "new", "endp")
            .saves('a', "endp", "p", 1)
            .takes_for('a', "dest", ("old", "p"), 1)
            .saves('a', "endp", "p", 2)
            .takes_for('a', "dest", ("old", "p"), 2),
        script("a binding to another endpoint with the same property is another binding")
            .binds('a', "dest", "d", "endp1")
            .binds('a', "dest", "d", "endp2")
            .saves('a', "endp2", "p2", 2)
            .takes_for('a', "dest", ("d", "p2"), 2)
            .saves('a', "endp1", "p1", 1)
            .takes_for('a', "dest", ("d", "p1"), 1),
        script("destinations share an endpoint")
            .binds('a', "dest1", "d1", "endp")
            .binds('a', "dest2", "d2", "endp")
            .saves('a', "endp", "p", 1)
            .saves('a', "endp", "q", 2)
            .takes_for('a', "dest2", ("d2", "p"), 1)
            .takes_for('a', "dest1", ("d1", "q"), 2)
            .misses_for('a', "dest2"),
        script("what one client saves another takes")
            .open('b')
            .binds('a', "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .saves('a', "endp", "q", 2)
            .leave('a')
            .takes_for('b', "dest", ("d", "p"), 1)
            .takes('b', "endp", "q", 2),
        script("several clients are served in turn")
            .open('b')
            .open('c')
            .saves('a', "endp", "p", 1)
            .saves('b', "endp", "q", 2)
            .send('a', find_endp("endp"))
            .reply('a', found_endp("p"))
            .send('b', find_endp("endp"))
            .receives('a', 1)
            .reply('b', found_endp("q"))
            .send('c', find_endp("endp"))
            .receives('b', 2)
            .reply('c', no_endp(2)),
    ]
}

fn values() -> Vec<Script> {
    let binary: Vec<u8> = (1..=255).collect();
    let long = "x".repeat(60_000);
    let mut other_long = long.clone();
    other_long.replace_range(59_999.., "y");
    vec![
        script("empty names and properties are names and properties")
            .saves('a', "", "", 1)
            .binds('a', "", "", "")
            .takes_for('a', "", ("", ""), 1)
            .misses('a', "")
            .saves('a', "", "p", 2)
            .takes('a', "", "p", 2),
        script("every byte but NUL can be in a name and a property")
            .saves_for('a', "60", &binary, &binary, 1)
            .misses('a', &binary[..254])
            .takes('a', &binary, &binary, 1),
        script("bytes that are no text are kept apart")
            .saves_for('a', "60", b"\xff\xfe\n\t", b"one\nand\xfftwo", 1)
            .saves_for('a', "60", b"\xff\xfd\n\t", b"\x01", 2)
            .takes('a', b"\xff\xfd\n\t", b"\x01", 2)
            .takes('a', b"\xff\xfe\n\t", b"one\nand\xfftwo", 1),
        script("long names and properties, whole")
            .saves('a', &long, &other_long, 1)
            .misses('a', &other_long)
            .takes('a', &long, &other_long, 1),
        script("long bindings, whole")
            .binds('a', &long, &other_long, "endp")
            .saves('a', "endp", &long, 1)
            .misses_for('a', &other_long)
            .takes_for('a', &long, (&other_long, &long), 1),
        script("names of attributes as values")
            .saves('a', "label", "property", 1)
            .binds('a', "request", "status", "label")
            .takes_for('a', "request", ("status", "property"), 1),
        script("labels as smtp(8) makes them")
            .binds(
                'a',
                "smtp\nexample.com\n*\n*",
                "destination=example.com\nhost_name=mx.example.com\nhost_addr=192.0.2.1\ndestination_features=0\n",
                "smtp\n192.0.2.1\n25\n*",
            )
            .saves(
                'a',
                "smtp\n192.0.2.1\n25\n*",
                "tls_level=0\nreuse_count=1\nendpoint_features=4135\nexpire_time=1700000000\n",
                1,
            )
            .takes_for(
                'a',
                "smtp\nexample.com\n*\n*",
                (
                    "destination=example.com\nhost_name=mx.example.com\nhost_addr=192.0.2.1\ndestination_features=0\n",
                    "tls_level=0\nreuse_count=1\nendpoint_features=4135\nexpire_time=1700000000\n",
                ),
                1,
            ),
    ]
}

fn expiries() -> Vec<Script> {
    vec![
        script("a connection expires")
            .saves_for('a', "1", "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .misses('a', "endp"),
        script("a connection that expired is closed")
            .saves_for('a', "1", "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .differs(
                Difference::Goodbye,
                |stock| stock.far_hears(1, b""),
                |ours| ours.far_hears(1, b"QUIT\r\n"),
            )
            .misses('a', "endp"),
        script("a binding expires and the connection stays")
            .binds_for('a', "1", "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .misses_for('a', "dest")
            .takes('a', "endp", "p", 1),
        script("a connection expires and the binding stays")
            .binds('a', "dest", "d", "endp")
            .saves_for('a', "1", "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .misses_for('a', "dest")
            .saves('a', "endp", "q", 2)
            .takes_for('a', "dest", ("d", "q"), 2),
        script("connections of an endpoint expire one by one")
            .saves('a', "endp", "long", 1)
            .saves_for('a', "1", "endp", "short", 2)
            .saves('a', "endp", "long too", 3)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .takes('a', "endp", "long", 1)
            .takes('a', "endp", "long too", 3)
            .misses('a', "endp"),
        script("bindings of a destination expire one by one")
            .binds_for('a', "1", "dest", "short", "endp")
            .binds('a', "dest", "long", "endp")
            .sleep_ms(PAST_ONE_SECOND_MS)
            .saves('a', "endp", "p", 1)
            .takes_for('a', "dest", ("long", "p"), 1),
        script("a renewed binding lives longer")
            .binds_for('a', "1", "dest", "d", "endp")
            .binds('a', "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .takes_for('a', "dest", ("d", "p"), 1),
        script("a renewed binding can live shorter")
            .binds('a', "dest", "d", "endp")
            .binds_for('a', "1", "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .misses_for('a', "dest")
            .takes('a', "endp", "p", 1),
        script("a binding with another property renews nothing")
            .binds_for('a', "1", "dest", "short", "endp")
            .binds('a', "dest", "long", "endp")
            .saves('a', "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .takes_for('a', "dest", ("long", "p"), 1),
        script("no ttl is longer than connection_cache_ttl_limit")
            .setting("connection_cache_ttl_limit", "1s")
            .binds_for('a', "1000", "dest", "d", "endp")
            .saves_for('a', "2147483647", "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .misses_for('a', "dest")
            .misses('a', "endp"),
        script("the limit also holds when a binding is renewed")
            .setting("connection_cache_ttl_limit", "1s")
            .binds_for('a', "1000", "dest", "d", "endp")
            .binds_for('a', "1000", "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .sleep_ms(PAST_ONE_SECOND_MS)
            .misses_for('a', "dest"),
        bare_script("entries outlive their client")
            .open('a')
            .binds('a', "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .leave('a')
            .sleep_ms(PAST_ONE_SECOND_MS)
            .open('b')
            .takes_for('b', "dest", ("d", "p"), 1),
    ]
}

fn useless_connections() -> Vec<Script> {
    let own = script("a client's own connection to the cache")
        .asks('a', save_endp("60", "endp", "p"), dummy())
        .send_itself('a')
        .differs(
            Difference::OwnConnection,
            |stock| {
                stock
                    .reply('a', status(0))
                    .asks('a', save_dest("60", "dest", "d", "endp"), status(0))
                    .asks('a', find_dest("dest"), found_dest("d", "p"))
            },
            |ours| {
                ours.reply('a', status(2))
                    .asks('a', save_dest("60", "dest", "d", "endp"), status(0))
                    .misses_for('a', "dest")
            },
        );
    vec![
        useless(
            script("a connection that its peer closed")
                .saves('a', "endp", "p", 1)
                .far_closes(1),
        ),
        useless(
            script("a connection whose peer spoke")
                .saves('a', "endp", "p", 1)
                .far_says(1, b"421 too long idle\r\n"),
        ),
        own,
    ]
}

/// A script that leaves nothing but a useless connection of `endp`.
fn useless(script: Script) -> Script {
    script.sleep_ms(500).differs(
        Difference::DeadConnections,
        |stock| stock.takes('a', "endp", "p", 1),
        |ours| ours.misses('a', "endp"),
    )
}
