//! `scachectl postfix uninstall`: master.cf first, then the process, and last the files that nobody needs any more.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::copies::Copies;
use super::install::{asking, checked_entry, reload};
use super::instance::Instance;
use super::instances;
use super::program::{self, NAME};
use super::proof::{Expected, Server};
use super::replaceable;
use super::serving::{self, Service};
use super::steps::Steps;
use crate::failure::{Failure, Status};

/// How long a process that hands over what it had may run on.
const LAST_PROCESS: Duration = Duration::from_secs(10);

/// Puts back what was there. `named` are all instances that the command is about.
pub(super) fn uninstall(
    instance: &Instance,
    named: &[Instance],
    wait: Duration,
    steps: &Steps,
) -> Result<(), Failure> {
    let entry = checked_entry(instance)?;
    let program = instance.daemons.join(NAME);
    let copies = Copies::of(instance);
    let installed = entry.program() == NAME;
    if !installed {
        let rest = if program.exists() || copies.exist() {
            "tidying up"
        } else {
            "nothing to do"
        };
        steps.remark(format_args!(
            "{NAME} does not serve in {}: {rest}",
            instance.directory.display()
        ));
    }
    if installed {
        replaceable::check(&instance.master_cf())?;
    }
    let master = instance.master()?;
    if installed {
        copies.put_back(&entry, steps)?;
    }
    let back = entry.with_program("scache").without_silence();
    if let Some(master) = master.filter(|master| installed || serves(*master, instance, &program)) {
        let expected = Expected {
            instance,
            entry: &back,
            server: Server::Stock,
            master,
        };
        let predecessor = expected.predecessor();
        reload(instance, steps)?;
        steps.take(asking(instance), || {
            let answered = expected.wait(predecessor, wait);
            answered
                .map(|time| format!("{} answers after {} ms", Server::Stock, time.as_millis()))
                .map_err(|instead| {
                    Failure::new(
                        Status::Unavailable,
                        format!(
                            "master.cf is back, but {} did not answer within {} s ({instead}): see the mail log; {} is left there",
                            Server::Stock,
                            wait.as_secs(),
                            program.display()
                        ),
                    )
                })
        })?;
    }
    match needed_by(instance, named, &program, steps) {
        Some(who) => steps.remark(format_args!("left {}: {who}", program.display())),
        None => program::remove(&program, steps)?,
    }
    copies.remove(steps)
}

/// Whether the process that serves runs our program, whatever master.cf says by now.
fn serves(master: u32, instance: &Instance, program: &Path) -> bool {
    matches!(
        serving::find(master, &instance.service),
        Service::Process(process) if process.runs(program)
    )
}

/// Who else uses the program: another instance, or a process.
fn needed_by(
    instance: &Instance,
    named: &[Instance],
    program: &Path,
    steps: &Steps,
) -> Option<String> {
    // In a dry run those before this one are still as they were.
    let gone = named
        .iter()
        .take_while(|one| steps.dry_run() && !one.is(instance));
    let gone: Vec<&Instance> = gone.collect();
    let others = instances::others(instance);
    let uses = |other: &&Instance| {
        !other.is(instance)
            && !gone.iter().any(|gone| gone.is(other))
            && other.shares_programs_with(instance)
            && other.entry().is_ok_and(|entry| entry.program() == NAME)
    };
    if let Some(other) = named.iter().chain(&others).find(uses) {
        return Some(format!("{} uses it", other.directory.display()));
    }
    let deadline = Instant::now() + LAST_PROCESS;
    while !steps.dry_run()
        && let Some(process) = serving::running(program)
    {
        if Instant::now() >= deadline {
            return Some(format!(
                "process {process} runs it, of an instance that is not known here"
            ));
        }
        sleep(Duration::from_millis(20));
    }
    None
}
