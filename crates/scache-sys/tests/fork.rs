//! A process with threads is not divided, one without is. The test is the whole program: the harness has
//! threads of its own.

use scache_sys::processes::{Side, fork};

fn main() {
    let refused =
        std::thread::scope(|scope| scope.spawn(|| fork().map(|_| ())).join().expect("it ends"));
    assert!(refused.is_err(), "a process with threads was divided");
    let (reader, writer) = std::io::pipe().expect("a pipe");
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
    println!("test result: ok. 1 passed; 0 failed; a process is divided if it has one thread");
}
