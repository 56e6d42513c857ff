//! The pages of scachectl: in English they are made of its definition, in Japanese written by hand, so that they are
//! compared with it.

use std::collections::{BTreeMap, BTreeSet};

use crate::repository::{self, read};

/// The options of each command, by its name: "" are those of all.
fn defined() -> BTreeMap<String, BTreeSet<String>> {
    let mut command = scachectl::command().disable_help_subcommand(true);
    command.build();
    let mut commands = BTreeMap::new();
    collect(&command, "", &mut commands);
    commands
}

fn collect(command: &clap::Command, name: &str, commands: &mut BTreeMap<String, BTreeSet<String>>) {
    let options = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set())
        .filter(|argument| name.is_empty() || !argument.is_global_set())
        .filter_map(|argument| argument.get_long())
        .filter(|option| name.is_empty() || !["help", "version"].contains(option))
        .map(|option| format!("--{option}"))
        .collect();
    commands.insert(name.to_owned(), options);
    for subcommand in command.get_subcommands() {
        if !subcommand.is_hide_set() {
            let name = format!("{name} {}", subcommand.get_name());
            collect(subcommand, name.trim_start(), commands);
        }
    }
}

/// The same by the page: a command is a heading `.Ss scachectl NAME`.
fn described() -> BTreeMap<String, BTreeSet<String>> {
    let text = read(&repository::path("man/ja/scachectl.1"));
    let mut commands: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix(".Ss scachectl ") {
            command.clone_into(&mut name);
            commands.entry(name.clone()).or_default();
        } else if line.starts_with(".Sh ") {
            name.clear();
        } else if let Some(item) = line.strip_prefix(".It Fl ") {
            let options = item.split(' ').filter(|word| word.starts_with("\\-"));
            let options = options.map(|word| word.replace("\\-", "--"));
            commands.entry(name.clone()).or_default().extend(options);
        }
    }
    commands
}

#[test]
fn the_japanese_page_has_the_commands_and_their_options() {
    assert_eq!(
        described(),
        defined(),
        "man/ja/scachectl.1 (left) and the options of scachectl (right) differ"
    );
}

#[test]
fn each_command_has_a_page_in_english() {
    for name in defined().keys() {
        let file = match name.as_str() {
            "" => "scachectl.1".to_owned(),
            name => format!("scachectl-{}.1", name.replace(' ', "-")),
        };
        let page = read(&repository::generated().join("man1").join(&file));
        assert!(page.starts_with(".ie"), "{file}");
    }
}
