//! Scripts of commands with their expected output, in virtual time.
//!
//! Each `scripts/*.script` begins with the limits. A line `> …` is what the command above it prints.
//!
//! | command | does |
//! |---|---|
//! | `limits ttl=S connections=N endpoint=N bindings=N [per-destination=N] [bytes=N] [newest]` | starts anew |
//! | `endpoint TTL ENDPOINT PROPERTY NAME` | saves a connection called NAME |
//! | `destination TTL DESTINATION PROPERTY ENDPOINT` | saves a binding |
//! | `find-endpoint ENDPOINT`, `find-destination DESTINATION` | takes a connection |
//! | `put-back` | gives the connection back that was taken last |
//! | `sleep MILLISECONDS`, `expire`, `clear`, `counts`, `statistics` | what they say |
//!
//! `''` is an empty name. With `UPDATE_EXPECT` in the environment a script is written anew as it was
//! played, to be read before it is committed.

#![expect(clippy::unwrap_used, reason = "a script that makes no sense fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "scripts are files, and virtual time has to begin somewhere"
)]

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use scache_proto::{Label, Property, Ttl};
use scache_store::{Limits, Order, Reason, Store, Taken};

struct Player {
    store: Store<String>,
    now: Instant,
    taken: Option<Taken<String>>,
}

#[test]
fn scripts_print_what_they_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut played = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        let transcript = play(&script);
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, &transcript).unwrap();
        }
        assert_eq!(transcript, script, "{}", path.display());
        played += 1;
    }
    assert!(played > 0, "there are no scripts");
}

/// The script again, with what its commands print.
fn play(script: &str) -> String {
    let mut player = None;
    let mut transcript = String::new();
    for line in script.lines().filter(|line| !line.starts_with("> ")) {
        writeln!(transcript, "{line}").unwrap();
        let words: Vec<&str> = line
            .split_whitespace()
            .map(|word| if word == "''" { "" } else { word })
            .collect();
        match words[..] {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["limits", ..] => player = Some(Player::new(&words[1..])),
            _ => {
                let player = player.as_mut().expect("the first command is limits");
                for printed in player.command(&words) {
                    writeln!(transcript, "> {printed}").unwrap();
                }
            }
        }
    }
    transcript
}

impl Player {
    fn new(settings: &[&str]) -> Self {
        let optional = |name: &str| -> Option<usize> {
            let prefix = format!("{name}=");
            let value = settings
                .iter()
                .find_map(|word| word.strip_prefix(&prefix))?;
            Some(value.parse().unwrap())
        };
        let setting = |name: &str| optional(name).unwrap_or_else(|| panic!("no {name}"));
        let now = Instant::now();
        let limits = Limits {
            ttl_limit: Duration::from_secs(setting("ttl") as u64),
            connections: setting("connections"),
            connections_per_endpoint: setting("endpoint"),
            bindings: setting("bindings"),
            bindings_per_destination: optional("per-destination").unwrap_or(usize::MAX),
            bytes: optional("bytes").unwrap_or(usize::MAX),
            order: if settings.contains(&"newest") {
                Order::Newest
            } else {
                Order::Oldest
            },
        };
        Self {
            store: Store::new(limits, now),
            now,
            taken: None,
        }
    }

    fn command(&mut self, words: &[&str]) -> Vec<String> {
        let now = self.now;
        let mut printed = Vec::new();
        match *words {
            ["endpoint", ttl, endpoint, property, name] => {
                self.store.save_endpoint(
                    now,
                    Ttl::parse(ttl.as_bytes()).unwrap(),
                    Label::new(endpoint.as_bytes()).unwrap(),
                    Property::new(property.as_bytes()).unwrap(),
                    name.to_owned(),
                );
            }
            ["destination", ttl, destination, property, endpoint] => self.store.save_destination(
                now,
                Ttl::parse(ttl.as_bytes()).unwrap(),
                Label::new(destination.as_bytes()).unwrap(),
                Property::new(property.as_bytes()).unwrap(),
                Label::new(endpoint.as_bytes()).unwrap(),
            ),
            ["find-endpoint", endpoint] => {
                let endpoint = Label::new(endpoint.as_bytes()).unwrap();
                let found = self.store.find_endpoint(now, endpoint, judge);
                printed.push(found.as_ref().map_or("nothing".to_owned(), shown));
                self.taken = found;
            }
            ["find-destination", destination] => {
                let destination = Label::new(destination.as_bytes()).unwrap();
                let found = self.store.find_destination(now, destination, judge);
                printed.push(found.as_ref().map_or("nothing".to_owned(), |found| {
                    let property = found.destination_property.escape_ascii();
                    format!("{} through {property}", shown(&found.taken))
                }));
                self.taken = found.map(|found| found.taken);
            }
            ["put-back"] => {
                let taken = self.taken.take().expect("something was taken");
                self.store.put_back(now, taken);
            }
            ["sleep", milliseconds] => {
                self.now += Duration::from_millis(milliseconds.parse().unwrap());
            }
            ["expire"] => self.store.expire(now),
            ["clear"] => self.store.clear(),
            ["counts"] => printed.push(format!("{:?}", self.store.counts())),
            ["statistics"] => printed.push(format!("{:?}", self.store.take_statistics())),
            _ => panic!("no such command: {}", words.join(" ")),
        }
        while let Some(released) = self.store.poll_released() {
            printed.push(format!(
                "{} released: {:?}",
                released.handle, released.reason
            ));
        }
        printed
    }
}

/// A connection whose name begins with `dead` is.
#[expect(clippy::ptr_arg, reason = "the store is one of String")]
fn judge(name: &String) -> Option<Reason> {
    name.starts_with("dead").then_some(Reason::Closed)
}

fn shown(taken: &Taken<String>) -> String {
    format!("{} with {}", taken.handle, taken.property.escape_ascii())
}
