//! `scachectl top` in a real terminal.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use scache_client::Client;
use scache_tests::fake_master::built;
use scache_tests::process::Process;
use scache_tests::tmux::Tmux;

use crate::caches::{Cache, Said, scachectl, until};

/// Destinations, and how often each is asked for.
const DESTINATIONS: [(&str, usize); 3] = [
    ("smtp\na.example", 2),
    ("smtp\nb.example", 9),
    ("relay\nc.example", 5),
];

/// A cache in which each destination has a connection and was missed so often, the last also found.
fn busy() -> (Cache, Vec<scache_tests::wire::Connection>) {
    let cache = Cache::scached();
    let mut client = cache.client();
    let mut kept = Vec::new();
    for (destination, times) in DESTINATIONS {
        for _ in 0..times {
            miss(&mut client, destination);
        }
        kept.extend(cache.save(destination, &format!("{destination}\n25"), 1));
    }
    (cache, kept)
}

fn miss(client: &mut Client, destination: &str) {
    let found = client.find_destination(destination.as_bytes());
    assert!(found.expect("asked").is_none());
}

/// Starts it, and waits until it shows a destination.
fn start(cache: &Cache, columns: u16, lines: u16) -> Tmux {
    let terminal = Tmux::start(columns, lines);
    type_command(&terminal, cache, "");
    terminal.wait_for("a destination", |screen| screen.contains("a.example"));
    terminal
}

/// Starts it, and does something afterwards.
fn type_command(terminal: &Tmux, cache: &Cache, after: &str) {
    let (program, socket) = (built("scachectl"), cache.path());
    let (program, socket) = (program.display(), socket.display());
    terminal.type_line(&format!(
        "settings=$(stty -g); {MARK}={socket} {program} --socket {socket} top --interval 100ms{after}"
    ));
}

/// What says how it ended, if it was not by a signal.
const SAY_HOW: &str = "; echo ended $?";

/// The variable by which its process is known.
const MARK: &str = "SCACHE_TEST_TOP";

/// The destinations on the screen, in order.
fn order(screen: &str) -> Vec<char> {
    let lines = screen.lines();
    lines
        .filter_map(|line| {
            let (before, _) = line.split_once(".example")?;
            // Those of the table, not those of the events.
            let is_row = !line.contains("saved") && !line.contains("purged");
            before.chars().last().filter(|_| is_row)
        })
        .collect()
}

/// That it ends with this status.
fn assert_ended(terminal: &Tmux, status: i32) {
    until("the terminal is given back", || {
        (terminal.tell("#{alternate_on}") == "0").then_some(())
    });
    // Not in one line with it: a shell goes no further in a line of which a command was interrupted.
    terminal.type_line("echo ended $?");
    let status = format!("ended {status}");
    terminal.wait_for(&status, |screen| screen.contains(&status));
}

/// That the terminal is as it was when the command was typed.
fn assert_restored(terminal: &Tmux) {
    assert_eq!(terminal.tell("#{alternate_on} #{cursor_flag}"), "0 1");
    terminal.clear();
    terminal.type_line("[ \"$settings\" = \"$(stty -g)\" ]; echo changed $?");
    terminal.wait_for("what it was", |screen| screen.contains("changed 0"));
}

#[test]
fn it_shows_the_cache_at_work() {
    let (cache, kept) = busy();
    let terminal = start(&cache, 100, 30);
    let mut client = cache.client();
    miss(&mut client, "elsewhere");
    let screen = terminal.wait_for("an event", |screen| {
        screen.contains("missed") && screen.contains("elsewhere")
    });
    for part in [
        "hit rate",
        "cached    3 of",
        "clients",
        "DESTINATION",
        "smtp a.example",
        "q quit",
    ] {
        assert!(screen.contains(part), "{part}:\n{screen}");
    }
    // A graph, of dots in Braille.
    terminal.wait_for("a graph", |screen| {
        miss(&mut cache.client(), "elsewhere");
        screen
            .chars()
            .any(|character| ('\u{2801}'..='\u{28ff}').contains(&character))
    });
    terminal.press(&["?"]);
    terminal.wait_for("help", |screen| {
        screen.contains("purge the selected destination")
    });
    terminal.press(&["?"]);
    terminal.wait_for("no help", |screen| !screen.contains("purge the selected"));
    terminal.press(&["+"]);
    terminal.press(&["-"]);
    terminal.press(&["-"]);
    terminal.wait_for("another interval", |screen| screen.contains("every 0.4s"));
    terminal.press(&["Space"]);
    terminal.wait_for("a pause", |screen| screen.contains("paused"));
    terminal.press(&["q"]);
    assert_ended(&terminal, 0);
    assert_restored(&terminal);
    drop(kept);
}

#[test]
fn destinations_are_sorted_and_filtered() {
    let (cache, kept) = busy();
    let terminal = start(&cache, 100, 30);
    // By rate, and all rates are 0 soon; then by what was asked for.
    terminal.wait_for("by rate", |screen| order(screen) == ['b', 'c', 'a']);
    for (name, wanted) in [
        ("hits", ['b', 'c', 'a']),
        ("misses", ['b', 'c', 'a']),
        ("cached", ['b', 'c', 'a']),
        ("name", ['c', 'a', 'b']),
    ] {
        terminal.press(&["s"]);
        terminal.wait_for(name, |screen| {
            screen.contains(&format!("sort: {name}")) && order(screen) == wanted
        });
    }
    terminal.press(&["/", "^", "s", "m"]);
    terminal.wait_for("a filter", |screen| {
        order(screen) == ['a', 'b'] && screen.contains("2 of 3 with \"^sm\"")
    });
    terminal.press(&["Enter", "/", "Escape"]);
    terminal.wait_for("all", |screen| order(screen) == ['c', 'a', 'b']);
    terminal.press(&["/", "b", ".", "Enter"]);
    terminal.wait_for("one", |screen| order(screen) == ['b']);
    drop(kept);
}

#[test]
fn what_is_selected_is_purged_after_a_yes() {
    let (cache, kept) = busy();
    let terminal = start(&cache, 100, 30);
    terminal.press(&["p"]);
    terminal.wait_for("advice", |screen| {
        screen.contains("select a destination first")
    });
    terminal.press(&["s", "s", "s", "s"]);
    terminal.wait_for("by name", |screen| screen.contains("sort: name"));
    // The first, then the next but one, back by one.
    terminal.press(&["Down", "Down", "Down", "Up"]);
    terminal.press(&["p"]);
    terminal.wait_for("a question", |screen| {
        screen.contains("purge smtp a.example and the connections that serve it? y/n")
    });
    terminal.press(&["n"]);
    terminal.wait_for("nothing", |screen| screen.contains("nothing purged"));
    assert_eq!(cache.lines(&["list"]).len(), 4);
    terminal.press(&["p", "y"]);
    terminal.wait_for("what went", |screen| {
        screen.contains("purged: 1 connections, 1 bindings") && screen.contains("cached    2 of")
    });
    assert!(kept[0].far_hears_to_the_end().is_some(), "it is not closed");
    assert_eq!(cache.lines(&["list", "--prefix", "smtp\\na"]).len(), 1);
}

#[test]
fn a_cache_that_goes_is_waited_for() {
    let (mut cache, kept) = busy();
    let terminal = start(&cache, 100, 30);
    cache.end();
    terminal.wait_for("that it is gone", |screen| screen.contains("gone, waiting"));
    cache.start_again();
    terminal.wait_for("that it is back", |screen| {
        !screen.contains("gone, waiting") && screen.contains("cached    0 of")
    });
    let again = cache.save("smtp\nz.example", "e", 1);
    terminal.wait_for("what is new", |screen| {
        screen.contains("cached    1 of") && screen.contains("saved")
    });
    terminal.press(&["C-c"]);
    assert_ended(&terminal, 0);
    drop((kept, again));
}

#[test]
fn a_terminal_that_is_too_small_is_said_to_be() {
    let (cache, kept) = busy();
    let terminal = Tmux::start(60, 10);
    type_command(&terminal, &cache, SAY_HOW);
    let screen = terminal.wait_for("its end", |screen| screen.contains("ended 64"));
    let said = screen.replace('\n', "");
    assert!(
        said.contains("needs 72 columns and 20 lines, here are 60 and 10"),
        "{screen}"
    );
    terminal.resize(100, 30);
    terminal.clear();
    type_command(&terminal, &cache, "");
    terminal.wait_for("a destination", |screen| screen.contains("a.example"));
    terminal.resize(50, 10);
    terminal.wait_for("a message", |screen| {
        screen.replace('\n', " ").contains("too small") && !screen.contains("a.example")
    });
    terminal.resize(100, 30);
    terminal.wait_for("a destination", |screen| screen.contains("a.example"));
    drop(kept);
}

#[test]
fn a_signal_gives_the_terminal_back() {
    let (cache, kept) = busy();
    for (signal, status) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let terminal = start(&cache, 100, 30);
        assert_eq!(terminal.tell("#{alternate_on}"), "1");
        kill_process(top_at(&cache), signal).expect("it runs");
        assert_ended(&terminal, status);
        assert_restored(&terminal);
    }
    drop(kept);
}

#[test]
fn it_ends_with_its_terminal_whether_it_hears_of_that_or_not() {
    let (cache, kept) = busy();
    for before in ["", "trap '' HUP"] {
        let terminal = Tmux::start(100, 30);
        terminal.type_line(before);
        type_command(&terminal, &cache, "");
        terminal.wait_for("a destination", |screen| screen.contains("a.example"));
        let top = top_at(&cache);
        drop(terminal);
        until("top has ended", || {
            rustix::process::test_kill_process(top)
                .is_err()
                .then_some(())
        });
    }
    drop(kept);
}

/// The process that looks at this cache.
fn top_at(cache: &Cache) -> Pid {
    let variable = cache.path();
    let found = Process::all_with_environment(MARK, variable.as_os_str());
    assert_eq!(found.len(), 1, "{found:?}");
    let number = i32::try_from(found[0].pid()).ok().and_then(Pid::from_raw);
    number.expect("a number")
}

#[test]
fn without_a_terminal_it_says_so() {
    let cache = Cache::scached();
    let output = scachectl(&cache.path())
        .arg("top")
        .stdin(Stdio::null())
        .output()
        .expect("scachectl");
    Said::of(&output).assert_failed(64, &["top needs a terminal"]);
}

#[test]
fn stock_is_called_by_its_name_before_the_screen_is_cleared() {
    let cache = Cache::stock();
    let terminal = Tmux::start(150, 30);
    type_command(&terminal, &cache, SAY_HOW);
    let screen = terminal.wait_for("its end", |screen| screen.contains("ended 76"));
    assert!(screen.contains("Postfix's own scache"), "{screen}");
}
