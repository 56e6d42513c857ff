//! The options that master(8) gives its services.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use lexopt::{Arg, ValueExt as _};
use scache_engine::Transport;

/// What the command line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandLine {
    /// `-c`: change the root to queue_directory.
    pub(super) chroot: bool,
    /// `-d`: standard input may be a terminal.
    pub(super) by_hand: bool,
    /// `-D`: run debugger_command.
    pub(super) debug: bool,
    /// `-i`, `-m` and `-o`, in their order.
    pub(super) overrides: Vec<(Vec<u8>, Vec<u8>)>,
    /// `-l`: this is the only process of the service.
    pub(super) alone: bool,
    /// `-n`: the name of the service.
    pub(super) service: Option<OsString>,
    /// `-s`: how many listening sockets there are.
    pub(super) sockets: u16,
    /// `-S`: serve one client on standard input and output.
    pub(super) one_shot: bool,
    /// `-t`: what comes over the listening sockets.
    pub(super) transport: Option<Transport>,
    /// `-u`: run as mail_owner.
    pub(super) unprivileged: bool,
    /// `-v`, how often.
    pub(super) verbose: u32,
    /// `-V`: also log to standard error.
    pub(super) stderr: bool,
}

/// What is wrong with the command line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsageError {
    #[error("invalid option: {0}")]
    Option(String),
    #[error("option -{0} requires a value")]
    Value(char),
    #[error("option -{0} has a value that is not text")]
    Text(char),
    #[error("unexpected command-line argument: {0}")]
    Argument(String),
    #[error("invalid socket_count: {0} (-s takes a number from 1 to 512)")]
    Sockets(String),
    #[error("invalid \"-o {assignment}\" option value: {reason}")]
    Assignment { assignment: String, reason: String },
    #[error("unsupported transport type: {0} (-t takes unix, inet or pass)")]
    Transport(String),
    #[error("no transport type specified (-t unix, inet or pass)")]
    NoTransport,
    #[error("service {0} requires a process limit of 1 (-l; maxproc in master.cf)")]
    NotAlone(String),
}

const MOST_SOCKETS: u16 = 512;

impl CommandLine {
    /// Reads the arguments behind the program's name.
    pub(super) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, UsageError> {
        let mut line = Self {
            chroot: false,
            by_hand: false,
            debug: false,
            overrides: Vec::new(),
            alone: false,
            service: None,
            sockets: 1,
            one_shot: false,
            transport: None,
            unprivileged: false,
            verbose: 0,
            stderr: false,
        };
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser
            .next()
            .map_err(|error| UsageError::Option(error.to_string()))?
        {
            match argument {
                Arg::Short(option) => line.option(option, &mut parser)?,
                Arg::Long(name) => return Err(UsageError::Option(format!("--{name}"))),
                Arg::Value(value) => {
                    let value = value.to_string_lossy().into_owned();
                    return Err(UsageError::Argument(value));
                }
            }
        }
        Ok(line)
    }

    /// Whether what is asked for can be done. `service` names the service in the message.
    pub(super) fn check(&self, service: &str) -> Result<(), UsageError> {
        if self.one_shot {
            Ok(())
        } else if !self.alone {
            Err(UsageError::NotAlone(service.to_owned()))
        } else if self.transport.is_none() {
            Err(UsageError::NoTransport)
        } else {
            Ok(())
        }
    }

    fn option(&mut self, option: char, parser: &mut lexopt::Parser) -> Result<(), UsageError> {
        // As a value of main.cf it may have any bytes.
        let value = |parser: &mut lexopt::Parser| {
            let value = parser.value();
            value.map_err(|_| UsageError::Value(option))
        };
        let text = |parser: &mut lexopt::Parser| {
            let text = value(parser)?.string();
            text.map_err(|_| UsageError::Text(option))
        };
        match option {
            'c' => self.chroot = true,
            'd' => self.by_hand = true,
            'D' => self.debug = true,
            'i' => self.override_with("max_idle", value(parser)?),
            'l' => self.alone = true,
            'm' => self.override_with("max_use", value(parser)?),
            'n' => self.service = Some(value(parser)?),
            'o' => {
                let assignment = value(parser)?;
                match scache_maincf::split_assignment(assignment.as_bytes()) {
                    Ok((name, value)) => self.overrides.push((name.to_vec(), value.to_vec())),
                    Err(reason) => {
                        let assignment = assignment.to_string_lossy().into_owned();
                        let reason = reason.to_string();
                        return Err(UsageError::Assignment { assignment, reason });
                    }
                }
            }
            's' => {
                let count = text(parser)?;
                self.sockets = count
                    .parse()
                    .ok()
                    .filter(|count| (1..=MOST_SOCKETS).contains(count))
                    .ok_or(UsageError::Sockets(count))?;
            }
            'S' => self.one_shot = true,
            't' => {
                let transport = text(parser)?;
                self.transport = match transport.to_ascii_lowercase().as_str() {
                    "unix" => Some(Transport::Unix),
                    "inet" => Some(Transport::Inet),
                    "pass" => Some(Transport::Pass),
                    _ => return Err(UsageError::Transport(transport)),
                };
            }
            'u' => self.unprivileged = true,
            'v' => self.verbose += 1,
            'V' => self.stderr = true,
            // Only services with an unlimited number of processes look at it.
            'z' => {}
            _ => return Err(UsageError::Option(option.to_string())),
        }
        Ok(())
    }

    fn override_with(&mut self, name: &str, value: OsString) {
        self.overrides
            .push((name.as_bytes().to_vec(), value.into_vec()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<CommandLine, UsageError> {
        CommandLine::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn what_master_says_is_understood() {
        let line = parse("-l -n scache -t unix -u -c -o max_idle=5s -i 7 -s 2 -vvV -z").unwrap();
        assert_eq!(line.service, Some("scache".into()));
        assert_eq!(line.transport, Some(Transport::Unix));
        assert_eq!(line.sockets, 2);
        assert_eq!(line.verbose, 2);
        assert!(line.alone && line.unprivileged && line.chroot && line.stderr);
        assert_eq!(
            line.overrides,
            [
                (b"max_idle".to_vec(), b"5s".to_vec()),
                (b"max_idle".to_vec(), b"7".to_vec())
            ]
        );
        assert_eq!(line.check("scache"), Ok(()));
    }

    #[test]
    fn values_keep_their_bytes() {
        let bytes = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        let words = [
            b"-n".as_slice(),
            b"caf\xe9",
            b"-osyslog_name=\xff\xfe",
            b"-i\xe9",
        ];
        let line = CommandLine::parse(words.map(bytes)).unwrap();
        assert_eq!(line.service, Some(bytes(b"caf\xe9")));
        assert_eq!(
            line.overrides,
            [
                (b"syslog_name".to_vec(), b"\xff\xfe".to_vec()),
                (b"max_idle".to_vec(), b"\xe9".to_vec())
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (arguments, named) in [
            ("-l -n scache -t unix -q", "invalid option: q"),
            ("--help", "invalid option: --help"),
            ("-l -t tcp", "unsupported transport type: tcp"),
            ("-s 0", "invalid socket_count: 0"),
            ("-s x", "invalid socket_count: x"),
            ("-s 65536", "invalid socket_count: 65536"),
            ("-n", "option -n requires a value"),
            ("-o novalue", "invalid \"-o novalue\" option value"),
            ("-l more", "unexpected command-line argument: more"),
        ] {
            let error = parse(arguments).unwrap_err().to_string();
            assert!(error.contains(named), "{arguments}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_named() {
        for (arguments, named) in [
            ("-t unix", "service x requires a process limit of 1"),
            ("-l", "no transport type specified"),
        ] {
            let error = parse(arguments).unwrap().check("x").unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
        assert_eq!(parse("-S").unwrap().check("x"), Ok(()));
    }
}
