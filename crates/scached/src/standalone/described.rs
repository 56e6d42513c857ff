//! The settings in use under the names of the options, for `scached --check` and `scachectl settings`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use scache_engine::Settings;
use scache_proto::entries::SettingEntry;
use scache_sys::places::Missing;

use super::options::Options;
use super::socket::Place;
use crate::failed;

/// Where the values of options come from. Those that are not in it have their defaults.
#[derive(Clone, Debug, Default)]
pub(super) struct Origins(BTreeMap<&'static str, &'static str>);

impl Origins {
    /// Notes where options come from, unless that is known: the first one wins.
    pub(super) fn note(
        &mut self,
        names: impl IntoIterator<Item = &'static str>,
        origin: &'static str,
    ) {
        for name in names {
            self.0.entry(name).or_insert(origin);
        }
    }

    fn of(&self, name: &str) -> Option<&'static str> {
        self.0.get(name).copied()
    }
}

/// Returns the settings that options make, with where each comes from.
pub(super) fn described(options: &Options, settings: &Settings) -> Vec<SettingEntry> {
    let time = |time: Duration| format!("{}s", time.as_secs());
    let limit = |limit: Option<Duration>| limit.map_or("0".to_owned(), time);
    let yes = |is: bool| (if is { "yes" } else { "no" }).to_owned();
    let quoted = |line: &[u8]| format!("\"{}\"", String::from_utf8_lossy(line));
    let users = settings.allowed_users.as_ref().map_or_else(
        || "everybody who may connect".to_owned(),
        |users| joined(users, ", "),
    );
    let rows = [
        ("socket", options.place().0.display().to_string()),
        ("mode", format!("{:04o}", options.socket_mode())),
        ("allow-user", users),
        ("ttl-limit", time(settings.ttl_limit)),
        ("reuse-limit", settings.reuse_limit.to_string()),
        ("lifetime-limit", limit(settings.lifetime_limit)),
        ("max-idle", limit(settings.max_idle)),
        ("request-timeout", time(settings.request_timeout)),
        ("connection-limit", settings.connection_limit.to_string()),
        ("endpoint-limit", settings.endpoint_limit.to_string()),
        ("binding-limit", settings.binding_limit.to_string()),
        ("client-limit", settings.client_limit.to_string()),
        ("watch", yes(settings.watch)),
        ("goodbye", quoted(&settings.goodbyes.default)),
        ("goodbye-timeout", time(settings.goodbye_timeout)),
        ("order", order(settings.order).to_owned()),
        ("announce", yes(settings.announce)),
        ("handover", yes(settings.hand_over)),
        ("verbose", yes(options.verbose)),
    ];
    let goodbyes = settings.goodbyes.by_prefix.iter().map(|(prefix, line)| {
        let name = format!("goodbyes.{}", quoted(prefix));
        SettingEntry::new(&name.replace('\0', "\u{fffd}"), quoted(line), "file")
    });
    let rows = rows.into_iter().map(|(name, value)| {
        let origin = match (options.origins.of(name), name) {
            (Some(origin), _) => origin,
            (None, "connection-limit" | "client-limit") => "descriptor limit",
            (None, _) => "default",
        };
        SettingEntry::new(name, value, origin)
    });
    rows.chain(goodbyes).collect()
}

/// Says that the socket is that of the service manager, which decides its mode, too.
pub(super) fn replace_socket(described: &mut Vec<SettingEntry>, place: &str) {
    described.retain(|setting| setting.name != "mode");
    for setting in described {
        if setting.name == "socket" {
            *setting = SettingEntry::new("socket", place, "service manager");
        }
    }
}

/// Runs `--check`: says on standard output what would be used, and on standard error what is odd.
///
/// # Errors
/// What is wrong, and what to do.
pub(super) fn check(options: &Options) -> Result<(), String> {
    let descriptors = scache_sys::descriptors::raise_limit()
        .map_err(failed("cannot raise the limit on descriptors"))?;
    let (settings, warnings) = options.settings(descriptors);
    for warning in warnings {
        eprintln!("scached: warning: {warning}");
    }
    // Nothing is made: what is missing at a default path is made at the start.
    if let (path, Missing::Report) = options.place() {
        Place::new(&path, Missing::Report).map_err(|error| error.to_string())?;
    }
    let settings = &settings.described;
    let width = |field: fn(&SettingEntry) -> &str| {
        let widths = settings
            .iter()
            .map(|setting| field(setting).chars().count());
        widths.max().unwrap_or_default()
    };
    let (names, values) = (
        width(|setting| &setting.name),
        width(|setting| &setting.value),
    );
    let mut output = std::io::stdout().lock();
    for SettingEntry {
        name,
        value,
        origin,
        ..
    } in settings
    {
        // Who reads only some of them is no reason to fail.
        let _ = writeln!(output, "{name:<names$}  {value:<values$}  {origin}");
    }
    Ok(())
}

fn order(order: scache_store::Order) -> &'static str {
    match order {
        scache_store::Order::Oldest => "oldest",
        scache_store::Order::Newest => "newest",
    }
}

fn joined(items: &[impl Display], between: &str) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(between)
}
