//! Every command line in a document or a page is one that the program understands, so that none goes stale.

use std::path::{Path, PathBuf};

use clap::error::ErrorKind;

use crate::repository::{self, read};

/// The documents and pages that have command lines in them.
fn documents() -> Vec<PathBuf> {
    let markdown = |name: &str| name.ends_with(".md");
    let mut documents = repository::files(&repository::path(""), markdown);
    documents.extend(repository::files(&repository::path("docs"), markdown));
    for language in ["man", "man/ja"] {
        documents.extend(repository::pages(language));
    }
    documents.push(repository::path("man/scachectl.1.rest"));
    documents.push(repository::path("pkg/systemd/scached.service"));
    documents
}

/// What may be a command line: lines of code and of literal text, code within a line, what a unit starts.
fn candidates(document: &Path) -> Vec<String> {
    let text = read(document);
    let is_markdown = document.extension().is_some_and(|end| end == "md");
    let mut lines: Vec<String> = Vec::new();
    let mut inside = false;
    // Where there are prompts, what has none is what the program says.
    let mut prompts = false;
    for line in text.lines() {
        if line.starts_with("```")
            || line.starts_with(".Bd")
            || line.starts_with(".Ed")
            || line.starts_with(".EX")
            || line.starts_with(".EE")
        {
            inside = !inside;
            prompts = false;
        } else if let Some(command) = line.strip_prefix("ExecStart=") {
            lines.push(command.to_owned());
        } else if inside {
            prompts |= line.starts_with("$ ");
            let line = line.replace("\\e", "\\").replace("\\-", "-");
            match lines.last_mut() {
                Some(last) if last.ends_with('\\') => {
                    last.pop();
                    last.push_str(line.trim_start());
                }
                _ if prompts && !line.starts_with("$ ") => {}
                _ => lines.push(line),
            }
        } else if is_markdown && line.starts_with("    scache") {
            lines.push(line.to_owned());
        } else if is_markdown {
            lines.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    lines
}

/// The words of each command in a line of a shell program, as far as a shell would see them there.
fn commands(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(end), _) if character == end => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '\'' | '"') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '|' | ';' | '&' | '(' | ')' | '<' | '>' | '\n') => {
                let last = commands.last_mut().expect("one");
                // The number of a descriptor belongs to the redirection.
                let is_number = |word: &String| word.bytes().all(|byte| byte.is_ascii_digit());
                let redirects = matches!(character, '<' | '>');
                last.extend(word.take().filter(|word| !(redirects && is_number(word))));
                if !character.is_whitespace() {
                    commands.push(Vec::new());
                }
            }
            (None, '#') if word.is_none() => break,
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    commands.last_mut().expect("one").extend(word);
    commands
}

/// Whether a word describes what to write rather than be it.
fn is_placeholder(word: &str) -> bool {
    let is_name = word.len() > 1
        && word != "QUIT"
        && word
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || matches!(byte, b':' | b'_'));
    is_name || word.contains(['…', '[', ']', '{', '}']) || word.contains("...")
}

/// The command lines of ours among the words: from the program's name on.
fn ours(words: &[String]) -> Option<(clap::Command, &[String])> {
    let prompt = ["$", "#", "sudo", "exec", "time"];
    let start = words
        .iter()
        .position(|word| !prompt.contains(&word.as_str()) && !word.contains('='))?;
    let words = &words[start..];
    let command = match words[0].rsplit('/').next()? {
        "scached" => scached::standalone::command(),
        "scachectl" => scachectl::command(),
        _ => return None,
    };
    // Alone it is the name of the program.
    let is_example = words.len() > 1 && !words.iter().any(|word| is_placeholder(word));
    is_example.then_some((command, words))
}

#[test]
fn each_command_line_in_a_document_is_understood() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    for document in documents() {
        for line in candidates(&document) {
            for words in commands(&line) {
                let Some((command, words)) = ours(&words) else {
                    continue;
                };
                seen += 1;
                if let Err(error) = command.try_get_matches_from(words)
                    && !matches!(
                        error.kind(),
                        ErrorKind::DisplayHelp
                            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                            | ErrorKind::DisplayVersion
                    )
                    && !names_a_user(&error.to_string())
                    && !is_mentioned(words, error.kind())
                {
                    wrong.push(format!("{}: {line}: {error}", document.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 7, "only {seen} command lines were found");
}

/// A command that is spoken of, not called.
fn is_mentioned(words: &[String], error: ErrorKind) -> bool {
    words.len() == 2 && error == ErrorKind::MissingRequiredArgument
}

/// A user of an example need not be one of this machine.
fn names_a_user(error: &str) -> bool {
    error.contains("there is no user")
}

#[test]
fn a_command_line_is_found_and_a_wrong_one_is_noticed() {
    let line = "$ PATH=x sudo scached --ttl-limit '3 0s' 2>/dev/null | grep scached # comment";
    let commands = commands(line);
    let found: Vec<_> = commands.iter().filter_map(|words| ours(words)).collect();
    let [(command, words)] = found.as_slice() else {
        panic!("{commands:?}");
    };
    assert_eq!(words[..3], ["scached", "--ttl-limit", "3 0s"]);
    let error = command.clone().try_get_matches_from(*words).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ValueValidation);
    assert!(ours(&self::commands("scached --socket […]")[0]).is_none());
}
