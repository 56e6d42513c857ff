//! `scachectl watch`: what happens in a cache, a line for each event.

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use clap::builder::PossibleValuesParser;
use scache_client::administration::{EventEntry, Happening};
use scache_sys::local_time::LocalTime;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::cache::{Cache, is_away};
use crate::events::{Cursor, Happened};
use crate::failure::Failure;
use crate::figures::typed_time;
use crate::labels::{self, Typed, printable, shown};
use crate::output::{Output, Stop, finish};
use crate::socket::Socket;

/// What happens in the cache from now on, until it is interrupted.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only events of these kinds, with commas between them
    #[arg(long, value_delimiter = ',', value_parser = PossibleValuesParser::new(Happening::ALL.map(Happening::name)))]
    only: Vec<String>,

    /// Only what has a label that begins so; \n is the end of a field
    #[arg(long, default_value = "", hide_default_value = true)]
    prefix: Typed,

    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,

    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = typed_time)]
    duration: Option<Duration>,

    /// Each as an object in JSON on a line of its own, as docs/events.schema.json describes it
    #[arg(long)]
    json: bool,
}

/// How often is asked: seldom enough to cost nothing, and often enough that nothing is forgotten until then.
const PAUSE: Duration = Duration::from_millis(100);

impl Arguments {
    pub(crate) fn run(&self, socket: Socket) -> Result<ExitCode, Failure> {
        finish(self.watch(Cache::new(socket)))
    }

    fn watch(&self, mut cache: Cache) -> Result<Output, Stop> {
        let begun = Instant::now();
        let mut output = Output::new();
        let mut cursor = Cursor::default();
        // What another one who watches had the cache remember is told at first, and passed over.
        cache.ask(|client| cursor.read(client))?;
        let (mut left, mut is_there) = (self.count.unwrap_or(u64::MAX), true);
        while left > 0 && self.duration.is_none_or(|time| begun.elapsed() < time) {
            let happened = match cache.try_ask(|client| cursor.read(client)) {
                Ok(happened) => happened,
                Err(error) if is_away(&error) => {
                    if std::mem::replace(&mut is_there, false) {
                        eprintln!("scachectl: the cache is gone, waiting");
                    }
                    sleep(PAUSE);
                    continue;
                }
                Err(error) => return Err(crate::cache::failure(&error, cache.path()).into()),
            };
            if !std::mem::replace(&mut is_there, true) {
                eprintln!("scachectl: the cache is back");
            }
            if happened.entries.is_empty() && happened.forgotten == 0 {
                sleep(PAUSE);
                continue;
            }
            self.tell(&happened, &mut left, begun, &mut output)?;
            output.flush()?;
        }
        Ok(output)
    }

    fn tell(
        &self,
        happened: &Happened,
        left: &mut u64,
        begun: Instant,
        output: &mut Output,
    ) -> Result<(), Stop> {
        let (now, here) = (SystemTime::now(), Instant::now());
        if happened.forgotten > 0 {
            if self.json {
                output.json(&JsonGap(happened.forgotten))?;
            } else {
                output.line(&format!(
                    "… {} more happened that the cache has forgotten",
                    happened.forgotten
                ))?;
            }
        }
        for entry in happened.entries.iter().filter(|entry| self.wants(entry)) {
            if *left == 0 || here.duration_since(begun) < entry.ago {
                continue;
            }
            *left -= 1;
            let moment = now.checked_sub(entry.ago).unwrap_or(now);
            if self.json {
                output.json(&Json { entry, moment })?;
            } else {
                output.line(&line(entry, moment))?;
            }
        }
        Ok(())
    }

    fn wants(&self, entry: &EventEntry) -> bool {
        let kind = entry.what.map(Happening::name);
        let is_wanted = kind.is_some_and(|kind| self.only.iter().any(|only| only == kind));
        (self.only.is_empty() || is_wanted) && entry.label.starts_with(&self.prefix.0)
    }
}

/// An event for people: `09:05:00.123 saved           smtp 192.0.2.1 25`.
fn line(entry: &EventEntry, moment: SystemTime) -> String {
    let label = match entry.label.is_empty() {
        true => "-".to_owned(),
        false => shown(&entry.label),
    };
    let line = format!("{} {:<14} {label}", clock(moment), name(entry));
    match entry.text.as_str() {
        "" => line,
        text => format!("{line}  ({})", printable(text)),
    }
}

/// The time of day, to the millisecond.
pub(crate) fn clock(moment: SystemTime) -> String {
    format!(
        "{}.{:03}",
        LocalTime::from(moment).clock(),
        milliseconds_of(moment)
    )
}

/// What happened.
pub(crate) fn name(entry: &EventEntry) -> &'static str {
    entry.what.map_or("unknown", Happening::name)
}

/// The part of a moment that is less than a second.
fn milliseconds_of(moment: SystemTime) -> u32 {
    moment
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.subsec_millis())
}

struct Json<'a> {
    entry: &'a EventEntry,
    moment: SystemTime,
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = self.entry;
        let time = LocalTime::from(self.moment).rfc3339(milliseconds_of(self.moment));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("number", &entry.number)?;
        map.serialize_entry("time", &time)?;
        map.serialize_entry("what", name(entry))?;
        labels::serialize(&mut map, "label", &entry.label)?;
        if !entry.text.is_empty() {
            map.serialize_entry("text", &entry.text)?;
        }
        map.end()
    }
}

/// So many events are missing here.
struct JsonGap(u64);

impl Serialize for JsonGap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("forgotten", &self.0)?;
        map.end()
    }
}
