//! A master.cf that nobody can replace: mounted by itself, as containers do, or immutable. It is noticed before the first
//! step; and an edit that fails all the same is undone.

use std::fs::{self, File};
use std::path::Path;
use std::process::Output;

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};

use super::failing::{complaint, deceiver};
use super::{delivers_by, executable, install, master_cf, said, silence, status, tree, uninstall};

/// A file with an attribute, as chattr(1) gives it, which is taken away again at the end.
struct Attribute(File, IFlags);

impl Attribute {
    fn set(path: &Path, attribute: IFlags) -> Self {
        let file = File::open(path).expect("a file");
        let before = ioctl_getflags(&file).expect("TMPDIR is to be on ext4, btrfs, xfs or a tmpfs");
        ioctl_setflags(&file, before | attribute).expect("only root may");
        Self(file, before)
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        let _ = ioctl_setflags(&self.0, self.1);
    }
}

/// Runs `scachectl postfix` where master.cf is a mount of its own. Nobody else sees that mount.
fn with_mount(instance: &Instance, words: &[&str]) -> Output {
    let script = "mount --bind \"$1\" \"$1\" && shift && exec \"$@\"";
    let mut command = instance.administration(Path::new("unshare"));
    command.args(["--mount", "sh", "-c", script, "sh"]);
    command.arg(master_cf(instance)).arg(built("scachectl"));
    command.arg("postfix").args(words);
    command.arg("--config-dir").arg(instance.configuration());
    command.output().expect("unshare can be run")
}

#[test]
fn a_mounted_master_cf_is_noticed_before_the_first_step() {
    let instance = Instance::start(&Setup::new(stock()));
    delivers_by("scache", &instance);
    let (before, process) = (tree(&instance), instance.scache());
    let program = ours().path().display().to_string();
    for words in [
        vec!["install", "--wait", "120", "--program", &program],
        vec!["install", "--dry-run", "--program", &program],
    ] {
        let output = with_mount(&instance, &words);
        let text = complaint(&output, 78);
        assert!(text.contains("mounted by itself"), "{text}");
        assert_eq!(output.stdout, b"", "{output:#?}");
        assert_eq!(tree(&instance), before);
    }
    assert_eq!(instance.scache(), process, "Postfix was reloaded");

    said(&install(&instance, ours().path()));
    let installed = tree(&instance);
    let text = complaint(&with_mount(&instance, &["uninstall"]), 78);
    assert!(text.contains("mounted by itself"), "{text}");
    assert_eq!(tree(&instance), installed);
    delivers_by("scache-rs", &instance);
}

/// The file can be edited from elsewhere: then the program can be installed and upgraded.
#[test]
fn a_mounted_master_cf_that_needs_no_change_does_not_stop_an_upgrade() {
    let instance = Instance::start(&Setup::new(stock()));
    let text = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let by_hand = text.replace(" 1 scache\n", &format!(" 1 scache-rs{}\n", silence()));
    fs::write(master_cf(&instance), by_hand).expect("an edit");
    let program = ours().path().display().to_string();
    let words = ["install", "--wait", "120", "--program", &program];
    said(&with_mount(&instance, &words));
    delivers_by("scache-rs", &instance);
}

#[test]
fn an_immutable_master_cf_is_noticed_before_the_first_step() {
    let instance = Instance::start(&Setup::new(stock()));
    delivers_by("scache", &instance);
    let (before, process) = (tree(&instance), instance.scache());
    for (path, attribute) in [
        (master_cf(&instance), IFlags::IMMUTABLE),
        (master_cf(&instance), IFlags::APPEND),
        (instance.configuration(), IFlags::IMMUTABLE),
    ] {
        let fixed = Attribute::set(&path, attribute);
        let output = install(&instance, ours().path());
        let text = complaint(&output, 78);
        assert!(text.contains("chattr"), "{text}");
        assert_eq!(output.stdout, b"", "{output:#?}");
        assert_eq!(tree(&instance), before);
        drop(fixed);
    }
    assert_eq!(instance.scache(), process, "Postfix was reloaded");

    said(&install(&instance, ours().path()));
    let installed = tree(&instance);
    let fixed = Attribute::set(&master_cf(&instance), IFlags::IMMUTABLE);
    let text = complaint(&uninstall(&instance), 78);
    assert!(text.contains("chattr"), "{text}");
    drop(fixed);
    assert_eq!(tree(&instance), installed);
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);
}

/// A file system may have reasons of its own: here postconf cannot edit, and nothing tells so beforehand.
#[test]
fn an_edit_that_fails_leaves_nothing_behind() {
    let instance = Instance::start(&Setup::new(stock()));
    delivers_by("scache", &instance);
    let (before, process) = (tree(&instance), instance.scache());
    let commands = tempfile::tempdir().expect("a directory");
    let real = scache_tests::stock::Stock::locate().command("postconf");
    executable(
        &commands.path().join("postconf"),
        format!(
            "#!/bin/sh\ncase \"$*\" in *scache/unix=*) echo 'postconf: fatal: rename: no such luck' >&2; exit 1;; esac\nexec {} \"$@\"\n",
            real.display()
        ),
    );
    let mut command = instance.administration(&built("scachectl"));
    let output = command
        .env(
            "PATH",
            format!("{}:/usr/bin:/bin", commands.path().display()),
        )
        .args(["postfix", "install", "--program"])
        .arg(ours().path())
        .arg("--config-dir")
        .arg(instance.configuration())
        .output()
        .expect("scachectl can be run");
    let text = complaint(&output, 78);
    assert!(text.contains("no such luck"), "{text}");
    assert!(
        text.contains("rolled back: everything is as it was before"),
        "{text}"
    );
    assert_eq!(tree(&instance), before);
    assert_eq!(instance.scache(), process, "Postfix was reloaded");
    assert_eq!(status(&instance)["serving"], "stock");
}

/// master(8) cannot be made to forget the failure without an edit; what was there is back all the same.
#[test]
fn an_upgrade_that_fails_beside_a_mounted_master_cf_is_rolled_back() {
    let instance = Instance::start(&Setup::new(stock()));
    said(&install(&instance, ours().path()));
    delivers_by("scache-rs", &instance);
    let before = tree(&instance);
    let program = deceiver(&instance).display().to_string();
    let words = ["install", "--wait", "3", "--program", &program];
    let output = with_mount(&instance, &words);
    let text = complaint(&output, 69);
    assert!(
        text.contains("rolled back: everything is as it was before"),
        "{text}"
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("after a minute"), "{text}");
    assert_eq!(tree(&instance), before);
}
