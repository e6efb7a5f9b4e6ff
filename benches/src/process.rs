//! Resources that a process uses, from /proc.

use anyhow::Context;

/// Resident memory in kilobytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) now: u64,
    pub(crate) peak: u64,
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .context("the field is missing")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory {
        now: field("VmRSS:")?,
        peak: field("VmHWM:")?,
    })
}

/// Returns the resident memory that no other process shares, in kilobytes.
pub(crate) fn private_kib(pid: u32) -> anyhow::Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let sizes = maps.lines().filter(|line| line.starts_with("Private_"));
    let size = |line: &str| -> anyhow::Result<u64> {
        let size = line.split_whitespace().nth(1).context("no size")?;
        Ok(size.parse()?)
    };
    sizes.map(size).sum()
}

/// Returns the processor time used so far in seconds, including ended threads.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    let clock = nix::time::clock_getcpuclockid(pid)?;
    let spent = std::time::Duration::from(nix::time::clock_gettime(clock)?);
    Ok(spent.as_secs_f64())
}

/// Returns the bytes written to disk.
pub(crate) fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// Returns the running child processes.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// Raises the limit of open files for this process and its children to the maximum, and returns it.
pub(crate) fn raise_open_files() -> anyhow::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
