//! A process with threads is not divided, one without is. The test is the whole program: the harness has
//! threads of its own.

use scache_sys::generation::Generation;
use scache_sys::processes::{Side, fork};

fn main() {
    let refused =
        std::thread::scope(|scope| scope.spawn(|| fork().map(|_| ())).join().expect("it ends"));
    assert!(refused.is_err(), "a process with threads was divided");
    let (reader, writer) = std::os::unix::net::UnixStream::pair().expect("a pair");
    match fork().expect("one thread only") {
        Side::Child => {
            use std::io::Write;
            let said = (&writer).write_all(std::process::id().to_string().as_bytes());
            std::process::exit(i32::from(said.is_err()));
        }
        Side::Parent { child } => {
            drop(writer);
            let said = std::io::read_to_string(reader).expect("what the child said");
            assert_eq!(said, child.to_string());
        }
    }
    each_process_has_its_generation();
    println!("test result: ok. 2 passed; 0 failed; a process is divided if it has one thread");
}

/// A child and a grandchild differ from this process and from each other, and this process stays what it was.
fn each_process_has_its_generation() {
    let own = Generation::current();
    let exit_status = |child: std::num::NonZero<u32>| {
        let number = i32::try_from(child.get()).expect("a process number");
        let number = rustix::process::Pid::from_raw(number);
        let status = rustix::process::waitpid(number, rustix::process::WaitOptions::empty());
        let (_, status) = status.expect("its child").expect("it has ended");
        status.exit_status()
    };
    match fork().expect("one thread only") {
        Side::Child => {
            let child = Generation::current();
            let differs = child != own && child == Generation::current();
            let status = match fork() {
                Ok(Side::Child) => {
                    let grandchild = Generation::current();
                    std::process::exit(i32::from(grandchild == own || grandchild == child));
                }
                Ok(Side::Parent { child }) => exit_status(child),
                Err(_) => Some(1),
            };
            std::process::exit(i32::from(!differs || status != Some(0)));
        }
        Side::Parent { child } => assert_eq!(exit_status(child), Some(0)),
    }
    assert_eq!(Generation::current(), own);
}
