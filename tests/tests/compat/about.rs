//! Requests about the cache itself, which the stock program does not know.

use scache_tests::wire::list;

use crate::differences::Difference;
use crate::script::{check_all, script, status};

#[test]
fn requests_about_the_cache_are_unknown_to_stock_and_answered_by_ours() {
    let listing = |what: &str, prefix: &str| {
        list(&[
            ("request", "list"),
            ("what", what),
            ("prefix", prefix),
            ("from", "0"),
        ])
    };
    let events = |from: &str| list(&[("request", "events"), ("from", from)]);
    let purge =
        |name: &str, value: &str| list(&[("request", "purge"), (name, value), ("from", "0")]);
    let drain = |on: &str| list(&[("request", "drain"), ("on", on)]);
    let purged = |connections: &str, bindings: &str| {
        list(&[
            ("status", "0"),
            ("connections", connections),
            ("bindings", bindings),
        ])
    };
    let next = |next: &str| list(&[("status", "0"), ("next", next)]);
    let destination = list(&[
        ("status", "0"),
        ("entry", "0"),
        ("label", "dest"),
        ("hits", "1"),
        ("misses", "0"),
        ("cached", "0"),
    ]);
    let exchanges = [
        (listing("connections", ""), status(0)),
        (listing("bindings", "no"), status(0)),
        (listing("destinations", "de"), destination),
        (events("0"), next("1")),
        (events("17"), next("1")),
        (purge("prefix", "oth"), purged("0", "0")),
        (purge("label", "endp"), purged("0", "1")),
        (purge("prefix", ""), purged("0", "0")),
        (drain("yes"), status(0)),
        (drain("no"), status(0)),
        // Malformed: the same as unknown.
        (drain("maybe"), status(1)),
        (events("-1"), status(1)),
        (listing("clients", ""), status(1)),
        (purge("name", "endp"), status(1)),
    ];
    let all = exchanges.into_iter().fold(
        script("requests about the cache")
            .binds('a', "dest", "d", "endp")
            .saves('a', "endp", "p", 1)
            .takes_for('a', "dest", ("d", "p"), 1),
        |script, (request, reply)| {
            if reply == status(1) {
                return script.asks('a', request, reply);
            }
            script.differs(
                Difference::AboutTheCache,
                |stock| stock.asks('a', request.clone(), status(1)),
                |ours| ours.asks('a', request.clone(), reply),
            )
        },
    );
    let stats = list(&[("request", "stats")]);
    let turned_away =
        script("while the cache is drained nothing is kept, and what is there is found")
            .saves('a', "endp", "before", 1)
            .differs(
                Difference::AboutTheCache,
                |stock| stock.asks('a', stats, status(1)),
                |ours| {
                    ours.asks('a', drain("yes"), status(0))
                        .saves('a', "endp", "meanwhile", 2)
                        .far_hears(2, b"QUIT\r\n")
                        .takes('a', "endp", "before", 1)
                        .misses('a', "endp")
                        .asks('a', drain("no"), status(0))
                        .saves('a', "endp", "afterwards", 3)
                        .takes('a', "endp", "afterwards", 3)
                },
            );
    let purges = script("what is purged is told its goodbye")
        .saves('a', "endp1", "p", 1)
        .saves('a', "endp2", "p", 2)
        .saves('a', "other", "p", 3)
        .differs(
            Difference::AboutTheCache,
            |stock| stock.asks('a', purge("prefix", "endp"), status(1)),
            |ours| {
                ours.asks('a', purge("prefix", "endp"), purged("2", "0"))
                    .far_hears(1, b"QUIT\r\n")
                    .far_hears(2, b"QUIT\r\n")
                    .takes('a', "other", "p", 3)
            },
        );
    check_all(&[all, turned_away, purges]);
}
