//! The agent's state folder: its lock, the instance id and the jobs' directories.

pub(crate) mod completions;
pub(crate) mod dir_pool;
mod error;
mod file;
pub(crate) mod job_dir;
pub(crate) mod run_memory;
pub(crate) mod start_log;

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

pub use error::StateError;
pub(crate) use file::replace_file;

use crate::host;
use crate::state::completions::Completions;
use crate::state::dir_pool::DirPool;
use crate::state::job_dir::PIPES;
use crate::state::run_memory::RunMemory;
use crate::state::start_log::StartLog;
use crate::trusted_dir::{self, TrustFault, own_file};

/// Bytes that a health check writes: as many as a job's first files take, without its script.
pub(crate) const PROBE_BYTES: usize = 64 * 1024;
/// How long an agent that is stopping may still hold the folder's lock.
const RELEASE_WITHIN: Duration = Duration::from_secs(5);

/// The state folder, locked by this agent.
pub(crate) struct State {
    dir: PathBuf,
    instance: String,
    process: String,
    start_log: StartLog,
    run_memory: Arc<RunMemory>,
    _lock: Flock<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct InstanceFile {
    instance: String,
    machine_id: String,
}

impl State {
    /// Locks the folder. Creates it and the instance id if they are missing.
    pub(crate) fn open(dir: &Path) -> Result<Self, StateError> {
        check_folder(dir)?;
        create_dir(dir).map_err(StateError::io(dir))?;
        check_folder(dir)?;
        refuse_fault(dir, check_content(dir))?;
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
        create_dir(&jobs).map_err(StateError::io(&jobs))?;
        let instance = instance_id(dir)?;
        let start_log = StartLog::open(dir).map_err(StateError::io(dir))?;
        let run_memory = RunMemory::open(dir).map_err(StateError::io(dir))?;
        let state = Self {
            dir: dir.to_owned(),
            instance,
            process: process_id(dir).map_err(StateError::io(dir))?,
            start_log,
            run_memory: Arc::new(run_memory),
            _lock: lock,
        };
        state.probe(PROBE_BYTES)?;
        // An earlier agent may have been killed while it prepared or recycled one of these.
        let spare = state.spare_dirs();
        match std::fs::remove_dir_all(&spare) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StateError::io(&spare)(e)),
            Ok(()) | Err(_) => Ok(state),
        }
    }

    /// Like [`State::open`], but waits a moment for an agent that is stopping to release the lock.
    pub(crate) async fn open_waiting(dir: &Path) -> Result<Self, StateError> {
        let deadline = Instant::now() + RELEASE_WITHIN;
        loop {
            match Self::open(dir) {
                Err(StateError::Taken(_)) if Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                result => return result,
            }
        }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The agent instance's id.
    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// Identifies the process of the instance. A restarted agent keeps it until the machine
    /// reboots; an agent on a copy of the folder, or on a clone of the machine, has another one.
    pub(crate) fn process(&self) -> &str {
        &self.process
    }

    /// Gives this folder an instance id of its own, because it is a copy of another agent's folder.
    /// Jobs that were copied with it are the other agent's.
    pub(crate) fn renew_instance(&mut self) -> Result<(), StateError> {
        let jobs = self.jobs();
        for dir in job_dir::without_supervisor(&jobs)? {
            tracing::info!("[jobrunner] job {} is the other agent's", dir.id());
            std::fs::remove_dir_all(dir.path()).map_err(StateError::io(dir.path()))?;
        }
        self.instance = create_instance(&self.dir)?;
        Ok(())
    }

    /// The folder with one directory per job.
    pub(crate) fn jobs(&self) -> PathBuf {
        self.dir.join("jobs")
    }

    /// A pool of directories for later jobs.
    pub(crate) fn dir_pool(&self) -> DirPool {
        DirPool::new(self.jobs(), self.spare_dirs())
    }

    fn spare_dirs(&self) -> PathBuf {
        self.dir.join("next")
    }

    /// The completions that the server has acknowledged.
    pub(crate) fn completions(&self) -> Completions {
        Completions::open(&self.dir)
    }

    /// The jobs that this node has run.
    pub(crate) fn run_memory(&self) -> Arc<RunMemory> {
        Arc::clone(&self.run_memory)
    }

    pub(crate) fn start_log(&self) -> &StartLog {
        &self.start_log
    }

    /// Checks that a job's files could be written now, by writing this many bytes.
    pub(crate) fn probe(&self, bytes: usize) -> Result<(), StateError> {
        check_folder(&self.dir)?;
        let path = self.dir.join("probe");
        try_to_write(&path, bytes).map_err(StateError::io(&path))
    }
}

/// Checks that the folder holds only what an agent creates there.
pub(crate) fn check_content(dir: &Path) -> io::Result<Option<TrustFault>> {
    trusted_dir::check_content(dir, &PIPES)
}

/// Checks that only this user can change the folder and those above it.
fn check_folder(dir: &Path) -> Result<(), StateError> {
    refuse_fault(dir, trusted_dir::check(dir))
}

fn refuse_fault(dir: &Path, checked: io::Result<Option<TrustFault>>) -> Result<(), StateError> {
    match checked.map_err(StateError::io(dir))? {
        Some(fault) => Err(StateError::Untrusted(fault)),
        None => Ok(()),
    }
}

/// Writes a file of that many bytes, and removes it.
pub(crate) fn try_to_write(path: &Path, bytes: usize) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    let mut file = own_file().write(true).create_new(true).open(path)?;
    let written = file.write_all(&vec![b'.'; bytes]);
    let _ = std::fs::remove_file(path);
    written
}

/// Creates a folder that only its owner can read.
fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

fn process_id(dir: &Path) -> io::Result<String> {
    let about = std::fs::metadata(dir)?;
    let boot: String = host::boot_id()
        .chars()
        .filter(|char| char.is_ascii_alphanumeric() || *char == '-')
        .take(64)
        .collect();
    // Without a boot id, a restart can't be distinguished from a clone.
    let boot = if boot.is_empty() {
        uuid::Uuid::new_v4().to_string()
    } else {
        boot
    };
    Ok(format!("{boot}-{:x}-{:x}", about.dev(), about.ino()))
}

/// Reads the instance id. Creates a new one if it is missing or another machine's: a
/// cloned disk must not act as the original.
fn instance_id(dir: &Path) -> Result<String, StateError> {
    let path = dir.join("instance");
    let machine_id = host::machine_id();
    match trusted_dir::read(&path) {
        Ok(text) => {
            let stored: InstanceFile = serde_json::from_slice(&text)
                .ok()
                .filter(|f: &InstanceFile| uuid::Uuid::parse_str(&f.instance).is_ok())
                .ok_or_else(|| StateError::Corrupt(path.clone()))?;
            if stored.machine_id == machine_id {
                return Ok(stored.instance);
            }
            tracing::info!("the machine id has changed: starting as a new agent instance");
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(StateError::io(&path)(e)),
    }
    create_instance(dir)
}

fn create_instance(dir: &Path) -> Result<String, StateError> {
    let path = dir.join("instance");
    let file = InstanceFile {
        instance: uuid::Uuid::new_v4().to_string(),
        machine_id: host::machine_id(),
    };
    let text = serde_json::to_vec(&file).expect("two strings always serialise");
    replace_file(&path, &text).map_err(StateError::io(&path))?;
    Ok(file.instance)
}
