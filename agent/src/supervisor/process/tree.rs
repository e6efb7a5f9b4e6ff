//! The processes of a job, found in /proc, and their end.
//!
//! The supervisor is a subreaper, so that all of a job's processes stay its descendants, whatever they call. A cgroup for
//! each job would find the same ones, but to move a process into one costs 7 to 16 ms (measured on Linux 6.18: the kernel
//! waits for all of its cores), several times what a short job takes in all.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long killed processes get to go: one that waits for a disk or a dead network share may not.
const GOING: Duration = Duration::from_secs(5);

/// A process as /proc/<pid>/stat has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) name: String,
    zombie: bool,
}

/// Every process that descends from this one. As this one is a subreaper, none of a job's processes gets out of
/// that, by `setsid`, a double fork or anything else.
pub(super) fn descendants() -> Vec<Process> {
    below(std::process::id().cast_signed(), all())
}

/// Kills all that descends from this process until nothing is left. Gives how many were ended, and those that
/// survive even that. `reap` is called between the passes, to clear what has died.
pub(super) fn end_descendants(mut reap: impl FnMut()) -> (usize, Vec<Process>) {
    let deadline = Instant::now() + GOING;
    let mut ended = HashSet::new();
    loop {
        let left = descendants();
        if left.is_empty() || Instant::now() >= deadline {
            return (ended.len(), left);
        }
        for process in left {
            ended.insert(process.pid);
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(2));
        reap();
    }
}

/// Kills the processes that have `HYPRBOX_JOB_ID=<id>` in their environment: what is left of a job whose supervisor
/// was killed, when nobody can tell any more what descended from it.
pub(crate) fn end_marked(job_id: &str) {
    let mark = format!("HYPRBOX_JOB_ID={job_id}");
    let deadline = Instant::now() + GOING;
    loop {
        let mut found = false;
        for process in all().into_iter().filter(|p| !p.zombie) {
            let environ = std::fs::read(format!("/proc/{}/environ", process.pid));
            if environ.is_ok_and(|e| e.split(|b| *b == 0).any(|v| v == mark.as_bytes())) {
                found = true;
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
        }
        if !found || Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// All processes of this machine that can be seen.
fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            let pid: i32 = name.to_str()?.parse().ok()?;
            let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
            parse_stat(pid, &String::from_utf8_lossy(&stat))
        })
        .collect()
}

/// `pid (name) state ppid pgrp …`; the name may hold anything, brackets and spaces too.
fn parse_stat(pid: i32, stat: &str) -> Option<Process> {
    let (before, after) = stat.rsplit_once(')')?;
    let (_, name) = before.split_once('(')?;
    let mut fields = after.split_whitespace();
    let state = fields.next()?;
    Some(Process {
        pid,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        name: name.to_owned(),
        zombie: matches!(state, "Z" | "X"),
    })
}

/// Those of `processes` that descend from `root`, without the dead.
fn below(root: i32, processes: Vec<Process>) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process);
    }
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            parents.push(process.pid);
            if !process.zombie {
                found.push(process);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse_the_fields() {
        let process = parse_stat(7, "7 (a) (b c)) S 3 5 5 0 -1").expect("parses");
        assert_eq!(process.parent, 3);
        assert_eq!(process.group, 5);
        assert_eq!(process.name, "a) (b c)");
        assert!(!process.zombie);
        assert_eq!(parse_stat(7, "garbage"), None);
    }

    #[test]
    fn only_living_descendants_count() {
        let process = |pid, parent, zombie| Process {
            pid,
            parent,
            group: 1,
            name: String::new(),
            zombie,
        };
        let all = vec![
            process(2, 1, false),
            process(10, 2, true),
            process(11, 10, false),
            process(12, 11, false),
            process(20, 1, false),
        ];
        let mut found: Vec<i32> = below(2, all).into_iter().map(|p| p.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [11, 12]);
    }
}
