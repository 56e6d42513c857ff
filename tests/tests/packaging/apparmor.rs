//! The profile for AppArmor, as its parser reads it.

use std::fs;
use std::process::Output;

use scache_tests::tools::{apparmor_parser, apparmor_root};

use crate::repository::{self, read};

/// Runs the parser on a profile.
fn parsed(profile: &str) -> Output {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("profile");
    fs::write(&file, profile).expect("written");
    let output = apparmor_parser().arg(&file).output();
    output.expect("apparmor_parser can be run")
}

#[test]
fn the_profile_is_accepted() {
    let profile = read(&repository::path("pkg/apparmor/scache-rs"));
    let output = parsed(&profile);
    assert!(output.status.success(), "{output:#?}");
    let broken = profile.replace("network inet stream", "network no-such-family stream");
    assert!(!parsed(&broken).status.success());
    assert_ne!(broken, profile);
}

/// Its head gives a line for the profile of master(8), which Debian's package has.
#[test]
fn the_line_for_the_profile_of_master_is_accepted() {
    let profile = read(&repository::path("pkg/apparmor/scache-rs"));
    let line = profile
        .lines()
        .filter_map(|line| line.strip_prefix("#   "))
        .find(|line| line.ends_with(" Px,"))
        .expect("the line");
    let master = apparmor_root().join("usr/share/apparmor/extra-profiles/postfix-master");
    let master = read(&master);
    let place = master.rfind('}').expect("the end of the profile");
    let output = parsed(&format!("{}{line}\n{}", &master[..place], &master[place..]));
    assert!(output.status.success(), "{output:#?}");
}
