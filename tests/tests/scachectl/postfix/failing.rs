//! Programs that do not work: nothing is different afterwards.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use scache_tests::fake_master::{ours, stock};
use scache_tests::instance::{Instance, Setup};

use super::{delivers_by, executable, install, said, scachectl, status, tree};

/// What a command said that failed with this status: one line.
pub(super) fn complaint(output: &Output, status: i32) -> String {
    assert_eq!(output.status.code(), Some(status), "{output:#?}");
    let text = String::from_utf8(output.stderr.clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.starts_with("scachectl: "), "{text}");
    text
}

#[test]
fn what_does_not_run_is_not_installed() {
    let instance = Instance::start(&Setup::new(stock()));
    delivers_by("scache", &instance);
    let (before, process) = (tree(&instance), instance.scache());
    let program = instance.configuration().with_file_name("program");
    for (content, reason) in [
        ("#!/bin/sh\necho no such luck >&2\nexit 1\n", "no such luck"),
        ("#!/bin/sh\nexit 3\n", "exit status: 3"),
        ("#!/no/such/interpreter\n", "No such file"),
        ("\x7fELF for another machine", "Exec format error"),
    ] {
        executable(&program, content);
        let text = complaint(&install(&instance, &program), 65);
        assert!(text.contains(reason), "{text}");
        assert_eq!(tree(&instance), before, "{content}");
    }
    let text = complaint(&install(&instance, stock().path()), 65);
    assert!(text.contains("Postfix's own"), "{text}");
    assert_eq!(tree(&instance), before);
    assert_eq!(instance.scache(), process, "Postfix was reloaded");
    delivers_by("scache", &instance);
}

/// A program that works when it is tried out and not when master(8) starts it.
pub(super) fn deceiver(instance: &Instance) -> PathBuf {
    let path = instance.configuration().with_file_name("deceiver");
    let works = ours().path().display().to_string();
    executable(
        &path,
        format!("#!/bin/sh\ncase \"$*\" in *-S*) exec {works} \"$@\";; esac\nexit 1\n"),
    );
    path
}

fn install_in_vain(instance: &Instance, program: &Path) -> Output {
    let program = program.display().to_string();
    scachectl(
        &[instance],
        ["install", "--wait", "5", "--program", &program],
    )
}

#[test]
fn what_does_not_answer_under_master_is_rolled_back() {
    let instance = Instance::start(&Setup::new(stock()));
    delivers_by("scache", &instance);
    let before = tree(&instance);
    let output = install_in_vain(&instance, &deceiver(&instance));
    let text = complaint(&output, 69);
    assert!(text.contains("rolled back"), "{text}");
    println!("{}{text}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(tree(&instance), before);
    assert_eq!(status(&instance)["serving"], "stock");
    delivers_by("scache", &instance);
}

#[test]
fn an_upgrade_that_fails_leaves_what_was_there() {
    let instance = Instance::start(&Setup::new(stock()));
    let untouched = tree(&instance);
    said(&install(&instance, ours().path()));
    delivers_by("scache-rs", &instance);
    let before = tree(&instance);
    let text = complaint(&install_in_vain(&instance, &deceiver(&instance)), 69);
    assert!(text.contains("rolled back"), "{text}");
    assert_eq!(tree(&instance), before);
    let report = status(&instance);
    assert_eq!(report["serving"], "scache-rs", "{report:#}");
    assert_eq!(report["way_back"], "bytes", "{report:#}");
    delivers_by("scache-rs", &instance);
    said(&super::uninstall(&instance));
    assert_eq!(tree(&instance), untouched);
}

#[test]
fn a_main_cf_that_the_program_cannot_read_is_found_before_anything_is_changed() {
    let instance = Instance::start(&Setup::new(stock()));
    let main_cf = instance.configuration().join("main.cf");
    let mut text = fs::read_to_string(&main_cf).expect("main.cf");
    text.push_str("connection_cache_order = alphabetical\n");
    fs::write(&main_cf, text).expect("an edit");
    let before = tree(&instance);
    let text = complaint(&install(&instance, ours().path()), 65);
    assert!(text.contains("connection_cache_order"), "{text}");
    assert_eq!(tree(&instance), before);
}
