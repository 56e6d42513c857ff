//! `scachectl connect`: what its program gets, and when the connection is given back.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use scache_client::Client;
use scache_tests::port::Port;
use scache_tests::process::Process;
use scache_tests::wire::DEADLINE;

use crate::caches::{Cache, KINDS, Kind, Said, run, scachectl};

/// Says how often its connection was used, and leaves it clean.
const USES: &str = "echo $SCACHE_REUSED";

/// Sends a line, and says what the server made of it.
const ECHO: &str = "echo hello >&7; read -r line <&6; echo \"$line, $SCACHE_REUSED\"";

/// Answers every line with the number of the connection and the line.
fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            std::thread::spawn(move || answer(number, &stream, &stream));
        }
    });
    address
}

fn answer(number: usize, from: impl Read, mut to: impl Write) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if writeln!(to, "{number} {line}").is_err() {
            break;
        }
    }
}

/// Runs a shell with a connection.
fn connect(cache: &Path, options: &[&str], target: &str, script: &str) -> Said {
    let words = [&["connect"], options, &[target, "--", "sh", "-c", script]].concat();
    run(scachectl(cache).args(words))
}

/// The same, when all is to go well; what the script says.
#[track_caller]
fn says(cache: &Path, options: &[&str], target: &str, script: &str) -> String {
    let said = connect(cache, options, target, script);
    said.assert_well();
    said.out.trim_end().to_owned()
}

#[test]
fn a_connection_goes_from_one_program_to_the_next() {
    for kind in KINDS {
        let server = Cache::start(kind);
        let target = echo_server().to_string();
        for uses in 0..4 {
            let said = says(&server.path(), &[], &target, ECHO);
            assert_eq!(said, format!("0 hello, {uses}"), "{kind:?}");
        }
    }
}

#[test]
fn a_unix_socket_is_as_good() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("echo");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            std::thread::spawn(move || answer(number, &stream, &stream));
        }
    });
    let server = Cache::start(Kind::Scached);
    let target = format!("unix:{}", path.display());
    for uses in 0..2 {
        let said = says(&server.path(), &[], &target, ECHO);
        assert_eq!(said, format!("0 hello, {uses}"));
    }
    // What unixserver(1) and others have set about a connection of theirs is gone.
    let script = "env | grep -E '^(PROTO|TCP|UNIX|IPC)' | sort";
    let mut command = server.command(&["connect", &target, "sh", "-c", script]);
    for name in [
        "TCPREMOTEIP",
        "TCPLOCALPORT",
        "UNIXREMOTEPID",
        "UNIXREMOTEEUID",
        "UNIXREMOTEEGID",
        "UNIXLOCALPID",
        "UNIXLOCALUID",
        "UNIXLOCALGID",
        "UNIXLOCALPATH",
        "UNIXREMOTEPATH",
        "IPCREMOTEEUID",
        "IPCLOCALPATH",
        "PROTO",
    ] {
        command.env(name, "of somebody else");
    }
    let said = run(&mut command);
    said.assert_well();
    let expected = format!("PROTO=UNIX\nUNIXREMOTEPATH={}\n", path.display());
    assert_eq!(said.out, expected);
}

#[test]
fn it_is_closed_when_the_program_says_that_something_is_wrong() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    for (script, status) in [
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        assert_eq!(
            says(&server.path(), &[], &target, ECHO)
                .split_once(", ")
                .expect("uses")
                .1,
            "0"
        );
        let said = connect(&server.path(), &[], &target, script);
        assert_eq!(
            (said.status, said.err.as_str()),
            (Some(status), ""),
            "{script}"
        );
    }
}

#[cfg(feature = "system")]
#[test]
fn it_is_closed_when_there_is_more_to_be_read_or_nothing_any_more() {
    let server = Cache::start(Kind::Stock);
    let target = echo_server().to_string();
    // An answer that nobody has read, and an end: the server closes when we do.
    for script in [
        "echo hello >&7; perl -e 'vec($r, 6, 1) = 1; select($r, undef, undef, undef)'",
        "perl -MSocket -e 'open($s, \">&=\", 7); shutdown($s, 1); open($s, \"<&=\", 6); read($s, $_, 1)'",
    ] {
        let said = connect(&server.path(), &["-v"], &target, script);
        assert_eq!(said.status, Some(0), "{said:?}");
        assert!(
            said.err.contains("has closed it or has said more"),
            "{said:?}"
        );
        assert_eq!(says(&server.path(), &[], &target, USES), "0");
    }
}

#[test]
fn without_the_cache_nothing_is_taken_and_nothing_left() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    assert_eq!(
        says(&server.path(), &["--no-cache"], &target, ECHO),
        "0 hello, 0"
    );
    assert_eq!(says(&server.path(), &[], &target, ECHO), "1 hello, 0");
    assert_eq!(
        says(&server.path(), &["--no-cache"], &target, ECHO),
        "2 hello, 0"
    );
    assert_eq!(says(&server.path(), &[], &target, ECHO), "1 hello, 1");
}

#[test]
fn names_keep_connections_apart_or_bring_them_together() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    let uses = |options: &[&str]| says(&server.path(), options, &target, USES);
    assert_eq!(uses(&["--service", "alice"]), "0");
    assert_eq!(uses(&["--service", "bob"]), "0");
    assert_eq!(uses(&["--service", "alice"]), "1");
    assert_eq!(uses(&[]), "0");
    // By the destination that it was saved for, or by the endpoint.
    let names = ["--destination", "d", "--endpoint", "e"];
    assert_eq!(uses(&names), "0");
    assert_eq!(uses(&["--destination", "d", "--endpoint", "other"]), "1");
    assert_eq!(uses(&["--destination", "other", "--endpoint", "e"]), "2");
}

#[test]
fn uses_by_programs_that_count_nothing_are_counted_by_the_cache() {
    for kind in KINDS {
        let server = Cache::start(kind);
        let target = echo_server();
        let name = format!("tcp\n[{}]:{}", target.ip(), target.port());
        let mut client = Client::new(server.path());
        let mut connection = OwnedFd::from(TcpStream::connect(target).expect("connected"));
        for _ in 0..3 {
            let ttl = Duration::from_secs(1);
            client
                .save_endpoint(ttl, name.as_bytes(), b"", &connection)
                .expect("saved");
            let found = client.find_endpoint(name.as_bytes()).expect("asked");
            connection = found.expect("it is there").into();
        }
        client
            .save_endpoint(DEADLINE, name.as_bytes(), b"", &connection)
            .expect("saved");
        drop(connection);
        // Three times, and now once more.
        let uses = if kind == Kind::Stock { "1" } else { "4" };
        let said = says(&server.path(), &[], &target.to_string(), USES);
        assert_eq!(said, uses, "{kind:?}");
    }
}

#[test]
fn names_are_written_as_for_list_and_purge() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    let names = [
        "--destination",
        r"smtp\nexample.com\n",
        "--endpoint",
        r"e\\\x00ff",
    ];
    let said = connect(&server.path(), &names, &target, USES);
    assert_eq!(said.status, Some(64), "a name with a NUL: {said:?}");
    let names = [&names[..3], &[r"e\\\xff"]].concat();
    assert_eq!(says(&server.path(), &names, &target, USES), "0");
    let mut client = Client::new(server.path());
    let bindings = client.bindings(b"", 0).expect("listed").entries;
    assert_eq!(bindings.len(), 1);
    assert_eq!(&*bindings[0].destination, b"smtp\nexample.com\n");
    assert_eq!(&*bindings[0].endpoint, b"e\\\xff");
    assert_eq!(says(&server.path(), &names, &target, USES), "1");
}

#[test]
fn it_says_why_a_connection_was_not_left_for_as_long_as_was_asked_for() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    let verbose = |options: &[&str]| {
        let options = [&["-v"], options].concat();
        let said = connect(&server.path(), &options, &target, USES);
        assert_eq!(said.status, Some(0), "{said:?}");
        said.err
    };
    let kept = verbose(&["--ttl", "1s"]);
    assert!(
        kept.ends_with("left the connection in the cache\n"),
        "{kept}"
    );
    let less = verbose(&["--ttl", "100d"]);
    assert!(less.contains("instead of 100d"), "{less}");
    assert!(less.contains("--ttl-limit"), "{less}");
    let mut client = Client::new(server.path());
    client.drain(true).expect("drained");
    let drained = verbose(&[]);
    assert!(drained.contains("scachectl drain --off"), "{drained}");
}

#[test]
fn a_connection_waits_no_longer_than_it_may() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    let idle = server.process().descriptors().len();
    for (ttl, descriptors) in [("1s", idle), ("10m", idle + 1)] {
        let said = connect(&server.path(), &["-v", "--ttl", ttl], &target, USES);
        assert_eq!(
            (said.status, said.out.as_str()),
            (Some(0), "0\n"),
            "{said:?}"
        );
        assert!(said.err.contains("left the connection"), "{said:?}");
        assert_eq!(
            server.process().settles_at(descriptors),
            descriptors,
            "{ttl}"
        );
    }
    assert_eq!(says(&server.path(), &[], &target, USES), "1");
}

#[test]
fn the_environment_tells_of_the_connection() {
    let server = Cache::start(Kind::Scached);
    let address = echo_server();
    let script = "perl -MSocket -e '
        open($s, \"<&=\", 6);
        ($port, $ip) = sockaddr_in(getsockname($s));
        print join(\" \", inet_ntoa($ip), $port, \"\");
        ($port, $ip) = sockaddr_in(getpeername($s));
        print join(\" \", inet_ntoa($ip), $port), \"\\n\"';
        echo $TCPLOCALIP $TCPLOCALPORT $TCPREMOTEIP $TCPREMOTEPORT
        echo $PROTO $SCACHE_REUSED ${TCPREMOTEHOST-unset} ${TCPREMOTEINFO-unset} ${UNIXREMOTEPATH-unset}";
    for (host, name, uses) in [
        ("127.0.0.1", "unset", 0),
        ("127.0.0.1", "unset", 1),
        ("localhost", "localhost", 2),
    ] {
        let target = format!("{host}:{}", address.port());
        let mut command = server.command(&["connect", &target, "sh", "-c", script]);
        for name in [
            "TCPREMOTEHOST",
            "TCPREMOTEINFO",
            "UNIXREMOTEPATH",
            "SCACHE_REUSED",
        ] {
            command.env(name, "of somebody else");
        }
        let said = run(&mut command);
        said.assert_well();
        let lines: Vec<&str> = said.out.lines().collect();
        assert_eq!(lines[0], lines[1], "{said:?}");
        assert!(
            lines[0].ends_with(&format!("127.0.0.1 {}", address.port())),
            "{said:?}"
        );
        assert_eq!(
            lines[2],
            format!("TCP {uses} {name} unset unset"),
            "{said:?}"
        );
    }
}

#[test]
fn the_program_has_the_connection_twice_and_nothing_else() {
    let numbers = |said: &str| -> BTreeSet<u32> {
        let numbers = said.split_whitespace().map(str::parse);
        numbers.collect::<Result<_, _>>().expect("numbers")
    };
    let list = "exec ls /proc/$$/fd";
    // What the tests were started with, and the directory that is read.
    let ordinary = run(Command::new("sh").args(["-c", list]));
    let mut expected = numbers(&ordinary.out);
    assert!(
        !expected.contains(&6) && !expected.contains(&7),
        "{ordinary:?}"
    );
    expected.extend([6, 7]);
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    for _ in 0..2 {
        let said = says(&server.path(), &[], &target, list);
        assert_eq!(numbers(&said), expected);
    }
}

#[test]
fn a_cache_that_is_away_costs_a_connection_and_no_word() {
    let target = echo_server().to_string();
    let missing = Path::new("/nonexistent/socket");
    assert_eq!(says(missing, &[], &target, ECHO), "0 hello, 0");
    let said = connect(missing, &["-v"], &target, ECHO);
    assert_eq!(
        (said.status, said.out.as_str()),
        (Some(0), "1 hello, 0\n"),
        "{said:?}"
    );
    assert!(
        said.err.contains("/nonexistent/socket: No such file"),
        "{said:?}"
    );
    // One that does not answer.
    let directory = tempfile::tempdir().expect("a directory");
    let mute = directory.path().join("mute");
    let _listener = UnixListener::bind(&mute).expect("a socket");
    assert_eq!(says(&mute, &[], &target, ECHO), "2 hello, 0");
}

/// Runs a program that says that it is ready.
fn start(
    cache: &Path,
    target: &str,
    words: &[&str],
) -> (Child, BufReader<std::process::ChildStdout>) {
    let words = [&["connect", target], words].concat();
    let mut child = scachectl(cache)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("scachectl");
    let mut screen = BufReader::new(child.stdout.take().expect("its standard output"));
    let mut line = String::new();
    screen.read_line(&mut line).expect("a line");
    assert!(line.starts_with("ready"), "{line:?}");
    (child, screen)
}

#[test]
fn signals_go_on_to_the_program() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("INT", Signal::INT),
        ("HUP", Signal::HUP),
        ("USR1", Signal::USR1),
    ] {
        let script =
            format!("$| = 1; $SIG{{{name}}} = sub {{ exit 9 }}; print \"ready\\n\"; sleep 3600");
        let (mut child, _screen) = start(&server.path(), &target, &["perl", "-e", &script]);
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        assert_eq!(child.wait().expect("it ends").code(), Some(9), "{name}");
        // By default it is killed.
        let (mut child, _screen) = start(
            &server.path(),
            &target,
            &["perl", "-e", "$| = 1; print \"ready\\n\"; sleep 3600"],
        );
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        let status = child.wait().expect("it ends").code();
        assert_eq!(status, Some(128 + signal.as_raw()), "{name}");
    }
}

#[test]
fn nothing_is_left_of_a_program() {
    let server = Cache::start(Kind::Scached);
    let target = echo_server().to_string();
    let script = "echo ready $$; exec sleep 3600";
    let words = [&["connect", target.as_str()][..], &["sh", "-c", script]].concat();
    let mut child = scachectl(&server.path())
        .args(words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("scachectl");
    let mut line = String::new();
    let mut screen = BufReader::new(child.stdout.take().expect("its standard output"));
    screen.read_line(&mut line).expect("a line");
    let number: u32 = line
        .trim_start_matches("ready")
        .trim()
        .parse()
        .expect("a number");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(143));
    let deadline = Instant::now() + DEADLINE;
    while Path::new(&format!("/proc/{}", Process::new(number).pid())).exists() {
        assert!(Instant::now() < deadline, "it is there");
        sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_be_done_is_told_in_one_line() {
    let server = Cache::start(Kind::Scached);
    let cache = server.path();
    let nobody = Port::claim();
    let closed = nobody.address().to_string();
    connect(&cache, &[], &closed, "true").assert_failed_at_last(69, &["Connection refused"]);
    connect(&cache, &[], "name.invalid:25", "true")
        .assert_failed_at_last(69, &["cannot find the host name.invalid"]);
    connect(&cache, &[], "unix:/nonexistent/socket", "true")
        .assert_failed_at_last(69, &["No such file"]);
    let target = echo_server().to_string();
    // What was taken for a program that cannot be run is not lost.
    assert_eq!(says(&cache, &[], &target, USES), "0");
    for (program, status, part) in [
        (
            "nonexistent-program",
            66,
            "there is no program nonexistent-program",
        ),
        ("/etc/passwd", 77, "is it executable?"),
    ] {
        let said = run(scachectl(&cache).args(["connect", &target, program]));
        said.assert_failed_at_last(status, &[part]);
    }
    assert_eq!(says(&cache, &[], &target, USES), "1");
}

#[test]
fn what_makes_no_sense_is_refused() {
    for words in [
        &["connect"][..],
        &["connect", "127.0.0.1:25"],
        &["connect", "127.0.0.1", "true"],
        &["connect", "127.0.0.1:25", "--ttl", "soon", "--", "true"],
        &["bench", "--clients", "0"],
        &["bench", "--protocol", "telnet"],
    ] {
        let said = run(scachectl(Path::new("/nonexistent/socket")).args(words));
        assert_ne!(said.status, Some(0), "{words:?}");
        assert!(said.out.is_empty() && !said.err.is_empty(), "{said:?}");
    }
}
