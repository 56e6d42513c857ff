//! What main.cf, the command line and the environment come to.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use scache_engine::{DescriptorBudget, Goodbyes, Settings};
use scache_maincf::{MainCf, ParameterError, TimeUnit};
use scache_store::Order;

use crate::log::{Facility, UnknownFacility};

/// The parameters in use, all of them sound.
#[derive(Clone, Debug)]
pub(super) struct Parameters {
    pub(super) settings: Settings,
    pub(super) queue_directory: PathBuf,
    pub(super) mail_owner: String,
    pub(super) daemon_timeout: Duration,
    pub(super) debugger_command: OsString,
    pub(super) syslog_name: Vec<u8>,
    pub(super) syslog_facility: Facility,
    /// The socket of postlogd(8), if maillog_file is set.
    pub(super) postlog: Option<PathBuf>,
    pub(super) host: Vec<u8>,
}

/// What is wrong with a parameter.
#[derive(Debug, thiserror::Error)]
pub(super) enum ParametersError {
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    #[error(transparent)]
    Facility(#[from] UnknownFacility),
    #[error("maillog_file value '{file}' does not match any prefix in maillog_file_prefixes")]
    LogFile { file: String },
}

impl Parameters {
    /// Evaluates main.cf. `descriptors`: how many this process may have.
    pub(super) fn evaluate(
        main_cf: &MainCf,
        descriptors: Option<u64>,
    ) -> Result<Self, ParametersError> {
        let seconds = |name| main_cf.time(name, TimeUnit::Second, Duration::from_secs(1));
        let system = |name| main_cf.bytes(name).map(OsString::from_vec);
        let queue_directory = PathBuf::from(system("queue_directory")?);
        let ipc_timeout = seconds("ipc_timeout")?;
        let timeout = seconds("connection_cache_request_timeout")?;
        let any = 0..=u32::MAX;
        let at_least_one = 1..=u32::MAX;
        let budget = DescriptorBudget::divide(descriptors);
        let limit = |name, default| -> Result<usize, ParameterError> {
            let limit = main_cf.optional_number(name, at_least_one.clone())?;
            Ok(limit.map_or(default, |limit| limit as usize))
        };
        let some = |time: Duration| (!time.is_zero()).then_some(time);
        let order = match main_cf.choice("connection_cache_order", &["oldest", "newest"])? {
            "newest" => Order::Newest,
            _ => Order::Oldest,
        };
        let settings = Settings {
            ttl_limit: seconds("connection_cache_ttl_limit")?,
            reuse_limit: main_cf.number("connection_cache_reuse_limit", any.clone())?,
            lifetime_limit: some(main_cf.time(
                "connection_cache_lifetime_limit",
                TimeUnit::Second,
                Duration::ZERO,
            )?),
            statistics_interval: Some(seconds("connection_cache_status_update_time")?),
            max_idle: Some(seconds("max_idle")?),
            request_timeout: timeout.min(ipc_timeout),
            announce: main_cf.boolean("connection_cache_announce")?,
            connection_limit: limit("connection_cache_connection_limit", budget.connections)?,
            endpoint_limit: main_cf.number("connection_cache_endpoint_limit", any)? as usize,
            binding_limit: main_cf.number("connection_cache_binding_limit", at_least_one.clone())?
                as usize,
            client_limit: limit("connection_cache_client_limit", budget.clients)?,
            unread_limit: budget.unread,
            descriptor_limit: descriptors,
            parting_limit: budget.partings,
            order,
            watch: main_cf.boolean("connection_cache_watch")?,
            goodbyes: Goodbyes::all(&main_cf.bytes("connection_cache_goodbye")?),
            goodbye_timeout: main_cf.time(
                "connection_cache_goodbye_timeout",
                TimeUnit::Second,
                Duration::ZERO,
            )?,
            hand_over: main_cf.boolean("connection_cache_handover")?,
            // Known when there is a listening socket.
            expects_entries: false,
            allowed_users: None,
            own_user: rustix::process::geteuid().as_raw(),
            described: Vec::new(),
        };
        Ok(Self {
            settings,
            mail_owner: main_cf.string("mail_owner")?,
            daemon_timeout: seconds("daemon_timeout")?,
            debugger_command: system("debugger_command")?,
            syslog_name: main_cf.bytes("syslog_name")?,
            syslog_facility: Facility::parse(&main_cf.string("syslog_facility")?)?,
            postlog: postlog(main_cf, &queue_directory)?,
            host: main_cf.bytes("myhostname")?,
            queue_directory,
        })
    }
}

fn postlog(main_cf: &MainCf, queue_directory: &Path) -> Result<Option<PathBuf>, ParametersError> {
    let file = main_cf.bytes("maillog_file")?;
    if file.is_empty() {
        return Ok(None);
    }
    let prefixes = main_cf.bytes("maillog_file_prefixes")?;
    let allowed = prefixes
        .split(|byte| b", \t\r\n".contains(byte))
        .any(|prefix| !prefix.is_empty() && file.starts_with(prefix));
    if !allowed {
        let file = String::from_utf8_lossy(&file).into_owned();
        return Err(ParametersError::LogFile { file });
    }
    let service = OsString::from_vec(main_cf.bytes("postlog_service_name")?);
    Ok(Some(queue_directory.join("public").join(service)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;

    use super::*;

    #[test]
    fn names_and_paths_keep_their_bytes() {
        let text = b"queue_directory = /caf\xe9\nmaillog_file_prefixes = /\xff\n\
            maillog_file = /\xff/log\npostlog_service_name = p\xe9\nmyhostname = \xe9.org\n";
        let main_cf = MainCf::parse(text).unwrap();
        let parameters = Parameters::evaluate(&main_cf, Some(1024)).unwrap();
        let queue = parameters.queue_directory.as_os_str().as_bytes();
        assert_eq!(queue, b"/caf\xe9");
        let postlog = parameters.postlog.unwrap();
        assert_eq!(postlog.as_os_str().as_bytes(), b"/caf\xe9/public/p\xe9");
        assert_eq!(parameters.host, b"\xe9.org");
    }
}
