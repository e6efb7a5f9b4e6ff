//! How the C library's allocator is to keep house in a server that idles for months: it gives back what a start, a sign-in
//! or a large body has needed for a moment.

#![expect(
    unsafe_code,
    reason = "glibc's two calls take plain numbers, and any of them is sound"
)]

/// Allocations from this size on are mappings of their own, and given back as soon as they are freed. By itself glibc would
/// raise this to the largest one that was ever freed: after two sign-ins, whose hashes take 19 MiB each, to that.
#[cfg(target_env = "gnu")]
const OF_THEIR_OWN_BYTES: libc::c_int = 1024 * 1024;
/// Free bytes at an arena's end that are given back.
#[cfg(target_env = "gnu")]
const GIVEN_BACK_BYTES: libc::c_int = 256 * 1024;

/// To be called once, before any thread is started.
pub(crate) fn be_frugal() {
    #[cfg(target_env = "gnu")]
    {
        // An arena a thread, eight times as many as cores, would leave a part of each unused.
        let arenas = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let settings = [
            (
                libc::M_ARENA_MAX,
                libc::c_int::try_from(arenas).unwrap_or(2),
            ),
            (libc::M_MMAP_THRESHOLD, OF_THEIR_OWN_BYTES),
            (libc::M_TRIM_THRESHOLD, GIVEN_BACK_BYTES),
        ];
        for (name, value) in settings {
            // SAFETY: it reads two numbers, and answers 0 to those that it does not take; then all stays as it was.
            let _taken = unsafe { libc::mallopt(name, value) };
        }
    }
}

/// Gives back what is free, between what is used, too. It walks through all of the heap: not for every day.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it has no precondition, and moves nothing that is allocated.
        let _was_any = unsafe { libc::malloc_trim(0) };
    }
}
