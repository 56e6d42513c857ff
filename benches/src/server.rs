//! The servers that take part, and what the kernel says about them.

use std::path::Path;
use std::time::Duration;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use scache_tests::fake_master::{FakeMaster, Program, Setup, built, ours, stock};

use crate::load::Protocol;

/// A server that takes part, and how it is spoken to.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    program: Program,
    settings: Vec<(&'static str, &'static str)>,
    pub(crate) protocol: Protocol,
}

impl Contender {
    /// All of them.
    pub(crate) fn all() -> [Self; 6] {
        [
            Self::stock(),
            Self::ours(),
            Self::unwatched(),
            Self::floor(),
            Self::inline(),
            Self::inline_floor(),
        ]
    }

    /// The real scache(8).
    pub(crate) fn stock() -> Self {
        Self::new("stock", stock())
    }

    /// Ours, as it is by default.
    pub(crate) fn ours() -> Self {
        Self::new("ours", ours())
    }

    /// Ours without watching idle connections, as stock.
    pub(crate) fn unwatched() -> Self {
        Self::new("ours, unwatched", ours()).with("connection_cache_watch", "no")
    }

    /// The same, spoken to in the protocol with inline descriptors.
    pub(crate) fn inline() -> Self {
        Self {
            name: "ours, inline, unwatched",
            protocol: Protocol::Inline,
            ..Self::unwatched()
        }
    }

    /// Next to nothing.
    pub(crate) fn floor() -> Self {
        Self::new("floor", built("floor").into())
    }

    /// Next to nothing, spoken to in the protocol with inline descriptors.
    pub(crate) fn inline_floor() -> Self {
        Self {
            name: "floor, inline",
            protocol: Protocol::Inline,
            ..Self::floor()
        }
    }

    fn new(name: &'static str, program: Program) -> Self {
        Self {
            name,
            program,
            settings: Vec::new(),
            protocol: Protocol::Stock,
        }
    }

    /// Returns this contender with another build of the program.
    pub(crate) fn built_as(self, program: &Path) -> Self {
        Self {
            program: program.to_owned().into(),
            ..self
        }
    }

    /// Another line of main.cf. Stock has no use for the limits of ours.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.settings.push((name, value));
        self
    }

    /// Starts it, on our processor.
    pub(crate) fn start(&self) -> Server {
        let mut setup = Setup::new(&self.program).setting("connection_cache_ttl_limit", "2h");
        for (name, value) in &self.settings {
            setup = setup.setting(name, value);
        }
        // A child inherits the processor.
        Server {
            master: setup.start(),
            protocol: self.protocol,
        }
    }
}

/// A server that runs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) master: FakeMaster,
    pub(crate) protocol: Protocol,
}

impl Server {
    /// The processor time that it and the processes it started have had so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let pid = self.master.pid();
        let children = self.proc_file(&format!("task/{pid}/children"));
        let children = children.split_whitespace().map(|child| {
            // One that has ended has taken its time with it.
            std::fs::read_to_string(format!("/proc/{child}/schedstat")).unwrap_or_default()
        });
        let nanoseconds = std::iter::once(self.proc_file("schedstat"))
            .chain(children)
            .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
            .sum();
        Duration::from_nanos(nanoseconds)
    }

    /// The memory it has now.
    pub(crate) fn memory(&self) -> Memory {
        let text = self.proc_file("smaps_rollup");
        let line = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kibibytes.map_or(0, |kibibytes: u64| kibibytes * 1024)
        };
        Memory {
            resident: line("Rss:"),
            proportional: line("Pss:"),
        }
    }

    fn proc_file(&self, name: &str) -> String {
        let path = format!("/proc/{}/{name}", self.master.pid());
        std::fs::read_to_string(path).expect("the server still runs")
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// What it has in memory, with what it shares with others.
    pub(crate) resident: u64,
    /// The same, with what is shared divided among those who share it.
    pub(crate) proportional: u64,
}

/// The processor that everything runs on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processor(usize);

impl Processor {
    /// The last of those that we may run on.
    pub(crate) fn last() -> Self {
        let allowed = sched_getaffinity(None).expect("the processors to run on");
        let last = (0..CpuSet::MAX_CPU)
            .rev()
            .find(|number| allowed.is_set(*number));
        Self(last.expect("a processor to run on"))
    }

    /// Keeps this thread, and what it starts from now on, on it.
    pub(crate) fn keep_us_there(self) {
        let mut only = CpuSet::new();
        only.set(self.0);
        sched_setaffinity(None::<Pid>, &only).expect("a processor to run on");
    }
}

/// Starts something from this thread that is not kept on our processor, and may end with this thread.
pub(crate) fn started_on_all_processors<T>(start: impl FnOnce() -> T) -> T {
    run_on_all();
    let started = start();
    Processor::last().keep_us_there();
    started
}

fn run_on_all() {
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|number| all.set(number));
    sched_setaffinity(None::<Pid>, &all).expect("processors to run on");
}

/// Runs something, and what it starts, on all processors.
pub(crate) fn on_all_processors<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            run_on_all();
            run()
        });
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
