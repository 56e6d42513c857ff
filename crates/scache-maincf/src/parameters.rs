//! What can be set, with what holds when nobody sets it.
//!
//! The table has the parameters that this program reads, Postfix's and its own, and those of Postfix's other parameters that the values of these
//! may reasonably name, as `debugger_command` does `$daemon_directory`. Directories are those of Debian's package.
//!
//! Left out is what cannot be known here: `mail_version` and `mail_release_date` belong to the Postfix that is installed, so they are empty until
//! [`MainCf::set_default`](crate::MainCf::set_default) says better.

/// A parameter of main.cf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// How it is written in main.cf.
    pub name: &'static str,
    /// Its raw value when it is not set; `None` when only the caller can find it out.
    pub default: Option<&'static str>,
    /// Whether it may expand to nothing.
    pub may_be_empty: bool,
    /// Whose it is.
    pub origin: Origin,
    /// What it does, for the manual.
    pub meaning: &'static str,
}

/// Why a [`Parameter`] is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Postfix's, and this program obeys it.
    Postfix,
    /// Postfix's, and only of use within other values.
    Mentioned,
    /// This program's own; the stock scache(8) does not look at it.
    Own,
}

/// The parameter of that name.
#[must_use]
pub fn find(name: &[u8]) -> Option<&'static Parameter> {
    PARAMETERS
        .iter()
        .find(|parameter| parameter.name.as_bytes() == name)
}

use Origin::{Mentioned, Own, Postfix};

/// Every known parameter, by origin and name.
#[rustfmt::skip]
pub const PARAMETERS: &[Parameter] = &[
    needed(Postfix, "config_directory", Some("/etc/postfix"), "The directory of main.cf. Read-only: taken from MAIL_CONFIG, whatever main.cf says."),
    needed(Postfix, "connection_cache_status_update_time", Some("600s"), "How often the statistics are logged and begun anew."),
    needed(Postfix, "connection_cache_ttl_limit", Some("2s"), "The longest a connection or a binding stays in the cache, whatever the client asks for."),
    needed(Postfix, "daemon_timeout", Some("18000s"), "How long the process may be stuck before the watchdog ends it."),
    optional(Postfix, "debugger_command", Some(""), "The command that is run when the service is started with -D."),
    needed(Postfix, "ipc_timeout", Some("3600s"), "How long to wait for a client that is in the middle of something."),
    needed(Postfix, "mail_owner", Some("postfix"), "The user to run as."),
    optional(Postfix, "maillog_file", Some(""), "When set, log through the postlog service instead of syslog."),
    needed(Postfix, "maillog_file_prefixes", Some("/var, /dev/stdout"), "What maillog_file may begin with."),
    needed(Postfix, "max_idle", Some("100s"), "How long to wait without any client before ending."),
    optional(Postfix, "multi_instance_name", Some(""), "The name of this Postfix instance; the default of syslog_name follows it."),
    needed(Postfix, "myhostname", None, "The name of this host, which log lines through postlog carry."),
    needed(Postfix, "postlog_service_name", Some("postlog"), "The socket in the queue's public directory that takes log lines when maillog_file is set."),
    needed(Postfix, "process_id", None, "The process id. Read-only."),
    needed(Postfix, "process_name", None, "The name of the program. Read-only."),
    needed(Postfix, "queue_directory", Some("/var/spool/postfix"), "Where the process lives: its sockets, and its root when it is chrooted."),
    optional(Postfix, "service_name", None, "The name of the service in master.cf. Read-only."),
    needed(Postfix, "syslog_facility", Some("mail"), "The syslog facility of log lines."),
    needed(Postfix, "syslog_name", Some("${multi_instance_name?{$multi_instance_name}:{postfix}}"), "What log lines begin with, before the program's name."),
    needed(Mentioned, "command_directory", Some("/usr/sbin"), "Where Postfix's commands are."),
    optional(Mentioned, "compatibility_level", Some("0"), "Which version's defaults Postfix is asked for."),
    needed(Mentioned, "daemon_directory", Some("/usr/lib/postfix/sbin"), "Where Postfix's daemons are."),
    needed(Mentioned, "data_directory", Some("/var/lib/postfix"), "Where Postfix's daemons keep files."),
    needed(Mentioned, "mail_name", Some("Postfix"), "What the mail system calls itself."),
    needed(Mentioned, "meta_directory", Some("/etc/postfix"), "Where Postfix's own tables of files are."),
    optional(Mentioned, "multi_instance_group", Some(""), "The group of instances this one belongs to."),
    needed(Mentioned, "mydomain", None, "The domain of this host."),
    needed(Mentioned, "setgid_group", Some("postdrop"), "The group of Postfix's set-gid commands."),
    needed(Mentioned, "shlib_directory", Some("/usr/lib/postfix"), "Where Postfix's libraries are."),
    needed(Own, "connection_cache_announce", Some("yes"), "Whether the protocol's name is said on accept; no for clients of Postfix before 3.6."),
    needed(Own, "connection_cache_binding_limit", Some("100000"), "How many bindings of destinations to endpoints are kept."),
    optional(Own, "connection_cache_client_limit", Some(""), "How many clients are connected, the longest idle making room; empty: what the descriptor limit allows."),
    optional(Own, "connection_cache_connection_limit", Some(""), "How many connections are cached, the soonest to expire making room; empty: what the descriptor limit allows, less a reserve."),
    needed(Own, "connection_cache_endpoint_limit", Some("0"), "How many connections are cached per endpoint; 0: any number."),
    optional(Own, "connection_cache_goodbye", Some("QUIT"), "The line that is sent before an idle connection is closed; empty: none."),
    needed(Own, "connection_cache_goodbye_timeout", Some("1s"), "How long to wait for the answer to it."),
    needed(Own, "connection_cache_handover", Some("yes"), "Whether what is cached is given to the next process on a reload."),
    needed(Own, "connection_cache_lifetime_limit", Some("0s"), "How old a connection may become before it is closed instead of kept; 0: any age."),
    needed(Own, "connection_cache_order", Some("oldest"), "Which connection of an endpoint is taken first: oldest or newest."),
    needed(Own, "connection_cache_request_timeout", Some("10s"), "How long a client may take over one request, from first byte to last."),
    needed(Own, "connection_cache_reuse_limit", Some("0"), "How often a connection is taken before it is closed instead of kept; 0: any number of times."),
    needed(Own, "connection_cache_watch", Some("yes"), "Whether connections are dropped that their peers closed or spoke on."),
];

const fn needed(
    origin: Origin,
    name: &'static str,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Parameter {
    Parameter {
        name,
        default,
        may_be_empty: false,
        origin,
        meaning,
    }
}

const fn optional(
    origin: Origin,
    name: &'static str,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Parameter {
    Parameter {
        may_be_empty: true,
        ..needed(origin, name, default, meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MainCf, TimeUnit};
    use std::time::Duration;

    #[test]
    fn every_name_stands_once_and_has_a_meaning() {
        for (index, parameter) in PARAMETERS.iter().enumerate() {
            let first = PARAMETERS
                .iter()
                .position(|other| other.name == parameter.name);
            assert_eq!(first, Some(index), "{}", parameter.name);
            assert!(parameter.meaning.ends_with('.'), "{}", parameter.name);
        }
    }

    #[test]
    fn every_default_can_be_read_as_what_it_is() {
        let cf = MainCf::default();
        let second = Duration::from_secs(1);
        for parameter in PARAMETERS {
            let name = parameter.name;
            match parameter.default {
                None => assert!(cf.raw(name).is_none(), "{name}"),
                Some(_) => assert!(cf.bytes(name).is_ok(), "{name}"),
            }
        }
        for (name, seconds) in [
            ("connection_cache_ttl_limit", 2),
            ("connection_cache_status_update_time", 600),
            ("max_idle", 100),
            ("ipc_timeout", 3600),
            ("daemon_timeout", 18_000),
            ("connection_cache_request_timeout", 10),
            ("connection_cache_goodbye_timeout", 1),
        ] {
            let time = cf.time(name, TimeUnit::Second, second);
            assert_eq!(time, Ok(Duration::from_secs(seconds)), "{name}");
        }
        for (name, number) in [
            ("connection_cache_connection_limit", None),
            ("connection_cache_client_limit", None),
            ("connection_cache_endpoint_limit", Some(0)),
            ("connection_cache_binding_limit", Some(100_000)),
        ] {
            assert_eq!(cf.optional_number(name, 0..=u32::MAX), Ok(number), "{name}");
        }
        for name in [
            "connection_cache_announce",
            "connection_cache_handover",
            "connection_cache_watch",
        ] {
            assert_eq!(cf.boolean(name), Ok(true), "{name}");
        }
    }
}
