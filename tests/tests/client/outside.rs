//! A crate that is no member of this workspace and depends on the client library by its path.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::servers::{Kind, Server};

const MANIFEST: &str = r#"
[package]
name = "outside"
version = "0.1.0"
edition = "2024"

[[bin]]
name = "outside"
path = "program.rs"

[dependencies]
scache-client = { path = "PATH", features = ["tokio"] }
tokio = { version = "1", default-features = false, features = ["net", "rt"] }

[workspace]
"#;

#[test]
fn a_crate_of_its_own_checks_out_in_spawned_tasks_in_each_documented_form() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let library = root.join("crates/scache-client");
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside");
    fs::create_dir_all(&directory).expect("a directory");
    let manifest = MANIFEST.replace("PATH", library.to_str().expect("a path that TOML can hold"));
    fs::write(directory.join("Cargo.toml"), manifest).expect("written");
    fs::write(
        directory.join("program.rs"),
        include_str!("outside/program.rs"),
    )
    .expect("written");
    // The versions that the workspace was built with, which are here already.
    fs::copy(root.join("Cargo.lock"), directory.join("Cargo.lock")).expect("copied");
    let server = Server::start(Kind::Scached);
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "run",
            "--quiet",
            "--offline",
            "--target-dir",
            "target",
            "--",
        ])
        .arg(server.path())
        .current_dir(&directory)
        .output()
        .expect("cargo can be started");
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{complained}");
    // The first form connects, to an endpoint of its own; each other one finds what the one before has released.
    assert_eq!(said, "7 checkouts, 6 from the cache\n");
}
