//! Other processes that go on from this one: its successor, and those that close descriptors for it.

use std::ffi::{CStr, c_int, c_void};
use std::io;
use std::num::NonZero;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use rustix::process::Pid;

/// Which of the two this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that was there before.
    Parent {
        /// The number of the other.
        child: NonZero<u32>,
    },
    /// The new one. It has every descriptor of the parent, and no timer.
    Child,
}

/// Divides this process, which must have one thread only.
///
/// # Errors
/// What fork(2) says, and `EINVAL` if there are other threads, which the child would lack.
pub fn fork() -> io::Result<Side> {
    // SAFETY: plain numbers. With one thread this changes nothing, with several it fails.
    if unsafe { libc::unshare(libc::CLONE_THREAD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: with one thread no lock can be held by another one that the child lacks, so the child may do
    // whatever the parent may.
    let number = unsafe { libc::fork() };
    match u32::try_from(number).map(NonZero::new) {
        Ok(Some(child)) => Ok(Side::Parent { child }),
        Ok(None) => Ok(Side::Child),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Makes a child of [`fork`] a process of its own: `kept` is the only descriptor that it keeps, no signal but SIGKILL
/// and SIGSTOP does anything to it, and process lists show it under `name`.
///
/// It has to end by [`exit_now`]: destructors of what it has of its parent would close numbers that it does not own.
pub(crate) fn stand_alone(name: &CStr, kept: BorrowedFd<'_>) {
    ignore_signals();
    let kept = kept.as_raw_fd();
    // A name is for people only.
    let _ = rustix::thread::set_name(name);
    for (first, last) in [(0, kept - 1), (kept + 1, c_int::MAX)] {
        if first <= last {
            // SAFETY: what owns these numbers is never used or dropped in this process, as said above.
            unsafe { libc::close_range(first as libc::c_uint, last as libc::c_uint, 0) };
        }
    }
}

/// Ends this process without destructors and without what atexit(3) registered.
pub(crate) fn exit_now() -> ! {
    // SAFETY: _exit(2) touches no memory of ours.
    unsafe { libc::_exit(0) }
}

/// Does work whose waits a timer interrupts every millisecond. To be called in a process that [`ignore_signals`] made
/// deaf.
pub(crate) fn with_interruptions(work: impl FnOnce()) {
    interrupt_every(1000);
    work();
    interrupt_every(0);
}

/// Starts a process that has a copy of this one's memory but the same descriptor table, in which it closes these
/// numbers, and ends.
///
/// # Errors
/// What clone(2) returns; nothing is closed then. After success the numbers are no longer the caller's.
pub(crate) fn close_in_child(numbers: &[RawFd]) -> io::Result<Pid> {
    extern "C" fn close_all(numbers: *mut c_void) -> c_int {
        ignore_signals();
        // SAFETY: the pointer is to the slice below, which this process has a copy of.
        let numbers = unsafe { *numbers.cast::<&[RawFd]>() };
        with_interruptions(|| {
            for number in numbers {
                // SAFETY: the caller gave the number away.
                unsafe { libc::close(*number) };
            }
        });
        0
    }
    const STACK_BYTES: usize = 64 * 1024;
    let mut stack = vec![0u128; STACK_BYTES / size_of::<u128>()];
    let mut argument = numbers;
    // SAFETY: without CLONE_VM the child has a copy of everything, the stack included, whose end is aligned and which is
    // large enough for a function that calls system calls only. It allocates nothing, so that a lock that another
    // thread held does not matter. The function's end is the child's end.
    let process = unsafe {
        libc::clone(
            close_all,
            stack.as_mut_ptr_range().end.cast(),
            libc::CLONE_FILES | libc::SIGCHLD,
            (&raw mut argument).cast(),
        )
    };
    if process < 0 {
        return Err(io::Error::last_os_error());
    }
    Pid::from_raw(process).ok_or_else(|| io::ErrorKind::Other.into())
}

/// Lets every signal that can be ignored pass, but for SIGALRM, which interrupts a wait.
fn ignore_signals() {
    extern "C" fn interrupt(_signal: c_int) {}
    let interrupt = interrupt as extern "C" fn(c_int) as libc::sighandler_t;
    // The standard signals: others end nobody who did not ask for them.
    for signal in 1..32 {
        let handler = if signal == libc::SIGALRM {
            interrupt
        } else {
            libc::SIG_IGN
        };
        // SAFETY: the handler does nothing. For what cannot be ignored the call fails.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut());
        }
    }
}

/// Lets SIGALRM come so often; 0 is never.
fn interrupt_every(microseconds: libc::suseconds_t) {
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: microseconds,
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: the pointers are to live memory and to nothing.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
}
