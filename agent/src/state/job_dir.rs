//! What was accepted, started and ended: one folder for each job, shared by the agent and the job's
//! supervisor. It is made while there is no job yet, or was another one's before (`dir_pool.rs`),
//! and becomes the job's with its name.
//!
//! | file | written by | says |
//! | --- | --- | --- |
//! | `job.json`, `script` | agent, before the folder gets its name | accepted |
//! | `lock` | held by the supervisor while it lives; in it, with the first word of output, bash's process | somebody looks after the job |
//! | `started` | supervisor, before bash starts | never start it again; for the time after the power went see `start_log.rs` |
//! | `cancel` | agent | end it, and why |
//! | `stdout.*`, `stderr.*`, `index.*` | supervisor | the spool |
//! | `exit` | supervisor, on the disk for good unless the server knows at once | how it ended |
//! | `wake`, `control` | pipes | something happened; look |
//! | `started.spare` | agent | nothing: the next `started` is made of it |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hyprbox_protocol::ClaimedJob;
use nix::fcntl::{Flock, FlockArg, OFlag};
use serde::{Deserialize, Serialize};

use crate::state::StateError;
use crate::state::dir_pool::{self, write_over};
use crate::state::start_log::Starts;
use crate::trusted_dir::{self, own_file};

/// The pipes.
pub(crate) const PIPES: [&str; 2] = ["wake", "control"];

/// To the supervisor, in the `control` pipe: the server knows the job's end.
pub(crate) const ACKNOWLEDGED: u8 = b'a';

/// The file that says that the script has started.
pub(crate) const STARTED: &str = "started";

/// The room that is kept for `exit`, until it has that name.
pub(crate) const EXIT_ROOM: &str = "exit.tmp";

/// What the supervisor needs to know, in `job.json`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spec {
    pub(crate) id: String,
    pub(crate) preset: String,
    pub(crate) timeout_seconds: u64,
    /// The whole environment of the script.
    pub(crate) env: BTreeMap<String, String>,
    pub(crate) boot_id: String,
}

/// Written just before bash starts, in [`STARTED`].
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    pub(crate) boot_id: String,
}

/// Who ended the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum EndedBy {
    /// Nobody: it ended by itself, or something outside of the agent killed it.
    Itself,
    /// The server's cancel.
    Cancel,
    /// Its timeout.
    Timeout,
    /// `hyprbox-agent stop-jobs`.
    Stop,
}

impl EndedBy {
    /// What is written into the `control` pipe.
    fn word(self) -> u8 {
        match self {
            EndedBy::Itself => 0,
            EndedBy::Cancel => b'c',
            EndedBy::Timeout => b't',
            EndedBy::Stop => b's',
        }
    }

    /// What a word of the `control` pipe asks for.
    pub(crate) fn from_word(word: u8) -> Option<Self> {
        [EndedBy::Cancel, EndedBy::Timeout, EndedBy::Stop]
            .into_iter()
            .find(|by| by.word() == word)
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
    /// The supervisor was sent SIGTERM while the job ran, as at a shutdown of the machine.
    pub(crate) at_shutdown: bool,
    /// Processes of the job still run: it let them, or they can't be ended.
    #[serde(default)]
    pub(crate) left_running: bool,
}

/// What stands in `exit`: whose end it is, too. The file was another job's before, and after a
/// power loss may have that one's bytes under this one's name.
#[derive(Serialize, Deserialize)]
struct ExitRecord<E> {
    /// None of a supervisor of an older agent, which made each file anew.
    id: Option<String>,
    #[serde(flatten)]
    exit: E,
}

/// One job's folder.
#[derive(Debug, Clone)]
pub(crate) struct JobDir {
    id: String,
    path: PathBuf,
}

/// What became of a claimed job.
pub(crate) enum Accepted {
    /// Written down; its supervisor may start.
    New(JobDir),
    /// It has started before, and never does again.
    StartedBefore,
}

/// Room for the exit record: more than its longest message takes.
const RECORD_BYTES: usize = 4096;

/// Writes a claimed job down, in the folder `made` where there is one. Nothing is synced here: a
/// job that is lost with the power comes again, as it isn't among `running`, unless the journal of
/// starts has it on the disk already.
pub(crate) fn accept(
    jobs: &Path,
    job: &ClaimedJob,
    spec: &Spec,
    made: Option<PathBuf>,
) -> Result<Accepted, StateError> {
    let dir = JobDir {
        id: job.id.clone(),
        path: jobs.join(&job.id),
    };
    if dir.path.exists() && (dir.has(STARTED) || !dir.remove_unstarted()) {
        return Ok(Accepted::StartedBefore);
    }
    let is_made = made.is_some();
    let making = made.unwrap_or_else(|| jobs.join(format!("{}.new", job.id)));
    let write = || -> io::Result<()> {
        if !is_made {
            if making.exists() {
                std::fs::remove_dir_all(&making)?;
            }
            dir_pool::make(&making)?;
        }
        write_over(&making.join("script"), job.script.as_bytes())?;
        let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
        write_over(&making.join("job.json"), &text)?;
        std::fs::rename(&making, &dir.path)
    };
    write().map_err(|e| {
        let _ = std::fs::remove_dir_all(&making);
        StateError::io(&making)(e)
    })?;
    Ok(Accepted::New(dir))
}

/// The jobs that have started and whose end the server has not acknowledged, after a start of the
/// agent. Those that were only accepted are removed: the server gives them again.
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

/// The jobs that a supervisor looks after now.
pub(crate) fn alive(jobs: &Path) -> Result<Vec<JobDir>, StateError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(jobs).map_err(StateError::io(jobs))? {
        let dir = JobDir::at(&entry.map_err(StateError::io(jobs))?.path());
        if is_job_id(&dir.id) && dir.has("lock") && dir.try_lock().is_none() {
            found.push(dir);
        }
    }
    Ok(found)
}

/// True for an id that is safe as a file's name and in a URL.
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

    /// Reads one of the folder's JSON files; `None` where it is missing or not whole.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(&trusted_dir::read(&self.file(name)).ok()?).ok()
    }

    /// Takes the supervisor's lock: `None` while one lives.
    pub(crate) fn try_lock(&self) -> Option<Flock<File>> {
        Flock::lock(self.open_lock().ok()?, FlockArg::LockExclusiveNonblock).ok()
    }

    pub(crate) fn open_lock(&self) -> io::Result<File> {
        own_file().create(true).append(true).open(self.file("lock"))
    }

    /// The file for the exit record, with its room on the disk, so that the end of a job can be
    /// told even when the job has filled the disk up.
    pub(crate) fn reserve_exit(&self) -> io::Result<File> {
        let mut file = own_file()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.file(EXIT_ROOM))?;
        if file.metadata()?.len() < RECORD_BYTES as u64 {
            file.write_all(&[b' '; RECORD_BYTES])?;
        }
        Ok(file)
    }

    /// Writes how the job ended into the room that was kept (see [`JobDir::reserve_exit`]), and
    /// gives it its name.
    pub(crate) fn write_exit(&self, exit: &Exit, room: &mut File) -> io::Result<()> {
        let id = Some(self.id.clone());
        let text = serde_json::to_vec(&ExitRecord { id, exit }).map_err(io::Error::other)?;
        room.rewind()?;
        room.write_all(&text)?;
        room.set_len(text.len() as u64)?;
        std::fs::rename(self.file(EXIT_ROOM), self.file("exit"))
    }

    /// How the job ended, if that was written down.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let ExitRecord { id, exit } = self.read("exit")?;
        id.is_none_or(|id| id == self.id).then_some(exit)
    }

    /// Asks the job's supervisor to end it: by the file, which one that is only starting finds, and
    /// then by the pipe, which works on a full disk too.
    pub(crate) fn ask_to_end(&self, by: EndedBy) -> io::Result<()> {
        let making = self.file("cancel.tmp");
        let text = serde_json::to_vec(&by).map_err(io::Error::other)?;
        let written =
            write_over(&making, &text).and_then(|()| std::fs::rename(making, self.file("cancel")));
        // Without a supervisor the pipe can't be opened; then the file is what counts.
        match self.tell_supervisor(by.word()) {
            Ok(()) => Ok(()),
            Err(_) => written,
        }
    }

    fn tell_supervisor(&self, word: u8) -> io::Result<()> {
        File::options()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
            .open(self.file("control"))?
            .write_all(&[word])
    }

    /// Removes a job that was accepted and has not started; false where its supervisor is just
    /// starting it.
    fn remove_unstarted(&self) -> bool {
        // With the lock held no supervisor can start it, and one that waits for it finds the folder
        // gone.
        let Some(_lock) = self.try_lock() else {
            return false;
        };
        !self.has(STARTED) && self.remove()
    }

    /// Forgets a job whose end the server has acknowledged. Gives the folder that is to be removed.
    pub(crate) fn put_away(&self) -> Option<PathBuf> {
        // Mostly the supervisor waits for this, and then need not write anything to the disk for
        // good.
        let _ = self.tell_supervisor(ACKNOWLEDGED);
        // Before the folder goes, as its place is another job's from then on.
        if let Some(Err(e)) = Starts::of(self).map(|starts| starts.forget(&self.id)) {
            tracing::debug!(
                "[jobrunner] job {}: its start is not forgotten: {e}",
                self.id
            );
        }
        self.rename_to_old()
    }

    fn remove(&self) -> bool {
        self.rename_to_old()
            .is_some_and(|old| std::fs::remove_dir_all(old).is_ok())
    }

    /// What comes before a removal: half a folder under the job's name would say something else.
    fn rename_to_old(&self) -> Option<PathBuf> {
        let old = self.path.with_extension("old");
        std::fs::rename(&self.path, &old).is_ok().then_some(old)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_taken_for_none_but_its_own_jobs() {
        let jobs = tempfile::tempdir().expect("a folder");
        let first = JobDir::at(&jobs.path().join("first"));
        dir_pool::make(first.path()).expect("makes");
        let exit = Exit {
            exit_code: Some(7),
            signal: None,
            ended_by: EndedBy::Itself,
            error_msg: None,
            stdout_bytes: 12,
            stderr_bytes: 0,
            at_shutdown: false,
            left_running: false,
        };
        let mut room = first.reserve_exit().expect("keeps room");
        assert_eq!(first.exit(), None);
        first.write_exit(&exit, &mut room).expect("writes");
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
