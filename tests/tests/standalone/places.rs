//! Where a socket may be: only where nobody else can put another one.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use scache_client::Client;
use scache_tests::fake_master::built;

use crate::daemon::{Daemon, miss, refused, text};

/// Somebody else.
const OTHER: u32 = 65_534;

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("set the mode");
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    for mode in [0o777, 0o775, 0o757] {
        let directory = tempfile::tempdir().expect("a directory");
        let below = directory.path().join("below");
        fs::create_dir(&below).expect("made");
        set_mode(directory.path(), mode);
        for path in [directory.path().join("socket"), below.join("socket")] {
            for more in [&[][..], &["--takeover"]] {
                let arguments = [&["--socket", text(&path)], more].concat();
                let message = refused(&arguments);
                let wanted = format!("chmod go-w {}", directory.path().display());
                for part in ["is not safe", &wanted, "--socket"] {
                    assert!(message.contains(part), "{mode:o}: {message}");
                }
                assert!(!path.exists());
            }
        }
    }
}

#[cfg(feature = "system")]
#[test]
fn what_another_user_planted_is_refused() {
    let shared = tempfile::tempdir().expect("a directory");
    set_mode(shared.path(), 0o1777);
    let own = tempfile::tempdir().expect("a directory");
    // As the default path below the temporary directory is.
    let planted = shared.path().join("scache-0");
    let link = shared.path().join("link");
    fs::create_dir(&planted).expect("made");
    symlink(own.path(), &link).expect("made");
    for path in [&planted, &link] {
        lchown(path, Some(OTHER), None).expect("the tests run as root");
        let message = refused(&["--socket", text(&path.join("socket"))]);
        for part in ["is not safe", "another user (65534)", "--socket"] {
            assert!(message.contains(part), "{message}");
        }
    }
    // The same by the name that is looked for without --socket.
    let output = Command::new(built("scached"))
        .env_remove("XDG_RUNTIME_DIR")
        .env("XDG_RUNTIME_DIR", &planted)
        .output()
        .expect("scached");
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("another user (65534)"), "{message}");
    assert_eq!(fs::read_dir(own.path()).expect("it can be read").count(), 0);
}

#[test]
fn ordinary_places_are_fine() {
    let directory = tempfile::tempdir().expect("a directory");
    let real = directory.path().join("real");
    fs::create_dir(&real).expect("made");
    symlink("real", directory.path().join("link")).expect("made");
    symlink("real/later", directory.path().join("dangling")).expect("made");
    for (mode, name) in [
        (0o700, "real/socket"),
        (0o750, "real/socket"),
        (0o755, "link/socket"),
        (0o1777, "real/socket"),
        (0o755, "dangling"),
    ] {
        set_mode(&real, mode);
        let path = directory.path().join(name);
        let arguments = ["--socket", text(&path), "--mode", "0640"];
        let mut daemon = Daemon::start(&arguments);
        daemon.wait_for("listening on");
        assert_eq!(path.metadata().expect("a socket").mode() & 0o777, 0o640);
        miss(&mut Client::new(&path), "e");
        assert_eq!(daemon.terminate().0, Some(0));
    }
}

#[test]
fn only_the_directories_of_a_default_path_are_made() {
    let directory = tempfile::tempdir().expect("a directory");
    let misspelt = directory.path().join("rnu/scache");
    let path = misspelt.join("socket");
    let by_environment = |path: &Path| {
        let mut command = Command::new(built("scached"));
        command.env("SCACHE_SOCKET", path);
        command
    };
    for mut command in [by_environment(&path), {
        let mut command = by_environment(&directory.path().join("socket"));
        command.args(["--socket", text(&path)]);
        command
    }] {
        let output = command.output().expect("scached");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let wanted = format!("there is no {}", directory.path().join("rnu").display());
        assert!(
            said.contains(&wanted) && said.contains("--socket"),
            "{said}"
        );
        assert!(!directory.path().join("rnu").exists());
    }
    for (number, is_named) in [false, true].into_iter().enumerate() {
        let runtime = directory.path().join(format!("runtime-{number}"));
        let socket = runtime.join("scache.sock");
        let mut command = Command::new(built("scached"));
        command.env_remove("SCACHE_SOCKET");
        command.env("XDG_RUNTIME_DIR", &runtime);
        if is_named {
            command.args(["--socket", text(&socket)]);
        }
        let mut daemon = Daemon::spawn(command);
        daemon.wait_for("listening on");
        miss(&mut Client::new(socket), "e");
        assert_eq!(daemon.terminate().0, Some(0));
    }
}

#[test]
fn the_environment_names_the_socket_unless_an_option_does() {
    let directory = tempfile::tempdir().expect("a directory");
    let [named, other, file] = ["named", "other", "file"].map(|name| directory.path().join(name));
    fs::write(&file, format!("socket = \"{}\"\n", text(&other))).expect("written");
    for (arguments, path) in [
        (&[][..], &named),
        (&["--config", text(&file)], &named),
        (&["--socket", text(&other)], &other),
    ] {
        let mut command = Command::new(built("scached"));
        command.env("SCACHE_SOCKET", &named).args(arguments);
        let mut daemon = Daemon::spawn(command);
        daemon.wait_for("listening on");
        miss(&mut Client::new(path), "e");
        assert_eq!(daemon.terminate().0, Some(0));
    }
}

#[test]
fn a_relative_path_is_fine_however_long_the_whole_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let deep = directory.path().join("x".repeat(100));
    fs::create_dir(&deep).expect("made");
    let mut command = Command::new(built("scached"));
    command.args(["--socket", "./s"]).current_dir(&deep);
    let mut daemon = Daemon::spawn(command);
    daemon.wait_for("listening on");
    let mut command = Command::new(built("scached"));
    command
        .args(["--socket", "s", "--takeover"])
        .current_dir(&deep);
    let mut next = Daemon::spawn(command);
    next.wait_for("listening on");
    assert_eq!(daemon.end().0, Some(0));
    assert_eq!(next.terminate().0, Some(0));
    assert_eq!(fs::read_dir(&deep).expect("it can be read").count(), 0);
}

#[test]
fn the_mode_does_not_depend_on_the_umask() {
    for umask in ["0", "777", "022"] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask $1; shift; exec \"$@\"", "sh", umask])
            .arg(built("scached"))
            .args(["--mode", "0666", "--socket", text(&path)]);
        let mut daemon = Daemon::spawn(command);
        daemon.wait_for("listening on");
        assert_eq!(path.metadata().expect("a socket").mode() & 0o777, 0o666);
        assert_eq!(daemon.terminate().0, Some(0));
    }
}
