//! The C interface, by programs that the system's compiler makes.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use scache_tests::fake_master::built;
use tempfile::TempDir;

use crate::servers::{KINDS, Kind, Server};

const STRICT: [&str; 5] = [
    "-std=c99",
    "-D_DEFAULT_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
];

/// What the static library needs besides.
const SYSTEM: [&str; 3] = ["-lpthread", "-ldl", "-lm"];

#[derive(Clone, Copy, Debug)]
enum Library {
    Static,
    Shared,
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../crates/scache-client-c")
        .join(path)
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("it can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    assert!(complained.is_empty(), "{command:?}: {complained}");
    said
}

/// The compiler of C programs, with the header where it can be found.
fn compiler() -> Command {
    let mut compiler = Command::new("cc");
    compiler.args(STRICT).arg("-I").arg(source("include"));
    compiler
}

/// Makes one of the examples.
fn compile(directory: &TempDir, name: &str, library: Library) -> PathBuf {
    let program = directory.path().join(format!("{name}-{library:?}"));
    let mut compiler = compiler();
    compiler.arg("-o").arg(&program);
    compiler.arg(source(&format!("examples/{name}.c")));
    match library {
        Library::Static => compiler.arg(built("libscache.a")).args(SYSTEM),
        Library::Shared => {
            // Programs look for it under the name that `make install` gives it.
            let installed = directory.path().join("libscache.so.0");
            if !installed.exists() {
                symlink(built("libscache.so"), &installed).expect("a link");
            }
            let rpath = format!("-Wl,-rpath,{}", directory.path().display());
            compiler.arg(&installed).arg(rpath).arg("-lpthread")
        }
    };
    run(&mut compiler);
    program
}

#[test]
fn the_header_stands_on_its_own_and_is_strict_c() {
    let header = source("include/scache.h");
    run(compiler()
        .args(["-pedantic", "-fsyntax-only", "-x", "c"])
        .arg(header));
}

#[test]
fn each_function_does_what_the_header_says() {
    let directory = tempfile::tempdir().expect("a directory");
    for library in [Library::Static, Library::Shared] {
        let program = compile(&directory, "surface", library);
        for kind in KINDS {
            println!("{library:?} library, {kind:?}");
            let server = Server::start(kind);
            let details = (kind != Kind::Stock).then_some("details");
            let mut command = Command::new(&program);
            command.arg(server.path()).args(details);
            assert_eq!(run(&mut command), "");
        }
    }
}

#[test]
fn parent_and_children_use_one_handle() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = compile(&directory, "forked", Library::Shared);
    for kind in KINDS {
        println!("{kind:?}");
        let server = Server::start(kind);
        assert_eq!(run(Command::new(&program).arg(server.path())), "");
    }
}

#[test]
fn c_programs_hand_a_connection_from_one_to_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    let connections = Arc::new(AtomicU32::new(0));
    let port = serve_lines(Arc::clone(&connections)).to_string();
    for (round, library) in [Library::Static, Library::Shared].into_iter().enumerate() {
        let program = compile(&directory, "reuse", library);
        let server = Server::start(Kind::Scached);
        let say = |line: &str| {
            run(Command::new(&program)
                .arg(server.path())
                .arg(&port)
                .arg(line))
        };
        assert_eq!(say("one"), "connected: you said one\n");
        assert_eq!(say("two"), "reused: you said two\n");
        assert_eq!(say("three"), "reused: you said three\n");
        assert_eq!(connections.load(Ordering::Relaxed) as usize, round + 1);
    }
}

/// A server that answers each line with a line, until the test is over.
fn serve_lines(connections: Arc<AtomicU32>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its number").port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            connections.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || {
                let reader = BufReader::new(stream.try_clone().expect("a copy"));
                for line in reader.lines().map_while(Result::ok) {
                    let _ = writeln!(stream, "you said {line}");
                }
            });
        }
    });
    port
}
