//! Finds processes in /proc.

use std::path::Path;

/// A process in /proc.
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) command_line: String,
    environment: String,
    dead: bool,
}

/// Returns the living processes with `mark` in their environment or command line.
pub(crate) fn marked(mark: &str) -> Vec<Process> {
    let mut found = all();
    found.retain(|process| {
        !process.dead && (process.environment.contains(mark) || process.command_line.contains(mark))
    });
    found
}

/// Returns the supervisors of the jobs in a state folder.
pub(crate) fn supervisors(state: &Path) -> Vec<i32> {
    let mark = format!("supervise {}/", state.display());
    let mut found = marked(&mark);
    found.retain(|process| process.command_line.contains(&mark) && !is_ahead(process, state));
    found.iter().map(|process| process.pid).collect()
}

/// Whether a supervisor waits for the next job: it has nothing open in the state folder.
fn is_ahead(process: &Process, state: &Path) -> bool {
    let open = std::fs::read_dir(format!("/proc/{}/fd", process.pid));
    let mut links = open.into_iter().flatten().flatten();
    process.command_line.trim_end().ends_with("/jobs/.next")
        && !links.any(|fd| std::fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(state)))
}

/// Returns the peak resident memory of a process in bytes; `None` if it has ended.
pub(crate) fn peak_memory(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn all() -> Vec<Process> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("mounted").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        let read = |file: &str| {
            let bytes = std::fs::read(entry.path().join(file)).unwrap_or_default();
            String::from_utf8_lossy(&bytes).replace('\0', " ")
        };
        let stat = read("stat");
        let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
        found.push(Process {
            pid,
            command_line: read("cmdline"),
            environment: read("environ"),
            dead: state.starts_with(['Z', 'X']),
        });
    }
    found
}
