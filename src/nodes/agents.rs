//! The agents that this server ships: one static program and one Debian package per architecture,
//! in one directory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use hyprbox_protocol::{AGENT_VERSION_MARK, ShippedAgent, ShippedFile, Version, to_hex};
use memchr::memmem;

use crate::crypto::Sha256;
use crate::sync::lock;

/// The package's directory for agents.
const PACKAGED: &str = "/usr/share/hyprbox/agents";
/// Prefix of each file name, followed by the output of `uname -m`, and by `.deb` for a package.
pub(super) const PREFIX: &str = "hyprbox-agent-";
/// Bytes of a file that are read at once.
const PIECE: usize = 64 * 1024;
/// The mark, any version and the end of the line are shorter than this, in bytes.
const MARK_AND_VERSION: usize = 128;

/// Identity of a file: device, inode, length and modification time.
type Signature = (u64, u64, u64, i64, i64);

/// The parts of a file's content that the server needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentFile {
    signature: Signature,
    sha256: String,
    /// The version in the program.
    version: Option<String>,
}

impl AgentFile {
    fn shipped(&self) -> ShippedFile {
        ShippedFile {
            sha256: self.sha256.clone(),
            bytes: self.signature.2,
        }
    }
}

/// The agents, with a cache of their files' contents.
pub(crate) struct Agents {
    dir: Option<PathBuf>,
    files: Mutex<BTreeMap<PathBuf, AgentFile>>,
}

impl Agents {
    /// Uses `dir`, or the package's directory, or the directory of this program.
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        let packaged = Some(PathBuf::from(PACKAGED)).filter(|dir| dir.is_dir());
        Self {
            dir: dir.or(packaged),
            files: Mutex::default(),
        }
    }

    /// The directory that the operator may put agents into.
    pub(super) fn dir(&self) -> &Path {
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

    /// The Debian package of the agent for a machine.
    pub(super) fn find_package(&self, machine: &str) -> Option<PathBuf> {
        let dir = self.dir.as_deref().filter(|_| is_machine(machine))?;
        let path = dir.join(format!("{PREFIX}{machine}.deb"));
        path.is_file().then_some(path)
    }

    /// Each machine's name with the SHA-256 of its agent.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        let programs = self.programs();
        programs
            .map(|(machine, file)| (machine, file.sha256))
            .collect()
    }

    /// The version that every node can get from here: the oldest of all architectures. Reads
    /// changed files.
    pub(crate) fn version(&self) -> Option<String> {
        let versions = self.programs().map(|(_, file)| file.version);
        let mut versions: Vec<String> = versions.collect::<Option<_>>()?;
        versions.sort_by(|one, other| Version::parse(one).cmp(&Version::parse(other)));
        versions.into_iter().next()
    }

    /// Describes the agent for a machine, so that a node can fetch it.
    pub(super) fn describe(&self, machine: &str) -> io::Result<Option<ShippedAgent>> {
        let Some(program) = self.find(machine) else {
            return Ok(None);
        };
        let program = self.read(&program)?;
        let package = self.find_package(machine);
        let package = package.map(|path| self.read(&path)).transpose()?;
        Ok(Some(ShippedAgent {
            machine: machine.to_owned(),
            program: program.shipped(),
            version: program.version,
            package: package.map(|package| package.shipped()),
        }))
    }

    /// The SHA-256 of a file, in hex.
    pub(super) fn sha256(&self, path: &Path) -> io::Result<String> {
        Ok(self.read(path)?.sha256)
    }

    fn programs(&self) -> impl Iterator<Item = (String, AgentFile)> {
        let machines = match &self.dir {
            Some(dir) => names(dir),
            None => vec![std::env::consts::ARCH.to_owned()],
        };
        machines.into_iter().filter_map(|machine| {
            let path = self.find(&machine)?;
            match self.read(&path) {
                Ok(file) => Some((machine, file)),
                Err(error) => {
                    tracing::warn!(%error, file = %path.display(), "can't read an agent, so it is not offered");
                    None
                }
            }
        })
    }

    /// Reads a file, unless it is cached and has not changed.
    fn read(&self, path: &Path) -> io::Result<AgentFile> {
        let about = path.metadata()?;
        let signature = (
            about.dev(),
            about.ino(),
            about.len(),
            about.mtime(),
            about.mtime_nsec(),
        );
        let mut files = lock(&self.files);
        if let Some(file) = files.get(path)
            && file.signature == signature
        {
            return Ok(file.clone());
        }
        let (sha256, version) = read_through(File::open(path)?)?;
        let file = AgentFile {
            signature,
            sha256,
            version,
        };
        files.insert(path.to_owned(), file.clone());
        Ok(file)
    }
}

/// Reads a file to its end. Returns its SHA-256, and the version after the mark in it.
fn read_through(mut file: impl Read) -> io::Result<(String, Option<String>)> {
    let mark = memmem::Finder::new(AGENT_VERSION_MARK);
    let mut digest = Sha256::default();
    let mut version = None;
    // Begins with the end of the previous piece, because a mark may cross the edge.
    let mut piece = vec![0; MARK_AND_VERSION + PIECE];
    let mut kept = 0;
    loop {
        let count = file.read(&mut piece[kept..])?;
        if count == 0 {
            break;
        }
        digest.update(&piece[kept..kept + count]);
        let filled = kept + count;
        if version.is_none() {
            version = mark
                .find_iter(&piece[..filled])
                .find_map(|at| version_at(&piece[at + AGENT_VERSION_MARK.len()..filled]));
        }
        kept = filled.min(MARK_AND_VERSION);
        piece.copy_within(filled - kept..filled, 0);
    }
    Ok((to_hex(digest.finish()), version))
}

/// The version at the beginning of these bytes, up to the end of the line.
fn version_at(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    Version::parse(text).map(|_| text.to_owned())
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

/// Whether this can be the output of `uname -m`. Such a name is safe in a path and in a shell.
fn is_machine(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=32).contains(&name.len()) && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_named_after_a_machine_are_offered() {
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
    fn the_version_is_found_at_any_offset() {
        let marked = |version: &str| format!("{AGENT_VERSION_MARK}{version}\n").into_bytes();
        let read = |bytes: &[u8]| read_through(bytes).expect("reads");
        for before in [
            0,
            1,
            PIECE - 30,
            PIECE - 1,
            PIECE,
            PIECE + 100,
            3 * PIECE + 77,
        ] {
            // First a mark without a version, and bytes that begin like the mark.
            let mut bytes = marked("x");
            bytes.resize(bytes.len() + before, b'h');
            bytes.extend(marked("1.2.3-rc.4"));
            bytes.resize(bytes.len() + PIECE / 2, 0);
            let (digest, version) = read(&bytes);
            assert_eq!(version.as_deref(), Some("1.2.3-rc.4"), "{before}");
            assert_eq!(digest, to_hex(crate::crypto::sha256(&bytes)));
        }
        for odd in [
            &b""[..],
            b"hyprbox-agent-version=1.2.3",
            &marked("1.2"),
            &marked("\u{1}"),
        ] {
            assert_eq!(read(odd).1, None);
        }
    }

    #[test]
    fn the_version_for_every_machine_is_the_oldest() {
        let folder = tempfile::tempdir().expect("folder");
        let agents = Agents::new(Some(folder.path().to_owned()));
        assert_eq!(agents.version(), None);
        let put = |machine: &str, text: &str| {
            std::fs::write(folder.path().join(format!("{PREFIX}{machine}")), text).expect("writes");
        };
        put("x86_64", &format!("{AGENT_VERSION_MARK}0.10.0\n"));
        assert_eq!(agents.version().as_deref(), Some("0.10.0"));
        put("aarch64", &format!("{AGENT_VERSION_MARK}0.9.0\n"));
        assert_eq!(agents.version().as_deref(), Some("0.9.0"));
        put("riscv64", "none");
        assert_eq!(agents.version(), None);
    }

    #[test]
    fn a_replaced_file_is_read_again() {
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
