//! A connection that is given up is given up politely: its server gets a QUIT and says 221. Stock just closes it.

use std::time::{Duration, Instant};

use scache_tests::fake_master::{Program, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::maillog::Session;
use scache_tests::setups::{forever, over_tls, receiver, receiver_with_tls};

use crate::mute::MuteServer;
use crate::open_sessions;

const MESSAGES: usize = 20;

/// Something like a second is promised. Only a hang takes so long.
const SOON: Duration = Duration::from_secs(15);

/// What became of the sessions at the receiver, once all of them have ended.
fn ended_sessions(receiver: &Instance) -> Vec<Session> {
    receiver.wait_for("sessions do not end", |receiver| {
        open_sessions(receiver) == 0
    });
    let sessions = receiver.complete_log().sessions();
    assert!(!sessions.is_empty());
    sessions
}

/// Every session at the receiver ends with a QUIT, and its log speaks of no lost connection.
pub(crate) fn assert_polite(receiver: &Instance) {
    let sessions = ended_sessions(receiver);
    let polite = sessions.iter().filter(|session| session.quit()).count();
    println!("ours: QUIT in {polite} of {} sessions", sessions.len());
    assert_eq!(polite, sessions.len(), "{sessions:#?}");
    let lost = ["lost connection", "timeout after"];
    let log = receiver.log();
    let lost = lost.map(|text| log.lines_with(text)).concat();
    assert_eq!(lost, Vec::<&str>::new());
}

/// Stock gives up connections without a word. If it ever learns to say goodbye, we want to know.
///
/// Its log shows no more than that: smtpd(8) is silent about a connection that is lost after a message.
fn assert_impolite(receiver: &Instance) {
    let sessions = ended_sessions(receiver);
    let polite = sessions.iter().filter(|session| session.quit()).count();
    println!("stock: QUIT in {polite} of {} sessions", sessions.len());
    assert_eq!(polite, 0, "{sessions:#?}");
}

fn assert_as_expected(name: &str, receiver: &Instance) {
    match name {
        "stock" => assert_impolite(receiver),
        _ => assert_polite(receiver),
    }
}

fn both() -> [(&'static str, Program); 2] {
    [("stock", stock()), ("ours", ours())]
}

#[test]
fn a_connection_that_expires_gets_its_quit() {
    for (name, scache) in both() {
        let receiver = Instance::start(&receiver());
        let sender = Instance::start(&Setup::new(scache).next_hop(receiver.submission()));
        sender.deliver(MESSAGES);
        assert_as_expected(name, &receiver);
    }
}

#[test]
fn a_connection_with_tls_gets_its_quit_through_tlsproxy() {
    for (name, scache) in both() {
        let (receiver, _directory) = receiver_with_tls();
        let receiver = Instance::start(&receiver);
        let sender = over_tls(Setup::new(scache)).next_hop(receiver.submission());
        let sender = Instance::start(&sender);
        sender.deliver(MESSAGES);
        assert_as_expected(name, &receiver);
    }
}

/// Only ours has a limit.
#[test]
fn a_connection_that_makes_room_gets_its_quit() {
    let receiver = Instance::start(&receiver());
    let sender = forever(Setup::new(ours()))
        .parameter("connection_cache_connection_limit", "1")
        .route("elsewhere.example", receiver.submission());
    let sender = Instance::start(&sender);
    sender.deliver_to("recipient@elsewhere.example", 1);
    assert_eq!(open_sessions(&receiver), 1);
    sender.deliver_to("recipient@example.com", 1);
    assert_polite(&receiver);
}

#[test]
fn postfix_stop_ends_all_sessions_with_a_quit() {
    for (name, scache) in both() {
        let receiver = Instance::start(&receiver());
        let sender = forever(Setup::new(scache)).next_hop(receiver.submission());
        let sender = Instance::start(&sender);
        sender.deliver(MESSAGES);
        assert!(open_sessions(&receiver) > 0, "nothing is cached");
        stop(name, &sender);
        assert_as_expected(name, &receiver);
    }
}

#[test]
fn postfix_stop_does_not_wait_for_a_server_that_says_nothing() {
    for (name, scache) in both() {
        let receiver = MuteServer::start();
        let sender = forever(Setup::new(scache)).next_hop(receiver.address());
        let sender = Instance::start(&sender);
        sender.deliver(MESSAGES);
        assert!(receiver.connections() > 0);
        assert_eq!(receiver.quits(), 0);
        stop(name, &sender);
        let expected = match name {
            "stock" => 0,
            _ => receiver.connections(),
        };
        sender.wait_for("connections stay open", |_| {
            receiver.closed() == receiver.connections()
        });
        assert_eq!(receiver.quits(), expected, "{}", sender.log().tail());
    }
}

/// Stops Postfix; nothing of it is left soon after.
pub(crate) fn stop(name: &str, sender: &Instance) {
    let began = Instant::now();
    sender.stop();
    sender.wait_for("processes are left", |sender| {
        assert!(began.elapsed() < SOON, "{:?}", sender.processes());
        sender.processes().is_empty()
    });
    println!(
        "{name}: nothing runs {:?} after postfix stop",
        began.elapsed()
    );
    assert!(
        !sender.log().mentions("with force"),
        "{}",
        sender.log().tail()
    );
}
