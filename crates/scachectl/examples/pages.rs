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
use clap_mangen::Man;

/// What the definition does not say: statuses, files, examples.
const REST: &str = include_str!("../../../man/scachectl.1.rest");

/// The keys of `top`.
const KEYS: &str = include_str!("../../../man/scachectl-top.1.rest");

/// The rest of the page of each command.
const OF_A_COMMAND: &str = "\
.SH EXIT STATUS
0 if all went well; otherwise a status of sysexits(3), which \\fBscachectl\\fR(1) explains.
.SH SEE ALSO
\\fBscachectl\\fR(1)
";

/// As in the pages that are written by hand. It is no matter of when they are built: the same source makes the same page.
const DATE: &str = "2026-11-25";

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
    let mut command = scachectl::command().disable_help_subcommand(true);
    command.build();
    describe(&command, &manual)?;
    for (name, command) in [
        ("scachectl", scachectl::command()),
        ("scached", scached::standalone::command()),
    ] {
        complete(name, command, directory)?;
    }
    Ok(())
}

/// Writes the page of a command, and those of its subcommands.
fn describe(command: &Command, directory: &Path) -> Result<(), Box<dyn Error>> {
    let name = command.get_display_name().unwrap_or(command.get_name());
    let is_whole = name == command.get_name();
    let page = Man::new(command.clone())
        .title(name.to_uppercase())
        .date(DATE)
        .source(concat!("scache ", env!("CARGO_PKG_VERSION")))
        .manual("General Commands Manual");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    if is_whole {
        text.extend(REST.as_bytes());
    } else {
        let keys = if name == "scachectl-top" { KEYS } else { "" };
        text.extend(keys.as_bytes());
        text.extend(OF_A_COMMAND.as_bytes());
    }
    let text = String::from_utf8(text)?;
    // A blank at the end of a line is an error to whoever checks pages.
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    // Nor does a line end where a paragraph does.
    let is_end = |line: Option<&&str>| line.is_some_and(|line| line.is_empty() || *line == ".sp");
    let kept: Vec<&str> = (0..lines.len())
        .filter(|place| {
            let before = place.checked_sub(1).and_then(|place| lines.get(place));
            lines[*place] != ".br" || !(is_end(before) || is_end(lines.get(place + 1)))
        })
        .map(|place| lines[place])
        .collect();
    fs::write(directory.join(format!("{name}.1")), kept.join("\n") + "\n")?;
    for subcommand in command.get_subcommands() {
        describe(subcommand, directory)?;
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
