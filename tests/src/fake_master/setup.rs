//! How a program is started: its arguments, its main.cf, and what is wrong around it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::{FakeMaster, Program};
use crate::stock;

/// The kinds of service that master.cf knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A UNIX stream socket.
    Unix,
    /// A TCP socket.
    Inet,
    /// A UNIX stream socket over which another program hands its clients on.
    Pass,
}

impl Transport {
    fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Inet => "inet",
            Self::Pass => "pass",
        }
    }
}

/// Where log lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The socket of postlogd(8).
    Postlog,
    /// /dev/log, which only this process sees.
    Syslog,
}

/// What is at the other end of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSocket {
    /// Somebody who reads.
    Read,
    /// A socket that is full, and nobody reads it.
    Full,
    /// Nothing.
    Missing,
}

/// What is started, and how.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) program: Program,
    pub(super) transport: Transport,
    pub(super) sockets: usize,
    arguments: Option<Vec<String>>,
    more_arguments: Vec<OsString>,
    pub(super) environment: Vec<(String, OsString)>,
    settings: Vec<(String, String)>,
    pub(super) main_cf: bool,
    pub(super) one_shot: bool,
    pub(super) generation: String,
    pub(super) descriptor_limit: Option<u64>,
    pub(super) log_target: LogTarget,
    pub(super) log_socket: LogSocket,
    pub(super) status_channel_read: bool,
}

impl Setup {
    /// As master(8) starts it from the master.cf that comes with Postfix.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        Self {
            program: program.clone(),
            transport: Transport::Unix,
            sockets: 1,
            arguments: None,
            more_arguments: Vec::new(),
            environment: Vec::new(),
            settings: Vec::new(),
            main_cf: true,
            one_shot: false,
            generation: "0".to_owned(),
            descriptor_limit: None,
            log_target: LogTarget::Postlog,
            log_socket: LogSocket::Read,
            status_channel_read: true,
        }
    }

    /// Another transport, its listening sockets and its `-t`.
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }

    /// Several listening sockets; `-s` is given when there is more than one.
    #[must_use]
    pub fn sockets(mut self, count: usize) -> Self {
        self.sockets = count;
        self
    }

    /// These arguments instead of the usual ones.
    #[must_use]
    pub fn only_arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = Some(
            arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
        );
        self
    }

    /// These arguments after the usual ones.
    #[must_use]
    pub fn arguments(mut self, arguments: &[impl AsRef<OsStr>]) -> Self {
        let arguments = arguments.iter().map(|one| one.as_ref().to_owned());
        self.more_arguments.extend(arguments);
        self
    }

    /// A variable more in the environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        let value = value.as_ref().to_owned();
        self.environment.push((name.to_owned(), value));
        self
    }

    /// A line for main.cf. Without one, `connection_cache_ttl_limit` is a minute.
    #[must_use]
    pub fn setting(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// No main.cf at all.
    #[must_use]
    pub fn without_main_cf(mut self) -> Self {
        self.main_cf = false;
        self
    }

    /// `GENERATION`, in octal.
    #[must_use]
    pub fn generation(mut self, octal: &str) -> Self {
        octal.clone_into(&mut self.generation);
        self
    }

    /// One client on standard input and output, which [`FakeMaster::one_shot_client`] then is.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.one_shot = true;
        self
    }

    /// So many descriptors and no more, soft limit and hard.
    #[must_use]
    pub fn descriptor_limit(mut self, limit: u64) -> Self {
        self.descriptor_limit = Some(limit);
        self
    }

    /// Another target for log lines, and what is there.
    #[must_use]
    pub fn log(mut self, target: LogTarget, socket: LogSocket) -> Self {
        self.log_target = target;
        self.log_socket = socket;
        self
    }

    /// A master that was stopped: nobody reads the status channel.
    #[must_use]
    pub fn stopped_master(mut self) -> Self {
        self.status_channel_read = false;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When that is impossible.
    #[must_use]
    pub fn start(self) -> FakeMaster {
        FakeMaster::start(self)
    }

    /// All words of the command: what goes before the program, the program, its arguments.
    pub(super) fn command_line(&self, program: &Program, root: &Path) -> Vec<PathBuf> {
        let mut words: Vec<PathBuf> = Vec::new();
        if self.log_target == LogTarget::Syslog {
            let private = [
                "unshare",
                "-m",
                "sh",
                "-c",
                crate::private_dev::SCRIPT,
                "sh",
            ];
            words.extend(private.map(PathBuf::from));
            words.push(root.to_owned());
        }
        if let Some(limit) = self.descriptor_limit {
            words.extend(["prlimit".into(), format!("--nofile={limit}:{limit}").into()]);
        }
        words.push(program.path().to_owned());
        words.extend(self.program_arguments().into_iter().map(PathBuf::from));
        words
    }

    fn program_arguments(&self) -> Vec<OsString> {
        let arguments = self.arguments.clone().unwrap_or_else(|| {
            let usual = ["-n", "scache", "-t", self.transport.name(), "-l"];
            let mut arguments: Vec<String> =
                usual.iter().map(|&argument| argument.to_owned()).collect();
            if self.sockets > 1 {
                arguments.extend(["-s".to_owned(), self.sockets.to_string()]);
            }
            if self.one_shot {
                arguments.push("-S".to_owned());
            }
            arguments
        });
        let arguments = arguments.into_iter().map(OsString::from);
        arguments
            .chain(self.more_arguments.iter().cloned())
            .collect()
    }

    pub(super) fn main_cf_text(&self, queue_directory: &Path) -> String {
        let here = queue_directory.display();
        let compatibility = stock::compatibility(&self.program);
        let mut text = format!(
            "{compatibility}\
             queue_directory = {here}\n\
             data_directory = {here}/data\n\
             mail_owner = daemon\n\
             setgid_group = mail\n\
             myhostname = fake.example.com\n\
             inet_protocols = ipv4\n\
             inet_interfaces = loopback-only\n\
             mynetworks = 127.0.0.0/8\n\
             alias_maps =\n\
             alias_database =\n\
             maillog_file_prefixes = {here}\n"
        );
        text.push_str(&match self.log_target {
            LogTarget::Postlog => format!("maillog_file = {here}/maillog\n"),
            LogTarget::Syslog => "maillog_file =\n".to_owned(),
        });
        // Stock warns of a name that comes twice.
        if !self
            .settings
            .iter()
            .any(|(name, _)| name == "connection_cache_ttl_limit")
        {
            text.push_str("connection_cache_ttl_limit = 60s\n");
        }
        for (name, value) in &self.settings {
            text.push_str(&format!("{name} = {value}\n"));
        }
        text
    }
}
