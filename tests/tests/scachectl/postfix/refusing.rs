//! What cannot be done is said in one line, and nothing is changed.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};

use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};

use super::{master_cf, said, tree};

const NOBODY: u32 = 65534;

fn assert_refused(output: &Output, status: i32, reason: &str) {
    assert_eq!(output.status.code(), Some(status), "{output:#?}");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("scachectl: "), "{text}");
    assert!(text.contains(reason), "{text}");
}

#[test]
fn only_root_may() {
    let instance = Instance::start(&Setup::new(stock()));
    let before = tree(&instance);
    // Where this user can reach it.
    let program = instance.configuration().with_file_name("scachectl");
    // By a process of its own: a descriptor that is open for writing would go into what other tests start.
    let mut copy = Command::new("cp");
    let copied = copy.arg(built("scachectl")).arg(&program).status();
    assert!(copied.is_ok_and(|status| status.success()), "a copy");
    let run = |words: &[&str]| {
        let mut command = instance.administration(&program);
        command.arg("postfix").args(words);
        command.arg("--config-dir").arg(instance.configuration());
        let output = command.uid(NOBODY).gid(NOBODY).output();
        output.expect("scachectl can be run")
    };
    let ours = ours().path().display().to_string();
    assert_refused(&run(&["install", "--program", &ours]), 77, "as root");
    assert_refused(&run(&["uninstall"]), 77, "as root");
    assert_eq!(tree(&instance), before);
    // What everybody can know it tells. The package has this directory so.
    let private = instance.configuration().with_file_name("queue/private");
    fs::set_permissions(private, fs::Permissions::from_mode(0o700)).expect("its mode");
    let text = said(&run(&["status"]));
    assert!(text.contains("only root can know"), "{text}");
    assert!(text.contains("ask as root"), "{text}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let instance = Instance::start(&Setup::new(stock()));
    let main_cf = fs::read_to_string(instance.configuration().join("main.cf")).expect("main.cf");
    let services = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let line = "scache unix - - n - 1 scache\n";
    let cases = [
        (main_cf.clone(), services.replace(line, ""), "no service"),
        (
            main_cf.clone(),
            services.replace(line, "scache unix - - n - 0 scache\n"),
            "put 1 there",
        ),
        (
            main_cf.clone(),
            services.replace(line, "scache unix - - n - 1 other\n"),
            "neither",
        ),
        (
            main_cf.clone(),
            services.replace(line, "scache unix - - n - 1\n"),
            "postconf failed",
        ),
        (
            format!("{main_cf}mail_version = 2.10.1\n"),
            services.clone(),
            "2.11 or later",
        ),
        (
            format!("{main_cf}daemon_directory = /no/such\n"),
            services.clone(),
            "daemon_directory",
        ),
        (
            format!("{main_cf}mail_version = 3.7.0\nconnection_cache_announce = no\n"),
            services.clone(),
            "wait for the announcement",
        ),
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path();
    let install = |directory: &Path| {
        let mut command = instance.administration(&built("scachectl"));
        command.args(["postfix", "install", "--program"]);
        command
            .arg(ours().path())
            .arg("--config-dir")
            .arg(directory);
        command.output().expect("scachectl can be run")
    };
    for (main_cf, services, reason) in cases {
        fs::write(copy.join("main.cf"), main_cf).expect("main.cf");
        fs::write(copy.join("master.cf"), &services).expect("master.cf");
        assert_refused(&install(copy), 78, reason);
        let after = fs::read_to_string(copy.join("master.cf")).ok();
        assert_eq!(after, Some(services), "{reason}");
    }
    assert!(!instance.daemons().join("scache-rs").exists());

    fs::write(copy.join("main.cf"), &main_cf).expect("main.cf");
    fs::remove_file(copy.join("master.cf")).expect("it is there");
    symlink(master_cf(&instance), copy.join("master.cf")).expect("a link");
    assert_refused(&install(copy), 78, "symbolic link");

    assert_refused(&install(&copy.join("nowhere")), 66, "--config-dir");
    let mut command = instance.administration(&built("scachectl"));
    command.args(["postfix", "install", "--program", "/no/such/program"]);
    let output = command.output().expect("scachectl can be run");
    assert_refused(&output, 66, "/no/such/program");
}
