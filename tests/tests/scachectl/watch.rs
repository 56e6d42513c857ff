//! `scachectl watch`: what happens, in lines.

use std::io::{BufRead, BufReader, Lines, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use scache_client::Client;
use scache_tests::wire::DEADLINE;

use crate::caches::{Cache, until};
use crate::look::{lines, save_plain};
use crate::schemas::Judge;

#[test]
fn watch_tells_what_happens() {
    for cache in Cache::each() {
        let watch = Watch::start(&cache, &["--json", "--prefix", "w\\n"]);
        let mut client = cache.client();
        let number = watch.until_it_watches(&mut client, b"w\nbegin");
        let judge = Judge::new("events.schema.json");
        let first = judge.check(&number);
        assert_eq!(
            (&first["what"], &first["label"]),
            (&"missed".into(), &"w\nbegin".into())
        );

        let other = save_plain(&mut client, b"other");
        let connection = save_plain(&mut client, b"w\ne");
        let found = client.find_endpoint(b"w\ne").expect("asked");
        drop(found.expect("it is there"));
        let closed = save_plain(&mut client, b"w\nc");
        closed.far_closes();
        let mut told = Vec::new();
        while told.len() < 4 {
            let event = judge.check(&watch.line());
            if event["label"] != "w\nbegin" {
                let name = |key: &str| event[key].as_str().expect("text").to_owned();
                told.push((name("what"), name("label")));
            }
        }
        let wanted = [
            ("saved", "w\ne"),
            ("taken", "w\ne"),
            ("saved", "w\nc"),
            ("closed", "w\nc"),
        ];
        let wanted = wanted.map(|(what, label)| (what.to_owned(), label.to_owned()));
        assert_eq!(told, wanted);
        drop((other, connection));
    }
}

#[test]
fn watch_shows_only_what_is_wanted_and_ends_in_time() {
    let cache = Cache::scached();
    let mut watch = Watch::start(&cache, &["--only", "saved,spoke", "--count", "2"]);
    let mut client = cache.client();
    let mut kept = Vec::new();
    let line = until("it watches", || {
        let _ = client.find_endpoint(b"e");
        kept.push(save_plain(&mut client, b"e\nf"));
        watch.line_soon()
    });
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[1..], ["saved", "e", "f"], "{line}");
    let clock: Vec<&str> = words[0].split([':', '.']).collect();
    let lengths: Vec<usize> = clock.iter().map(|part| part.len()).collect();
    assert_eq!(lengths, [2, 2, 2, 3], "{line}");
    kept.push(save_plain(&mut client, b"e\nf"));
    watch.line();
    assert_eq!(watch.child.wait().expect("it ends").code(), Some(0));
    assert_eq!(
        cache.lines(&["watch", "--for", "300ms", "--only", "cleared"]),
        [""; 0]
    );
    let refused = cache.ask(&["watch", "--only", "nothing"]);
    assert_eq!(refused.status, Some(64), "{refused:?}");
    assert!(refused.err.contains("client_dropped"), "{refused:?}");
}

/// More events than a cache remembers.
const MANY: usize = 5_000;

#[test]
fn watch_says_how_many_were_forgotten() {
    for (arguments, is_json) in [(&["--json"][..], true), (&[], false)] {
        let cache = Cache::scached();
        let watch = Watch::start(&cache, arguments);
        let mut client = cache.client();
        watch.until_it_watches(&mut client, b"begin");
        watch.signal(Signal::STOP);
        for number in 0..MANY {
            let _ = client.find_endpoint(b"many");
            if number % 100 == 0 {
                // Somebody has to ask, or nothing at all is remembered after ten seconds.
                client.events(0).expect("asked");
            }
        }
        watch.signal(Signal::CONT);
        // What was missed at the beginning comes first.
        let gap = until("a gap", || {
            let line = watch.line();
            (!line.contains("begin") && !line.contains("many")).then_some(line)
        });
        let judge = Judge::new("events.schema.json");
        let forgotten = if is_json {
            judge.check(&gap)["forgotten"].as_u64()
        } else {
            gap.split(' ').nth(1).and_then(|number| number.parse().ok())
        };
        let forgotten = usize::try_from(forgotten.expect("a number")).expect("a number");
        assert!((1..MANY).contains(&forgotten), "{gap}");
        // All others are told.
        for _ in forgotten..MANY {
            let line = watch.line();
            assert!(line.contains("many") || line.contains("begin"), "{line}");
        }
    }
}

#[test]
fn watch_goes_on_with_the_next_process() {
    let mut cache = Cache::scached();
    let watch = Watch::start(&cache, &[]);
    watch.until_it_watches(&mut cache.client(), b"before");
    cache.end();
    assert_eq!(watch.complaint(), "scachectl: the cache is gone, waiting");
    cache.start_again();
    assert_eq!(watch.complaint(), "scachectl: the cache is back");
    let line = until("what happens now", || {
        let _ = cache.client().find_endpoint(b"after");
        let line = watch.line_soon();
        line.filter(|line| !line.contains("before"))
    });
    assert!(line.ends_with("missed         after"), "{line}");
}

/// A `scachectl watch` at work.
struct Watch {
    child: Child,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Watch {
    fn start(cache: &Cache, arguments: &[&str]) -> Self {
        let mut child = cache
            .command(&[&["watch"], arguments].concat())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("scachectl");
        let told = told_by(lines(&mut child));
        let errors = BufReader::new(child.stderr.take().expect("its standard error"));
        Self {
            child,
            lines: told,
            complaints: told_by(errors.lines()),
        }
    }

    /// The next line, if there is one within a moment.
    fn line_soon(&self) -> Option<String> {
        self.lines.recv_timeout(Duration::from_millis(50)).ok()
    }

    fn line(&self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        line.expect("another line")
    }

    /// What it says on standard error next.
    fn complaint(&self) -> String {
        let line = self.complaints.recv_timeout(DEADLINE);
        line.expect("a complaint")
    }

    /// Waits until it has seen a miss of this label.
    fn until_it_watches(&self, client: &mut Client, label: &[u8]) -> String {
        // Whatever happened before it asked for the first time is not told.
        until("it watches", || {
            let _ = client.find_endpoint(label);
            self.line_soon()
        })
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines as they come.
fn told_by<R: Read + Send + 'static>(lines: Lines<BufReader<R>>) -> Receiver<String> {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if tell.send(line).is_err() {
                break;
            }
        }
    });
    told
}
