//! Connections that were handed out and not read.

use super::*;

/// A session of a client that said this, with a cache that has a connection for every find.
fn session(said: &[u8]) -> Server {
    let mut server = server();
    server
        .session
        .handle_input(server.now, said, Descriptors::None);
    go_on(&mut server);
    server
}

/// Answers and writes what is possible.
fn go_on(server: &mut Server) {
    loop {
        carry_out(server);
        if !server.write(usize::MAX) {
            return;
        }
    }
}

/// Answers what is possible, and writes nothing.
fn carry_out(server: &mut Server) {
    while let Some(event) = server.session.poll_event() {
        match event {
            Event::Request(_) => {
                let next = server.cached.get_or_insert(0);
                *next += 1;
                server.session.reply(Answer::Found(*next));
            }
            Event::Delivered(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Finds that are said in one go, by a client that reads nothing, in both ways of passing descriptors.
fn finds(count: usize) -> [Vec<u8>; 2] {
    let stock = [FIND, DUMMY, DUMMY].concat().repeat(count);
    let inline = [INLINE, &FIND.repeat(count)].concat();
    [stock, inline]
}

#[test]
fn no_more_than_sixteen_are_written_to_a_client_that_does_not_read() {
    for said in finds(40) {
        let mut server = session(&said);
        for round in 1..=2 {
            assert_eq!(server.handed_out.len(), round * limits::DESCRIPTORS);
            assert!(server.session.awaits_reader());
            server.session.handle_unread(server.now);
            go_on(&mut server);
            assert_eq!(server.handed_out.len(), round * limits::DESCRIPTORS);
            server.session.handle_read(server.now);
            go_on(&mut server);
        }
        assert_eq!(server.handed_out.len(), 40);
        assert!(!server.session.awaits_reader(), "it asks for nothing more");
    }
}

#[test]
fn a_client_that_waits_for_each_answer_is_asked_about_once_in_sixteen_times() {
    let mut server = session(INLINE);
    for find in 0..100 {
        server
            .session
            .handle_input(server.now, FIND, Descriptors::None);
        go_on(&mut server);
        let is_asked_about = server.session.awaits_reader();
        assert_eq!(is_asked_about, find > 0 && find % limits::DESCRIPTORS == 0);
        if is_asked_about {
            server.session.handle_read(server.now);
            go_on(&mut server);
        }
        assert_eq!(server.handed_out.len(), find + 1);
        assert_eq!(server.session.deadline(), None);
    }
}

#[test]
fn who_has_to_read_has_the_time_of_a_request_from_when_that_was_seen() {
    for said in finds(limits::DESCRIPTORS + 1) {
        let mut server = session(&said);
        server.wait(3);
        server.session.handle_unread(server.now);
        let deadline = server.now + TIMEOUT;
        server.wait(3);
        server.session.handle_unread(server.now);
        assert_eq!(server.session.deadline(), Some(deadline));
        server.session.handle_read(server.now);
        go_on(&mut server);
        assert_eq!(server.session.deadline(), None);
    }
}

#[test]
fn a_client_that_has_to_read_goes_on_when_it_may_have_more_unread() {
    for said in finds(10) {
        let mut server = server();
        server.session.limit_unread(0);
        server
            .session
            .handle_input(server.now, &said, Descriptors::None);
        go_on(&mut server);
        assert_eq!(server.handed_out.len(), 1, "one is always given out");
        server.session.limit_unread(7);
        go_on(&mut server);
        assert_eq!(server.handed_out.len(), 7);
        server.session.handle_unread(server.now);
        server.session.limit_unread(16);
        go_on(&mut server);
        assert_eq!(server.handed_out.len(), 7, "it has to read first");
        server.session.handle_read(server.now);
        server.session.limit_unread(16);
        go_on(&mut server);
        assert_eq!(server.handed_out.len(), 10);
        assert_eq!(server.session.deadline(), None);
    }
}

#[test]
fn what_is_withdrawn_was_not_found() {
    let find_any = b"request\0find\0label\0d\0\0";
    let mut server = session(INLINE);
    let said = [FIND, find_any, FIND].concat();
    server
        .session
        .handle_input(server.now, &said, Descriptors::None);
    server.sent.clear();
    carry_out(&mut server);
    assert!(server.write(usize::MAX));
    assert_eq!(server.handed_out, [1]);
    assert_eq!(server.session.withdraw_last(), Some(3));
    assert_eq!(server.session.withdraw_last(), Some(2));
    assert_eq!(server.session.withdraw_last(), None, "the first was sent");
    go_on(&mut server);
    assert_eq!(
        server.sent.escape_ascii().to_string(),
        b"status\x000\0property\0p\0\0\
          status\x002\0label\0\0property\0\0property\0\0\0\
          status\x002\0property\0\0\0"
            .escape_ascii()
            .to_string()
    );
    assert_eq!(server.handed_out, [1]);
    let mut stock = session(FIND);
    stock
        .session
        .handle_input(stock.now, DUMMY, Descriptors::None);
    carry_out(&mut stock);
    assert_eq!(stock.session.withdraw_last(), None, "status 0 was said");
}

#[test]
fn the_connection_that_is_written_next_can_be_looked_at_and_withdrawn() {
    let mut inline = session(INLINE);
    assert_eq!(inline.session.next_hand_out(), None);
    let said = FIND.repeat(2);
    inline
        .session
        .handle_input(inline.now, &said, Descriptors::None);
    inline.sent.clear();
    carry_out(&mut inline);
    assert_eq!(inline.session.next_hand_out(), Some(&mut 1));
    assert_eq!(inline.session.withdraw_next(), Some(1));
    assert_eq!(inline.session.withdraw_next(), None, "a refusal is next");
    go_on(&mut inline);
    assert_eq!(
        inline.sent,
        b"status\x002\0property\0\0\0status\x000\0property\0p\0\0"
    );
    assert_eq!(inline.handed_out, [2]);
    let mut stock = session(FIND);
    stock
        .session
        .handle_input(stock.now, DUMMY, Descriptors::None);
    carry_out(&mut stock);
    assert_eq!(stock.session.withdraw_next(), None, "status 0 was said");
    *stock.session.next_hand_out().unwrap() = 7;
    go_on(&mut stock);
    assert_eq!(stock.handed_out, [7], "another one can take its place");
}
