//! The surroundings of the engine: the log, master(8) or a service manager, signals.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use scache_engine::{Complaint, End, Note};
use scache_store::Statistics;

use crate::kernel::{Linux, Watcher};
use crate::log::Log;
use crate::postfix::StatusChannel;
use crate::standalone::ServiceManager;
use crate::statistics;

/// The surroundings.
#[derive(Debug)]
pub struct Host {
    log: Rc<Log>,
    master: Option<StatusChannel>,
    manager: Option<Rc<ServiceManager>>,
    signals: Option<UnixStream>,
    /// When the interval began that the next statistics are of; `None`: nobody wants any.
    interval_began: Option<SystemTime>,
}

/// The numbers of what is watched for the host.
const MASTER: u32 = 0;
const SIGNALS: u32 = 1;

impl Host {
    /// Surroundings that consist of a log only.
    pub fn new(log: Rc<Log>) -> Self {
        Self {
            log,
            master: None,
            manager: None,
            signals: None,
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

    /// Ends when one of these signals comes.
    ///
    /// # Errors
    /// What sigaction(2) and epoll_ctl(2) say.
    pub fn end_on<W: Watcher>(&mut self, signals: &[i32], kernel: &mut Linux<W>) -> io::Result<()> {
        let (ours, theirs) = UnixStream::pair()?;
        for signal in signals {
            signal_hook::low_level::pipe::register(*signal, theirs.try_clone()?)?;
        }
        kernel.watch_for_host(&ours.as_fd(), SIGNALS)?;
        self.signals = Some(ours);
        Ok(())
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
            _ => Some(End::Signal),
        }
    }

    fn is_alive(&mut self, now: Instant) {
        scache_sys::watchdog::pat();
        if let Some(manager) = &self.manager {
            manager.is_alive(now);
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.manager.as_ref()?.next_deadline()
    }
}
