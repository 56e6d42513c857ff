//! The surroundings of the engine: the log, master(8) or a service manager, signals.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use scache_engine::{Complaint, End, Note};
use scache_store::Statistics;
use scache_sys::signals;
use signal_hook::consts::{SIGIO, SIGPROF, SIGTTOU, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXFSZ};

use crate::kernel::{Linux, Watcher};
use crate::log::Log;
use crate::postfix::StatusChannel;
use crate::standalone::{Guard, Predecessor, ServiceManager, Whereabouts};
use crate::statistics;

/// The surroundings.
#[derive(Debug)]
pub struct Host {
    log: Rc<Log>,
    master: Option<StatusChannel>,
    manager: Option<Rc<ServiceManager>>,
    signals: Option<UnixStream>,
    guard: Option<Guard>,
    predecessor: Option<Predecessor>,
    /// When the interval began that the next statistics are of; `None`: nobody wants any.
    interval_began: Option<SystemTime>,
}

/// The numbers of what is watched for the host.
const MASTER: u32 = 0;
const SIGNALS: u32 = 1;
const GUARD: u32 = 2;
const PREDECESSOR: u32 = 3;

/// Signals that mean nothing to a cache, and would end it or, of a terminal, stop it because it writes a line.
const UNWANTED: [i32; 7] = [
    SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGIO, SIGXFSZ, SIGTTOU,
];

impl Host {
    /// Surroundings that consist of a log only.
    pub fn new(log: Rc<Log>) -> Self {
        Self {
            log,
            master: None,
            manager: None,
            signals: None,
            guard: None,
            predecessor: None,
            interval_began: None,
        }
    }

    /// Logs statistics, from now on.
    pub fn with_statistics(mut self) -> Self {
        self.interval_began = Some(SystemTime::now());
        self
    }

    /// Tells this service manager that the loop goes on, as often as it wants to hear it.
    pub fn with_service_manager(mut self, manager: Rc<ServiceManager>) -> Self {
        self.manager = Some(manager);
        self
    }

    /// Reports to master(8), and ends when it closes the channel.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn obey_master<W: Watcher>(
        &mut self,
        channel: StatusChannel,
        kernel: &mut Linux<W>,
    ) -> io::Result<()> {
        kernel.watch_for_host(&channel, MASTER)?;
        self.master = Some(channel);
        Ok(())
    }

    /// Ends when its socket's file is not where it was any more. Another process may take over then, as long as it is.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn guard<W: Watcher>(&mut self, guard: Guard, kernel: &mut Linux<W>) -> io::Result<()> {
        kernel.watch_for_host(&guard, GUARD)?;
        self.guard = Some(guard);
        Ok(())
    }

    /// Whether it ends because its socket's file is not where it was.
    pub fn has_lost_its_file(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_lost)
    }

    /// Waits for the end of the process that hands over to this one.
    ///
    /// # Errors
    /// What epoll_ctl(2) says.
    pub fn succeed<W: Watcher>(
        &mut self,
        predecessor: Predecessor,
        kernel: &mut Linux<W>,
    ) -> io::Result<()> {
        kernel.watch_for_host(predecessor.connection(), PREDECESSOR)?;
        self.predecessor = Some(predecessor);
        Ok(())
    }

    /// Whether the process before this one may still serve again: it is there, and this one has not got everything.
    pub fn has_predecessor(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Ends when one of these signals comes, and ignores what else would end or stop it and is not meant to. A signal
    /// stays ignored if this program was started so, as nohup(1) does.
    ///
    /// # Errors
    /// What sigaction(2) and epoll_ctl(2) say.
    pub fn end_on<W: Watcher>(&mut self, signals: &[i32], kernel: &mut Linux<W>) -> io::Result<()> {
        for signal in UNWANTED {
            signals::ignore(signal)?;
        }
        let (ours, theirs) = UnixStream::pair()?;
        for signal in signals {
            if signals::is_ignored(*signal) {
                continue;
            }
            signal_hook::low_level::pipe::register(*signal, theirs.try_clone()?)?;
        }
        kernel.watch_for_host(&ours.as_fd(), SIGNALS)?;
        self.signals = Some(ours);
        Ok(())
    }
}

impl Host {
    fn look_at_file(&mut self) -> Option<End> {
        let guard = self.guard.as_mut()?;
        let is_lost = guard.attend();
        if is_lost {
            self.log.warning(format_args!(
                "{} does not lead to this daemon any more (removed, replaced, or its directory moved): ending, for \
                 no client can find it",
                guard.file().path().display()
            ));
        }
        is_lost.then_some(End::Signal)
    }
}

impl scache_engine::Host for Host {
    fn complain(&mut self, now: Instant, complaint: Complaint) {
        self.log.complain(now, complaint);
    }

    fn note(&mut self, note: Note<'_>) {
        match note {
            // The engine's word is that of a service of Postfix.
            Note::Ending(End::Succession) if self.master.is_none() => {
                self.log.verbose("taken over -- exiting");
            }
            Note::Resumed => self
                .log
                .warning("the daemon that took over ended before it had everything: serving again"),
            note => self.log.verbose(note),
        }
    }

    fn statistics(&mut self, interval: &Statistics, last: bool) {
        if last {
            self.log.begin_last_words();
        }
        if let Some(began) = &mut self.interval_began {
            statistics::log(&self.log, *began, interval);
            *began = SystemTime::now();
        }
        if last {
            self.log.tell_dropped();
        }
    }

    fn served(&mut self) {
        if let Some(master) = &mut self.master {
            master.served();
        }
    }

    fn attend(&mut self, number: u32) -> Option<End> {
        match number {
            MASTER => self
                .master
                .as_ref()
                .is_some_and(StatusChannel::ended)
                .then_some(End::Succession),
            GUARD => self.look_at_file(),
            PREDECESSOR => {
                if self.predecessor.as_ref().is_some_and(Predecessor::is_gone) {
                    self.predecessor = None;
                    self.log.verbose("the daemon before this one is gone");
                }
                None
            }
            _ => Some(End::Signal),
        }
    }

    fn much_was_freed(&mut self) {
        scache_sys::memory::trim();
    }

    fn is_alive(&mut self, now: Instant) {
        scache_sys::watchdog::pat();
        if let Some(manager) = &self.manager {
            manager.is_alive(now);
        }
    }

    fn may_yield(&mut self) -> bool {
        self.predecessor.is_none()
            && self
                .guard
                .as_ref()
                .is_some_and(|guard| guard.file().whereabouts() == Whereabouts::There)
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.manager.as_ref()?.next_deadline()
    }
}
