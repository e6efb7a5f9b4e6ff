//! The agent that is running on this machine, seen from another process of the same program: its
//! pid, the file from which it was started, and what will restart it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::proc_stat::Process;

/// The kernel adds this to the name of an executable that was deleted.
const DELETED: &[u8] = b" (deleted)";
const LOCKS: &str = "/proc/locks";

/// A running agent process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AgentProcess {
    pub(crate) pid: i32,
}

/// What restarts the agent after it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manager {
    /// A systemd unit.
    Systemd(String),
    /// An OpenRC service under supervise-daemon.
    OpenRc(String),
    /// Nothing that this program recognises.
    Unknown,
}

impl AgentProcess {
    /// Finds the agent that holds the lock on the state folder. Returns `None` if none does, or if
    /// this user may not see it.
    pub(crate) fn find(state_dir: &Path) -> Option<Self> {
        let lock = state_dir.join("agent.lock").metadata().ok()?;
        let locks = std::fs::read_to_string(LOCKS).ok()?;
        holders(&locks, lock.ino())
            .map(|pid| Self { pid })
            .find(|process| process.arguments().get(1).is_some_and(|a| a == "run"))
    }

    /// Returns the path of the program that the agent was started from. By now, a different file
    /// may be at that path.
    pub(crate) fn program(&self) -> io::Result<PathBuf> {
        let path = match std::fs::read_link(self.proc_file("exe")) {
            // The process is not dumpable, and a container may forbid even root to read the link.
            // Then this process is the same program.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => std::env::current_exe(),
            path => path,
        }?;
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(DELETED).unwrap_or(bytes);
        Ok(PathBuf::from(OsStr::from_bytes(bytes)))
    }

    /// Whether the agent runs this file, and not an earlier file of the same name.
    pub(crate) fn runs(&self, file: &Metadata) -> bool {
        let own = std::fs::metadata(self.proc_file("exe"));
        own.is_ok_and(|own| (own.dev(), own.ino()) == (file.dev(), file.ino()))
    }

    /// Returns the environment with which the agent was started; empty if this user may not read
    /// it.
    pub(crate) fn environment(&self) -> HashMap<String, String> {
        let text = std::fs::read(self.proc_file("environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// Whether a flag of the agent names a list of signers.
    pub(crate) fn names_signers(&self) -> bool {
        let mut arguments = self.arguments().into_iter();
        arguments.any(|argument| argument.starts_with("--signers"))
    }

    /// Finds what will restart the agent.
    pub(crate) fn manager(&self) -> Manager {
        let cgroup = std::fs::read_to_string(self.proc_file("cgroup")).unwrap_or_default();
        if let Some(unit) = unit_of(&cgroup).filter(|unit| main_pid(unit) == Some(self.pid)) {
            return Manager::Systemd(unit.to_owned());
        }
        parent_of(self.pid)
            .and_then(|parent| openrc_service(&Self { pid: parent }.arguments()))
            .map_or(Manager::Unknown, Manager::OpenRc)
    }

    fn proc_file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    fn arguments(&self) -> Vec<String> {
        let text = std::fs::read(self.proc_file("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.trim_end_matches('\0')
            .split('\0')
            .map(str::to_owned)
            .collect()
    }
}

/// Whether this process is part of a job. A script may have moved it away from its supervisor.
pub(crate) fn is_in_job() -> bool {
    std::env::var_os("HYPRBOX_JOB_ID").is_some() || state_dir_of_this_job().is_some()
}

/// Finds the state folder of the agent whose job this process is part of.
pub(crate) fn state_dir_of_this_job() -> Option<PathBuf> {
    let mut pid = nix::unistd::getppid().as_raw();
    while pid > 1 {
        let arguments = AgentProcess { pid }.arguments();
        if let [_, command, dir] = arguments.as_slice()
            && command == "supervise"
        {
            // <state folder>/jobs/<id>
            return Path::new(dir).ancestors().nth(2).map(Path::to_owned);
        }
        pid = parent_of(pid)?;
    }
    None
}

/// Returns the pids of the processes that hold a lock on the file with this inode. The device is
/// ignored, because for some file systems the kernel's list has another device than `stat`.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = i32> {
    locks.lines().filter_map(move |line| {
        // `12: FLOCK ADVISORY WRITE 4711 08:01:1234567 0 EOF`; a process that waits for the lock
        // has `->` after the number.
        let mut fields = line.split_whitespace().skip(1);
        if fields.next() != Some("FLOCK") {
            return None;
        }
        let (pid, file) = (fields.nth(2)?, fields.next()?);
        let locked_inode = file.rsplit(':').next()?.parse::<u64>();
        (locked_inode == Ok(inode))
            .then(|| pid.parse().ok())
            .flatten()
    })
}

/// Returns the service unit that owns this control group.
fn unit_of(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let unit = path.rsplit('/').next()?;
        unit.ends_with(".service").then_some(unit)
    })
}

/// Returns the unit's main process. Its control group also holds the scripts and what they start.
fn main_pid(unit: &str) -> Option<i32> {
    let output = Command::new("systemctl")
        .args(["show", "--property=MainPID", "--value", unit])
        .output()
        .ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}

/// Returns the service that a supervise-daemon with these arguments keeps running. The service's
/// name follows the program's name.
fn openrc_service(arguments: &[String]) -> Option<String> {
    let daemon = arguments.iter().take(2).position(|argument| {
        let name = Path::new(argument).file_name();
        name == Some(OsStr::new("supervise-daemon"))
    })?;
    let service = arguments.get(daemon + 1)?;
    (!service.starts_with('-')).then(|| service.clone())
}

fn parent_of(pid: i32) -> Option<i32> {
    Process::read(pid).map(|process| process.parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_holders_are_read_from_proc_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 11 08:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 08:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 00:2a:770 0 EOF\nnonsense\n";
        assert_eq!(holders(locks, 77).collect::<Vec<_>>(), [11]);
        assert_eq!(holders(locks, 7).count(), 0);
    }

    #[test]
    fn a_unit_is_the_last_part_of_its_control_group() {
        let unit = "hyprbox-agent.service";
        assert_eq!(
            unit_of("0::/system.slice/hyprbox-agent.service\n"),
            Some(unit)
        );
        let old = "2:cpu:/\n1:name=systemd:/system.slice/hyprbox-agent.service\n0::/\n";
        assert_eq!(unit_of(old), Some(unit));
        for other in [
            "0::/user.slice/user-0.slice/session-1.scope\n",
            "0::/user.slice/user@0.service/app.slice/tmux.scope\n",
            "0::/\n",
            "",
        ] {
            assert_eq!(unit_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_openrc_service_is_named_by_its_supervise_daemon() {
        let words = |text: &str| -> Vec<String> { text.split(' ').map(str::to_owned).collect() };
        let of = |text: &str| openrc_service(&words(text));
        let real = "supervise-daemon hyprbox-agent --start /usr/local/bin/hyprbox-agent -- run";
        assert_eq!(of(real).as_deref(), Some("hyprbox-agent"));
        assert_eq!(of("/bin/sh /x/supervise-daemon a b").as_deref(), Some("a"));
        assert_eq!(of("supervise-daemon --version"), None);
        assert_eq!(of("sh -c x supervise-daemon y"), None);
        assert_eq!(openrc_service(&[]), None);
    }

    #[test]
    fn a_process_outside_of_a_job_has_no_state_folder() {
        assert_eq!(state_dir_of_this_job(), None);
    }
}
