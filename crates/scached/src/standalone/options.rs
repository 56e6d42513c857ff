//! The options of `scached`, from the command line and from a file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use scache_engine::{DescriptorBudget, Goodbyes, Settings};
use scache_sys::places::Missing;
use serde::Deserialize;

use super::described::{Origins, described};
use super::file::FileError;
use super::values::{AllowedUser, Line, Mode, Number, Order, Time, YesNo, optional, quoted};

/// Keeps open connections of programs that come and go, for others to take.
///
/// Each option but --config, --check and --takeover can also stand in a TOML file, under its own name. docs/SCACHED.md
/// has an example, and what to write into a systemd unit.
#[derive(Clone, Debug, Default, Parser, Deserialize)]
#[command(version, max_term_width = 100)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Options {
    /// Read options from this file; those on the command line win
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,

    /// Read the options, say on standard output what each comes to and where it comes from, and end: with
    /// status 1 if something is wrong
    #[arg(long)]
    #[serde(skip)]
    pub(super) check: bool,

    /// The socket to listen on, in a directory that is there [default: that of $SCACHE_SOCKET, else
    /// $XDG_RUNTIME_DIR/scache.sock, else /run/scache/scache.sock if that can be written, else
    /// scache-UID/scache.sock in the temporary directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Who may connect: the mode of the socket, in octal [default: 0600]
    #[arg(long, value_name = "MODE")]
    #[serde(deserialize_with = "quoted")]
    mode: Option<Mode>,

    /// Serve only this user, root and the user of the daemon; may be given several times [default:
    /// everybody who may connect]
    #[arg(long, value_name = "NAME|UID")]
    allow_user: Vec<AllowedUser>,

    /// Take the place of the daemon that listens at the socket: its connections come over, nobody who
    /// connects is refused meanwhile
    #[arg(long)]
    #[serde(skip)]
    pub(super) takeover: bool,

    /// The longest a connection stays cached, whatever its client asks for (s, m, h, d, w) [default: 2s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "optional")]
    ttl_limit: Option<Time<1>>,

    /// Close a connection instead of keeping it when it was taken so often; 0 is no limit [default: 0]
    #[arg(long, value_name = "NUMBER")]
    #[serde(deserialize_with = "optional")]
    reuse_limit: Option<Number<0>>,

    /// Close a connection instead of keeping it when it is so old, as far as is known; 0 is no limit (s, m,
    /// h, d, w) [default: 0]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "optional")]
    lifetime_limit: Option<Time<0>>,

    /// End when nobody was connected for so long; 0 is never (s, m, h, d, w) [default: 0]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "optional")]
    max_idle: Option<Time<0>>,

    /// Drop a client whose request is not complete so long after its first byte [default: 10s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "optional")]
    request_timeout: Option<Time<1>>,

    /// Connections cached at most; the soonest to expire makes room [default: from the limit on
    /// descriptors]
    #[arg(long, value_name = "NUMBER")]
    #[serde(deserialize_with = "optional")]
    connection_limit: Option<Number<1>>,

    /// The same for each endpoint; 0 is no limit [default: 0]
    #[arg(long, value_name = "NUMBER")]
    #[serde(deserialize_with = "optional")]
    endpoint_limit: Option<Number<0>>,

    /// Bindings of destinations to endpoints at most [default: 100000]
    #[arg(long, value_name = "NUMBER")]
    #[serde(deserialize_with = "optional")]
    binding_limit: Option<Number<1>>,

    /// Clients at most; the longest idle makes room [default: from the limit on descriptors]
    #[arg(long, value_name = "NUMBER")]
    #[serde(deserialize_with = "optional")]
    client_limit: Option<Number<1>>,

    /// Drop connections whose peer closed or spoke, and never hand one out [default: yes]
    #[arg(long, value_name = "yes|no")]
    #[serde(deserialize_with = "optional")]
    watch: Option<YesNo>,

    /// Say this before a connection is closed, as QUIT for SMTP [default: nothing]
    #[arg(long, value_name = "LINE")]
    goodbye: Option<Line>,

    /// Another goodbye for endpoints whose label begins so. Only in a file.
    #[arg(skip)]
    goodbyes: BTreeMap<String, Line>,

    /// Wait so long for the answer to a goodbye [default: 1s]
    #[arg(long, value_name = "TIME")]
    #[serde(deserialize_with = "optional")]
    goodbye_timeout: Option<Time<0>>,

    /// Which connection of an endpoint is taken: the oldest spreads the load over all, the newest lets
    /// those expire that are not needed [default: oldest]
    #[arg(long, value_name = "oldest|newest")]
    #[serde(deserialize_with = "optional")]
    order: Option<Order>,

    /// Say the name of the protocol to who connects; no for clients of Postfix before 3.6 [default: yes]
    #[arg(long, value_name = "yes|no")]
    #[serde(deserialize_with = "optional")]
    announce: Option<YesNo>,

    /// Leave connections to the next daemon, by systemd's descriptor store or to --takeover [default: yes]
    #[arg(long, value_name = "yes|no")]
    #[serde(deserialize_with = "optional")]
    handover: Option<YesNo>,

    /// Say more on standard error
    #[arg(short, long)]
    pub(super) verbose: bool,

    /// Where the values come from.
    #[arg(skip)]
    #[serde(skip)]
    pub(super) origins: Origins,
}

/// The directory of a system-wide daemon.
const SYSTEM_DIRECTORY: &str = "/run/scache";

const TTL_LIMIT: Duration = Duration::from_secs(2);
const MODE: u32 = 0o600;

impl Options {
    /// What the command line says, and the file that it names. Ends the process if it asks for help or makes
    /// no sense.
    ///
    /// # Errors
    /// Of the file, with the line and what it is about.
    pub(super) fn from_command_line() -> Result<Self, FileError> {
        let mut line = Self::parse();
        line.origins.note(line.said(), "command line");
        line.socket = line.socket.or_else(|| {
            std::env::var_os("SCACHE_SOCKET")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        });
        line.origins.note(line.said(), "environment");
        let Some(path) = &line.config else {
            return Ok(line);
        };
        let file = Self::from_file(path)?;
        line.origins.note(file.said(), "file");
        Ok(line.or(file))
    }

    /// Returns the options that say something.
    fn said(&self) -> Vec<&'static str> {
        let options = [
            ("socket", self.socket.is_some()),
            ("mode", self.mode.is_some()),
            ("allow-user", !self.allow_user.is_empty()),
            ("ttl-limit", self.ttl_limit.is_some()),
            ("reuse-limit", self.reuse_limit.is_some()),
            ("lifetime-limit", self.lifetime_limit.is_some()),
            ("max-idle", self.max_idle.is_some()),
            ("request-timeout", self.request_timeout.is_some()),
            ("connection-limit", self.connection_limit.is_some()),
            ("endpoint-limit", self.endpoint_limit.is_some()),
            ("binding-limit", self.binding_limit.is_some()),
            ("client-limit", self.client_limit.is_some()),
            ("watch", self.watch.is_some()),
            ("goodbye", self.goodbye.is_some()),
            ("goodbye-timeout", self.goodbye_timeout.is_some()),
            ("order", self.order.is_some()),
            ("announce", self.announce.is_some()),
            ("handover", self.handover.is_some()),
            ("verbose", self.verbose),
        ];
        let said = options.into_iter().filter(|(_, is_said)| *is_said);
        said.map(|(name, _)| name).collect()
    }

    /// What these options say, and where they say nothing, what the others do.
    fn or(self, other: Self) -> Self {
        Self {
            config: self.config,
            check: self.check,
            origins: self.origins,
            socket: self.socket.or(other.socket),
            mode: self.mode.or(other.mode),
            allow_user: if self.allow_user.is_empty() {
                other.allow_user
            } else {
                self.allow_user
            },
            takeover: self.takeover,
            ttl_limit: self.ttl_limit.or(other.ttl_limit),
            reuse_limit: self.reuse_limit.or(other.reuse_limit),
            lifetime_limit: self.lifetime_limit.or(other.lifetime_limit),
            max_idle: self.max_idle.or(other.max_idle),
            request_timeout: self.request_timeout.or(other.request_timeout),
            connection_limit: self.connection_limit.or(other.connection_limit),
            endpoint_limit: self.endpoint_limit.or(other.endpoint_limit),
            binding_limit: self.binding_limit.or(other.binding_limit),
            client_limit: self.client_limit.or(other.client_limit),
            watch: self.watch.or(other.watch),
            goodbye: self.goodbye.or(other.goodbye),
            goodbyes: other.goodbyes,
            goodbye_timeout: self.goodbye_timeout.or(other.goodbye_timeout),
            order: self.order.or(other.order),
            announce: self.announce.or(other.announce),
            handover: self.handover.or(other.handover),
            verbose: self.verbose || other.verbose,
        }
    }

    /// Where to listen, and what to do if a directory on the way there is missing: any but the default ones may be
    /// misspelt.
    pub(super) fn place(&self) -> (PathBuf, Missing) {
        let user = rustix::process::geteuid().as_raw();
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|name| !name.is_empty());
        let runtime = runtime.map(PathBuf::from);
        let system = Path::new(SYSTEM_DIRECTORY);
        let temporary = std::env::temp_dir().join(format!("scache-{user}"));
        let Some(path) = &self.socket else {
            let fallback = if writable(system) { system } else { &temporary };
            let directory = runtime.as_deref().unwrap_or(fallback);
            return (directory.join("scache.sock"), Missing::Create);
        };
        let is_default = path.parent().is_some_and(|parent| {
            runtime.as_deref() == Some(parent) || [system, &temporary].contains(&parent)
        });
        let missing = if is_default {
            Missing::Create
        } else {
            Missing::Report
        };
        (path.clone(), missing)
    }

    /// The mode of the socket.
    pub(super) fn socket_mode(&self) -> u32 {
        self.mode.map_or(MODE, |mode| mode.0)
    }

    /// Whether anything is said of the socket, which is of no use if somebody else made it.
    pub(super) fn says_socket(&self) -> bool {
        self.socket.is_some() || self.mode.is_some()
    }

    /// The settings these options make, and what is odd about them. `descriptors`: how many this process may
    /// have.
    pub(super) fn settings(&self, descriptors: Option<u64>) -> (Settings, Vec<String>) {
        let budget = DescriptorBudget::divide(descriptors);
        let yes = |value: Option<YesNo>| value.is_none_or(|value| value.0);
        let own_user = rustix::process::geteuid().as_raw();
        let mut warnings = Vec::new();
        let (connection_limit, client_limit) = self.share(budget, descriptors, &mut warnings);
        let others_allowed = self
            .allow_user
            .iter()
            .any(|user| user.0 != 0 && user.0 != own_user);
        if others_allowed && self.socket_mode() & 0o022 == 0 {
            warnings.push(format!(
                "allow-user: with mode {:04o} nobody else can connect: set mode to 0666, or to 0660 for the \
                 group of the socket",
                self.socket_mode()
            ));
        }
        let mut settings = Settings {
            ttl_limit: self.ttl_limit.map_or(TTL_LIMIT, |time| time.0),
            reuse_limit: self
                .reuse_limit
                .map_or(0, |limit| u32::try_from(limit.0).unwrap_or(u32::MAX)),
            lifetime_limit: self
                .lifetime_limit
                .map(|time| time.0)
                .filter(|time| !time.is_zero()),
            statistics_interval: None,
            max_idle: self
                .max_idle
                .map(|time| time.0)
                .filter(|time| !time.is_zero()),
            request_timeout: self
                .request_timeout
                .map_or(Settings::REQUEST_TIMEOUT, |time| time.0),
            announce: yes(self.announce),
            connection_limit,
            endpoint_limit: self.endpoint_limit.map_or(0, |limit| limit.0),
            binding_limit: self
                .binding_limit
                .map_or(Settings::BINDING_LIMIT, |limit| limit.0),
            client_limit,
            unread_limit: budget.unread,
            descriptor_limit: descriptors,
            parting_limit: budget.partings,
            order: self.order.map_or_else(Default::default, |order| order.0),
            watch: yes(self.watch),
            goodbyes: self.goodbyes(),
            goodbye_timeout: self
                .goodbye_timeout
                .map_or(Settings::GOODBYE_TIMEOUT, |time| time.0),
            hand_over: yes(self.handover),
            // Known when another daemon was asked for its socket.
            expects_entries: false,
            allowed_users: (!self.allow_user.is_empty())
                .then(|| self.allow_user.iter().map(|user| user.0).collect()),
            own_user,
            described: Vec::new(),
        };
        settings.described = described(self, &settings);
        (settings, warnings)
    }

    /// How many connections and clients there may be: what is asked for, as far as there are descriptors.
    fn share(
        &self,
        budget: DescriptorBudget,
        descriptors: Option<u64>,
        warnings: &mut Vec<String>,
    ) -> (usize, usize) {
        let asked = |limit: Option<Number<1>>| limit.map(|limit| limit.0);
        let (connections, clients) = (asked(self.connection_limit), asked(self.client_limit));
        // Neither may leave the other without any.
        let both = budget.connections + budget.clients;
        let least = budget.partings.min(both / 2).max(1);
        let most = (both - least).max(1);
        let given_connections = connections.map(|asked| asked.min(most));
        let room = both.saturating_sub(given_connections.unwrap_or(least));
        let given_clients = clients.map(|asked| asked.min(room.max(1)));
        for (name, asked, given) in [
            ("connection-limit", connections, given_connections),
            ("client-limit", clients, given_clients),
        ] {
            let cut = asked.zip(given).filter(|(asked, given)| given < asked);
            if let Some((asked, given)) = cut {
                warnings.push(format!(
                    "{name} {asked} is more than the limit on open files allows ({}), {given} is used: raise \
                     that limit (LimitNOFILE= in a unit, ulimit -Hn in a shell)",
                    descriptors.unwrap_or(u64::MAX)
                ));
            }
        }
        let rest = |default: usize, other: Option<usize>| {
            default.min(both.saturating_sub(other.unwrap_or(0))).max(1)
        };
        (
            given_connections.unwrap_or_else(|| rest(budget.connections, given_clients)),
            given_clients.unwrap_or_else(|| rest(budget.clients, given_connections)),
        )
    }

    fn goodbyes(&self) -> Goodbyes {
        let bytes = |line: &Line| line.0.clone().into_bytes();
        Goodbyes {
            default: self.goodbye.as_ref().map(bytes).unwrap_or_default(),
            by_prefix: self
                .goodbyes
                .iter()
                .map(|(prefix, line)| (prefix.clone().into_bytes(), bytes(line)))
                .collect(),
        }
    }
}

fn writable(directory: &Path) -> bool {
    use rustix::fs::{Access, access};
    if directory.exists() {
        access(directory, Access::WRITE_OK).is_ok()
    } else {
        directory
            .parent()
            .is_some_and(|parent| access(parent, Access::WRITE_OK).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_asked_for_stay_within_the_descriptors_there_are() {
        let number = |limit: Option<usize>| limit.map(Number);
        for descriptors in [8, 64, 1024, 20_000] {
            let budget = DescriptorBudget::divide(Some(descriptors));
            for asked in [
                (None, None),
                (Some(1), Some(1)),
                (Some(700), None),
                (None, Some(700)),
                (Some(1_000_000), None),
                (None, Some(1_000_000)),
                (Some(1_000_000), Some(1_000_000)),
            ] {
                let options = Options {
                    connection_limit: number(asked.0),
                    client_limit: number(asked.1),
                    ..Options::default()
                };
                let mut warnings = Vec::new();
                let given = options.share(budget, Some(descriptors), &mut warnings);
                let room = budget.connections + budget.clients;
                assert!(given.0 >= 1 && given.1 >= 1);
                assert!(
                    given.0 + given.1 <= room.max(2),
                    "{descriptors} {asked:?}: {given:?}"
                );
                let reduced = [(asked.0, given.0), (asked.1, given.1)]
                    .iter()
                    .filter(|(asked, given)| asked.is_some_and(|asked| asked != *given))
                    .count();
                assert_eq!(
                    warnings.len(),
                    reduced,
                    "{descriptors} {asked:?}: {warnings:?}"
                );
            }
        }
    }

    #[test]
    fn a_file_says_what_the_command_line_does_not() {
        let file: Options = toml::from_str(
            "ttl-limit = 60\nmax-idle = \"1h\"\nwatch = false\nannounce = \"no\"\nmode = \"0666\"\n\
             allow-user = [\"root\", 12]\ngoodbye = \"QUIT\"\n[goodbyes]\n\"redis:\" = \"\"\n",
        )
        .expect("sound");
        let line = Options::try_parse_from(["scached", "--ttl-limit", "5s", "--order", "newest"])
            .expect("sound");
        let (settings, warnings) = line.or(file).settings(None);
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(settings.ttl_limit, Duration::from_secs(5));
        assert_eq!(settings.max_idle, Some(Duration::from_secs(3600)));
        assert!(!settings.watch && !settings.announce && settings.hand_over);
        assert_eq!(settings.allowed_users, Some(vec![0, 12]));
        assert_eq!(settings.order, scache_store::Order::Newest);
        assert_eq!(settings.goodbyes.default, b"QUIT");
        assert_eq!(
            settings.goodbyes.by_prefix,
            [(b"redis:".to_vec(), Vec::new())]
        );
    }
}
