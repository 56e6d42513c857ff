//! The README and the pages say the same in both languages: what needs no translation is the same.

use crate::pages::literal;
use crate::repository::{self, read};

/// The blocks of code of a document, without comments, which are translated.
fn blocks(name: &str) -> Vec<Vec<String>> {
    let text = read(&repository::path(name));
    let mut blocks = Vec::new();
    let mut block: Option<Vec<String>> = None;
    for line in text.lines() {
        if line.starts_with("```") {
            match block.take() {
                Some(complete) => blocks.push(complete),
                None => block = Some(vec![line.to_owned()]),
            }
        } else if let Some(block) = &mut block {
            block.push(without_comment(line).to_owned());
        }
    }
    assert!(block.is_none(), "{name}: a block of code without an end");
    blocks
}

fn without_comment(line: &str) -> &str {
    let begin = ["# ", "// "]
        .iter()
        .filter_map(|mark| line.find(mark))
        .filter(|place| line[..*place].trim().is_empty() || line[..*place].ends_with(' '))
        .min();
    match begin {
        Some(place) => line[..place].trim_end(),
        None => line.trim_end(),
    }
}

/// Where a document points to, but for each other.
fn links(name: &str) -> Vec<String> {
    let text = read(&repository::path(name));
    let mut links: Vec<String> = text
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.starts_with("README"))
        .map(str::to_owned)
        .collect();
    links.sort();
    links
}

/// How many headings of each depth, and rows of tables, there are: their order.
fn outline(name: &str) -> Vec<&'static str> {
    let text = read(&repository::path(name));
    let mut inside = false;
    let mut outline = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
            outline.push("code");
        } else if !inside {
            let known = ["# ", "## ", "### ", "| ", "- "];
            outline.extend(known.iter().find(|begin| line.starts_with(**begin)));
        }
    }
    outline
}

#[test]
fn the_readmes_have_the_same_commands() {
    let (english, japanese) = (blocks("README.md"), blocks("README.ja.md"));
    for (place, (english, japanese)) in english.iter().zip(&japanese).enumerate() {
        for (one, other) in english.iter().zip(japanese) {
            assert_eq!(
                one,
                other,
                "block of code {} of README.md (left) and README.ja.md (right) differ; comments may",
                place + 1
            );
        }
        assert_eq!(
            english.len(),
            japanese.len(),
            "block of code {} has more lines in one of README.md (left) and README.ja.md (right): {english:#?} {japanese:#?}",
            place + 1
        );
    }
    assert_eq!(
        english.len(),
        japanese.len(),
        "README.md (left) and README.ja.md (right) do not have the same blocks of code"
    );
    assert!(english.len() > 5);
}

#[test]
fn the_readmes_have_the_same_parts_and_links() {
    let (english, japanese) = (outline("README.md"), outline("README.ja.md"));
    let same = english
        .iter()
        .zip(&japanese)
        .take_while(|(one, other)| one == other);
    let place = same.count();
    assert_eq!(
        english.get(place),
        japanese.get(place),
        "the parts of README.md (left) and README.ja.md (right) differ after the first {place} headings, rows, items \
         and blocks of code"
    );
    assert_eq!(links("README.md"), links("README.ja.md"));
    for (readme, other) in [("README.md", "README.ja.md"), ("README.ja.md", "README.md")] {
        let text = read(&repository::path(readme));
        assert!(
            text.contains(&format!("]({other})")),
            "{readme} does not point to {other}"
        );
    }
}

#[test]
fn what_a_document_points_to_is_there() {
    for name in [
        "README.md",
        "README.ja.md",
        "docs/ENVIRONMENTS.md",
        "docs/INSTALL.md",
        "docs/POSTFIX.md",
        "docs/SCACHED.md",
    ] {
        let document = repository::path(name);
        let directory = document.parent().expect("a directory");
        for link in links(name) {
            let file = link.split('#').next().expect("a name");
            assert!(
                link.contains("://") || directory.join(file).exists(),
                "{name}: there is no {link}"
            );
        }
    }
}

#[test]
fn the_pages_have_the_same_parts_and_examples() {
    for page in repository::pages("man") {
        let name = page.file_name().expect("a name");
        let other = repository::path("man/ja").join(name);
        let parts = |page| -> Vec<String> {
            let text = read(page);
            let kinds = text.lines().filter_map(|line| {
                let kind = line.split(' ').next()?;
                [".Dd", ".Sh", ".Ss", ".Bl", ".It", ".Bd"]
                    .contains(&kind)
                    .then(|| {
                        if kind == ".Dd" {
                            line.to_owned()
                        } else {
                            kind.to_owned()
                        }
                    })
            });
            kinds.collect()
        };
        assert_eq!(parts(&page), parts(&other), "{}", other.display());
        assert_eq!(literal(&page), literal(&other), "{}", other.display());
    }
}
