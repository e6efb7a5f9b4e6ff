//! How memory is kept small in a server that idles for months: what a start, a sign-in or a large
//! body has needed for a moment is given back, by the C library's allocator, and of the program's
//! own file.

#![expect(
    unsafe_code,
    reason = "glibc's two calls take plain numbers, and any of them is sound; one names what the system says of this process"
)]

/// Allocations from this size on are mappings of their own, and given back as soon as they are
/// freed. By itself glibc would raise this to the largest one that was ever freed: after two
/// sign-ins, whose hashes take 19 MiB each, to that.
#[cfg(target_env = "gnu")]
const OF_THEIR_OWN_BYTES: libc::c_int = 1024 * 1024;
/// Free bytes at an arena's end that are given back.
#[cfg(target_env = "gnu")]
const GIVEN_BACK_BYTES: libc::c_int = 256 * 1024;

/// To be called once, before any thread is started.
pub fn be_frugal() {
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
            // SAFETY: it reads two numbers, and answers 0 to those that it does not take; then all
            // stays as it was.
            let _taken = unsafe { libc::mallopt(name, value) };
        }
    }
}

/// Returns free memory to the system, also between what is used.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it has no precondition, and moves nothing that is allocated.
        let _was_any = unsafe { libc::malloc_trim(0) };
    }
}

/// Gives back what is free, between what is used, too, and the code that the start alone has run.
/// It walks through all of the heap, and code that is called again has to be found again: not for
/// every day.
pub fn give_back() {
    trim();
    // Without /proc all stays as it was.
    let mappings = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    for (start, length) in unchanged_parts_of_files(&mappings) {
        let start = std::ptr::without_provenance_mut(start);
        // SAFETY: the mapping can't be written to and has no page but its file's, in memory or
        // swapped out, so that each page that is touched again comes from the file as it was.
        // Nothing unmaps a file meanwhile: the store's are writable or shared.
        let _given_back = unsafe { libc::madvise(start, length, libc::MADV_DONTNEED) };
    }
}

/// Where the process has parts of files, code most of all, that it can't change and has not
/// changed: address and bytes.
fn unchanged_parts_of_files(mappings: &str) -> Vec<(usize, usize)> {
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
            // What the loader wrote there, before it took away the right to, is in no file.
            ["Anonymous:", size, "kB"] => is_clean = size == "0",
            // It may have been swapped out since.
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
    fn what_the_process_changed_or_may_change_is_kept() {
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
            unchanged_parts_of_files(&(others.concat() + &code)),
            [(0x1000, 0x2000)]
        );
        assert!(unchanged_parts_of_files("no\nmappings 1 2 3 4\n-").is_empty());
    }

    /// The loader writes where they are, each time anew.
    static RELOCATED: [&str; 2] = ["one", "two"];

    #[test]
    fn the_program_goes_on_without_what_was_given_back() {
        let mappings = std::fs::read_to_string("/proc/self/smaps").expect("Linux");
        assert!(!unchanged_parts_of_files(&mappings).is_empty());
        give_back();
        assert_eq!(std::hint::black_box(&RELOCATED).concat(), "onetwo");
        assert_eq!(format!("{:?}", "after".to_uppercase()), "\"AFTER\"");
    }
}
