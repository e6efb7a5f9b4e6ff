//! Keeps the memory of an idle server small. Memory that the start, a sign-in or a large body
//! needed is returned to the system, both the heap's and the pages of the program's own file
//! (docs/decisions/0018-pages-of-the-program.md).

#![expect(
    unsafe_code,
    reason = "mallopt and malloc_trim take plain numbers; madvise gets mappings that the system reports for this process"
)]

/// Allocations of at least this size get their own mapping, which is returned as soon as they are
/// freed. By default glibc raises this limit to the size of the largest freed allocation, such as
/// the 19 MiB of a password hash.
#[cfg(target_env = "gnu")]
const MMAP_THRESHOLD_BYTES: libc::c_int = 1024 * 1024;
/// Free bytes at the end of an arena that are returned to the system.
#[cfg(target_env = "gnu")]
const TRIM_THRESHOLD_BYTES: libc::c_int = 256 * 1024;

/// Configures the allocator. Call this once, before any thread is started.
pub fn configure_allocator() {
    #[cfg(target_env = "gnu")]
    {
        // By default glibc creates up to eight arenas per core, each with unused memory.
        let arenas = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let settings = [
            (
                libc::M_ARENA_MAX,
                libc::c_int::try_from(arenas).unwrap_or(2),
            ),
            (libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
            (libc::M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
        ];
        for (name, value) in settings {
            // SAFETY: mallopt takes two numbers. If it does not accept them, it returns 0 and
            // changes nothing.
            let _accepted = unsafe { libc::mallopt(name, value) };
        }
    }
}

/// Returns free heap memory to the system, including pages between used ones.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: malloc_trim has no precondition and does not move allocations.
        let _released = unsafe { libc::malloc_trim(0) };
    }
}

/// Returns free heap memory and the resident pages of the program's file to the system. Call this
/// only after the start: it walks the whole heap, and code that runs again must be read again.
pub fn release_unused_memory() {
    trim();
    // Without /proc, nothing is released.
    let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (start, length) in unchanged_file_mappings(&mappings) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: the mapping is read-only, and all its pages are unchanged pages of a file, so a
        // page that is accessed again is read from the file with the same contents. No thread
        // unmaps such a file in the meantime: the store's mappings are writable or shared.
        let _released = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    }
}

/// Returns the address and size of mapped parts of files, mostly code, that the process can't
/// change and has not changed.
fn unchanged_file_mappings(mappings: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let (mut of_file, mut is_clean) = (None, false);
    for line in mappings.lines() {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            [range, flags, _, _, _, ref path @ ..] if range.contains('-') => {
                let path = path.first().copied().unwrap_or_default();
                let is_fixed =
                    path.starts_with('/') && flags.starts_with("r-") && flags.ends_with('p');
                is_clean = false;
                of_file = range_of(range).filter(|_| is_fixed);
            }
            // Pages that the loader has changed before it made them read-only are anonymous.
            ["Anonymous:", size, "kB"] => is_clean = size == "0",
            // Changed pages may have been swapped out.
            ["Swap:", "0", "kB"] if is_clean => found.extend(of_file.take()),
            _ => {}
        }
    }
    found
}

fn range_of(text: &str) -> Option<(usize, usize)> {
    let (start, end) = text.split_once('-')?;
    let start = usize::from_str_radix(start, 16).ok()?;
    Some((
        start,
        usize::from_str_radix(end, 16).ok()?.checked_sub(start)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_that_the_process_has_changed_or_may_change_are_kept() {
        let swapped = |range: &str, flags: &str, path: &str, anonymous: u32, swap: u32| {
            format!(
                "{range} {flags} 00002000 fe:00 247030   {path}\nSize: 20 kB\nAnonymous: {anonymous} kB\nSwap: {swap} kB\n"
            )
        };
        let mapping = |range: &str, flags: &str, path: &str, anonymous| {
            swapped(range, flags, path, anonymous, 0)
        };
        let code = mapping("1000-3000", "r-xp", "/usr/bin/hyprbox", 0);
        let others = [
            mapping("3000-4000", "r--p", "/usr/bin/hyprbox", 4),
            mapping("8000-9000", "---p", "", 0),
            swapped("9000-a000", "r--p", "/lib/libgcc_s.so.1", 0, 4),
            mapping("4000-5000", "rw-p", "/usr/bin/hyprbox", 0),
            mapping("5000-6000", "r--s", "/var/lib/hyprbox/hyprbox.db-shm", 0),
            mapping("6000-7000", "r-xp", "[vdso]", 0),
            mapping("7000-8000", "rw-p", "", 0),
        ];
        assert_eq!(
            unchanged_file_mappings(&(others.concat() + &code)),
            [(0x1000, 0x2000)]
        );
        assert!(unchanged_file_mappings("no\nmappings 1 2 3 4\n-").is_empty());
    }

    /// The loader writes the addresses of these strings.
    static RELOCATED: [&str; 2] = ["one", "two"];

    #[test]
    fn the_program_still_runs_after_its_pages_were_released() {
        let mappings = std::fs::read_to_string("/proc/self/smaps").expect("Linux");
        assert!(!unchanged_file_mappings(&mappings).is_empty());
        release_unused_memory();
        assert_eq!(std::hint::black_box(&RELOCATED).concat(), "onetwo");
        assert_eq!(format!("{:?}", "after".to_uppercase()), "\"AFTER\"");
    }
}
