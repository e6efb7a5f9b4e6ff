//! What a process takes, from /proc.

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
            .context("no such field")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    };
    Ok(Memory {
        now: field("VmRSS:")?,
        peak: field("VmHWM:")?,
    })
}

/// Resident memory that no other process shares, in kilobytes.
pub(crate) fn private_kib(pid: u32) -> anyhow::Result<u64> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let sizes = maps.lines().filter(|line| line.starts_with("Private_"));
    let size = |line: &str| -> anyhow::Result<u64> {
        let size = line.split_whitespace().nth(1).context("no size")?;
        Ok(size.parse()?)
    };
    sizes.map(size).sum()
}

/// Seconds of a core that it has had so far, with the threads that have ended.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let pid = nix::unistd::Pid::from_raw(pid.cast_signed());
    let clock = nix::time::clock_getcpuclockid(pid)?;
    let spent = std::time::Duration::from(nix::time::clock_gettime(clock)?);
    Ok(spent.as_secs_f64())
}

/// Bytes that it has had written to a disk.
pub(crate) fn written_bytes(pid: u32) -> anyhow::Result<u64> {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "))
        .context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// The processes that it has started itself and that still live.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// Lets this process and what it starts have as many open files as it may; gives how many that is.
pub(crate) fn raise_open_files() -> anyhow::Result<u64> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}
