//! Which number of the cache has which name for Prometheus.
//!
//! One table, and the tests hold it against what is counted. What a number means is said where it is counted, by
//! [`Stats::FIELDS`].

use prometheus_client::registry::Unit;
use scache_client::administration::{Field, Kind, Stats};

/// What shares a name.
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) unit: Option<Base>,
    pub(super) series: Series,
}

pub(super) enum Series {
    /// One of [`Stats::FIELDS`], which says what it is.
    One(&'static str),
    /// Some that add up to something.
    Several {
        help: &'static str,
        labels: &'static [&'static str],
        /// Values of the labels, and the field that is told under them.
        fields: &'static [(&'static [&'static str], &'static str)],
    },
}

/// Units of Prometheus.
#[derive(Clone, Copy)]
pub(super) enum Base {
    Seconds,
    Bytes,
}

impl Base {
    pub(super) fn unit(self) -> Unit {
        match self {
            Self::Seconds => Unit::Seconds,
            Self::Bytes => Unit::Bytes,
        }
    }
}

const fn one(name: &'static str, field: &'static str) -> Family {
    Family {
        name,
        unit: None,
        series: Series::One(field),
    }
}

const fn several(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    fields: &'static [(&'static [&'static str], &'static str)],
) -> Family {
    Family {
        name,
        unit: None,
        series: Series::Several {
            help,
            labels,
            fields,
        },
    }
}

impl Family {
    const fn measured_in(self, base: Base) -> Self {
        Self {
            unit: Some(base),
            ..self
        }
    }

    pub(super) fn help(&self) -> &'static str {
        match self.series {
            Series::One(NO_LIMIT_IF_0) => "Descriptors at most; +Inf if there is no limit.",
            Series::One(name) => field(name).map_or("", |field| field.help),
            Series::Several { help, .. } => help,
        }
    }

    pub(super) fn labels(&self) -> &'static [&'static str] {
        match self.series {
            Series::One(_) => &[],
            Series::Several { labels, .. } => labels,
        }
    }

    /// Values of the labels, and what is told under them.
    pub(super) fn fields(&self) -> Vec<(&'static [&'static str], &'static Field)> {
        let names = match self.series {
            Series::One(name) => vec![(&[][..], name)],
            Series::Several { fields, .. } => fields.to_vec(),
        };
        names
            .into_iter()
            .filter_map(|(values, name)| Some((values, field(name)?)))
            .collect()
    }

    pub(super) fn kind(&self) -> Kind {
        let fields = self.fields();
        fields.first().map_or(Kind::Gauge, |(_, field)| field.kind)
    }
}

fn field(name: &str) -> Option<&'static Field> {
    Stats::FIELDS.iter().find(|field| field.name == name)
}

/// Told as what it means, so that a share of it can be reckoned.
pub(super) const NO_LIMIT_IF_0: &str = "descriptor_limit";

/// Every number, under its name.
pub(super) const FAMILIES: &[Family] = &[
    one("uptime", "uptime_seconds").measured_in(Base::Seconds),
    one("draining", "draining"),
    one("requests", "requests"),
    several(
        "requests_refused",
        "Requests refused.",
        &["reason"],
        &[
            (&["malformed"], "requests_refused_malformed"),
            (&["unknown"], "requests_refused_unknown"),
        ],
    ),
    several(
        "lookups",
        "What was asked for. An endpoint is counted only if no destination led to it.",
        &["by", "result"],
        &[
            (&["destination", "hit"], "destination_hits"),
            (&["destination", "miss"], "destination_misses"),
            (&["endpoint", "hit"], "endpoint_hits"),
            (&["endpoint", "miss"], "endpoint_misses"),
        ],
    ),
    one("connections", "connections"),
    one("connections_highest", "connections_most"),
    one("connections_limit", "connection_limit"),
    one("bindings", "bindings"),
    one("bindings_limit", "binding_limit"),
    one("destinations", "destinations"),
    one("endpoints", "endpoints"),
    one("ttl_limit", "ttl_limit_seconds").measured_in(Base::Seconds),
    one("reuse_limit", "reuse_limit"),
    one("lifetime_limit", "lifetime_limit_seconds").measured_in(Base::Seconds),
    one("max_idle", "max_idle_seconds").measured_in(Base::Seconds),
    one("names", "name_bytes").measured_in(Base::Bytes),
    one("names_limit", "name_byte_limit").measured_in(Base::Bytes),
    one("connections_saved", "connections_saved"),
    one("connections_new", "connections_new"),
    one("saves_ttl_cut", "saves_ttl_cut"),
    one("connections_put_back", "connections_put_back"),
    several(
        "saves_refused",
        "Saves refused.",
        &["reason"],
        &[
            (&["no_descriptor"], "saves_refused_no_descriptor"),
            (&["truncated"], "saves_refused_truncated"),
            (&["own_connection"], "saves_refused_own_connection"),
        ],
    ),
    several(
        "connections_released",
        "Connections that left the cache without being taken. Evicted: they made room; dropped: their peers had closed, reset them or spoken; drained, retired: not kept when they were saved.",
        &["reason"],
        &[
            (&["expired"], "connections_expired"),
            (&["evicted_connection_limit"], "evicted_connection_limit"),
            (&["evicted_endpoint_limit"], "evicted_endpoint_limit"),
            (&["evicted_byte_limit"], "evicted_byte_limit"),
            (&["evicted_descriptors"], "evicted_descriptors"),
            (&["dropped_closed"], "dropped_closed"),
            (&["dropped_reset"], "dropped_reset"),
            (&["dropped_spoke"], "dropped_spoke"),
            (&["purged"], "connections_purged"),
            (&["drained"], "connections_drained"),
            (&["retired"], "connections_retired"),
            (&["cleared"], "connections_cleared"),
        ],
    ),
    several(
        "bindings_saved",
        "Bindings saved: new ones, and ones that were there.",
        &["result"],
        &[
            (&["new"], "bindings_saved"),
            (&["renewed"], "bindings_renewed"),
        ],
    ),
    several(
        "bindings_released",
        "Bindings that were let go of.",
        &["reason"],
        &[
            (&["expired"], "bindings_expired"),
            (&["evicted"], "bindings_evicted"),
            (&["purged"], "bindings_purged"),
        ],
    ),
    several(
        "handed_over",
        "What was given to the next process.",
        &["what"],
        &[
            (&["connection"], "connections_handed_over"),
            (&["binding"], "bindings_handed_over"),
        ],
    ),
    one("goodbyes_said", "goodbyes_said"),
    several(
        "goodbyes_finished",
        "Goodbyes that were answered, with a line or with the end, or that were given up waiting for.",
        &["result"],
        &[
            (&["answered"], "goodbyes_answered"),
            (&["unanswered"], "goodbyes_unanswered"),
        ],
    ),
    one("partings", "partings"),
    one("clients", "clients"),
    one("clients_highest", "clients_most"),
    one("clients_limit", "client_limit"),
    one("clients_accepted", "clients_accepted"),
    several(
        "clients_dropped",
        "Clients sent away, closed while they were idle, or dropped for what they did.",
        &["reason"],
        &[
            (&["user"], "clients_refused_user"),
            (&["full"], "clients_refused_full"),
            (&["idle"], "clients_closed_idle"),
            (&["late"], "clients_dropped_late"),
            (&["too_long"], "clients_dropped_too_long"),
            (&["stray_descriptor"], "clients_dropped_stray_descriptor"),
            (&["memory"], "clients_dropped_memory"),
            (&["not_reading"], "clients_dropped_not_reading"),
        ],
    ),
    one("descriptors", "descriptors"),
    one("descriptors_limit", NO_LIMIT_IF_0),
];

/// A distribution: its name on the wire, its name here, and how many of its units are one of the base unit.
pub(super) const DISTRIBUTIONS: &[(&str, &str, Option<Base>, f64)] = &[
    (
        "service_microseconds",
        "request_duration",
        Some(Base::Seconds),
        1e6,
    ),
    ("lag_microseconds", "loop_busy", Some(Base::Seconds), 1e6),
    ("taken_times", "connection_uses", None, 1.0),
    (
        "taken_age_seconds",
        "connection_age",
        Some(Base::Seconds),
        1.0,
    ),
];
