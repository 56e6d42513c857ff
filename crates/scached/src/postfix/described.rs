//! The settings in use under the names of main.cf, for `scachectl settings`.

use scache_engine::Settings;
use scache_maincf::MainCf;
use scache_proto::entries::SettingEntry;

/// The limits that follow from the number of descriptors if nobody sets them.
const FROM_DESCRIPTORS: [&str; 2] = [
    "connection_cache_connection_limit",
    "connection_cache_client_limit",
];

/// Parameters that decide what is cached and for how long, in the order in which they are told.
const NAMES: [&str; 18] = [
    "connection_cache_ttl_limit",
    "connection_cache_reuse_limit",
    "connection_cache_lifetime_limit",
    "max_idle",
    "ipc_timeout",
    "daemon_timeout",
    "connection_cache_request_timeout",
    FROM_DESCRIPTORS[0],
    "connection_cache_endpoint_limit",
    "connection_cache_binding_limit",
    FROM_DESCRIPTORS[1],
    "connection_cache_watch",
    "connection_cache_order",
    "connection_cache_goodbye",
    "connection_cache_goodbye_timeout",
    "connection_cache_handover",
    "connection_cache_announce",
    "connection_cache_status_update_time",
];

/// Returns the settings with where each comes from. `overrides` are those of the command line, which master.cf decides.
pub(super) fn described(
    main_cf: &MainCf,
    overrides: &[(Vec<u8>, Vec<u8>)],
    settings: &Settings,
) -> Vec<SettingEntry> {
    let entry = |name: &'static str| {
        // Those that make no sense have ended the program before.
        let value = main_cf.string(name).unwrap_or_default();
        let is_overridden = overrides.iter().any(|(other, _)| other == name.as_bytes());
        let derived = match name {
            "connection_cache_connection_limit" => settings.connection_limit,
            _ => settings.client_limit,
        };
        if value.is_empty() && FROM_DESCRIPTORS.contains(&name) {
            SettingEntry::new(name, derived.to_string(), "descriptor limit")
        } else if is_overridden {
            SettingEntry::new(name, value, "master.cf")
        } else if main_cf.is_set(name) {
            SettingEntry::new(name, value, "main.cf")
        } else {
            SettingEntry::new(name, value, "default")
        }
    };
    NAMES.map(entry).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::parameters::Parameters;

    #[test]
    fn each_setting_says_where_it_comes_from() {
        let text = b"connection_cache_ttl_limit = ${x}5m\nx = 1\nmax_idle = 7s\n";
        let mut main_cf = MainCf::parse(text).unwrap();
        let overrides = [(b"max_idle".to_vec(), b"9s".to_vec())];
        main_cf.set("max_idle", "9s");
        main_cf.set("myhostname", "h");
        let settings = Parameters::evaluate(&main_cf, Some(1024)).unwrap().settings;
        let entries = described(&main_cf, &overrides, &settings);
        for (name, value, origin) in [
            ("connection_cache_ttl_limit", "15m", "main.cf"),
            ("max_idle", "9s", "master.cf"),
            ("connection_cache_watch", "yes", "default"),
            (
                "connection_cache_connection_limit",
                "600",
                "descriptor limit",
            ),
        ] {
            let entry = entries.iter().find(|entry| entry.name == name).unwrap();
            assert_eq!((&*entry.value, &*entry.origin), (value, origin), "{name}");
        }
    }

    #[test]
    fn every_parameter_of_ours_is_told() {
        for parameter in scache_maincf::parameters::PARAMETERS {
            let is_ours = parameter.name.starts_with("connection_cache_");
            assert!(
                !is_ours || NAMES.contains(&parameter.name),
                "{}",
                parameter.name
            );
        }
    }
}
