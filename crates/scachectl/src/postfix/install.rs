//! `scachectl postfix install`: in steps that can each be undone, and are when the program does not answer in the end.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::copies::{self, Copies, Image, WayBack};
use super::delivery::Deliveries;
use super::entry::Entry;
use super::instance::Instance;
use super::program::{self, NAME, Placed};
use super::proof::{Expected, Server};
use super::replaceable;
use super::steps::Steps;
use crate::failure::{Failure, Status};

/// Installs the program, or upgrades it, or finds that there is nothing to do.
pub(super) fn install(
    instance: &Instance,
    shipped: &Path,
    wait: Duration,
    steps: &Steps,
) -> Result<(), Failure> {
    let plan = Plan::new(instance, shipped)?;
    if plan.entry.program() == NAME {
        let then = if !plan.same {
            "its program differs: it is replaced"
        } else if plan.changes_entry() {
            "its arguments are brought up to date"
        } else {
            "nothing to change"
        };
        steps.remark(format_args!(
            "{NAME} is installed in {}: {then}",
            instance.directory.display()
        ));
    }
    let mut done = Done::default();
    match plan.carry_out(wait, steps, &mut done) {
        Ok(()) => {
            if done.anything() {
                plan.advise(steps);
            }
            done.placed
                .map_or(Ok(()), |placed| placed.keep(instance, steps))
        }
        // Nothing that could be undone was done.
        Err(failure) if !done.anything() => Err(failure),
        Err(failure) => Err(plan.undo(failure, wait, steps, &done)),
    }
}

/// What is there, and what is to be.
#[derive(Debug)]
struct Plan<'a> {
    instance: &'a Instance,
    shipped: &'a Path,
    entry: Entry,
    wanted: Entry,
    /// master.cf before anything is done.
    before: Image,
    /// The program is in its place already.
    same: bool,
    /// The process number of master(8), if it runs.
    master: Option<u32>,
}

/// What has been done of it.
#[derive(Debug, Default)]
struct Done {
    placed: Option<Placed>,
    switched: bool,
    reloaded: bool,
}

impl Done {
    fn anything(&self) -> bool {
        self.placed.is_some() || self.switched
    }
}

impl<'a> Plan<'a> {
    fn new(instance: &'a Instance, shipped: &'a Path) -> Result<Self, Failure> {
        instance.check_version()?;
        let entry = checked_entry(instance)?;
        let program = instance.daemons.join(NAME);
        let same = program::same(&program, shipped).map_err(|error| {
            let program = program.display();
            Failure::new(Status::InputOutput, format!("{program}: {error}"))
        })?;
        let master_cf = instance.master_cf();
        let plan = Self {
            wanted: wanted(instance, &entry)?,
            before: Image::of(&master_cf).map_err(|error| copies::failed(&master_cf, &error))?,
            master: instance.master()?,
            same: same == Some(true),
            instance,
            shipped,
            entry,
        };
        if plan.changes_entry() {
            replaceable::check(&master_cf)?;
        }
        Ok(plan)
    }

    fn changes_entry(&self) -> bool {
        self.wanted != self.entry
    }

    fn carry_out(&self, wait: Duration, steps: &Steps, done: &mut Done) -> Result<(), Failure> {
        let instance = self.instance;
        if !self.same {
            let placed = program::place(instance, &self.wanted, self.shipped, steps)?;
            done.placed = Some(placed);
        }
        if self.changes_entry() {
            self.switch(steps, done)?;
        }
        let Some(master) = self.master else {
            let start = format!("postfix -c {} start", instance.directory.display());
            steps.remark(format_args!(
                "Postfix does not run: {NAME} serves from the next `{start}` on"
            ));
            return Ok(());
        };
        let expected = self.expected(master, &self.wanted, Server::Ours);
        let mut predecessor = None;
        if done.anything() || !expected.answers() {
            predecessor = expected.predecessor();
            done.reloaded = true;
            reload(instance, steps)?;
        }
        steps.take(asking(instance), || {
            expected
                .wait(predecessor, wait)
                .map(|time| format!("{NAME} answers after {} ms", time.as_millis()))
                .map_err(|instead| {
                    Failure::new(
                        Status::Unavailable,
                        format!(
                            "{NAME} did not answer within {} s ({instead})",
                            wait.as_secs()
                        ),
                    )
                })
        })
    }

    /// Says what stands in the way of reuse, which no installation changes.
    fn advise(&self, steps: &Steps) {
        // The work is done: what cannot be asked is not told.
        let deliveries = Deliveries::of(self.instance, &self.wanted).ok();
        for advice in deliveries.iter().flat_map(Deliveries::advice) {
            steps.remark(format_args!("for more reuse: {advice}"));
        }
    }

    fn switch(&self, steps: &Steps, done: &mut Done) -> Result<(), Failure> {
        let instance = self.instance;
        let copies = Copies::of(instance);
        // With ours in master.cf what was there before stock's was replaced is kept already, if it ever was. What
        // somebody else has edited since stays known as such.
        let first = self.entry.program() != NAME;
        let ours = first || copies.way_back() == WayBack::Bytes;
        if first {
            copies.keep_before(steps)?;
        }
        // Also when it goes wrong half-way.
        done.switched = true;
        steps.take(instance.setting(&self.wanted), || {
            instance.set_entry(&self.wanted)?;
            let service = instance.service_type();
            Ok(format!("switched {service} to `{}`", self.wanted))
        })?;
        if ours {
            copies.keep_after(steps)?;
        }
        Ok(())
    }

    fn expected<'e>(&'e self, master: u32, entry: &'e Entry, server: Server) -> Expected<'e> {
        Expected {
            instance: self.instance,
            entry,
            server,
            master,
        }
    }

    /// Puts everything back that was changed. The failure, with what came of that.
    fn undo(&self, failure: Failure, wait: Duration, steps: &Steps, done: &Done) -> Failure {
        steps.say("that failed: rolling back");
        match self.try_undo(wait, steps, done) {
            Ok(()) => failure.and("rolled back: everything is as it was before; see the mail log"),
            Err(undoing) => failure.and(format_args!(
                "rolling back failed as well ({undoing}): run `scachectl postfix status`"
            )),
        }
    }

    fn try_undo(&self, wait: Duration, steps: &Steps, done: &Done) -> Result<(), Failure> {
        let instance = self.instance;
        let copies = Copies::of(instance);
        let was_ours = self.entry.program() == NAME;
        let before = if was_ours {
            Server::Ours
        } else {
            Server::Stock
        };
        let running = self.master.filter(|_| done.reloaded);
        let running = running.map(|master| self.expected(master, &self.entry, before));
        let mut forgotten = Ok(());
        // master(8) starts nothing for a minute after a program has failed, whatever is in master.cf by then.
        // It forgets that when it forgets the service.
        let forgets = replaceable::check(&instance.master_cf()).is_ok();
        if let Some(expected) = &running
            && forgets
        {
            forgotten = copies.without_change(|| {
                instance.remove_entry()?;
                instance.reload()?;
                let gone = expected.wait_for_nobody(wait);
                gone.map_err(|what| Failure::new(Status::Unavailable, what))?;
                steps.say("made master(8) forget the failure");
                Ok(())
            });
        }
        // An edit may have failed for a reason that keeps this one from being made, too.
        let switched = done.switched && !self.before.is_at(&instance.master_cf());
        if switched && was_ours {
            instance.set_entry(&self.entry)?;
        } else if switched {
            copies.put_back(&self.wanted, steps)?;
        }
        if let Some(placed) = done.placed {
            placed.undo(instance)?;
            steps.say(format_args!("took the new {NAME} out of its place"));
        }
        // The files are back in any case.
        forgotten?;
        if let Some(expected) = &running {
            reload(instance, steps)?;
            if !forgets {
                steps.say("master(8) starts a program that failed after a minute only: mail may wait until then");
                return Ok(());
            }
            let time = expected
                .wait(None, wait)
                .map_err(|instead| Failure::new(Status::Unavailable, instead))?;
            steps.say(format_args!(
                "{before} answers after {} ms",
                time.as_millis()
            ));
        }
        if done.switched && !was_ours {
            copies.remove(steps)?;
        }
        Ok(())
    }
}

/// The service, if it is one that can be switched.
pub(super) fn checked_entry(instance: &Instance) -> Result<Entry, Failure> {
    let unfit = |what: String| Err(Failure::new(Status::Configuration, what));
    let master_cf = instance.master_cf();
    let file = master_cf.display();
    if fs::symlink_metadata(&master_cf).is_ok_and(|metadata| metadata.is_symlink()) {
        return unfit(format!(
            "{file} is a symbolic link, which postconf would replace by a file: make it a file, or edit it by hand"
        ));
    }
    if !instance.stock().is_file() {
        return unfit(format!(
            "there is no {}: is daemon_directory in {} right?",
            instance.stock().display(),
            instance.directory.display()
        ));
    }
    let entry = instance.entry()?;
    let service = instance.service_type();
    if entry.process_limit() != "1" {
        return unfit(format!(
            "{file} allows {} processes of {service}, and a cache is one: put 1 there",
            entry.process_limit()
        ));
    }
    if ![NAME, "scache"].contains(&entry.program()) {
        return unfit(format!(
            "{file} has {} for {service}, which is neither Postfix's scache nor {NAME}: put scache there first",
            entry.program()
        ));
    }
    Ok(entry)
}

/// The service as it is to be.
fn wanted(instance: &Instance, entry: &Entry) -> Result<Entry, Failure> {
    let entry = entry.with_program(NAME).without_silence();
    match (instance.wants_announcement(), instance.announces(&entry)) {
        (true, true) | (false, false) => Ok(entry),
        (false, true) => Ok(entry.silent()),
        // Each client would wait for it in vain.
        (true, false) => Err(Failure::new(
            Status::Configuration,
            format!(
                "connection_cache_announce is no, but the clients of Postfix {} wait for the announcement: remove it from {}/main.cf and master.cf",
                instance.version,
                instance.directory.display()
            ),
        )),
    }
}

/// `postfix reload`, as a step.
pub(super) fn reload(instance: &Instance, steps: &Steps) -> Result<(), Failure> {
    steps.take(instance.reloading(), || {
        instance.reload()?;
        Ok("reloaded Postfix")
    })
}

/// The command that tells who answers.
pub(super) fn asking(instance: &Instance) -> String {
    format!(
        "scachectl postfix status --config-dir {}",
        super::steps::quoted(&instance.directory)
    )
}
