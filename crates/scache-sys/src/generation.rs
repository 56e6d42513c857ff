//! Telling a process from those that it was forked from.
//!
//! A child process has copies of its parent's descriptors. A connection whose state is in memory, such as one to a
//! cache, must not be used by both.

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

/// Identifies this process among those that inherited its memory.
///
/// Two values are equal exactly if the same process got them: a child gets another value than each of its
/// ancestors. Process numbers would be used again, and be the same (1) in nested namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation(u64);

/// The highest number given out in this process and its ancestors.
static LAST: AtomicU64 = AtomicU64::new(0);

/// Where this process keeps its number: a page that fork(2) fills with zeros in the child.
static PAGE: AtomicPtr<AtomicU64> = AtomicPtr::new(null_mut());

/// Stands in [`PAGE`] if the kernel has no such pages: then the process number has to do.
static NO_PAGE: AtomicU64 = AtomicU64::new(0);

/// Set in what is made of a process number, so that it is none of those counted.
const PROCESS: u64 = 1 << 63;

impl Generation {
    /// Returns that of this process. It makes no system call but the first time.
    ///
    /// It takes no lock, so it may be called in the child of a process with several threads.
    #[must_use]
    pub fn current() -> Self {
        let mut page = PAGE.load(Ordering::Acquire);
        if page.is_null() {
            page = set_up();
        }
        if std::ptr::eq(page, &NO_PAGE) {
            return Self(PROCESS | u64::from(std::process::id()));
        }
        // SAFETY: it is neither null nor anything but a mapping that `set_up` made, which is never undone: it has room
        // for a number, is aligned as a page is, and zeros are a valid number.
        let number = unsafe { &*page };
        let known = number.load(Ordering::Relaxed);
        if known != 0 {
            return Self(known);
        }
        let fresh = LAST.fetch_add(1, Ordering::Relaxed) + 1;
        // Another thread may have been here at the same time.
        let set = number.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed);
        Self(set.map_or_else(|other| other, |_| fresh))
    }
}

/// Sets [`PAGE`], unless another thread does, and returns what it is then.
fn set_up() -> *mut AtomicU64 {
    let mapped = map();
    let page = mapped.map_or((&raw const NO_PAGE).cast_mut(), NonNull::as_ptr);
    match PAGE.compare_exchange(null_mut(), page, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => page,
        Err(other) => {
            if let Some(mapped) = mapped {
                unmap(mapped);
            }
            other
        }
    }
}

/// A page that is zero in a child process, if the kernel has such pages (Linux 4.14).
fn map() -> Option<NonNull<AtomicU64>> {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, at an address of the kernel's choice, touches no memory that is in use.
    let page = unsafe { libc::mmap(null_mut(), BYTES, protection, flags, -1, 0) };
    if page == libc::MAP_FAILED {
        return None;
    }
    let page = NonNull::new(page.cast::<AtomicU64>())?;
    // SAFETY: it is the mapping above, whole, and nobody else knows of it yet.
    if unsafe { libc::madvise(page.as_ptr().cast(), BYTES, libc::MADV_WIPEONFORK) } < 0 {
        unmap(page);
        return None;
    }
    Some(page)
}

/// Undoes what `map` did, if nobody else knows of the page.
fn unmap(page: NonNull<AtomicU64>) {
    // SAFETY: it is a mapping of this size that `map` made, and nobody refers to it: it is not in `PAGE`.
    unsafe { libc::munmap(page.as_ptr().cast(), BYTES) };
}

/// The kernel rounds it up to a page.
const BYTES: usize = size_of::<AtomicU64>();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_threads_of_a_process_have_the_same_generation() {
        let first = Generation::current();
        let others = (0..8).map(|_| std::thread::spawn(Generation::current));
        for other in others.collect::<Vec<_>>() {
            assert_eq!(other.join().expect("it ends"), first);
        }
        assert_eq!(Generation::current(), first);
    }
}
