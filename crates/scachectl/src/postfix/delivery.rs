//! Parameters of the delivery agents, smtp(8) and lmtp(8), and of the cache that decide whether connections are kept.
//! docs/POSTFIX.md explains them.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::Duration;

use scache_maincf::{TimeUnit, parse_time};
use serde::Serialize;

use super::entry::Entry;
use super::instance::Instance;
use crate::failure::Failure;
use crate::labels::printable;

/// The limit of the cache.
const TTL_LIMIT: &str = "connection_cache_ttl_limit";

/// The cache ends when no client was connected for so long.
const MAX_IDLE: &str = "max_idle";

/// How the connections of a service that delivers are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Delivery {
    /// Its name in master.cf.
    service: String,
    /// Its program, which is what its parameters begin with: `smtp`, `lmtp`.
    program: &'static str,
    on_demand: bool,
    destinations: String,
    time_limit: String,
    /// `null` with a Postfix that does not have the parameter.
    tls_connection_reuse: Option<bool>,
    /// Whether it may use TLS with some destination.
    tls: bool,
    /// The smaller one of the time limit and the limit of the cache, in seconds; 0 if no connection is kept.
    kept_seconds: u64,
    /// The meaning of all that, in a sentence.
    meaning: String,
    /// Obstacles to reuse, each with the parameter to set.
    advice: Vec<String>,
}

/// How the connections of an instance are kept.
#[derive(Debug, Serialize)]
pub(super) struct Deliveries {
    /// The limit of the cache for all of them.
    ttl_limit: String,
    #[serde(rename = "deliveries")]
    services: Vec<Delivery>,
}

/// Parameters of the cache's own service.
struct Cache {
    ttl_limit: String,
    max_idle: String,
}

impl Deliveries {
    /// Asks postconf about all services that deliver. `cache` is the cache's own service.
    ///
    /// # Errors
    /// If postconf fails.
    pub(super) fn of(instance: &Instance, cache: &Entry) -> Result<Self, Failure> {
        let names = [TTL_LIMIT, MAX_IDLE].map(str::to_owned);
        let values = Values::of(instance, cache, &names)?;
        let cache = Cache {
            ttl_limit: values.text(TTL_LIMIT),
            max_idle: values.text(MAX_IDLE),
        };
        let entries = instance.entries()?;
        let has_tlsproxy = entries.iter().any(|entry| entry.service() == "tlsproxy");
        let mut services: Vec<(&Entry, Delivery)> = Vec::new();
        for entry in &entries {
            let mut programs = ["smtp", "lmtp"].into_iter();
            let Some(program) = programs.find(|program| *program == entry.program()) else {
                continue;
            };
            // There may be hundreds of services with the same arguments.
            let known = services.iter().find(|(other, _)| {
                other.program() == entry.program() && other.overrides() == entry.overrides()
            });
            let service = entry.service().to_owned();
            let delivery = match known {
                Some((_, known)) => Delivery {
                    service,
                    ..known.clone()
                },
                None => Delivery::of(instance, entry, program, &cache, has_tlsproxy)?,
            };
            services.push((entry, delivery));
        }
        Ok(Self {
            services: services.into_iter().map(|(_, delivery)| delivery).collect(),
            ttl_limit: cache.ttl_limit,
        })
    }

    /// Returns the advice of all services without repetition.
    pub(super) fn advice(&self) -> BTreeSet<String> {
        let advice = self.services.iter().flat_map(|service| &service.advice);
        advice.map(|advice| printable(advice)).collect()
    }

    /// Returns the lines for a terminal. Services with equal settings share theirs.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut told: Vec<&Delivery> = Vec::new();
        for one in &self.services {
            if told.iter().any(|other| other.is_like(one)) {
                continue;
            }
            let alike = self.services.iter().filter(|other| one.is_like(other));
            let names: Vec<&str> = alike.map(|other| other.service.as_str()).collect();
            told.push(one);
            // A string takes it all.
            let _ = writeln!(
                text,
                "  reuse      {}: {}",
                printable(&names.join(", ")),
                printable(&one.meaning)
            );
            let tls = one
                .tls_connection_reuse
                .map_or("(not in this version)", yes_or_no);
            for (name, value) in [
                (
                    one.parameter("connection_cache_on_demand"),
                    yes_or_no(one.on_demand),
                ),
                (
                    one.parameter("connection_cache_destinations"),
                    &one.destinations,
                ),
                (
                    one.parameter("connection_cache_time_limit"),
                    &one.time_limit,
                ),
                (TTL_LIMIT.to_owned(), &self.ttl_limit),
                (one.parameter("tls_connection_reuse"), tls),
            ] {
                let _ = writeln!(text, "{:13}{name} = {}", "", printable(value));
            }
            for advice in &one.advice {
                let _ = writeln!(text, "{:11}! {}", "", printable(advice));
            }
        }
        text
    }
}

impl Delivery {
    fn of(
        instance: &Instance,
        entry: &Entry,
        program: &'static str,
        cache: &Cache,
        has_tlsproxy: bool,
    ) -> Result<Self, Failure> {
        let parameter = |name: &str| format!("{program}_{name}");
        let names = KEEPING.iter().chain(&TLS);
        let names: Vec<String> = names.map(|name| parameter(name)).collect();
        let values = Values::of(instance, entry, &names)?;
        let text = |name: &str| values.text(&parameter(name));
        let is_set = |name: &&str| !["", "no", "none"].contains(&text(name).as_str());
        let mut this = Self {
            service: entry.service().to_owned(),
            program,
            on_demand: text("connection_cache_on_demand") == "yes",
            destinations: text("connection_cache_destinations"),
            time_limit: text("connection_cache_time_limit"),
            tls_connection_reuse: values
                .find(&parameter("tls_connection_reuse"))
                .map(|value| value == "yes"),
            tls: TLS.iter().any(is_set),
            kept_seconds: 0,
            meaning: String::new(),
            advice: Vec::new(),
        };
        if this.keeps() {
            this.kept_seconds = seconds(&this.time_limit).min(seconds(&cache.ttl_limit));
        }
        this.meaning = this.explained();
        this.advice = this.advised(cache, has_tlsproxy);
        Ok(this)
    }

    fn parameter(&self, name: &str) -> String {
        format!("{}_{name}", self.program)
    }

    fn keeps(&self) -> bool {
        self.on_demand || !self.destinations.is_empty()
    }

    fn keeps_tls(&self) -> bool {
        self.tls_connection_reuse == Some(true)
    }

    fn explained(&self) -> String {
        if !self.keeps() {
            return "keeps no connection".to_owned();
        }
        let back_to_back = "next hops that get mail back to back";
        let destinations = &self.destinations;
        let whose = match (self.on_demand, destinations.as_str()) {
            (true, "") => format!("to {back_to_back}"),
            (_, "static:all") => "to all next hops".to_owned(),
            (true, _) => format!("to {destinations}, and to {back_to_back}"),
            (false, _) => format!("to {destinations}"),
        };
        let tls = if self.tls && !self.keeps_tls() {
            "; those with TLS are closed after each delivery"
        } else {
            ""
        };
        format!("keeps connections for {} s {whose}{tls}", self.kept_seconds)
    }

    fn advised(&self, cache: &Cache, has_tlsproxy: bool) -> Vec<String> {
        let Cache {
            ttl_limit,
            max_idle,
        } = cache;
        let mut advice = Vec::new();
        let on_demand = self.parameter("connection_cache_on_demand");
        let destinations = self.parameter("connection_cache_destinations");
        let time_limit = self.parameter("connection_cache_time_limit");
        let reuse = self.parameter("tls_connection_reuse");
        if !self.keeps() {
            advice.push(format!(
                "nothing is kept: set {on_demand} = yes, or {destinations} to the next hops that get much mail"
            ));
        }
        let mut listed = self.destinations.split([',', ' ', '\t']);
        if let Some(name) = listed.find(|name| name.starts_with('[')) {
            advice.push(format!(
                "{name} in {destinations} matches nothing: write the name without brackets and port"
            ));
        }
        if self.keeps() && seconds(&self.time_limit) > seconds(ttl_limit) {
            advice.push(format!(
                "{TTL_LIMIT} = {ttl_limit} cuts {time_limit} = {0} short: set {TTL_LIMIT} = {0}",
                self.time_limit
            ));
        }
        if self.kept_seconds > seconds(max_idle) {
            advice.push(format!(
                "the cache ends when nobody has asked it for {MAX_IDLE} = {max_idle}: set a longer one with -o in its line of master.cf"
            ));
        }
        if self.keeps() && self.tls && !self.keeps_tls() {
            advice.push(match self.tls_connection_reuse {
                Some(_) => format!("to keep connections with TLS set {reuse} = yes"),
                None => "Postfix 3.4 and later can keep connections with TLS".to_owned(),
            });
        }
        if self.keeps_tls() && !has_tlsproxy {
            advice.push(format!(
                "{reuse} = yes needs a service that master.cf does not have: add the line `tlsproxy unix - - n - 0 tlsproxy`"
            ));
        }
        advice
    }

    /// Whether all but the name is the same.
    fn is_like(&self, other: &Self) -> bool {
        let service = self.service.clone();
        *self
            == Self {
                service,
                ..other.clone()
            }
    }
}

/// Parameters that decide which connections are kept, and for how long. Each begins with the name of the program.
const KEEPING: [&str; 4] = [
    "connection_cache_on_demand",
    "connection_cache_destinations",
    "connection_cache_time_limit",
    "tls_connection_reuse",
];

/// Parameters each of which can make a delivery agent use TLS, be it for some destinations only.
const TLS: [&str; 6] = [
    "tls_security_level",
    "use_tls",
    "enforce_tls",
    "tls_policy_maps",
    "tls_per_site",
    "tls_wrappermode",
];

/// Values of parameters for one service: `-o` in master.cf wins over main.cf.
struct Values(Vec<u8>);

impl Values {
    fn of(instance: &Instance, entry: &Entry, names: &[String]) -> Result<Self, Failure> {
        let overrides = entry.overrides();
        let overrides = overrides.iter().flat_map(|(name, value)| {
            let assignment = [name.as_slice(), b"=", value].concat();
            [OsString::from("-o"), OsString::from_vec(assignment)]
        });
        let names = names.iter().map(OsString::from);
        let arguments = overrides.chain([OsString::from("-x")]).chain(names);
        instance
            .postconf
            .run(&instance.directory, arguments)
            .map(Self)
    }

    fn find(&self, name: &str) -> Option<String> {
        let mut lines = self.0.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| {
            let rest = line.strip_prefix(name.as_bytes())?;
            rest.strip_prefix(b" =")
        })?;
        let value = OsStr::from_bytes(value.trim_ascii());
        Some(value.to_string_lossy().into_owned())
    }

    /// Nothing for a parameter that this version does not have.
    fn text(&self, name: &str) -> String {
        self.find(name).unwrap_or_default()
    }
}

/// A time in seconds. Postfix does not start with one that cannot be read.
fn seconds(time: &str) -> u64 {
    parse_time(time, TimeUnit::Second).map_or(0, |time: Duration| time.as_secs())
}

fn yes_or_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}
