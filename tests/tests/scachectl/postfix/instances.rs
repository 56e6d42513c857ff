//! Instances of several kinds: two at once, one that is stopped, one that is of an old version.

use std::fs;

use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};

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
    // By its process, since nothing says that the instances belong together.
    let text = said(&uninstall(&first));
    assert!(text.contains("an instance that is not known"), "{text}");
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

    // After an upgrade of Postfix its clients would wait for it.
    fs::write(&main_cf, real).expect("an edit");
    assert_eq!(status(&instance)["announcement_wanted"], true);
    let text = said(&install(&instance, ours().path()));
    assert!(text.contains("brought up to date"), "{text}");
    let report = status(&instance);
    assert_eq!(report["announces"], true, "{report:#}");
    delivers_by("scache-rs", &instance);
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);
}
