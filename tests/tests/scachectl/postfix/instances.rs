//! Instances of several kinds: two at once, one that is stopped, one that is of an old version.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::stock::announces;

use super::{delivers_by, install, install_all, said, scachectl, status, tree, uninstall};

/// Two instances with the same daemons.
fn sharing() -> (Instance, Instance) {
    let first = Instance::start(&Setup::new(stock()));
    let daemons = first.daemons().display().to_string();
    let second = Setup::new(stock()).parameter("daemon_directory", &daemons);
    (first, Instance::start(&second))
}

#[test]
fn two_instances_share_the_program() {
    let (first, second) = sharing();
    let both = [&first, &second];
    let before = both.map(tree);
    let text = said(&install_all(&both));
    for instance in both {
        let about = format!("{}: scache-rs answers", instance.configuration().display());
        assert!(text.contains(&about), "{text}");
        delivers_by("scache-rs", instance);
    }
    // Nothing says that the instances belong together, but the other one runs.
    let text = said(&uninstall(&first));
    let uses = format!("{} uses it", second.configuration().display());
    assert!(text.contains(&uses), "{text}");
    assert!(first.daemons().join("scache-rs").exists());
    delivers_by("scache", &first);
    delivers_by("scache-rs", &second);

    said(&install(&first, ours().path()));
    // By the configuration, when it is known.
    let list = second.configuration().display().to_string();
    let main_cf = first.configuration().join("main.cf");
    let unlisted = fs::read_to_string(&main_cf).expect("main.cf");
    let listed = format!("{unlisted}multi_instance_directories = {list}\n");
    fs::write(&main_cf, listed).expect("an edit");
    let uninstalled = first
        .administration(&built("scachectl"))
        .args(["postfix", "uninstall", "--wait", "120"])
        .env("MAIL_CONFIG", first.configuration())
        .output();
    let text = said(&uninstalled.expect("scachectl can be run"));
    assert!(text.contains(&format!("{list} uses it")), "{text}");
    fs::write(&main_cf, unlisted).expect("an edit");

    said(&uninstall(&second));
    assert_eq!(both.map(tree), before);
    for instance in both {
        delivers_by("scache", instance);
    }
}

/// Two instances with the same daemons, the first of which keeps no process that has nothing to do.
fn sharing_with_an_idle_one() -> (Instance, Instance) {
    let first = Instance::start(&Setup::new(stock()).parameter("max_idle", "1s"));
    let daemons = first.daemons().display().to_string();
    let second = Setup::new(stock()).parameter("daemon_directory", &daemons);
    (first, Instance::start(&second))
}

fn wait_until_idle(instance: &Instance) {
    instance.wait_for("scache-rs does not end", |instance| {
        instance.service_process("scache-rs").is_none()
    });
}

/// What serves mail may be started again at any time, though no process runs its program now.
#[test]
fn the_program_of_an_idle_instance_stays() {
    let (idle, other) = sharing_with_an_idle_one();
    let both = [&idle, &other];
    said(&install_all(&both));
    delivers_by("scache-rs", &other);
    wait_until_idle(&idle);
    let text = said(&uninstall(&other));
    assert!(
        text.contains(&format!("{} uses it", idle.configuration().display())),
        "{text}"
    );
    assert!(idle.daemons().join("scache-rs").exists());
    delivers_by("scache-rs", &idle);
    delivers_by("scache", &other);
    let log = idle.complete_log();
    let mut complaints = log.complaints();
    // Stock is asked what it is if master(8) has not begun to reload by then.
    complaints.retain(|line| !line.ends_with("\"inline\", ignored"));
    assert_eq!(complaints, Vec::<&str>::new());
}

/// Runs a command of `scachectl postfix` where this instance is the default one.
fn by_default(instance: &Instance, words: &[&str]) -> String {
    let mut command = instance.administration(&built("scachectl"));
    command.arg("postfix").args(words);
    command.env("MAIL_CONFIG", instance.configuration());
    said(&command.output().expect("scachectl can be run"))
}

/// A line more for main.cf.
fn configure(instance: &Instance, line: &str) {
    let main_cf = instance.configuration().join("main.cf");
    let text = fs::read_to_string(&main_cf).expect("main.cf");
    fs::write(main_cf, format!("{text}{line}\n")).expect("an edit");
}

/// One that does not run is known by what the default one lists.
#[test]
fn the_program_of_a_stopped_instance_that_is_listed_stays() {
    for list in ["multi_instance_directories", "alternate_config_directories"] {
        let (first, second) = sharing();
        said(&install_all(&[&first, &second]));
        second.stop();
        second.wait_for("Postfix does not end", |instance| {
            instance.processes().is_empty()
        });
        let directory = second.configuration().display().to_string();
        configure(&first, &format!("here = {directory}\n{list} = $here"));
        let text = by_default(&first, &["uninstall", "--wait", "120"]);
        assert!(text.contains(&format!("{directory} uses it")), "{text}");
        assert!(first.daemons().join("scache-rs").exists(), "{list}");
    }
}

#[test]
fn all_instances_are_changed_at_once() {
    // One that is listed, and one that only runs the same programs, which the default one names in another way.
    let (first, running) = sharing_with_an_idle_one();
    let link = running
        .configuration()
        .with_file_name("daemons-by-another-name");
    std::os::unix::fs::symlink(first.daemons(), &link).expect("a link");
    let listed = Instance::start(&Setup::new(stock()));
    let all = [&first, &running, &listed];
    let lists = listed.configuration().display().to_string();
    configure(&first, &format!("multi_instance_directories = {lists}"));
    configure(&running, &format!("daemon_directory = {}", link.display()));
    let before = all.map(tree);

    let program = ours().path().display().to_string();
    let words = ["--all-instances", "--wait", "120", "--program", &program];
    by_default(&first, &[&["install"], &words[..]].concat());
    let text = by_default(&first, &["status", "--json", "--all-instances"]);
    let reports: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let served = reports.as_array().expect("an array").iter();
    let served: Vec<_> = served.map(|report| &report["serving"]).collect();
    assert_eq!(served, ["scache-rs"; 3], "{reports:#}");
    for instance in all {
        delivers_by("scache-rs", instance);
    }

    let words = ["uninstall", "--all-instances", "--wait", "120"];
    let commands = by_default(&first, &[&words[..], &["--dry-run"]].concat());
    // The last one to need the program removes it.
    let removed = format!("\nrm {}\n", link.join("scache-rs").display());
    assert!(commands.contains(&removed), "{commands}");
    let other = format!("rm {}\n", first.daemons().join("scache-rs").display());
    assert!(!commands.contains(&other), "{commands}");
    by_default(&first, &words);
    assert_eq!(all.map(tree), before);
    for instance in all {
        delivers_by("scache", instance);
    }
}

/// Root would run what its main.cf names.
#[test]
fn a_process_of_another_user_that_is_called_master_is_no_instance() {
    const NOBODY: u32 = 65534;
    let instance = Instance::start(&Setup::new(stock()));
    let planted = tempfile::tempdir().expect("a directory");
    for name in ["main.cf", "master.cf"] {
        let file = instance.configuration().join(name);
        fs::copy(file, planted.path().join(name)).expect("a copy");
    }
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(planted.path(), everybody).expect("its mode");
    let program = planted.path().join("master");
    fs::copy("/bin/sleep", &program).expect("a copy");
    let listed = || {
        let text = by_default(&instance, &["status", "--json", "--all-instances"]);
        let reports: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        reports.as_array().map(Vec::len)
    };
    for (user, instances) in [(NOBODY, 1), (0, 2)] {
        let mut process = instance
            .guarded(&program)
            .arg("1000")
            .env("MAIL_CONFIG", planted.path())
            .uid(user)
            .process_group(0)
            .spawn()
            .expect("a process");
        // It has been started when its program is the one that it is to run.
        let exe = format!("/proc/{}/exe", process.id());
        while fs::read_link(&exe).ok().as_deref() != Some(&program) {
            std::thread::yield_now();
        }
        let listed = listed();
        process.kill().expect("it runs");
        process.wait().expect("it ends");
        assert_eq!(listed, Some(instances), "of user {user}");
    }
}

#[test]
fn both_can_be_uninstalled_at_once() {
    let (first, second) = sharing();
    let both = [&first, &second];
    let before = both.map(tree);
    said(&install_all(&both));
    said(&scachectl(&both, ["uninstall", "--wait", "120"]));
    assert_eq!(both.map(tree), before);
}

#[test]
fn one_that_is_stopped_is_changed_for_its_next_start() {
    let instance = Instance::start(&Setup::new(stock()));
    instance.stop();
    instance.wait_for("Postfix does not end", |instance| {
        instance.processes().is_empty()
    });
    let before = tree(&instance);
    let text = said(&install(&instance, ours().path()));
    assert!(text.contains("does not run"), "{text}");
    let report = status(&instance);
    assert_eq!(report["running"], false, "{report:#}");
    assert_eq!(report["configured"], "scache-rs", "{report:#}");
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);
    assert_eq!(instance.processes(), Vec::new());
}

#[test]
fn before_3_6_nothing_is_announced() {
    let instance = Instance::start(&Setup::new(stock()));
    let before = tree(&instance);
    let main_cf = instance.configuration().join("main.cf");
    let real = fs::read_to_string(&main_cf).expect("main.cf");
    let old = format!("{real}mail_version = 3.5.9\n");
    fs::write(&main_cf, old).expect("an edit");
    said(&install(&instance, ours().path()));
    let report = status(&instance);
    let entry = report["entry"].as_str().expect("a line");
    assert!(
        entry.ends_with(" -o connection_cache_announce=no"),
        "{entry}"
    );
    assert_eq!(report["announces"], false, "{report:#}");
    assert_eq!(report["announcement_wanted"], false, "{report:#}");

    fs::write(&main_cf, real).expect("an edit");
    if !announces() {
        delivers_by("scache-rs", &instance);
        said(&uninstall(&instance));
        assert_eq!(tree(&instance), before);
        return;
    }
    // After an upgrade of Postfix its clients would wait for it.
    assert_eq!(status(&instance)["announcement_wanted"], true);
    let text = said(&install(&instance, ours().path()));
    assert!(text.contains("brought up to date"), "{text}");
    let report = status(&instance);
    assert_eq!(report["announces"], true, "{report:#}");
    delivers_by("scache-rs", &instance);
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);
}
