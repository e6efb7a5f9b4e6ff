//! Finds the processes of a job in /proc, and ends them.
//!
//! The supervisor is a subreaper, so all of a job's processes stay its descendants, whatever system
//! calls they make. A cgroup for each job would find the same processes, but moving a process into
//! a cgroup takes 7 to 16 ms (measured on Linux 6.18, which waits for all cores): several times as
//! long as a whole short job.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::proc_stat::Process;

/// How long to wait for killed processes: one that waits for a disk or a dead network share may
/// never end.
const KILL_LIMIT: Duration = Duration::from_secs(5);

/// Pause between two passes over the processes.
pub(super) const BETWEEN_PASSES: Duration = Duration::from_millis(2);

/// Stands for a process that /proc hides.
fn hidden(pid: i32, parent: i32) -> Process {
    Process {
        pid,
        parent,
        group: 0,
        name: "a hidden process".to_owned(),
        is_zombie: false,
    }
}

/// Returns every descendant of this process, parents first. No process of a job can escape by
/// `setsid`, a double fork or anything else, because this process is a subreaper.
pub(super) fn descendants() -> Vec<Process> {
    let own = std::process::id().cast_signed();
    let mut all = all();
    // With the mount option `hidepid`, /proc hides children of another user and those that can't be
    // traced. The kernel's list of this process's own children still contains them.
    let known: HashSet<i32> = all.iter().map(|process| process.pid).collect();
    let unknown = own_children()
        .into_iter()
        .filter(|pid| !known.contains(pid));
    all.extend(unknown.map(|pid| Process::read(pid).unwrap_or_else(|| hidden(pid, own))));
    below(own, all)
}

/// Returns the pids of this process's children, including zombies; empty if the kernel has no such
/// list.
fn own_children() -> Vec<i32> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pids = list.split_whitespace();
    pids.filter_map(|pid| pid.parse().ok()).collect()
}

/// Which of a script's processes may outlive it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    Nothing,
    /// Those that were started with [`MARK`], and their descendants.
    Marked,
    Everything,
}

/// The processes that outlived a script. Each list is sorted by pid.
#[derive(Debug, Default)]
pub(super) struct Leftovers {
    pub(super) ended: Vec<Process>,
    pub(super) kept: Vec<Process>,
    /// Processes that can't be killed: they belong to another user, or are stuck in the kernel.
    pub(super) survivors: Vec<Process>,
}

/// Kills all descendants of this process except those to `keep`, until no others are left. Calls
/// `reap` before each pass.
pub(super) fn end_descendants(keep: Keep, mut reap: impl FnMut()) -> Leftovers {
    let deadline = Instant::now() + KILL_LIMIT;
    let mut ended = BTreeMap::new();
    loop {
        reap();
        let (kept, left) = split(keep, descendants(), is_marked);
        let mut can_end = false;
        for process in &left {
            let killed = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            if killed != Err(Errno::EPERM) {
                can_end = true;
                ended.insert(process.pid, process.clone());
            }
        }
        if !can_end || Instant::now() >= deadline {
            for process in &left {
                ended.remove(&process.pid);
            }
            return Leftovers {
                ended: ended.into_values().collect(),
                kept: by_pid(kept),
                survivors: by_pid(left),
            };
        }
        std::thread::sleep(BETWEEN_PASSES);
    }
}

fn by_pid(mut processes: Vec<Process>) -> Vec<Process> {
    processes.sort_by_key(|process| process.pid);
    processes
}

/// Splits processes into those to keep and those to end. Parents must come before their children.
fn split(
    keep: Keep,
    processes: Vec<Process>,
    is_marked: impl Fn(i32) -> bool,
) -> (Vec<Process>, Vec<Process>) {
    match keep {
        Keep::Nothing => (Vec::new(), processes),
        Keep::Everything => (processes, Vec::new()),
        Keep::Marked => {
            let mut kept = HashSet::new();
            processes.into_iter().partition(|process| {
                let is_kept = kept.contains(&process.parent) || is_marked(process.pid);
                is_kept && kept.insert(process.pid)
            })
        }
    }
}

/// In the environment of a process that may outlive its script.
const MARK: &str = "HYPRBOX_KEEP=1";

fn is_marked(pid: i32) -> bool {
    has_in_environment(pid, MARK)
}

/// Returns false if the environment can't be read.
fn has_in_environment(pid: i32, variable: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/environ"))
        .is_ok_and(|e| e.split(|b| *b == 0).any(|v| v == variable.as_bytes()))
}

/// Kills what is left of a job whose supervisor was killed. The job's processes are no longer that
/// supervisor's descendants, so they are found by `HYPRBOX_JOB_ID=<id>` in their environment. Keeps
/// those that were started with [`MARK`], and their descendants.
pub(crate) fn end_processes_of(job_id: &str) {
    let mark = format!("HYPRBOX_JOB_ID={job_id}");
    let deadline = Instant::now() + KILL_LIMIT;
    loop {
        let mut any_left = false;
        let all = all();
        let mut kept = HashSet::new();
        for process in all.iter().filter(|process| is_marked(process.pid)) {
            kept.insert(process.pid);
            let descendants = below(process.pid, all.clone());
            kept.extend(descendants.into_iter().map(|process| process.pid));
        }
        for process in all
            .iter()
            .filter(|p| !p.is_zombie && !kept.contains(&p.pid))
        {
            if has_in_environment(process.pid, &mark) {
                any_left = true;
                let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
            }
        }
        if !any_left || Instant::now() >= deadline {
            return;
        }
        std::thread::sleep(BETWEEN_PASSES);
    }
}

/// Returns the children of `parent` that have ended and were not reaped.
pub(crate) fn zombie_children(parent: i32) -> Vec<i32> {
    let mut processes = all();
    processes.retain(|process| process.is_zombie && process.parent == parent);
    processes.iter().map(|process| process.pid).collect()
}

/// Returns all processes that this user can see.
fn all() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name();
            Process::read(name.to_str()?.parse().ok()?)
        })
        .collect()
}

/// Returns the living descendants of `root` among `processes`.
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
            if !process.is_zombie {
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
    fn descendants_of_a_marked_process_are_kept() {
        let tree = || {
            [(10, 2), (11, 10), (12, 11), (20, 2), (21, 20)].map(|(pid, parent)| Process {
                pid,
                parent,
                group: 1,
                name: String::new(),
                is_zombie: false,
            })
        };
        let kept = |keep| -> Vec<i32> {
            let (kept, _) = split(keep, tree().to_vec(), |pid| pid == 11);
            kept.into_iter().map(|process| process.pid).collect()
        };
        assert_eq!(kept(Keep::Marked), [11, 12]);
        assert_eq!(kept(Keep::Nothing), [0; 0]);
        assert_eq!(kept(Keep::Everything), [10, 11, 12, 20, 21]);
    }

    #[test]
    fn only_living_descendants_count() {
        let process = |pid, parent, zombie| Process {
            pid,
            parent,
            group: 1,
            name: String::new(),
            is_zombie: zombie,
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
