//! The agent that runs on this machine, as another process of the same program sees it: who holds
//! the state folder, from which file it was started, and what will start it again.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the kernel adds to the name of a file that is gone.
const GONE: &[u8] = b" (deleted)";
const LOCKS: &str = "/proc/locks";

/// A running agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// Its process.
    pub(crate) pid: i32,
}

/// What starts the agent again after it has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Manager {
    /// A systemd unit.
    Systemd(String),
    /// An OpenRC service under supervise-daemon.
    OpenRc(String),
    /// Nothing that is known.
    Unknown,
}

impl Running {
    /// The agent that holds the state folder; none where nobody does, or it can't be seen.
    pub(crate) fn find(state_dir: &Path) -> Option<Self> {
        let lock = state_dir.join("agent.lock").metadata().ok()?;
        let locks = std::fs::read_to_string(LOCKS).ok()?;
        holders(&locks, lock.ino())
            .map(|pid| Self { pid })
            .find(|running| running.words().get(1).is_some_and(|word| word == "run"))
    }

    /// The file that it was started from, or what now has its name.
    pub(crate) fn program(&self) -> io::Result<PathBuf> {
        let path = match std::fs::read_link(self.at("exe")) {
            // It is private, and a container may forbid even root to look into it: then this is the
            // same program.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => std::env::current_exe(),
            path => path,
        }?;
        let bytes = path.as_os_str().as_bytes();
        let bytes = bytes.strip_suffix(GONE).unwrap_or(bytes);
        Ok(PathBuf::from(OsStr::from_bytes(bytes)))
    }

    /// Whether it runs this very file, and not one that had its name before.
    pub(crate) fn runs(&self, file: &Metadata) -> bool {
        let own = std::fs::metadata(self.at("exe"));
        own.is_ok_and(|own| (own.dev(), own.ino()) == (file.dev(), file.ino()))
    }

    /// Its environment as it was started; empty where it is not ours to read.
    pub(crate) fn environment(&self) -> HashMap<String, String> {
        let text = std::fs::read(self.at("environ")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    /// What will start it again.
    pub(crate) fn manager(&self) -> Manager {
        let cgroup = std::fs::read_to_string(self.at("cgroup")).unwrap_or_default();
        if let Some(unit) = unit_of(&cgroup).filter(|unit| main_pid(unit) == Some(self.pid)) {
            return Manager::Systemd(unit.to_owned());
        }
        parent_of(self.pid)
            .and_then(|parent| openrc_service(&Self { pid: parent }.words()))
            .map_or(Manager::Unknown, Manager::OpenRc)
    }

    fn at(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// The words that it was started with.
    fn words(&self) -> Vec<String> {
        let text = std::fs::read(self.at("cmdline")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.trim_end_matches('\0')
            .split('\0')
            .map(str::to_owned)
            .collect()
    }
}

/// The state folder of the agent whose job this process is part of.
pub(crate) fn state_dir_of_this_job() -> Option<PathBuf> {
    let mut pid = nix::unistd::getppid().as_raw();
    while pid > 1 {
        let words = Running { pid }.words();
        if let [_, command, dir] = words.as_slice()
            && command == "supervise"
        {
            // <state folder>/jobs/<id>
            return Path::new(dir).ancestors().nth(2).map(Path::to_owned);
        }
        pid = parent_of(pid)?;
    }
    None
}

/// Processes that hold a lock on the whole of the file with that inode. Its device is not looked
/// at: of some file systems the kernel names another one here than to who asks for the file.
fn holders(locks: &str, inode: u64) -> impl Iterator<Item = i32> {
    locks.lines().filter_map(move |line| {
        // 12: FLOCK ADVISORY WRITE 4711 08:01:1234567 0 EOF; one that waits has a -> after the
        // number.
        let mut words = line.split_whitespace().skip(1);
        if words.next() != Some("FLOCK") {
            return None;
        }
        let (pid, file) = (words.nth(2)?, words.next()?);
        let named = file.rsplit(':').next()?.parse::<u64>();
        (named == Ok(inode)).then(|| pid.parse().ok()).flatten()
    })
}

/// The service unit whose control group this is.
fn unit_of(cgroup: &str) -> Option<&str> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        let unit = path.rsplit('/').next()?;
        unit.ends_with(".service").then_some(unit)
    })
}

/// A unit's control group holds more than its agent: the scripts, too, and what they start.
fn main_pid(unit: &str) -> Option<i32> {
    let asked = Command::new("systemctl")
        .args(["show", "--property=MainPID", "--value", unit])
        .output()
        .ok()?;
    String::from_utf8_lossy(&asked.stdout).trim().parse().ok()
}

/// The service that this supervise-daemon keeps running: the word after its own name.
fn openrc_service(words: &[String]) -> Option<String> {
    let own = words.iter().take(2).position(|word| {
        let name = Path::new(word).file_name();
        name == Some(OsStr::new("supervise-daemon"))
    })?;
    let service = words.get(own + 1)?;
    (!service.starts_with('-')).then(|| service.clone())
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its second word is the program's name, which may hold anything, in brackets.
    stat.rsplit(')')
        .next()?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_holds_the_lock_is_read_from_the_kernels_list() {
        let locks = "1: POSIX  ADVISORY  WRITE 10 08:01:77 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 11 08:01:77 0 EOF\n\
                     2: -> FLOCK  ADVISORY  WRITE 12 08:01:77 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 13 00:2a:770 0 EOF\nnonsense\n";
        assert_eq!(holders(locks, 77).collect::<Vec<_>>(), [11]);
        assert_eq!(holders(locks, 7).count(), 0);
    }

    #[test]
    fn a_unit_is_known_by_the_last_part_of_the_group() {
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
    fn an_openrc_service_is_named_by_its_supervisor() {
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
    fn the_parent_of_a_process_is_found() {
        let own = nix::unistd::getpid().as_raw();
        assert_eq!(parent_of(own), Some(nix::unistd::getppid().as_raw()));
        assert_eq!(parent_of(-1), None);
        assert_eq!(state_dir_of_this_job(), None);
    }
}
