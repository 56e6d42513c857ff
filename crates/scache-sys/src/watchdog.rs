//! Ends a process whose loop is stuck.
//!
//! A timer of the kernel counts; the loop sets the count back. A process that was stopped and continued
//! is not stuck: time that passes while it is stopped counts as one step, whatever its length.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How many times the timer fires before the process ends.
const STEPS: u32 = 3;

static MISSED: AtomicU32 = AtomicU32::new(0);
static LAST_WORDS: OnceLock<LastWords> = OnceLock::new();

struct LastWords {
    step: libc::itimerval,
    log: Option<OwnedFd>,
    line: Vec<u8>,
}

/// Starts the watchdog: after `timeout` without [`pat`], `line` is written to `log` in one piece and the
/// process exits with status 1.
///
/// # Errors
/// What sigaction(2) and setitimer(2) say; `EALREADY` for a second start.
pub fn start(timeout: Duration, log: Option<OwnedFd>, line: Vec<u8>) -> io::Result<()> {
    let step = (timeout / STEPS).max(Duration::from_millis(1));
    let step = libc::timeval {
        tv_sec: libc::time_t::try_from(step.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_usec: libc::suseconds_t::from(step.subsec_micros()),
    };
    let step = libc::itimerval {
        it_interval: step,
        it_value: step,
    };
    LAST_WORDS
        .set(LastWords { step, log, line })
        .map_err(|_| io::Error::from_raw_os_error(libc::EALREADY))?;
    // SAFETY: a zeroed sigaction is one with an empty mask; the handler is an `extern "C"` function that
    // does only what signal-safety(7) allows.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = alarm as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        if libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    set_timer(&step)
}

/// Starts it again in a process that was divided: timers stay with the parent. Nothing if it was not
/// started before.
pub fn start_again() {
    if let Some(words) = LAST_WORDS.get() {
        // The timer could be set before, with the same values.
        let _ = set_timer(&words.step);
    }
}

/// Says that the loop goes on. Costs no system call.
pub fn pat() {
    MISSED.store(0, Ordering::Relaxed);
}

fn set_timer(step: &libc::itimerval) -> io::Result<()> {
    // SAFETY: the pointers are to live memory and to nothing.
    if unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const *step, std::ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

extern "C" fn alarm(_signal: libc::c_int) {
    if MISSED.fetch_add(1, Ordering::Relaxed) + 1 < STEPS {
        return;
    }
    if let Some((words, log)) = LAST_WORDS
        .get()
        .and_then(|words| Some((words, words.log.as_ref()?)))
    {
        // SAFETY: write(2) is async-signal-safe, the descriptor is never closed, the line never freed.
        unsafe {
            libc::write(
                log.as_raw_fd(),
                words.line.as_ptr().cast(),
                words.line.len(),
            );
        }
    }
    // SAFETY: _exit(2) is async-signal-safe.
    unsafe { libc::_exit(1) }
}
