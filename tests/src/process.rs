//! A process seen from outside, by what /proc says of it: descriptors, memory, time of the processor.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

use crate::wire::{DEADLINE, Identity};

/// A process, by its number. Whoever asks keeps it from being another one by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    pid: u32,
}

impl Process {
    /// The process of this number.
    #[must_use]
    pub fn new(pid: u32) -> Self {
        Self { pid }
    }

    /// Every process that was started with this variable in its environment.
    #[must_use]
    pub fn all_with_environment(name: &str, value: &OsStr) -> Vec<Self> {
        let wanted = [name.as_bytes(), b"=", value.as_bytes()].concat();
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                // A process that is gone or of another user has none that can be read.
                fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                    environment
                        .split(|byte| *byte == 0)
                        .any(|variable| variable == wanted)
                })
            })
            .map(Self::new)
            .collect()
    }

    /// Its number.
    #[must_use]
    pub fn pid(self) -> u32 {
        self.pid
    }

    /// The numbers of its open descriptors.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn descriptors(self) -> Vec<u32> {
        let entries = fs::read_dir(format!("/proc/{}/fd", self.pid)).expect("the process runs");
        let mut numbers: Vec<u32> = entries
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
    }

    /// Waits until it has so many descriptors, and says how many there are in the end.
    #[must_use]
    pub fn settles_at(self, count: usize) -> usize {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let now = self.descriptors().len();
            if now == count || Instant::now() >= deadline {
                return now;
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Which of its descriptors above standard error a program that it starts would inherit, and what they are.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn inheritable(self) -> Vec<String> {
        let close_on_exec = 0o2_000_000;
        self.descriptors()
            .into_iter()
            .filter(|number| *number > 2)
            .filter_map(|number| {
                let path = format!("/proc/{}/fdinfo/{number}", self.pid);
                let text = fs::read_to_string(path).ok()?;
                let flags = text.lines().find_map(|line| line.strip_prefix("flags:"))?;
                let flags = u32::from_str_radix(flags.trim(), 8).ok()?;
                let target = fs::read_link(format!("/proc/{}/fd/{number}", self.pid)).ok()?;
                (flags & close_on_exec == 0).then(|| format!("{number}: {}", target.display()))
            })
            .collect()
    }

    /// Whether it has this socket or file open.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn holds(self, wanted: Identity) -> bool {
        self.descriptors().into_iter().any(|number| {
            let path = format!("/proc/{}/fd/{number}", self.pid);
            Identity::at(Path::new(&path)) == Some(wanted)
        })
    }

    /// Whether it lets go of a socket or file before the deadline.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn lets_go_of(self, wanted: Identity) -> bool {
        let deadline = Instant::now() + DEADLINE;
        while self.holds(wanted) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(5));
        }
        true
    }

    /// Time of the processor that it has had.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn processor_time(self) -> Duration {
        let text = fs::read_to_string(format!("/proc/{}/schedstat", self.pid))
            .expect("the process runs and the kernel counts");
        let nanoseconds = text.split(' ').next().and_then(|word| word.parse().ok());
        Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
    }

    /// Memory in use, in bytes.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn memory(self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("it runs");
        let kibibytes: Option<u64> = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        kibibytes.expect("a number of kibibytes") * 1024
    }

    /// Lets it have this many descriptors and no more from now on, or as many as it may have at most.
    ///
    /// # Panics
    /// When the process is gone, or is somebody else's.
    pub fn limit_descriptors(self, limit: u64) {
        let text = fs::read_to_string(format!("/proc/{}/limits", self.pid)).expect("it runs");
        // Soft limit, hard limit, unit.
        let hard: Option<u64> = text
            .lines()
            .find_map(|line| line.strip_prefix("Max open files"))
            .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok());
        let hard = hard.expect("a hard limit");
        let limit = Rlimit {
            current: Some(limit.min(hard)),
            maximum: Some(hard),
        };
        // No number at all would mean this process.
        let number = self.number().expect("a process number");
        prlimit(Some(number), Resource::Nofile, limit).expect("set the limit of the process");
    }

    /// Lets it open nothing more: every number below its limit is in use.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn exhaust_descriptors(self) {
        let numbers = self.descriptors();
        let first_free = (0..).zip(&numbers).find(|(free, used)| free != *used);
        let limit = first_free.map_or(numbers.len() as u64, |(free, _)| u64::from(free));
        self.limit_descriptors(limit);
    }

    /// Whether it closes descriptors for a server.
    #[must_use]
    pub fn is_closer(self) -> bool {
        fs::read_to_string(format!("/proc/{}/comm", self.pid))
            .is_ok_and(|name| name.trim_end() == "scache-closer")
    }

    /// The processes that it started and that have not ended.
    ///
    /// # Panics
    /// When the process is gone.
    #[must_use]
    pub fn children(self) -> Vec<Self> {
        let path = format!("/proc/{0}/task/{0}/children", self.pid);
        let text = fs::read_to_string(path).expect("the process runs");
        let numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
        numbers.map(Self::new).collect()
    }

    /// Ends it at once.
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Sends it a signal, if it is there.
    pub fn signal(self, signal: Signal) {
        if let Some(number) = self.number() {
            let _ = kill_process(number, signal);
        }
    }

    fn number(self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.pid).ok()?)
    }
}
