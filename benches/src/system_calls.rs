//! The system calls that a cycle makes a server make, counted by strace(1).

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::Scale;
use crate::load::{Client, Connection, Names, pace};
use crate::report::Report;
use crate::server::{Contender, Server};

/// How often a contender called what, per cycle.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) name: &'static str,
    pub(crate) by_name: BTreeMap<String, f64>,
}

impl Calls {
    pub(crate) fn sum(&self) -> f64 {
        self.by_name.values().sum()
    }
}

const UNCOUNTED: &str = "System calls were not counted: strace(1) is missing, or may not trace.";

/// Far beyond what strace(1) needs.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) fn run(scale: &Scale, report: &mut Report) {
    let contenders = Contender::all();
    let counted = contenders.iter().map(|contender| {
        let by_name = count(&contender.start(), scale.traced_cycles)?;
        let name = contender.name;
        Some(Calls { name, by_name })
    });
    match counted.collect() {
        Some(calls) => report.set_calls(calls),
        None => report.note(UNCOUNTED.to_owned()),
    }
}

fn count(server: &Server, cycles: usize) -> Option<BTreeMap<String, f64>> {
    let mut client = Client::connect(server);
    let names = Names::numbered(0);
    pace(server, &mut client, &Connection::unix(), &names, cycles);
    let output = server.master.directory().join("strace");
    let mut strace = Command::new("strace")
        .args(["-c", "-p", &server.master.pid().to_string(), "-o"])
        .arg(&output)
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    wait_until_traced(server, &mut strace)?;
    pace(server, &mut client, &Connection::unix(), &names, cycles);
    // Interrupted it lets go of the process and writes its table.
    let number = Pid::from_raw(strace.id().try_into().ok()?)?;
    kill_process(number, Signal::INT).ok()?;
    strace.wait().ok()?;
    let table = std::fs::read_to_string(output).ok()?;
    Some(parse(&table, cycles))
}

/// `None`: it is not allowed to.
fn wait_until_traced(server: &Server, strace: &mut Child) -> Option<()> {
    let until = Instant::now() + DEADLINE;
    let path = format!("/proc/{}/status", server.master.pid());
    let untraced =
        || std::fs::read_to_string(&path).is_ok_and(|text| text.contains("TracerPid:\t0"));
    while untraced() {
        if strace.try_wait().ok()?.is_some() || Instant::now() > until {
            let _ = strace.kill();
            return None;
        }
        sleep(Duration::from_millis(10));
    }
    // Attached is not yet counting: the server has to have stopped once and to wait again.
    sleep(Duration::from_millis(200));
    Some(())
}

/// Reads lines like ` 26.09    0.000006           1         5         2 recvmsg`.
fn parse(table: &str, cycles: usize) -> BTreeMap<String, f64> {
    let mut calls = BTreeMap::new();
    for line in table.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, _, _, count, .., name] = words[..]
            && name != "total"
            && let Ok(count) = count.parse::<f64>()
        {
            calls.insert(name.to_owned(), count / cycles as f64);
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_errors_and_without() {
        let table = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000006           1        50           sendto
 40.00    0.000004           1        25        10 recvmsg
------ ----------- ----------- --------- --------- ----------------
100.00    0.000010           1        75        10 total
";
        let calls = parse(table, 10);
        let expected =
            [("sendto", 5.0), ("recvmsg", 2.5)].map(|(name, count)| (name.to_owned(), count));
        assert_eq!(calls, BTreeMap::from(expected));
    }
}
