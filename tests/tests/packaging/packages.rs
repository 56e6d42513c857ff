//! The Debian packages, as far as this can be told without building them: that takes `make deb`.

use std::path::Path;

use crate::repository;

fn metadata(package: &str) -> toml::Table {
    let text = repository::read(&repository::path(&format!("crates/{package}/Cargo.toml")));
    let manifest: toml::Table = text.parse().expect("TOML");
    let metadata = manifest["package"]["metadata"]["deb"].as_table();
    metadata.expect("a table for cargo-deb").clone()
}

fn assets(package: &str) -> Vec<(String, String)> {
    let metadata = metadata(package);
    let assets = metadata["assets"].as_array().expect("a list");
    assets
        .iter()
        .map(|asset| {
            let text = |place: usize| asset[place].as_str().expect("text").to_owned();
            (text(0), text(1))
        })
        .collect()
}

#[test]
fn each_file_of_a_package_exists_or_is_built() {
    for package in ["scached", "scachectl", "scache-client-c"] {
        let directory = repository::path(&format!("crates/{package}"));
        for (source, _) in assets(package) {
            let path = match source.strip_prefix("target/release/pages") {
                Some(rest) => repository::generated().join(rest.trim_start_matches('/')),
                // Programs, and what the Makefile makes for the packages.
                None if source.contains("target/") => continue,
                None => directory.join(&source),
            };
            assert!(exists(&path), "{package}: there is no {source}");
        }
    }
}

/// Whether there is a file of this name; the name may have a star in it, and another at its end.
fn exists(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    let Some((begin, end)) = name.split_once('*') else {
        return path.is_file();
    };
    let directory = path.parent().expect("a directory");
    !repository::files(directory, |path| {
        let name = Path::new(path).file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(begin) && name.contains(end.trim_end_matches('*')))
    })
    .is_empty()
}

#[test]
fn the_maintainer_scripts_are_sound_shell_programs() {
    let directory = metadata("scached")["maintainer-scripts"]
        .as_str()
        .map(|name| repository::path("crates/scached").join(name))
        .expect("a directory");
    let scripts = repository::files(&directory, |_| true);
    assert_eq!(scripts.len(), 3, "{scripts:?}");
    for script in scripts {
        repository::quiet(std::process::Command::new("sh").arg("-n").arg(script));
    }
}

#[test]
fn the_library_for_development_belongs_to_this_version() {
    let metadata = metadata("scache-client-c");
    let depends = metadata["variants"]["dev"]["depends"].as_str();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        depends,
        Some(format!("libscache0 (= {version}-1)").as_str())
    );
}

#[test]
fn the_changelog_begins_with_this_version() {
    let text = repository::read(&repository::path("pkg/debian/changelog"));
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        text.starts_with(&format!("scache ({version}-1) ")),
        "pkg/debian/changelog does not begin with {version}"
    );
}
