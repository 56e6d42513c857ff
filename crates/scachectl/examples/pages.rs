//! Writes the manual pages of scachectl, and the completions of scachectl and scached, below a directory.
//! `make build` runs it. All is made of the definitions that parse the command lines, so nothing can differ.
//!
//! It is an example because what it needs is not for the programs: examples are neither installed nor
//! linked into them.

use std::error::Error;
use std::fs;
use std::path::Path;

use clap::Command;
use clap_complete::Shell;

fn main() -> Result<(), Box<dyn Error>> {
    let Some(directory) = std::env::args_os().nth(1) else {
        return Err("name the directory to write to".into());
    };
    let directory = Path::new(&directory);
    // What a former definition left behind would be installed too.
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    let manual = directory.join("man1");
    fs::create_dir_all(&manual)?;
    clap_mangen::generate_to(scachectl::command(), &manual)?;
    for (name, command) in [
        ("scachectl", scachectl::command()),
        ("scached", scached::standalone::command()),
    ] {
        complete(name, command, directory)?;
    }
    Ok(())
}

fn complete(name: &str, mut command: Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    for (shell, file) in [
        (Shell::Bash, name.to_owned()),
        (Shell::Fish, format!("{name}.fish")),
        (Shell::Zsh, format!("_{name}")),
    ] {
        let directory = directory.join(shell.to_string());
        fs::create_dir_all(&directory)?;
        let mut file = fs::File::create(directory.join(file))?;
        clap_complete::generate(shell, &mut command, name, &mut file);
    }
    Ok(())
}
