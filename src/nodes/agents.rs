//! The agents that this server ships: static programs in a folder, one a machine's architecture.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// Where the package puts them.
const PACKAGED: &str = "/usr/share/hyprbox/agents";
/// What each file's name begins with; the rest is what `uname -m` says.
pub(super) const PREFIX: &str = "hyprbox-agent-";

/// A file as it was when its digest was made: device and inode, length, and time of change.
type Seen = (u64, u64, u64, i64, i64);

/// The agents, with the digests that were made of them.
pub(super) struct Agents {
    dir: Option<PathBuf>,
    digests: Mutex<BTreeMap<PathBuf, (Seen, String)>>,
}

impl Agents {
    /// In `dir`; without it where the package puts them, and where there is no package beside this program.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        let packaged = Some(PathBuf::from(PACKAGED)).filter(|dir| dir.is_dir());
        Self {
            dir: dir.or(packaged),
            digests: Mutex::default(),
        }
    }

    /// What the operator may put an agent into.
    pub(super) fn place(&self) -> &Path {
        self.dir.as_deref().unwrap_or(Path::new(PACKAGED))
    }

    /// The agent for a machine.
    pub(super) fn find(&self, machine: &str) -> Option<PathBuf> {
        if !is_machine(machine) {
            return None;
        }
        let path = match &self.dir {
            Some(dir) => dir.join(format!("{PREFIX}{machine}")),
            None if machine == std::env::consts::ARCH => std::env::current_exe()
                .ok()?
                .with_file_name("hyprbox-agent"),
            None => return None,
        };
        path.is_file().then_some(path)
    }

    /// Each machine's name with the SHA-256 of its agent.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let machines = match &self.dir {
            Some(dir) => names(dir),
            None => vec![std::env::consts::ARCH.to_owned()],
        };
        let known = machines.into_iter().filter_map(|machine| {
            let path = self.find(&machine)?;
            match self.sha256(&path) {
                Ok(sha256) => Some((machine, sha256)),
                Err(error) => {
                    tracing::warn!(%error, file = %path.display(), "an agent can't be read, and is not offered");
                    None
                }
            }
        });
        known.collect()
    }

    /// The SHA-256 of an agent, in hex; made anew when the file is another.
    pub(super) fn sha256(&self, path: &Path) -> io::Result<String> {
        let about = path.metadata()?;
        let seen = (
            about.dev(),
            about.ino(),
            about.len(),
            about.mtime(),
            about.mtime_nsec(),
        );
        let mut digests = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, digest)) = digests.get(path)
            && *known == seen
        {
            return Ok(digest.clone());
        }
        let digest = Sha256::digest(std::fs::read(path)?);
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        digests.insert(path.to_owned(), (seen, digest.clone()));
        Ok(digest)
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter_map(|name| name.strip_prefix(PREFIX).map(str::to_owned))
        .filter(|machine| is_machine(machine))
        .collect();
    names.sort();
    names
}

/// Whether it may be what `uname -m` says: nothing that a path or a shell would read otherwise.
fn is_machine(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_offers_what_its_names_say_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        for name in [
            "hyprbox-agent-x86_64",
            "hyprbox-agent-aarch64",
            "hyprbox-agent-x86_64.sig",
            "other",
        ] {
            std::fs::write(folder.path().join(name), name).expect("writes");
        }
        let agents = Agents::new(Some(folder.path().to_owned()));
        let machines: Vec<String> = agents
            .all()
            .into_iter()
            .map(|(machine, _)| machine)
            .collect();
        assert_eq!(machines, ["aarch64", "x86_64"]);
        for odd in ["", "../x86_64", "x86_64.sig", "X86", "armv7l"] {
            assert_eq!(agents.find(odd), None, "{odd}");
        }
    }

    #[test]
    fn another_file_in_its_place_has_another_digest() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("hyprbox-agent-x86_64");
        let agents = Agents::new(Some(folder.path().to_owned()));
        std::fs::write(&path, "one").expect("writes");
        let one = agents.sha256(&path).expect("reads");
        assert_eq!(one, agents.sha256(&path).expect("reads"));
        std::fs::write(folder.path().join("new"), "two").expect("writes");
        std::fs::rename(folder.path().join("new"), &path).expect("renames");
        assert_ne!(one, agents.sha256(&path).expect("reads"));
    }
}
