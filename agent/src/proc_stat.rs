//! Reads /proc/<pid>/stat.

/// A process of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    pub(crate) group: i32,
    pub(crate) name: String,
    pub(crate) is_zombie: bool,
}

/// How many fields are between `pgrp` and `num_threads`.
const FIELDS_AFTER_GROUP: usize = 14;

impl Process {
    /// Returns `None` if the process does not exist, or if this user may not see it.
    pub(crate) fn read(pid: i32) -> Option<Self> {
        let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(&stat))
    }

    /// Parses `pid (name) state ppid pgrp …`. The name may contain brackets and spaces.
    fn parse(pid: i32, stat: &str) -> Option<Self> {
        let (before, after) = stat.rsplit_once(')')?;
        let (_, name) = before.split_once('(')?;
        let mut fields = after.split_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let group = fields.next()?.parse().ok()?;
        // A process whose main thread has ended looks like a zombie while other threads still run.
        let threads: u32 = fields.nth(FIELDS_AFTER_GROUP)?.parse().ok()?;
        Some(Self {
            pid,
            parent,
            group,
            name: name.to_owned(),
            is_zombie: matches!(state, "Z" | "X") && threads <= 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_fields() {
        let rest = "5 0 -1 4194560 1 0 0 0 0 0 0 0 20 0";
        let process = Process::parse(7, &format!("7 (a) (b c)) S 3 5 {rest} 1 0 9"));
        let process = process.expect("parses");
        assert_eq!(process.parent, 3);
        assert_eq!(process.group, 5);
        assert_eq!(process.name, "a) (b c)");
        assert!(!process.is_zombie);
        assert_eq!(Process::parse(7, "garbage"), None);
        let is_zombie = |threads| {
            let stat = format!("7 (x) Z 3 5 {rest} {threads} 0 9");
            Process::parse(7, &stat).expect("parses").is_zombie
        };
        assert!(is_zombie(1));
        assert!(!is_zombie(2), "its other threads still run");
    }

    #[test]
    fn a_process_is_read_with_its_parent() {
        let own = nix::unistd::getpid().as_raw();
        let parent = Process::read(own).map(|process| process.parent);
        assert_eq!(parent, Some(nix::unistd::getppid().as_raw()));
        assert_eq!(Process::read(-1), None);
    }
}
