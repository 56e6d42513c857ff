//! Memory that was freed, back to the kernel: glibc keeps it otherwise when something that is still in use lies behind
//! it on the heap.

/// From this size on a piece of memory is mapped by itself, and goes back when it is freed.
///
/// Ordinary names and properties are shorter: mapping costs some microseconds.
#[cfg(target_env = "gnu")]
const MAPPED_FROM: libc::c_int = 32 * 1024;

/// Has large pieces of memory mapped by themselves from now on.
pub fn map_large_pieces() {
    // Without it glibc raises this size to that of each piece that is freed, up to 32 MiB.
    #[cfg(target_env = "gnu")]
    // SAFETY: it changes a parameter of the allocator, and has no requirements.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
    }
}

/// Gives pages back to the kernel in which nothing is in use. Takes about a millisecond for 16 MiB.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it touches only what is free, and takes the locks of the allocator itself.
    unsafe {
        libc::malloc_trim(0);
    }
}
