//! The command line of `scached`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use scache_engine::{DescriptorBudget, Goodbyes, Settings};
use scache_maincf::{TimeUnit, parse_time};
use scache_store::Order;

/// Keeps open connections of programs that come and go, for others to take.
#[derive(Clone, Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(super) struct Options {
    /// The socket to listen on [default: $XDG_RUNTIME_DIR/scache.sock, else /run/scache/scache.sock
    /// if that can be written, else scache-UID/scache.sock in the temporary directory]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// The longest a connection stays cached, whatever its client asks for (s, m, h, d, w)
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = seconds)]
    ttl_limit: Duration,

    /// End when nobody was connected for so long; 0 is never (s, m, h, d, w)
    #[arg(long, value_name = "TIME", default_value = "0", value_parser = seconds)]
    max_idle: Duration,

    /// Who may connect: the mode of the socket, in octal
    #[arg(long, value_name = "MODE", default_value = "0600", value_parser = mode)]
    pub(super) mode: u32,

    /// Say more on standard error
    #[arg(short, long)]
    pub(super) verbose: bool,
}

/// The directory of a system-wide daemon.
const SYSTEM_DIRECTORY: &str = "/run/scache";

impl Options {
    /// Where to listen.
    pub(super) fn socket_path(&self) -> PathBuf {
        if let Some(path) = &self.socket {
            return path.clone();
        }
        if let Some(directory) = std::env::var_os("XDG_RUNTIME_DIR").filter(|name| !name.is_empty())
        {
            return PathBuf::from(directory).join("scache.sock");
        }
        let system = Path::new(SYSTEM_DIRECTORY);
        let directory = if writable(system) {
            system.to_owned()
        } else {
            let user = rustix::process::geteuid().as_raw();
            std::env::temp_dir().join(format!("scache-{user}"))
        };
        directory.join("scache.sock")
    }

    /// The settings these options make. `descriptors`: how many this process may have.
    pub(super) fn settings(&self, descriptors: Option<u64>) -> Settings {
        let budget = DescriptorBudget::divide(descriptors);
        Settings {
            ttl_limit: self.ttl_limit,
            statistics_interval: None,
            max_idle: (!self.max_idle.is_zero()).then_some(self.max_idle),
            request_timeout: Settings::REQUEST_TIMEOUT,
            announce: true,
            connection_limit: budget.connections,
            endpoint_limit: 0,
            binding_limit: Settings::BINDING_LIMIT,
            client_limit: budget.clients,
            parting_limit: budget.partings,
            order: Order::Oldest,
            watch: true,
            goodbyes: Goodbyes::default(),
            goodbye_timeout: Settings::GOODBYE_TIMEOUT,
            hand_over: true,
            allowed_users: None,
            own_user: rustix::process::geteuid().as_raw(),
        }
    }

    /// What somebody sees who starts the program for the first time.
    pub(super) fn first_screen(&self, path: &Path) -> String {
        let mut screen = String::new();
        let path = path.display();
        let ttl = self.ttl_limit.as_secs();
        // Writing to a string does not fail.
        let _ = write!(
            screen,
            "scached {version}: listening on {path}
Connections stay cached for {ttl} s at most (--ttl-limit).
To see that it answers:  printf 'request\\0find_endp\\0label\\0x\\0\\0' | nc -N -U {path} | tr '\\0' ' '
To use it from Rust:     the crate scache-client; from elsewhere: docs/PROTOCOL.md
To end it:               Ctrl-C
",
            version = env!("CARGO_PKG_VERSION"),
        );
        screen
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

fn seconds(text: &str) -> Result<Duration, String> {
    parse_time(text.as_bytes(), TimeUnit::Second).map_err(|error| error.to_string())
}

fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "not an octal mode from 0 to 0777".to_owned())
}
