//! The name that log lines begin with is the same with stock and with ours.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use scache_tests::exchange::{ask, find_dest, greeted, no_dest};
use scache_tests::fake_master::{Program, Setup, ours, programs};

/// The name in all lines of a process that ends with this status. For a status other than 0 it has to end by itself.
fn name(setup: Setup, status: i32) -> String {
    let mut master = setup.start();
    if status == 0 {
        // Now there is something to log at the end.
        ask(&greeted(master.connect()), &find_dest("x"), &no_dest(2));
        master.close_status_channel();
    }
    assert_eq!(master.wait_for_exit().code(), Some(status));
    let end = format!("[{}]: ", master.pid());
    let mut names: Vec<String> = master
        .all_log_lines()
        .iter()
        .map(|line| {
            let (begin, _) = line.split_once(&end).expect("a line of this process");
            let (_, name) = begin.split_once(" fake ").expect("time and host");
            name.to_owned()
        })
        .collect();
    names.dedup();
    assert_eq!(names.len(), 1, "{names:?}");
    names.remove(0)
}

/// The evaluated syslog_name wins; what master(8) says counts only while main.cf is not read.
#[test]
fn the_evaluated_syslog_name_is_in_the_log() {
    let in_main_cf = ("syslog_name", "file");
    let option = b"-osyslog_name=post/${multi_instance_name?{x}:{cache}}".as_slice();
    for (_, program) in programs() {
        for (from_master, setting, option, early, late) in [
            (None, None, None, "postfix", "postfix"),
            (None, Some(in_main_cf), None, "postfix", "file"),
            (Some("env"), None, None, "env", "postfix"),
            (Some("env"), Some(in_main_cf), None, "env", "file"),
            (None, None, Some(option), "postfix", "post/cache"),
            (
                Some("env"),
                Some(in_main_cf),
                Some(option),
                "env",
                "post/cache",
            ),
            // The bytes of a value are the administrator's.
            (
                Some("env"),
                None,
                Some(b"-osyslog_name=caf\xe9".as_slice()),
                "env",
                r"caf\xe9",
            ),
        ] {
            let setup = || {
                let mut setup = Setup::new(&program);
                if let Some(tag) = from_master {
                    setup = setup.environment("MAIL_LOGTAG", tag);
                }
                if let Some((name, value)) = setting {
                    setup = setup.setting(name, value);
                }
                if let Some(option) = option {
                    setup = setup.arguments(&[OsStr::from_bytes(option)]);
                }
                setup
            };
            assert_eq!(name(setup(), 0), format!("{late}/scache"));
            // With a parameter that cannot be read the values of main.cf do not count yet.
            let broken = setup().arguments(&["-omax_idle=x"]);
            assert_eq!(name(broken, 1), format!("{early}/scache"));
        }
    }
}

/// Programs that read the log know this name; the file has another one beside stock's.
#[cfg(feature = "system")]
#[test]
fn the_name_of_the_program_is_scache_whatever_its_file_is_called() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("scache-rs");
    symlink(ours().path(), &file).expect("a link");
    let program = Program::from(file);
    let setup = || Setup::new(&program).setting("syslog_name", "${process_name}/${service_name}");
    assert_eq!(name(setup(), 0), "scache/scache/scache");
    // master(8) gives no name to a service that is called as its program.
    let unnamed = setup().only_arguments(&["-t", "unix", "-l"]);
    assert_eq!(name(unnamed, 0), "scache/scache-rs/scache");
    assert_eq!(name(setup().arguments(&["-i", "x"]), 1), "postfix/scache");
}
