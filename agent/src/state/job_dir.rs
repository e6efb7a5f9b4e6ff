//! A job's directory, shared by the agent and the job's supervisor. It is created before there is a
//! job for it, or recycled from an earlier one (`dir_pool.rs`), and gets the job's id as its name
//! when the job is accepted.
//!
//! | file | written by | meaning |
//! | --- | --- | --- |
//! | `job.json`, `script` | agent, before the directory gets its name | the job is accepted |
//! | `lock` | locked by the supervisor while it lives; holds bash's pid | the job has a supervisor |
//! | `started` | supervisor, before bash starts | never start the script again; see `start_log.rs` |
//! | `cancel` | agent | end the job, and why |
//! | `undo` | supervisor | the folder in which steps keep what their undo needs |
//! | `undo.steps` | script, synced, before a step changes anything | the steps to undo, one a line |
//! | `waits` | supervisor, synced | the job waits for a confirmation, and until when |
//! | `confirm` | agent, or `hyprbox-agent confirm` | somebody has confirmed the job |
//! | `undo.because` | supervisor, synced | the job is being undone, and how it ends then |
//! | `stdout.*`, `stderr.*`, `index.*` | supervisor | the spool |
//! | `steps` | supervisor | when each step began; see `spool/stamps.rs` |
//! | `exit` | supervisor; synced unless the server acknowledges the end at once | how it ended |
//! | `wake`, `control` | pipes | wake the agent, wake the supervisor |
//! | `started.spare`, `exit.tmp` | agent | reserved for the next `started` and `exit` |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hyprbox_protocol::ConfirmWait;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};

use crate::state::error::StateError;
use crate::state::file::{overwrite, replace_file};
use crate::trusted_dir::{self, own_file};

/// The pipes in a job's directory.
pub(crate) const PIPES: [&str; 2] = ["wake", "control"];

/// Sent to the supervisor through `control`: the server has acknowledged the job's completion.
pub(crate) const ACKNOWLEDGED: u8 = b'a';

/// Sent to the supervisor through `control`: somebody has confirmed the job.
pub(crate) const CONFIRMED: u8 = b'k';

/// The folder in which steps keep what their undo needs, and next to it the record of the steps
/// that have begun.
pub(crate) const UNDO_DIR: &str = "undo";
pub(crate) const UNDO_STEPS: &str = "undo.steps";
/// How a job ends once it is undone: its exit record without the totals.
pub(crate) const UNDO_BECAUSE: &str = "undo.because";
const WAITS: &str = "waits";
const CONFIRM: &str = "confirm";

/// The file that marks a job as started.
pub(crate) const STARTED: &str = "started";

/// An earlier job's `started`, kept so that no new file has to be created.
pub(crate) const STARTED_SPARE: &str = "started.spare";

/// The disk space reserved for `exit`, until the file gets that name.
pub(crate) const EXIT_RESERVE: &str = "exit.tmp";

/// The job as its supervisor needs it, in `job.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) id: String,
    pub(crate) preset: String,
    pub(crate) timeout_seconds: u64,
    /// The script's complete environment.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) boot_id: String,
    /// The spool's limit in bytes, if all output is kept until the server has it. Absent if only
    /// the newest output is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) spool_max: Option<u64>,
}

/// The content of [`STARTED`], written just before bash starts.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StartMarker {
    pub(crate) boot_id: String,
}

/// Who ended the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum EndedBy {
    /// Nobody: it ended by itself, or something other than the agent killed it.
    Itself,
    /// The server's cancel.
    Cancel,
    /// Its timeout.
    Timeout,
    /// `hyprbox-agent stop-jobs`.
    Stop,
}

impl EndedBy {
    /// The byte that requests this through the `control` pipe.
    fn request(self) -> u8 {
        match self {
            EndedBy::Itself => 0,
            EndedBy::Cancel => b'c',
            EndedBy::Timeout => b't',
            EndedBy::Stop => b's',
        }
    }

    /// Parses a byte of the `control` pipe.
    pub(crate) fn from_request(request: u8) -> Option<Self> {
        [EndedBy::Cancel, EndedBy::Timeout, EndedBy::Stop]
            .into_iter()
            .find(|by| by.request() == request)
    }
}

/// How a job ended, in `exit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exit {
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<String>,
    pub(crate) ended_by: EndedBy,
    pub(crate) error_msg: Option<String>,
    pub(crate) stdout_bytes: u64,
    pub(crate) stderr_bytes: u64,
    /// SHA-256 of each stream; an older agent's supervisor did not record it.
    #[serde(default)]
    pub(crate) stdout_sha256: Option<String>,
    #[serde(default)]
    pub(crate) stderr_sha256: Option<String>,
    /// The supervisor was sent SIGTERM while the job ran, as at a shutdown of the machine.
    pub(crate) at_shutdown: bool,
    /// Processes of the job are still running: it left them, or they can't be ended.
    #[serde(default)]
    pub(crate) left_running: bool,
    /// How long bash ran, in milliseconds; an older agent's supervisor did not record it.
    #[serde(default)]
    pub(crate) ran_ms: Option<u64>,
}

/// The content of `exit`. It includes the job's id because the file is recycled: after a power loss
/// it may hold the bytes of an earlier job.
#[derive(Serialize, Deserialize)]
struct ExitRecord<E> {
    /// Absent if an older agent's supervisor wrote it; that one created a new file for each job.
    id: Option<String>,
    #[serde(flatten)]
    exit: E,
}

/// One job's directory.
#[derive(Debug, Clone)]
pub(crate) struct JobDir {
    id: String,
    path: PathBuf,
}

/// The exit record's longest message fits into this.
const RECORD_BYTES: usize = 4096;

/// Finds the jobs that have started and whose completion is not acknowledged, when the agent
/// starts. Removes jobs that were only accepted: the server sends them again.
pub(crate) fn recover(jobs: &Path) -> Result<Vec<JobDir>, StateError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(jobs).map_err(StateError::io(jobs))? {
        let entry = entry.map_err(StateError::io(jobs))?;
        let path = entry.path();
        let Some(id) = entry.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        if id.ends_with(".new") || id.ends_with(".old") {
            std::fs::remove_dir_all(&path).map_err(StateError::io(&path))?;
        } else if is_job_id(&id) {
            let dir = JobDir { id, path };
            if dir.has(STARTED) || !dir.remove_unstarted() {
                found.push(dir);
            }
        }
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(found)
}

/// Finds the jobs that have a living supervisor.
pub(crate) fn alive(jobs: &Path) -> Result<Vec<JobDir>, StateError> {
    find(jobs, |dir| dir.has("lock") && dir.try_lock().is_none())
}

/// Finds the jobs that have no living supervisor.
pub(crate) fn without_supervisor(jobs: &Path) -> Result<Vec<JobDir>, StateError> {
    find(jobs, |dir| !dir.has("lock") || dir.try_lock().is_some())
}

/// Finds the jobs that must be undone, because they have no living supervisor.
pub(crate) fn interrupted(jobs: &Path) -> Result<Vec<JobDir>, StateError> {
    find(jobs, |dir| dir.needs_undo() && dir.try_lock().is_some())
}

/// Finds the jobs that wait for a confirmation.
pub(crate) fn waiting(jobs: &Path) -> Result<Vec<JobDir>, StateError> {
    let mut waiting = alive(jobs)?;
    waiting.retain(|dir| dir.confirm_wait().is_some() && dir.exit().is_none());
    Ok(waiting)
}

fn find(jobs: &Path, is_one: impl Fn(&JobDir) -> bool) -> Result<Vec<JobDir>, StateError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(jobs).map_err(StateError::io(jobs))? {
        let dir = JobDir::at(&entry.map_err(StateError::io(jobs))?.path());
        if is_job_id(&dir.id) && is_one(&dir) {
            found.push(dir);
        }
    }
    Ok(found)
}

/// Whether an id is safe as a file's name and in a URL.
pub(crate) fn is_job_id(id: &str) -> bool {
    (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

impl JobDir {
    pub(crate) fn at(path: &Path) -> Self {
        let id = path.file_name().unwrap_or_default();
        Self {
            id: id.to_string_lossy().into_owned(),
            path: path.to_owned(),
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.file(name).exists()
    }

    /// Reads one of the JSON files; `None` if it is missing or incomplete.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&trusted_dir::read(&self.file(name)).ok()?).ok()
    }

    /// Takes the supervisor's lock; `None` while a supervisor lives.
    pub(crate) fn try_lock(&self) -> Option<Flock<File>> {
        Flock::lock(self.open_lock().ok()?, FlockArg::LockExclusiveNonblock).ok()
    }

    pub(crate) fn open_lock(&self) -> io::Result<File> {
        own_file().create(true).append(true).open(self.file("lock"))
    }

    /// Opens the file for the exit record and reserves its disk space, so that the end of a job can
    /// be recorded even if the job has filled the disk.
    pub(crate) fn reserve_exit(&self) -> io::Result<File> {
        let mut file = own_file()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.file(EXIT_RESERVE))?;
        if file.metadata()?.len() < RECORD_BYTES as u64 {
            file.write_all(&[b' '; RECORD_BYTES])?;
        }
        Ok(file)
    }

    /// Writes how the job ended into `reserve`, which [`JobDir::reserve_exit`] opened, and renames
    /// it to `exit`.
    pub(crate) fn write_exit(&self, exit: &Exit, reserve: &mut File) -> io::Result<()> {
        let id = Some(self.id.clone());
        let text = serde_json::to_vec(&ExitRecord { id, exit }).map_err(io::Error::other)?;
        reserve.rewind()?;
        reserve.write_all(&text)?;
        reserve.set_len(text.len() as u64)?;
        std::fs::rename(self.file(EXIT_RESERVE), self.file("exit"))
    }

    /// How the job ended, if its supervisor recorded it.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let ExitRecord { id, exit } = self.read("exit")?;
        id.is_none_or(|id| id == self.id).then_some(exit)
    }

    /// Writes the file [`STARTED`], which must not exist yet. The spare file is complete before it
    /// is renamed; without one a new file is created.
    pub(crate) fn write_started(&self, content: &[u8]) -> io::Result<()> {
        let (spare, started) = (self.file(STARTED_SPARE), self.file(STARTED));
        if spare.exists() {
            overwrite(&spare, content)?;
            return std::fs::rename(spare, started);
        }
        File::create_new(started)?.write_all(content)
    }

    /// Asks the job's supervisor to end it: with a file, for a supervisor that is still starting,
    /// and through the pipe, which also works if the disk is full.
    pub(crate) fn request_end(&self, by: EndedBy) -> io::Result<()> {
        let draft = self.file("cancel.tmp");
        let text = serde_json::to_vec(&by).map_err(io::Error::other)?;
        let written =
            overwrite(&draft, &text).and_then(|()| std::fs::rename(draft, self.file("cancel")));
        // Without a supervisor the pipe can't be opened; then only the file counts.
        match self.send_to_supervisor(by.request()) {
            Ok(()) => Ok(()),
            Err(_) => written,
        }
    }

    /// Asks the job's supervisor to keep what the job has changed, as [`JobDir::request_end`] does.
    pub(crate) fn request_confirm(&self) -> io::Result<()> {
        let written = overwrite(&self.file(CONFIRM), b"");
        match self.send_to_supervisor(CONFIRMED) {
            Ok(()) => Ok(()),
            Err(_) => written,
        }
    }

    /// Whether somebody has confirmed the job.
    pub(crate) fn is_confirmed(&self) -> bool {
        self.has(CONFIRM)
    }

    /// The wait for a confirmation, if the job has begun to wait and is not being undone.
    pub(crate) fn confirm_wait(&self) -> Option<ConfirmWait> {
        self.read(WAITS).filter(|_| !self.is_being_undone())
    }

    /// Whether the undo of the job's steps has begun.
    pub(crate) fn is_being_undone(&self) -> bool {
        self.has(UNDO_BECAUSE)
    }

    /// Records that the job waits for a confirmation.
    pub(crate) fn write_confirm_wait(&self, wait: &ConfirmWait) -> io::Result<()> {
        let text = serde_json::to_vec(wait).map_err(io::Error::other)?;
        replace_file(&self.file(WAITS), &text)
    }

    /// Whether the job has changed something that must be undone, unless its supervisor lives.
    pub(crate) fn needs_undo(&self) -> bool {
        self.has(STARTED) && self.has(UNDO_STEPS) && self.exit().is_none()
    }

    fn send_to_supervisor(&self, message: u8) -> io::Result<()> {
        File::options()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
            .open(self.file("control"))?
            .write_all(&[message])
    }

    /// Removes a job that was accepted and has not started. Returns false if its supervisor is
    /// about to start it.
    pub(super) fn remove_unstarted(&self) -> bool {
        // While the lock is held no supervisor can start the job. One that waits for the lock finds
        // the directory removed.
        let Some(_lock) = self.try_lock() else {
            return false;
        };
        !self.has(STARTED) && self.remove()
    }

    /// Tells the supervisor that the server has acknowledged the job's completion. It mostly waits
    /// for this, and then need not sync its exit record.
    pub(crate) fn acknowledge(&self) {
        // A supervisor that has ended has synced the record.
        let _ = self.send_to_supervisor(ACKNOWLEDGED);
    }

    fn remove(&self) -> bool {
        self.retire()
            .is_some_and(|old| std::fs::remove_dir_all(old).is_ok())
    }

    /// Renames the directory before its removal: a half-removed one must not be taken for the job.
    /// Returns the new path.
    pub(crate) fn retire(&self) -> Option<PathBuf> {
        let old = self.path.with_extension("old");
        std::fs::rename(&self.path, &old).is_ok().then_some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_record_counts_only_for_its_own_job() {
        let jobs = tempfile::tempdir().expect("a folder");
        let first = JobDir::at(&jobs.path().join("first"));
        std::fs::create_dir(first.path()).expect("creates");
        let exit = Exit {
            exit_code: Some(7),
            signal: None,
            ended_by: EndedBy::Itself,
            error_msg: None,
            stdout_bytes: 12,
            stderr_bytes: 0,
            stdout_sha256: None,
            stderr_sha256: None,
            at_shutdown: false,
            left_running: false,
            ran_ms: Some(1_234),
        };
        let mut reserve = first.reserve_exit().expect("reserves");
        assert_eq!(first.exit(), None);
        first.write_exit(&exit, &mut reserve).expect("writes");
        assert_eq!(first.exit(), Some(exit.clone()));
        let second = JobDir::at(&jobs.path().join("second"));
        std::fs::rename(first.path(), second.path()).expect("renames");
        assert_eq!(second.exit(), None);
        // As older agents wrote it.
        let text = serde_json::to_vec(&exit).expect("JSON");
        std::fs::write(second.file("exit"), text).expect("writes");
        assert_eq!(second.exit(), Some(exit));
    }
}
