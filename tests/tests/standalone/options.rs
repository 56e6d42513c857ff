//! Options, on the command line and in a file.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use scache_client::Client;
use scache_tests::fake_master::built;
use scache_tests::wire::{self, Heard};
use tempfile::TempDir;

use crate::daemon::{Daemon, LONG, find, miss, place, refused, save, text};

/// A file of options, in a directory that goes with it.
fn file(contents: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("scached.toml");
    fs::write(&path, contents).expect("written");
    (directory, path)
}

#[test]
fn a_value_that_makes_no_sense_is_named_with_its_option() {
    for (option, value, said) in [
        ("--ttl-limit", "5x", "not a time"),
        ("--ttl-limit", "0", "at least 1s"),
        ("--max-idle", "soon", "not a time"),
        ("--max-idle", "5 s", "not a time"),
        ("--max-idle", "1h30m", "not a time"),
        ("--request-timeout", "0s", "at least 1s"),
        ("--connection-limit", "0", "from 1 to"),
        ("--endpoint-limit", "none", "from 0 to"),
        ("--binding-limit", "many", "from 1 to"),
        ("--client-limit", "4294967296", "from 1 to"),
        ("--watch", "perhaps", "neither yes nor no"),
        ("--goodbye", "QUIT\r\n", "more than a line"),
        ("--goodbye-timeout", "1y", "not a time"),
        ("--order", "any", "neither oldest nor newest"),
        ("--announce", "1", "neither yes nor no"),
        ("--handover", "later", "neither yes nor no"),
        ("--mode", "999", "octal"),
        ("--allow-user", "no such user", "no user"),
        ("--config", "/proc/none", "can be read"),
    ] {
        let message = refused(&[option, value]);
        for part in [option, said] {
            assert!(message.contains(part), "{option} {value}: {message}");
        }
    }
    let message = refused(&["--sokcet", "x"]);
    assert!(message.contains("--sokcet"), "{message}");
}

#[test]
fn what_makes_no_sense_in_a_file_is_named_with_its_line() {
    for (line, named) in [
        ("ttl_limit = \"5s\"", "did you mean `ttl-limit`?"),
        ("mode = 0660", "in quotes"),
        ("takeover = true", "takeover"),
        ("ttl-limit = \"5x\"", "5x"),
        ("connection-limit = 0", "\"0\" is not a number"),
        ("mode = 0o660", "mode"),
        ("allow-user = [\"no such user\"]", "no such user"),
        ("watch = \"perhaps\"", "neither yes nor no"),
        ("goodbyes = \"QUIT\"", "goodbyes"),
        ("ttl-limit", "ttl-limit"),
    ] {
        let (_directory, path) = file(&format!("# comment\n\n{line}\n"));
        let message = refused(&["--config", text(&path)]);
        for part in [text(&path), "line 3", named] {
            assert!(message.contains(part), "{line}: {message}");
        }
    }
}

#[test]
fn an_option_below_the_goodbyes_is_refused_instead_of_swallowed() {
    let (_directory, path) = file("[goodbyes]\n\"smtp\" = \"QUIT\"\nttl-limit = \"5m\"\n");
    let message = refused(&["--config", text(&path)]);
    for part in [
        text(&path),
        "line 3",
        "`ttl-limit` is an option",
        "move it above",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn a_check_says_what_would_be_used_and_starts_nothing() {
    let (_place, socket) = place();
    let (directory, path) = file("ttl-limit = \"5m\"\nmode = \"0660\"\n");
    let check = |arguments: &[&str]| {
        let output = Command::new(built("scached"))
            .arg("--check")
            .args(arguments)
            .output()
            .expect("scached");
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            said(&output.stdout),
            said(&output.stderr),
        )
    };
    let options = [
        "--config",
        text(&path),
        "--mode",
        "0600",
        "--socket",
        text(&socket),
    ];
    let (status, said, warned) = check(&options);
    assert_eq!((status, &*warned), (Some(0), ""));
    let row = |name: &str| -> Vec<&str> {
        let row = said
            .lines()
            .find(|line| line.starts_with(&format!("{name} ")));
        let row = row.unwrap_or_else(|| panic!("{name}: {said}"));
        row.split_whitespace().skip(1).collect()
    };
    assert_eq!(row("ttl-limit"), ["300s", "file"]);
    assert_eq!(row("mode"), ["0600", "command", "line"]);
    assert_eq!(row("order"), ["oldest", "default"]);
    assert_eq!(row("socket")[0], text(&socket));
    assert!(!socket.exists());

    let (status, _, warned) = check(&["--allow-user", "60001", "--socket", text(&socket)]);
    assert_eq!(status, Some(0));
    assert!(
        warned.contains("warning: allow-user: with mode 0600"),
        "{warned}"
    );

    fs::write(&path, "ttl_limit = 5\n").expect("written");
    let (status, said, warned) = check(&["--config", text(&path)]);
    assert_eq!((status, &*said), (Some(1), ""));
    assert!(warned.contains("did you mean `ttl-limit`?"), "{warned}");

    let missing = directory.path().join("no/such/directory/s");
    let (status, _, warned) = check(&["--socket", text(&missing)]);
    assert_eq!(status, Some(1));
    assert!(warned.contains("make that directory"), "{warned}");
    assert!(!directory.path().join("no").exists());
}

#[test]
fn a_file_sets_what_the_command_line_does_not() {
    let (_place, socket) = place();
    let (_directory, path) = file(&format!(
        "socket = \"{}\"\nttl-limit = \"1h\"\nendpoint-limit = 2\norder = \"newest\"\nannounce = false\n",
        text(&socket)
    ));
    let mut daemon = Daemon::start(&["--config", text(&path), "--endpoint-limit", "3"]);
    daemon.wait_for(text(&socket));
    let mut client = Client::new(&socket);
    let connections: Vec<_> = (0..4)
        .map(|number| save(&mut client, LONG, "e", &number.to_string()))
        .collect();
    // The command line's three are there, the newest of them first.
    for number in [3, 2, 1] {
        find(&mut client, "e", &number.to_string(), &connections[number]);
    }
    miss(&mut client, "e");
    let silent = wire::Client::connect(&socket).expect("connected");
    let heard = silent.hear(Instant::now() + wire::QUIET);
    assert!(matches!(heard, Heard::Nothing), "{heard:?}");
}

#[test]
fn limits_and_times_are_kept() {
    let (_directory, path) = place();
    let options = [
        ["--ttl-limit", "1h"],
        ["--connection-limit", "3"],
        ["--binding-limit", "1"],
        ["--request-timeout", "1s"],
    ];
    let _daemon = Daemon::listening(&path, options.as_flattened());
    let mut client = Client::new(&path);
    let connections: Vec<_> = (0..4u64)
        .map(|number| {
            let ttl = LONG + Duration::from_secs(number);
            save(&mut client, ttl, "e", &number.to_string())
        })
        .collect();
    for destination in [&b"d"[..], b"f"] {
        client
            .save_destination(LONG, destination, b"", b"e")
            .expect("bound");
    }
    assert!(client.find_destination(b"d").expect("asked").is_none());
    find(&mut client, "e", "1", &connections[1]);
    let slow = wire::Client::connect(&path).expect("connected");
    assert_eq!(slow.hear_list(), wire::announcement());
    slow.send(b"request\0find").expect("sent");
    let heard = slow.hear(Instant::now() + wire::DEADLINE);
    assert!(matches!(heard, Heard::End), "{heard:?}");
}

#[test]
fn what_the_limit_on_descriptors_does_not_allow_is_said_and_not_used() {
    let (_directory, path) = place();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 512 && exec \"$@\"", "sh"])
        .arg(built("scached"))
        .args(["--socket", text(&path), "--connection-limit", "1000000"]);
    let mut daemon = Daemon::spawn(command);
    let warning = daemon.wait_for("connection-limit");
    for part in ["1000000", "512", "LimitNOFILE"] {
        assert!(warning.contains(part), "{warning}");
    }
    daemon.wait_for("listening on");
}

#[test]
fn each_prefix_has_its_goodbye_and_nothing_is_said_to_the_others() {
    let (_place, socket) = place();
    let (_directory, path) = file(
        "ttl-limit = \"1s\"\ngoodbye = \"QUIT\"\ngoodbye-timeout = 0\n\
         [goodbyes]\n\"redis:\" = \"\"\n\"redis:a\" = \"bye bye\"\n",
    );
    let _daemon = Daemon::listening(&socket, &["--config", text(&path)]);
    let mut client = Client::new(&socket);
    let cases = [
        ("smtp", &b"QUIT\r\n"[..]),
        ("redis:b", b""),
        ("redis:a:1", b"bye bye\r\n"),
    ];
    let saved = cases.map(|(endpoint, line)| (save(&mut client, LONG, endpoint, ""), line));
    for (connection, line) in saved {
        assert_eq!(connection.far_hears_to_the_end().as_deref(), Some(line));
    }
}

#[test]
fn without_an_option_for_it_nothing_is_said_to_a_connection() {
    let (_directory, path) = place();
    let _daemon = Daemon::listening(&path, &["--ttl-limit", "1s"]);
    let connection = save(&mut Client::new(&path), LONG, "e", "");
    assert_eq!(connection.far_hears_to_the_end().as_deref(), Some(&b""[..]));
}

#[test]
fn a_connection_that_is_not_watched_is_handed_out_dead_or_alive() {
    for (watch, there) in [("yes", false), ("no", true)] {
        let (_directory, path) = place();
        let options = ["--ttl-limit", "1h", "--watch", watch];
        let _daemon = Daemon::listening(&path, &options);
        let mut client = Client::new(&path);
        let connection = save(&mut client, LONG, "e", "");
        connection.far_says(b"421 enough");
        let found = client.find_endpoint(b"e").expect("asked");
        assert_eq!(found.is_some(), there, "--watch {watch}");
    }
}

#[cfg(feature = "system")]
#[test]
fn only_allowed_users_are_served_and_others_are_logged() {
    scache_tests::needs_root();
    const ALLOWED: u32 = 60_001;
    const OTHER: u32 = 60_002;
    let (directory, path) = place();
    fs::set_permissions(
        directory.path(),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .expect("open to all");
    let allowed = ALLOWED.to_string();
    let options = ["--allow-user", &allowed, "--mode", "0666"];
    let mut daemon = Daemon::listening(&path, &options);
    assert!(is_served(&path, None), "the daemon's own user");
    assert!(is_served(&path, Some(ALLOWED)));
    assert!(!is_served(&path, Some(OTHER)));
    let warning = daemon.wait_for("warning");
    assert!(warning.contains("allowed users"), "{warning}");
}

#[test]
fn a_mode_that_keeps_allowed_users_out_is_said() {
    let (_directory, path) = place();
    let mut daemon = Daemon::start(&["--socket", text(&path), "--allow-user", "60001"]);
    let warning = daemon.wait_for("allow-user");
    assert!(warning.contains("0600"), "{warning}");
}

/// Whether a client of this user is told the name of the protocol, rather than sent away.
fn is_served(path: &std::path::Path, user: Option<u32>) -> bool {
    let path = path.to_owned();
    let client = std::thread::spawn(move || {
        if let Some(user) = user {
            let user = rustix::process::Uid::from_raw(user);
            // Of this thread alone; and only root may.
            rustix::thread::set_thread_res_uid(user, user, user).expect("the tests run as root");
        }
        UnixStream::connect(path).expect("the mode lets it")
    });
    let socket = client.join().expect("a socket");
    let client = wire::Client::from(std::os::fd::OwnedFd::from(socket));
    match client.hear(Instant::now() + wire::DEADLINE) {
        Heard::Byte(..) => true,
        Heard::End => false,
        Heard::Nothing => panic!("neither served nor sent away"),
    }
}

#[test]
fn help_and_the_documentation_list_the_same_options() {
    let help = Command::new(built("scached"))
        .arg("--help")
        .output()
        .expect("scached");
    let help = String::from_utf8(help.stdout).expect("text");
    let options = |text: &str| -> std::collections::BTreeSet<String> {
        text.split(|character: char| !(character.is_ascii_lowercase() || character == '-'))
            .filter(|word| word.starts_with("--") && word.len() > 4)
            .filter(|word| !["--help", "--version"].contains(word))
            .map(str::to_owned)
            .collect()
    };
    let documentation = include_str!("../../../docs/SCACHED.md");
    let table: String = documentation
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(options(&table), options(&help));
}
