//! master(8) as the first process of a container, to which every process falls whose parent has ended.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use scache_tests::fake_master::{ours, stock};
use scache_tests::instance::{Instance, Setup, processes_below};
use scache_tests::stock::Stock;

const MESSAGES: usize = 20;
const RELOADS: usize = 5;

/// A process namespace with master(8) in it. All of it ends with the first process.
struct Container(Child);

impl Container {
    /// Starts master(8) in the mode in which `postfix start-fg` starts it in a container.
    fn start(instance: &Instance) -> Self {
        let master = instance.daemons().join("master");
        let mut command = instance.guarded(Path::new("unshare"));
        command
            .args(["--pid", "--fork", "--mount-proc"])
            .args([&master, Path::new("-i")])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LD_LIBRARY_PATH", Stock::locate().library_path())
            .env("MAIL_CONFIG", instance.configuration())
            .stderr(Stdio::null())
            // master(8) stays in it, and so ends with it.
            .process_group(0);
        Self(command.spawn().expect("unshare can be run"))
    }

    /// master(8), as it is called outside.
    fn master(&self, instance: &Instance) -> Option<Pid> {
        let processes = processes_below(&instance.configuration());
        let master = processes
            .iter()
            .find(|process| process.parent == self.0.id())?;
        Pid::from_raw(master.number.try_into().ok()?)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let group = self.0.id().try_into().ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.0.wait();
    }
}

#[test]
fn what_hands_over_and_what_closes_may_fall_to_master() {
    for scache in [stock(), ours()] {
        let instance = Instance::start(&Setup::new(scache));
        instance.stop();
        instance.wait_for("Postfix does not end", |instance| {
            instance.processes().is_empty()
        });
        let container = Container::start(&instance);
        // It says so when it listens: the first time was before it was in the container.
        instance.wait_for("master does not start", |instance| {
            let starts = instance.log().lines_with("daemon started").len();
            starts == 2 && container.master(instance).is_some()
        });
        let master = container.master(&instance).expect("it has started");
        for _ in 0..RELOADS {
            instance.deliver(MESSAGES);
            kill_process(master, Signal::HUP).expect("it runs");
        }
        instance.deliver(MESSAGES);
        let log = instance.log();
        assert!(log.reuses() > RELOADS * MESSAGES / 2, "{}", log.tail());
        for wrong in ["panic", "fatal"] {
            assert_eq!(log.lines_with(wrong), Vec::<&str>::new());
        }
        assert_eq!(container.master(&instance), Some(master));
    }
}
