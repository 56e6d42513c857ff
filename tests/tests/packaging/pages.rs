//! Manual pages: what the tools say of them, and that they have every option, key and parameter and no other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use scache_maincf::parameters::{Origin, PARAMETERS};
use scache_tests::fake_master::built;
use scache_tests::tools::manual;

use crate::repository::{self, quiet, read};

/// The directories of the pages that are written by hand, by language.
pub const LANGUAGES: [&str; 2] = ["man", "man/ja"];

fn all_pages() -> Vec<PathBuf> {
    let mut pages = repository::files(&repository::generated().join("man1"), |_| true);
    assert!(!pages.is_empty(), "no page was made of the definition");
    for language in LANGUAGES {
        pages.extend(repository::pages(language));
    }
    pages
}

fn is_japanese(page: &Path) -> bool {
    page.parent().is_some_and(|parent| parent.ends_with("ja"))
}

#[cfg(feature = "system")]
#[test]
fn mandoc_has_no_complaint() {
    for page in all_pages() {
        let output = manual("mandoc")
            .args(["-Tlint", "-W", "warning"])
            .arg(&page)
            .output()
            .expect("mandoc");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        // It knows the headings of a page in English only.
        let of_language = [
            "first section is not \"NAME\"",
            "description line outside NAME",
        ];
        let complaints: Vec<&str> = said
            .lines()
            .filter(|line| {
                !(is_japanese(&page) && of_language.iter().any(|known| line.contains(known)))
            })
            .collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
    }
}

#[cfg(feature = "system")]
#[test]
fn groff_has_no_warning() {
    for page in all_pages() {
        let mut converted = manual("preconv")
            .args(["-e", "utf-8"])
            .arg(&page)
            .stdout(Stdio::piped())
            .spawn()
            .expect("preconv");
        let text = converted.stdout.take().expect("its output");
        let language: &[&str] = if is_japanese(&page) { &["-mja"] } else { &[] };
        let output = manual("groff")
            .args(language)
            .args(["-mandoc", "-ww", "-Tutf8", "-z"])
            .stdin(text)
            .output()
            .expect("groff");
        converted.wait().expect("it ends");
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(complained.is_empty(), "{}: {complained}", page.display());
    }
}

#[cfg(feature = "system")]
#[test]
fn man_shows_them() {
    for page in all_pages() {
        let said = quiet(
            manual("man")
                .args(["--warnings", "-l"])
                .arg(&page)
                .env("MANWIDTH", "80")
                .env("MANROFFOPT", ""),
        );
        let name = page
            .file_stem()
            .and_then(|name| name.to_str())
            .expect("a name");
        assert!(
            said.contains(name.split('-').next().expect("a word")),
            "{said}"
        );
    }
}

/// What stands in the lines of a page that begin so, without the macros: one word each.
fn items(page: &Path, macros: &str) -> BTreeSet<String> {
    read(page)
        .lines()
        .filter_map(|line| line.strip_prefix(macros))
        .flat_map(|rest| {
            let names = rest.split(" No ").next().expect("something");
            names
                .split(" , ")
                .map(|name| name.trim_start_matches("Fl ").trim_start_matches("Cm "))
                .map(|name| name.split(' ').next().expect("a word").replace('\\', ""))
                .collect::<Vec<_>>()
        })
        .collect()
}

/// The options of a command, as they stand behind the first dash.
fn options(command: &clap::Command) -> BTreeSet<String> {
    let mut command = command.clone();
    command.build();
    let mut names = BTreeSet::new();
    for argument in command.get_arguments() {
        names.extend(argument.get_long().map(|name| format!("-{name}")));
        names.extend(argument.get_short().map(|name| name.to_string()));
    }
    names
}

#[test]
fn the_pages_of_scached_have_its_options() {
    let defined = options(&scached::standalone::command());
    assert!(defined.len() > 15);
    for language in LANGUAGES {
        let page = repository::path(language).join("scached.8");
        assert_eq!(items(&page, ".It Fl "), defined, "{language}/scached.8");
    }
}

#[test]
fn the_pages_of_the_file_have_its_keys() {
    let elsewhere = ["-config", "-check", "-takeover", "-help", "-version"];
    let mut defined: BTreeSet<String> = options(&scached::standalone::command())
        .iter()
        .filter(|name| !elsewhere.contains(&name.as_str()))
        .filter_map(|name| name.strip_prefix('-').map(str::to_owned))
        .collect();
    defined.insert("[goodbyes]".to_owned());
    for language in LANGUAGES {
        let page = repository::path(language).join("scache.toml.5");
        assert_eq!(items(&page, ".It Cm "), defined, "{language}/scache.toml.5");
    }
    // The file that is shipped has them all too, switched off.
    let shipped = read(&repository::path("pkg/scache.toml"));
    let shipped: BTreeSet<String> = shipped
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| line.starts_with(|begin: char| begin.is_ascii_lowercase() || begin == '['))
        .map(|line| line.split(' ').next().expect("a word").to_owned())
        .collect();
    assert_eq!(shipped, defined, "pkg/scache.toml");
}

#[test]
fn scached_reads_the_files_of_the_pages_and_of_the_package() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut texts: Vec<String> = LANGUAGES
        .iter()
        .map(|language| literal(&repository::path(language).join("scache.toml.5")))
        .collect();
    let shipped = read(&repository::path("pkg/scache.toml"));
    texts.push(shipped.clone());
    // And with everything switched on; there may be no such user here.
    let on: Vec<&str> = shipped
        .lines()
        .filter(|line| !line.starts_with("# ") && *line != "#")
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .collect();
    texts.push(on.join("\n").replace("\"postfix\"", "\"root\""));
    for text in texts {
        let file = directory.path().join("scache.toml");
        std::fs::write(&file, &text).expect("written");
        // It gets as far as the socket, which cannot be made.
        let output = Command::new(built("scached"))
            .arg("--config")
            .arg(&file)
            .args(["--socket", "/proc/none/socket"])
            .output()
            .expect("scached");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/proc/none/socket"), "{said} of {text}");
    }
}

/// What stands between .Bd and .Ed.
pub fn literal(page: &Path) -> String {
    let mut inside = false;
    let mut lines = Vec::new();
    for line in read(page).lines() {
        if line.starts_with(".Bd") {
            inside = true;
        } else if line.starts_with(".Ed") {
            inside = false;
        } else if inside {
            lines.push(line.replace("\\e", "\\"));
        }
    }
    lines.join("\n")
}

#[test]
fn the_pages_of_scache_have_its_parameters_and_their_defaults() {
    let defined: BTreeSet<String> = PARAMETERS
        .iter()
        .filter(|parameter| parameter.origin != Origin::Mentioned)
        .map(|parameter| parameter.name.to_owned())
        .collect();
    for language in LANGUAGES {
        let page = repository::path(language).join("scache.8");
        assert_eq!(items(&page, ".It Cm "), defined, "{language}/scache.8");
        let text = read(&page);
        for parameter in PARAMETERS {
            if let (Some(default), Some(line)) = (
                parameter.default.filter(|value| !value.is_empty()),
                text.lines()
                    .find(|line| line.starts_with(&format!(".It Cm {} No ", parameter.name))),
            ) {
                assert!(
                    line.ends_with(&format!(" No ({default})")),
                    "{language}/scache.8: {line}: the default is {default}"
                );
            }
        }
    }
    let own: BTreeSet<String> = PARAMETERS
        .iter()
        .filter(|parameter| parameter.origin == Origin::Own)
        .map(|parameter| parameter.name.to_owned())
        .collect();
    for readme in ["README.md", "README.ja.md"] {
        let rows: BTreeSet<String> = read(&repository::path(readme))
            .lines()
            .filter_map(|line| line.strip_prefix("| `connection_cache_"))
            .filter_map(|rest| rest.split('`').next())
            .map(|rest| format!("connection_cache_{rest}"))
            .collect();
        assert_eq!(rows, own, "{readme}");
    }
}

#[test]
fn the_pages_of_scache_have_its_options() {
    // It is asked one by one. Behind each stands one that it does not know, so that it never starts.
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("main.cf"), "").expect("written");
    let known: BTreeSet<String> = ('a'..='z')
        .chain('A'..='Z')
        .filter(|letter| {
            let output = Command::new(built("scache"))
                .args([format!("-{letter}"), "-Q".to_owned()])
                .env("MAIL_CONFIG", directory.path())
                .stdin(Stdio::null())
                .output()
                .expect("scache");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(said.contains("fatal: "), "-{letter}: {said}");
            !said.contains(&format!("invalid option: {letter}"))
        })
        .map(String::from)
        .collect();
    assert!(known.len() < 52, "nothing was refused");
    for language in LANGUAGES {
        let page = repository::path(language).join("scache.8");
        assert_eq!(items(&page, ".It Fl "), known, "{language}/scache.8");
    }
}
