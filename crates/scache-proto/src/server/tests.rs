//! The session against a cache of one place.

use super::*;

mod hand_outs;

impl HandOut for u32 {
    fn properties(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&b"p"[..])
    }

    fn endpoint(&self) -> &[u8] {
        b"e"
    }

    fn history(&self) -> Option<History> {
        Some(History {
            age: Duration::from_millis(1500),
            taken: *self,
        })
    }
}

const SAVE: &[u8] = b"request\0save_endp\0ttl\x009\0label\0e\0property\0p\0\0";
const FIND: &[u8] = b"request\0find_endp\0label\0e\0\0";
const DUMMY: &[u8] = b"dummy\0\0\0";
const TIMEOUT: Duration = Duration::from_secs(10);

/// Descriptors are numbers, and the cache is one place for one of them.
struct Server {
    session: Session<u32, u32>,
    cached: Option<u32>,
    log: Vec<String>,
    sent: Vec<u8>,
    handed_out: Vec<u32>,
    now: Instant,
}

#[expect(clippy::disallowed_methods, reason = "the origin of virtual time")]
fn server() -> Server {
    Server {
        session: Session::new(false, TIMEOUT),
        cached: None,
        log: Vec::new(),
        sent: Vec::new(),
        handed_out: Vec::new(),
        now: Instant::now(),
    }
}

impl Server {
    fn input(&mut self, bytes: &[u8], descriptors: Descriptors<u32>) -> &mut Self {
        self.session.handle_input(self.now, bytes, descriptors);
        self.run();
        self
    }

    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.input(bytes, Descriptors::None)
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    fn run(&mut self) {
        loop {
            self.answer();
            if !self.write(usize::MAX) {
                return;
            }
        }
    }

    fn answer(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Save(_, descriptor) => {
                    self.cached = Some(descriptor);
                    self.session.reply(Answer::Saved(Duration::from_secs(2)));
                }
                Event::Request(Request::FindEndpoint { .. } | Request::Find { .. }) => {
                    let answer = self.cached.take().map_or(Answer::Failed, Answer::Found);
                    self.session.reply(answer);
                }
                Event::Request(_) => self.session.reply(Answer::Done),
                other => self.log.push(format!("{other:?}")),
            }
        }
    }

    fn write(&mut self, most: usize) -> bool {
        let Some(transmit) = self.session.poll_transmit() else {
            return false;
        };
        let bytes = &transmit.bytes[..transmit.bytes.len().min(most)];
        self.sent.extend_from_slice(bytes);
        self.handed_out.extend(transmit.descriptor);
        let written = bytes.len();
        self.session.handle_written(written);
        true
    }
}

#[test]
fn a_connection_is_saved_and_found() {
    let mut server = server();
    server.bytes(SAVE);
    assert_eq!(server.sent, DUMMY);
    server.input(b"\0", Descriptors::One(7)).bytes(FIND);
    assert_eq!(
        server.sent,
        b"dummy\0\0\0status\x000\0\0status\x000\0property\0p\0\0"
    );
    assert!(server.handed_out.is_empty());
    server.bytes(DUMMY);
    assert_eq!(server.handed_out, [7]);
    assert!(server.sent.ends_with(b"\0\0\0"));
    server.bytes(DUMMY);
    assert_eq!(server.log, ["Delivered(7)"]);
    assert_eq!(server.session.deadline(), None);
    assert!(server.session.close().next().is_none());
}

#[test]
fn details_are_told_to_those_who_asked_only() {
    let save = b"request\0save\0ttl\x009\0label\0d\0property\0\0label\0e\0property\0p\0\0";
    let find = b"request\0find\0label\0d\0\0";
    let mut server = server();
    server.bytes(b"request\0details\0\0");
    assert_eq!(server.sent, b"status\x001\0\0");
    assert_eq!(server.log, ["Refused(Unknown)"]);
    server.bytes(INLINE);
    assert!(server.sent.ends_with(b"status\x000\0details\0yes\0\0"));
    server.sent.clear();
    server.input(save, Descriptors::One(7)).bytes(find);
    let plain = b"status\x000\0\0status\x000\0label\0e\0property\0p\0\0";
    assert_eq!(server.sent, plain);
    server.sent.clear();
    server.bytes(b"request\0details\0\0");
    server.input(save, Descriptors::One(7)).bytes(find);
    assert_eq!(
        server.sent,
        b"status\x000\0\0status\x000\0ttl_ms\x002000\0\0\
          status\x000\0label\0e\0property\0p\0age_ms\x001500\0taken\x007\0\0"
    );
    // A refusal has none.
    server.sent.clear();
    server.bytes(find);
    assert_eq!(
        server.sent,
        b"status\x002\0label\0\0property\0\0property\0\0\0"
    );
}

#[test]
fn a_request_that_is_put_off_is_given_out_again() {
    let mut server = server();
    server
        .session
        .handle_input(server.now, FIND, Descriptors::One(9));
    for _ in 0..3 {
        let event = server.session.poll_event();
        assert!(
            matches!(event, Some(Event::Request(Request::FindEndpoint { endpoint })) if endpoint.as_bytes() == b"e")
        );
        server.session.postpone();
        assert!(server.session.is_postponed() && !server.session.is_idle());
        assert!(server.session.poll_transmit().is_none());
    }
    server.cached = Some(7);
    server.run();
    assert!(!server.session.is_postponed());
    assert_eq!(server.sent, b"status\x000\0property\0p\0\0");
    // The descriptor that came with it is of no use, before and after.
    assert_eq!(server.log, ["Broken(StrayDescriptor)"]);
}

#[test]
fn every_split_gives_the_same_answer() {
    let mut stream = Vec::new();
    for part in [SAVE, b"\0", FIND, DUMMY, DUMMY, FIND] {
        stream.extend_from_slice(part);
    }
    // The descriptor's message ends the read it comes with, so one cut is always there.
    let descriptor_ends = SAVE.len() + 1;
    let mut whole = server();
    whole
        .input(&stream[..descriptor_ends], Descriptors::One(7))
        .bytes(&stream[descriptor_ends..]);
    assert_eq!(whole.handed_out, [7]);
    for split in 0..stream.len() {
        let mut pieces = server();
        let mut from = 0;
        for to in [
            split.min(descriptor_ends),
            descriptor_ends,
            split.max(descriptor_ends),
            stream.len(),
        ] {
            if to == descriptor_ends && from < to {
                pieces.input(&stream[from..to], Descriptors::One(7));
            } else if from < to {
                pieces.bytes(&stream[from..to]);
            }
            from = from.max(to);
        }
        assert_eq!(pieces.sent, whole.sent, "split at {split}");
        assert_eq!(pieces.handed_out, [7], "split at {split}");
        assert_eq!(pieces.log, whole.log, "split at {split}");
    }
}

#[test]
fn one_byte_at_a_time_gives_the_same_answer() {
    let mut server = server();
    for byte in SAVE {
        server.bytes(&[*byte]);
    }
    server.input(b"\0", Descriptors::One(7));
    for byte in [FIND, DUMMY, DUMMY].concat() {
        server.bytes(&[byte]);
    }
    assert_eq!(server.handed_out, [7]);
    assert_eq!(server.log, ["Delivered(7)"]);
}

#[test]
fn without_a_usable_descriptor_nothing_is_saved_and_the_session_goes_on() {
    for descriptors in [
        Descriptors::None,
        Descriptors::Several,
        Descriptors::Truncated,
    ] {
        let mut server = server();
        server.bytes(SAVE).input(b"\0", descriptors).bytes(FIND);
        assert_eq!(
            server.sent,
            b"dummy\0\0\0status\x002\0\0status\x002\0property\0\0\0"
        );
        assert_eq!(server.log, ["Refused(NoDescriptor)"]);
    }
}

#[test]
fn a_descriptor_where_none_belongs_ends_the_session() {
    let mut server = server();
    server.input(FIND, Descriptors::One(7));
    assert_eq!(server.log, ["Broken(StrayDescriptor)"]);
    server.bytes(FIND);
    assert_eq!(server.sent, b"status\x002\0property\0\0\0");
}

#[test]
fn a_descriptor_with_the_dummy_of_a_find_ends_the_session_before_anything_is_sent() {
    let mut server = server();
    server.cached = Some(7);
    server.bytes(FIND);
    server
        .session
        .handle_input(server.now, DUMMY, Descriptors::One(8));
    assert!(matches!(
        server.session.poll_event(),
        Some(Event::Broken(Fault::StrayDescriptor))
    ));
    let unfinished = server.session.close().next();
    assert!(matches!(unfinished, Some(Unfinished::Unsent(7))));
}

#[test]
fn a_descriptor_in_the_middle_of_a_list_is_not_kept_until_its_end() {
    for before in [&b""[..], FIND] {
        let mut server = server();
        server.cached = Some(7);
        server
            .bytes(before)
            .input(&FIND[..4], Descriptors::One(8))
            .input(&FIND[4..5], Descriptors::One(9));
        assert_eq!(server.log, ["Broken(StrayDescriptor)"]);
    }
}

#[test]
fn who_does_not_read_its_descriptor_cannot_say_more_and_more() {
    let far_ahead = [&[b'x'; limits::AHEAD_BYTES][..], b"x"];
    let descriptors = [&b"\0"[..]; limits::AHEAD_DESCRIPTORS + 1];
    for (said, attached) in [(&far_ahead[..], None), (&descriptors[..], Some(8))] {
        let mut server = server();
        server.cached = Some(7);
        server.bytes(FIND);
        server
            .session
            .handle_input(server.now, DUMMY, Descriptors::None);
        server.answer();
        server.session.handle_blocked();
        for (place, bytes) in said.iter().enumerate() {
            let descriptors = attached.map_or(Descriptors::None, Descriptors::One);
            server.session.handle_input(server.now, bytes, descriptors);
            assert!(server.log.is_empty(), "dropped at {place}");
            server.answer();
        }
        assert_eq!(server.log, ["Broken(NotReading)"]);
        assert!(matches!(
            server.session.close().next(),
            Some(Unfinished::Unsent(7))
        ));
    }
}

#[test]
fn a_descriptor_may_come_with_the_beginning_of_the_next_request() {
    let mut server = server();
    server.bytes(SAVE);
    server.input(&[b"\0", &FIND[..5]].concat(), Descriptors::One(7));
    server.bytes(&FIND[5..]).bytes(DUMMY);
    assert_eq!(server.handed_out, [7]);
}

#[test]
fn a_client_that_leaves_gives_back_what_it_did_not_get() {
    let mut server = server();
    server.cached = Some(7);
    server.bytes(FIND);
    assert!(matches!(
        server.session.close().next(),
        Some(Unfinished::Unsent(7))
    ));
}

#[test]
fn a_descriptor_that_could_not_be_written_yet_is_unsent() {
    let mut server = server();
    server.cached = Some(7);
    server.bytes(FIND);
    server
        .session
        .handle_input(server.now, DUMMY, Descriptors::None);
    server.answer();
    assert!(matches!(
        server.session.close().next(),
        Some(Unfinished::Unsent(7))
    ));
}

#[test]
fn a_client_that_leaves_without_a_receipt_keeps_what_it_got() {
    let mut server = server();
    server.cached = Some(7);
    server.bytes(FIND).bytes(DUMMY);
    assert!(matches!(
        server.session.close().next(),
        Some(Unfinished::Sent(7))
    ));
}

#[test]
fn something_else_than_the_dummy_declines_the_connection() {
    let mut server = server();
    server.cached = Some(7);
    server.bytes(FIND).bytes(FIND);
    assert_eq!(server.log, ["Declined(7)"]);
    assert!(server.handed_out.is_empty());
    server.bytes(FIND);
    assert!(server.sent.ends_with(b"status\x002\0property\0\0\0"));
}

#[test]
fn the_deadline_runs_from_the_first_byte_of_a_request() {
    let mut server = server();
    let start = server.now;
    assert_eq!(server.session.deadline(), None);
    server.bytes(&SAVE[..1]);
    assert_eq!(server.session.deadline(), Some(start + TIMEOUT));
    server.wait(3).bytes(&SAVE[1..]);
    assert_eq!(
        server.session.deadline(),
        Some(start + TIMEOUT),
        "the descriptor is missing"
    );
    server.wait(3).input(b"\0", Descriptors::One(7));
    assert_eq!(server.session.deadline(), None);
    server.bytes(&[FIND, DUMMY, DUMMY, &FIND[..3]].concat());
    assert_eq!(
        server.session.deadline(),
        Some(server.now + TIMEOUT),
        "the next request began"
    );
    server.wait(1).bytes(&FIND[3..4]);
    assert_eq!(
        server.session.deadline(),
        Some(server.now + TIMEOUT - Duration::from_secs(1))
    );
}

#[test]
fn who_does_not_read_and_asks_for_more_is_dropped() {
    let mut server = server();
    let unknown = b"request\0x\0\0".repeat(limits::REPLY_BYTES / 10 + 2);
    server
        .session
        .handle_input(server.now, &unknown, Descriptors::None);
    server.answer();
    assert!(server.log.iter().all(|line| line == "Refused(Unknown)"));
    assert!(server.session.poll_transmit().is_some_and(|transmit| {
        transmit.bytes.len() > limits::REPLY_BYTES
            && transmit.bytes.len() < limits::REPLY_BYTES + 100
    }));
    server.session.handle_blocked();
    server.answer();
    assert_eq!(
        server.log.last().map(String::as_str),
        Some("Broken(NotReading)")
    );
}

#[test]
fn a_request_over_the_limit_is_answered_and_ends_the_session() {
    let mut server = server();
    server.bytes(b"request\0find_endp\0label\0");
    server.bytes(&vec![b'x'; limits::VALUE_BYTES + 1]);
    assert_eq!(server.sent, b"status\x001\0\0");
    assert_eq!(server.log, ["Broken(TooLong)"]);
}

const INLINE: &[u8] = b"request\0inline\0\0";
const SAVE_BOTH: &[u8] = b"request\0save\0ttl\09\0label\0d\0property\0q\0label\0e\0property\0p\0\0";
const FIND_ANY: &[u8] = b"request\0find\0label\0d\0label\0e\0label\0f\0\0";
const DONE: &[u8] = b"status\x000\0\0";

#[test]
fn an_inline_client_sends_and_gets_connections_with_one_message_each_way() {
    let mut server = server();
    server.bytes(INLINE);
    assert_eq!(server.sent, b"status\x000\0details\0yes\0\0");
    server.sent.clear();
    server.input(SAVE_BOTH, Descriptors::One(7)).bytes(FIND_ANY);
    assert_eq!(server.handed_out, [7]);
    assert_eq!(
        server.sent,
        [DONE, b"status\x000\0label\0e\0property\0p\0\0"].concat()
    );
    assert_eq!(server.log, ["Delivered(7)"]);
    assert_eq!(server.session.deadline(), None);
}

#[test]
fn the_descriptor_of_an_inline_reply_rides_on_its_first_byte() {
    let mut server = server();
    server.bytes(INLINE);
    server.cached = Some(7);
    let two = [b"request\0x\0\0", FIND].concat();
    server
        .session
        .handle_input(server.now, &two, Descriptors::None);
    server.answer();
    let first = server.session.poll_transmit().unwrap();
    assert_eq!(
        (first.bytes, first.descriptor),
        (&b"status\x001\0\0"[..], None)
    );
    let length = first.bytes.len();
    server.session.handle_written(length);
    let second = server.session.poll_transmit().unwrap();
    assert_eq!(second.descriptor, Some(&7));
    assert!(second.bytes.starts_with(b"status\x000\0property"));
}

#[test]
fn an_inline_save_without_its_descriptor_is_refused_and_the_session_goes_on() {
    for descriptors in [
        Descriptors::None,
        Descriptors::Several,
        Descriptors::Truncated,
    ] {
        let mut server = server();
        server
            .bytes(INLINE)
            .input(SAVE_BOTH, descriptors)
            .bytes(FIND);
        assert!(
            server
                .sent
                .ends_with(b"status\x002\0\0status\x002\0property\0\0\0")
        );
        assert_eq!(server.log, ["Refused(NoDescriptor)"]);
    }
}

#[test]
fn an_inline_request_may_come_in_pieces_but_its_descriptor_with_the_first() {
    for split in 1..SAVE_BOTH.len() {
        let (first, rest) = SAVE_BOTH.split_at(split);
        let mut server = server();
        server.bytes(INLINE);
        server
            .input(first, Descriptors::One(7))
            .bytes(rest)
            .bytes(FIND);
        assert_eq!(server.handed_out, [7], "split at {split}");
        let mut server = self::server();
        server.bytes(INLINE);
        server.bytes(first).input(rest, Descriptors::One(7));
        assert!(
            server.log.contains(&"Broken(StrayDescriptor)".to_owned()),
            "split at {split}: {:?}",
            server.log
        );
    }
}

#[test]
fn a_descriptor_with_an_inline_request_that_wants_none_ends_the_session() {
    let mut server = server();
    server.bytes(INLINE).input(FIND, Descriptors::One(7));
    assert_eq!(server.log, ["Broken(StrayDescriptor)"]);
}

#[test]
fn the_time_for_reading_an_inline_connection_is_that_of_its_request() {
    let mut server = server();
    server.bytes(INLINE);
    server.cached = Some(7);
    let start = server.now;
    server
        .session
        .handle_input(server.now, FIND, Descriptors::None);
    server.answer();
    server.wait(3);
    server
        .session
        .handle_input(server.now, FIND, Descriptors::None);
    server.answer();
    assert_eq!(server.session.deadline(), Some(start + TIMEOUT));
    server.run();
    assert_eq!(server.handed_out, [7]);
    assert_eq!(server.session.deadline(), None);
}

#[test]
fn what_only_inline_clients_may_ask_for_is_unknown_to_others() {
    // Nor does it matter then whether they ask for it rightly.
    let malformed: &[u8] = b"request\0find\0lable\0d\0\0";
    for request in [SAVE_BOTH, FIND_ANY, malformed] {
        let mut server = server();
        server.bytes(request).bytes(FIND);
        assert_eq!(server.log, ["Refused(Unknown)"]);
        assert_eq!(server.sent, b"status\x001\0\0status\x002\0property\0\0\0");
    }
}

#[test]
fn an_inline_client_that_leaves_gives_back_what_was_not_written_last_taken_first() {
    let mut server = server();
    server.bytes(INLINE);
    let mut next = 1;
    let finds = FIND.repeat(limits::DESCRIPTORS + 3);
    server
        .session
        .handle_input(server.now, &finds, Descriptors::None);
    while let Some(event) = server.session.poll_event() {
        assert!(matches!(event, Event::Request(_)), "{event:?}");
        server.session.reply(Answer::Found(next));
        next += 1;
    }
    assert_eq!(next as usize - 1, limits::DESCRIPTORS, "the others wait");
    assert!(server.session.deadline().is_some(), "but not for ever");
    server.write(usize::MAX);
    let left: Vec<_> = server
        .session
        .close()
        .map(|left| format!("{left:?}"))
        .collect();
    let mut expected: Vec<_> = (2..next).rev().map(|n| format!("Unsent({n})")).collect();
    expected.push("Sent(1)".to_owned());
    assert_eq!(left, expected);
}
