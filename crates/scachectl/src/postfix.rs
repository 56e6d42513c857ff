//! `scachectl postfix`: puts our scache(8) into an installed Postfix, tells what is there, and takes it out again.
//!
//! What Postfix is like is asked of postconf(1), and its configuration is changed by postconf(1). Nothing is touched
//! but `scache-rs` in daemon_directory, the one service in master.cf, and two copies of master.cf beside it.

mod copies;
mod delivery;
mod entry;
mod install;
mod instance;
mod instances;
mod postconf;
mod program;
mod proof;
mod replaceable;
mod serving;
mod status;
mod steps;
mod uninstall;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::failure::{Failure, Status};
use instance::Instance;
use steps::Steps;

/// Options of `scachectl postfix`.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copies scache beside Postfix's own, lets master(8) start it instead, and waits until it answers; else
    /// everything is put back
    Install(Install),
    /// Tells which scache serves, what of it is installed, and which connections Postfix's parameters let it keep
    Status(Look),
    /// Puts back what was there before
    Uninstall(Uninstall),
}

#[derive(Debug, Args)]
struct Which {
    /// Postfix's configuration directory; may be given several times, once for each instance [default: what
    /// postconf says]
    #[arg(long, value_name = "DIR")]
    config_dir: Vec<PathBuf>,

    /// Every instance: the default one, those in its multi_instance_directories and alternate_config_directories,
    /// and those that run the same programs
    #[arg(long, conflicts_with = "config_dir")]
    all_instances: bool,
}

#[derive(Debug, Args)]
struct Change {
    /// Print each step as a command, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// How long the new program may take to answer
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    wait: u64,
}

#[derive(Debug, Args)]
struct Install {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,

    /// The scache to install [default: the one that came with scachectl]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Look {
    #[command(flatten)]
    which: Which,

    /// The scache to compare with [default: the one that came with scachectl]
    #[arg(long, value_name = "PATH")]
    program: Option<PathBuf>,

    /// Print a JSON array with an object for each instance
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Uninstall {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    change: Change,
}

impl Options {
    /// Does it, for one instance after the other. The first that fails is the last that is tried.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        match self.command {
            Command::Install(options) => {
                as_root("install")?;
                let shipped = program::shipped(options.program.as_deref())?;
                let instances = options.which.instances()?;
                for instance in &instances {
                    let steps = options.change.steps(instance, &instances);
                    install::install(instance, &shipped, options.change.wait(), &steps)
                        .map_err(|failure| among(&instances, instance, failure))?;
                }
            }
            Command::Status(options) => {
                let instances = options.which.instances()?;
                let shipped = match &options.program {
                    Some(path) => Some(program::shipped(Some(path))?),
                    None => program::shipped(None).ok(),
                };
                status::show(&instances, shipped.as_deref(), options.json)?;
            }
            Command::Uninstall(options) => {
                as_root("uninstall")?;
                let instances = options.which.instances()?;
                for instance in &instances {
                    let steps = options.change.steps(instance, &instances);
                    uninstall::uninstall(instance, &instances, options.change.wait(), &steps)
                        .map_err(|failure| among(&instances, instance, failure))?;
                }
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Which {
    fn instances(&self) -> Result<Vec<Instance>, Failure> {
        if self.all_instances {
            return instances::all();
        }
        if self.config_dir.is_empty() {
            return Ok(vec![Instance::default_one()?]);
        }
        self.config_dir
            .iter()
            .map(|directory| Instance::at(directory))
            .collect()
    }
}

impl Change {
    fn wait(&self) -> Duration {
        Duration::from_secs(self.wait)
    }

    /// With several instances each line says which one it is about.
    fn steps(&self, instance: &Instance, all: &[Instance]) -> Steps {
        let about = (all.len() > 1).then(|| instance.directory.display().to_string());
        Steps::new(self.dry_run, about)
    }
}

/// With several instances a failure says which one it is about.
fn among(all: &[Instance], instance: &Instance, failure: Failure) -> Failure {
    if all.len() == 1 {
        return failure;
    }
    failure.and(format_args!(
        "this was {}, and those behind it were not tried",
        instance.directory.display()
    ))
}

fn as_root(command: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(
        Status::NoPermission,
        format!(
            "only root can change Postfix: run `scachectl postfix {command}` as root, e.g. with sudo"
        ),
    ))
}
