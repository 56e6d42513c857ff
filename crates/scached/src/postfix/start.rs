//! How the program starts, in master(8)'s order: main.cf, log, queue directory, privileges, service.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, ExitCode};
use std::rc::Rc;
use std::time::Instant;

use rustix::io::Errno;
use scache_engine::{End, Engine, Listener, Settings, Transport};
use scache_maincf::MainCf;
use scache_sys::closer::Closer;
use scache_sys::descriptors::{Descriptor, adopt};
use scache_sys::privileges::{self, User};
use scache_sys::processes::{self, Side};
use scache_sys::{local_time, sockets, watchdog};
use signal_hook::consts::{SIGHUP, SIGQUIT, SIGTERM, SIGXCPU};

use super::StatusChannel;
use super::command_line::{CommandLine, UsageError};
use super::described::described;
use super::one_shot;
use super::parameters::Parameters;
use crate::failed;
use crate::host::Host;
use crate::kernel::{self, Epoll, Linux};
use crate::log::{Facility, Log, Severity, Target};

/// What master(8) leaves open for its services.
const FLOW_READ: RawFd = 3;
const FLOW_WRITE: RawFd = 4;
const STATUS: RawFd = 5;
const FIRST_LISTENER: RawFd = 6;

/// The name in log lines, whatever the file is called: programs that read the log know this one.
const PROCESS_NAME: &str = "scache";

const DEFAULT_CONFIG_DIRECTORY: &str = "/etc/postfix";

/// Runs the program `scache`. A fatal error is one line in the log, and on standard error when there is
/// somebody to read it.
pub fn main() -> ExitCode {
    // Before anything is opened, which could get a number that is taken for one of these.
    let inherited = Inherited::adopt();
    let mut arguments = env::args_os();
    let program = file_name(arguments.next());
    local_time::load_time_zone();
    let outcome = match prepare(&program, arguments) {
        Ok(prepared) => {
            let log = Rc::new(prepared.log());
            for warning in &prepared.warnings {
                log.warning(warning);
            }
            prepared
                .enter()
                .and_then(|()| prepared.serve(&log, inherited))
                .map_err(|message| (log, message))
        }
        Err(message) => Err((Rc::new(early_log()), message)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err((log, message)) => {
            log.begin_last_words();
            log.line(Severity::Fatal, message);
            ExitCode::FAILURE
        }
    }
}

/// What master(8) left open.
struct Inherited {
    status: io::Result<OwnedFd>,
    /// As many as there are, one number after the other.
    listeners: Vec<OwnedFd>,
}

impl Inherited {
    fn adopt() -> Self {
        for number in [FLOW_READ, FLOW_WRITE] {
            // Missing when started by hand: nobody needs them.
            if let Ok(pipe) = adopt(number) {
                drop(pipe);
            }
        }
        Self {
            status: adopt(STATUS),
            listeners: (FIRST_LISTENER..)
                .map_while(|number| adopt(number).ok())
                .collect(),
        }
    }
}

/// Everything that was read, before anything is done.
struct Prepared {
    line: CommandLine,
    parameters: Parameters,
    generation: u32,
    owner: Option<User>,
    /// What is odd in main.cf, though it can be read.
    warnings: Vec<String>,
}

fn prepare(program: &OsStr, arguments: impl Iterator<Item = OsString>) -> Result<Prepared, String> {
    let (mut main_cf, directory, warnings) = read_main_cf()?;
    let mut line = CommandLine::parse(arguments).map_err(|error| error.to_string())?;
    if env::var_os("MAIL_VERBOSE").is_some() {
        line.verbose += 1;
    }
    line.debug |= env::var_os("MAIL_DEBUG").is_some();
    for (name, value) in &line.overrides {
        main_cf.set(name, value);
    }
    // master(8) does not name a service that is called as its program.
    let service = line.service.clone().unwrap_or_else(|| program.to_owned());
    // Read-only: what -o says about them does not count.
    main_cf.set("config_directory", directory.as_os_str().as_bytes());
    main_cf.set("process_id", std::process::id().to_string());
    main_cf.set("process_name", PROCESS_NAME);
    main_cf.set("service_name", service.as_bytes());
    main_cf.set_default("myhostname", rustix::system::uname().nodename().to_bytes());
    let descriptors = scache_sys::descriptors::raise_limit()
        .map_err(failed("cannot raise the limit on descriptors"))?;
    let mut parameters =
        Parameters::evaluate(&main_cf, descriptors).map_err(|error| error.to_string())?;
    parameters.settings.described = described(&main_cf, &line.overrides, &parameters.settings);
    if !line.by_hand && !line.one_shot && std::io::stdin().is_terminal() {
        return Err(
            "do not run this command by hand: Postfix's master(8) starts it \
                    (master.cf); for a cache without Postfix run scached"
                .to_owned(),
        );
    }
    line.check(&service.to_string_lossy())
        .map_err(|error: UsageError| error.to_string())?;
    let owner = line
        .unprivileged
        .then(|| owner(&parameters.mail_owner))
        .transpose()?;
    Ok(Prepared {
        warnings,
        generation: generation()?,
        line,
        parameters,
        owner,
    })
}

impl Prepared {
    /// The log as main.cf wants it.
    fn log(&self) -> Log {
        let parameters = &self.parameters;
        let target = match &parameters.postlog {
            Some(path) => Target::Postlog {
                path,
                host: &parameters.host,
            },
            None => Target::Syslog(parameters.syslog_facility),
        };
        Log::new(tag(&parameters.syslog_name), target)
            .with_stderr(self.line.stderr || read_by_somebody())
            .with_verbose(self.line.verbose > 0)
    }

    /// Goes to the queue directory and gives up what power is not needed.
    fn enter(&self) -> Result<(), String> {
        if self.line.debug {
            self.run_debugger();
        }
        let directory = &self.parameters.queue_directory;
        env::set_current_dir(directory)
            .map_err(failed(&format!("chdir({})", directory.display())))?;
        if let Some(owner) = &self.owner {
            owner
                .become_group()
                .map_err(failed("cannot set the groups of the user"))?;
        }
        if self.line.chroot {
            privileges::enter_root(directory)
                .map_err(failed(&format!("chroot({})", directory.display())))?;
        }
        if let Some(owner) = &self.owner {
            owner.become_user().map_err(failed("setuid"))?;
        }
        Ok(())
    }

    fn serve(&self, log: &Rc<Log>, inherited: Inherited) -> Result<(), String> {
        let parameters = &self.parameters;
        if self.line.one_shot {
            return one_shot::serve(&parameters.settings, log)
                .map_err(failed("cannot serve standard input"));
        }
        let (listeners, channel) = self.take_sockets(inherited)?;
        let closer = Closer::start(Instant::now())
            .map_err(failed("cannot start the process that closes"))?;
        let mut kernel = Linux::new(Epoll::new().map_err(failed("cannot start"))?, &listeners)
            .with_closer(closer);
        let mut host = Host::new(Rc::clone(log)).with_statistics();
        host.obey_master(channel, &mut kernel)
            .map_err(failed("cannot watch the status channel"))?;
        host.end_on(&[SIGTERM, SIGHUP, SIGQUIT, SIGXCPU], &mut kernel)
            .map_err(failed("cannot handle signals"))?;
        let first = listeners.first().map(|listener| listener.socket.as_fd());
        let settings = Settings {
            own_user: rustix::process::geteuid().as_raw(),
            expects_entries: parameters.settings.hand_over && first.is_some_and(sockets::take_mark),
            ..parameters.settings.clone()
        };
        let listener = first.and_then(|socket| socket.try_clone_to_owned().ok());
        let mut engine =
            Engine::new(settings, kernel, host, listeners).map_err(failed("cannot start"))?;
        let (descriptor, line) = log.prepared(Severity::Fatal, "fatal: watchdog timeout");
        watchdog::start(parameters.daemon_timeout, descriptor, line)
            .map_err(failed("cannot start the watchdog"))?;
        let end = engine.serve().map_err(failed("the event loop failed"))?;
        if let Some(listener) = listener {
            // Finds of the next process wait for what is handed over to it.
            if end == End::Succession && parameters.settings.hand_over && engine.holds_anything() {
                let _ = sockets::leave_mark(listener.as_fd());
            }
        }
        let (lost, settings) = (engine.counts().connections, &parameters.settings);
        if let (End::Idle, 1.., Some(idle)) = (end, lost, settings.max_idle) {
            log.info(format_args!(
                "max_idle: closing {lost} cached connections after {} s without clients; -o max_idle={}s for this \
                 service in master.cf keeps them as long as connection_cache_ttl_limit allows",
                idle.as_secs(),
                settings.ttl_limit.as_secs(),
            ));
        }
        // master(8) starts the next process only when this one is gone, so handing over, and waiting for
        // answers to goodbyes, is for a process that it does not know.
        if engine.holds_anything() && matches!(processes::fork(), Ok(Side::Parent { .. })) {
            // Without closing anything: the child has it all, and the kernel closes the rest faster.
            process::exit(0);
        }
        watchdog::start_again();
        // Nobody can take over a socket of master(8), so this is the end.
        let _ = engine.leave().map_err(failed("the event loop failed"))?;
        Ok(())
    }

    /// The sockets that this service is to have.
    fn take_sockets(
        &self,
        inherited: Inherited,
    ) -> Result<(Vec<Listener<Descriptor>>, StatusChannel), String> {
        let missing = |number: RawFd| {
            move |error: io::Error| {
                format!(
                    "descriptor {number}: {error}: this program is to be started by Postfix's \
                     master(8) (master.cf); for a cache without Postfix run scached"
                )
            }
        };
        let channel = inherited.status.map_err(missing(STATUS))?;
        let transport = self.line.transport.unwrap_or(Transport::Unix);
        let mut sockets = inherited.listeners.into_iter();
        let listeners = (FIRST_LISTENER..FIRST_LISTENER + RawFd::from(self.line.sockets))
            .map(|number| {
                sockets
                    .next()
                    .ok_or_else(|| Errno::BADF.into())
                    .and_then(|socket| kernel::listener(socket, transport))
                    .map_err(missing(number))
            })
            .collect::<Result<_, _>>()?;
        Ok((listeners, StatusChannel::new(channel, self.generation)))
    }

    /// Starts debugger_command beside this process, which it attaches to, and lets it.
    fn run_debugger(&self) {
        // Its failure is seen where it writes to; the service goes on.
        let _ = Command::new("/bin/sh")
            .arg("-c")
            .arg(&self.parameters.debugger_command)
            .status();
    }
}

/// main.cf, the directory it is in, and what is odd in it.
fn read_main_cf() -> Result<(MainCf, PathBuf, Vec<String>), String> {
    let directory = env::var_os("MAIL_CONFIG")
        .map_or_else(|| PathBuf::from(DEFAULT_CONFIG_DIRECTORY), PathBuf::from);
    let path = directory.join("main.cf");
    let file = path.display();
    let text = std::fs::read(&path).map_err(|error| format!("open {file}: {error}"))?;
    let main_cf = MainCf::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    let warnings = main_cf.warnings().iter();
    let warnings = warnings
        .map(|warning| format!("{file}, {warning}"))
        .collect();
    Ok((main_cf, directory, warnings))
}

/// Where to log while main.cf is not known: as master(8) said, else to syslog.
fn early_log() -> Log {
    let name = env::var_os("MAIL_LOGTAG").unwrap_or_else(|| "postfix".into());
    let service = env::var_os("POSTLOG_SERVICE").filter(|path| !path.is_empty());
    let host = env::var_os("POSTLOG_HOSTNAME").unwrap_or_else(|| "amnesiac".into());
    let target = match &service {
        Some(path) => Target::Postlog {
            path: Path::new(path),
            host: host.as_bytes(),
        },
        None => Target::Syslog(Facility::MAIL),
    };
    Log::new(tag(name.as_bytes()), target).with_stderr(read_by_somebody())
}

/// The name that log lines begin with.
fn tag(name: &[u8]) -> Vec<u8> {
    [name, b"/", PROCESS_NAME.as_bytes()].concat()
}

/// Whether somebody started this by hand: master(8) always says the generation.
fn read_by_somebody() -> bool {
    env::var_os("GENERATION").is_none() || std::io::stdin().is_terminal()
}

fn generation() -> Result<u32, String> {
    match env::var("GENERATION") {
        Err(_) => Ok(0),
        Ok(text) => u32::from_str_radix(&text, 8).map_err(|_| format!("bad generation: {text}")),
    }
}

fn owner(name: &str) -> Result<User, String> {
    match User::by_name(name) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(format!(
            "parameter mail_owner: unknown user name value: {name}"
        )),
        Err(error) => Err(format!("parameter mail_owner: {name}: {error}")),
    }
}

fn file_name(program: Option<OsString>) -> OsString {
    let program = program.as_deref().map(Path::new);
    let name = program.and_then(Path::file_name);
    name.map_or_else(|| PROCESS_NAME.into(), OsStr::to_owned)
}
