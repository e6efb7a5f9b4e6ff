//! The state folder: one agent at a time, the instance id, and whether it can be written at all.

pub(crate) mod completions;
pub(crate) mod dir_pool;
pub(crate) mod job_dir;
pub(crate) mod start_log;

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::host;
use crate::state::completions::Ended;
use crate::state::dir_pool::Folders;
use crate::state::job_dir::PIPES;
use crate::state::start_log::Starts;
use crate::trusted_dir::{self, Loose, own_file};

/// Bytes that a look at the folder's health writes: what a job's first files take.
const PROBE_BYTES: usize = 64 * 1024;
/// How long an agent that is being replaced may still hold the folder.
const LET_GO: Duration = Duration::from_secs(5);

/// Why the state folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It can't be read or written.
    #[error("state folder: {}: {error}", path.display())]
    Io {
        /// The file or folder at fault.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others can change what is in it.
    #[error("state folder: {0}")]
    Loose(Loose),
    /// A file in it isn't what the agent wrote.
    #[error("state folder: {} is corrupt; move it away to start as a new agent instance", .0.display())]
    Corrupt(PathBuf),
    /// Another agent works with it.
    #[error("state folder: {} is used by another agent; stop that one, or set HYPRBOX_STATE_DIR", .0.display())]
    Taken(PathBuf),
}

impl StateError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |error| Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

/// The state folder, held by this agent.
pub(crate) struct State {
    dir: PathBuf,
    instance: String,
    process: String,
    starts: Starts,
    _lock: Flock<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceFile {
    instance: String,
    machine_id: String,
}

impl State {
    /// Takes the folder, and makes it and the instance id where they are missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        check_folder(dir)?;
        make_dir(dir).map_err(StateError::io(dir))?;
        check_folder(dir)?;
        refuse_loose(dir, check_content(dir))?;
        let path = dir.join("agent.lock");
        let file = own_file()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(StateError::io(&path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| StateError::Taken(dir.to_owned()))?;
        let jobs = dir.join("jobs");
        make_dir(&jobs).map_err(StateError::io(&jobs))?;
        let instance = instance(dir)?;
        let starts = Starts::open(dir).map_err(StateError::io(dir))?;
        let state = Self {
            dir: dir.to_owned(),
            instance,
            process: process(dir).map_err(StateError::io(dir))?,
            starts,
            _lock: lock,
        };
        state.probe()?;
        // Those of an earlier agent, who may not have come to its end with one of them.
        let next = state.next_folders();
        match std::fs::remove_dir_all(&next) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StateError::io(&next)(e)),
            Ok(()) | Err(_) => Ok(state),
        }
    }

    /// [`State::open`], but an agent that is just ending gets a moment to let go.
    pub(crate) async fn open_waiting(dir: &Path) -> Result<Self, StateError> {
        let deadline = Instant::now() + LET_GO;
        loop {
            match Self::open(dir) {
                Err(StateError::Taken(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                done => return done,
            }
        }
    }

    /// The agent instance's id.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Which process of that instance this is: the same after a restart in this boot of the
    /// machine, as the folder's lock lets in one at a time; another one over a copy of the folder,
    /// or on a clone of the machine.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// Makes an instance of its own of what was a copy of another one's folder.
    pub(crate) fn renew_instance(&mut self) -> Result<(), StateError> {
        self.instance = make_instance(&self.dir)?;
        Ok(())
    }

    /// The folder of the jobs.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.dir.join("jobs")
    }

    /// The folders of jobs to come.
    pub(crate) fn folders(&self) -> Folders {
        Folders::new(self.next_folders())
    }

    fn next_folders(&self) -> PathBuf {
        self.dir.join("next")
    }

    /// The ends that the server has heard.
    pub(crate) fn ends(&self) -> Ended {
        Ended::open(&self.dir)
    }

    /// The journal of starts.
    pub(crate) fn starts(&self) -> &Starts {
        &self.starts
    }

    /// Whether a job could be written down now.
    pub(crate) fn probe(&self) -> Result<(), StateError> {
        check_folder(&self.dir)?;
        let path = self.dir.join("probe");
        try_to_write(&path, PROBE_BYTES).map_err(StateError::io(&path))
    }
}

/// Whether what is in the folder is what an agent makes there.
pub(crate) fn check_content(dir: &Path) -> io::Result<Option<Loose>> {
    trusted_dir::check_content(dir, &PIPES)
}

/// Whether the folder, and each above it, is this user's alone.
fn check_folder(dir: &Path) -> Result<(), StateError> {
    refuse_loose(dir, trusted_dir::check(dir))
}

fn refuse_loose(dir: &Path, checked: io::Result<Option<Loose>>) -> Result<(), StateError> {
    match checked.map_err(StateError::io(dir))? {
        Some(loose) => Err(StateError::Loose(loose)),
        None => Ok(()),
    }
}

/// Writes so many bytes into a file of that name, and removes it.
pub(crate) fn try_to_write(path: &Path, bytes: usize) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut file = own_file().write(true).create_new(true).open(path)?;
    let written = file.write_all(&vec![b'.'; bytes]);
    let _ = std::fs::remove_file(path);
    written
}

/// Makes a folder that only its owner can look into.
fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn process(dir: &Path) -> io::Result<String> {
    let about = std::fs::metadata(dir)?;
    let boot: String = host::boot_id()
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || *char == '-')
        .take(64)
        .collect();
    // Without the boot's id a restart can't be told from a clone.
    let boot = if boot.is_empty() {
        uuid::Uuid::new_v4().to_string()
    } else {
        boot
    };
    Ok(format!("{boot}-{:x}-{:x}", about.dev(), about.ino()))
}

/// Reads the instance id, or makes a new one on a new machine (a cloned disk must not pose as the
/// old one).
fn instance(dir: &Path) -> Result<String, StateError> {
    let path = dir.join("instance");
    let machine_id = host::machine_id();
    match trusted_dir::read(&path) {
        Ok(text) => {
            let known: InstanceFile = serde_json::from_slice(&text)
                .ok()
                .filter(|f: &InstanceFile| uuid::Uuid::parse_str(&f.instance).is_ok())
                .ok_or_else(|| StateError::Corrupt(path.clone()))?;
            if known.machine_id == machine_id {
                return Ok(known.instance);
            }
            tracing::info!("this is another machine than before: starting as a new agent instance");
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(StateError::io(&path)(e)),
    }
    make_instance(dir)
}

fn make_instance(dir: &Path) -> Result<String, StateError> {
    let path = dir.join("instance");
    let made = InstanceFile {
        instance: uuid::Uuid::new_v4().to_string(),
        machine_id: host::machine_id(),
    };
    let text = serde_json::to_vec(&made).expect("two strings always serialise");
    replace_file(&path, &text).map_err(StateError::io(&path))?;
    Ok(made.instance)
}

/// Writes a file so that after a crash it is either the old one or the whole new one.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let making = path.with_extension("tmp");
    let mut file = own_file()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&making)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&making, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
