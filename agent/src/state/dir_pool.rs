//! A pool of directories for the next jobs: prepared ahead, and recycled after a job.
//!
//! File systems find a place for a new file ever more slowly if many files were removed lately
//! (ext4 passes over each of those of the last minutes). So an agent of many short jobs creates no
//! files: a job's files are emptied and stay for the next job.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyprbox_protocol::ClaimedJob;
use nix::fcntl::Flock;
use nix::sys::stat::Mode;

use crate::spool::{STAMPS, is_first_segment};
use crate::state::error::StateError;
use crate::state::file::overwrite;
use crate::state::job_dir::{EXIT_RESERVE, JobDir, PIPES, STARTED, STARTED_SPARE, Spec};
use crate::trusted_dir::own_file;

/// The most directories in the pool. While one is recycled after its job, the next job uses
/// another.
const MAX_SPARE: usize = 2;

/// How often [`recycle`] tries to take a lock that a supervisor is about to release. No event
/// announces the release. The pause doubles each time; all of them together take most of a second.
const LOCK_TRIES: u32 = 12;
/// The pause after the first try.
const FIRST_PAUSE: Duration = Duration::from_micros(200);

/// The directories of later jobs.
pub(crate) struct DirPool {
    /// Holds the directories of accepted jobs.
    jobs: PathBuf,
    /// Holds the directories of the pool, and nothing else.
    spare: PathBuf,
    content: Mutex<Content>,
}

#[derive(Default)]
struct Content {
    ready: Vec<PathBuf>,
    /// How many are being created or recycled.
    pending: usize,
    /// How many have been named; the name is this number.
    named: u64,
}

/// What became of a claimed job.
pub(crate) enum Acceptance {
    /// Its files are written; its supervisor may start.
    New(JobDir),
    /// It has started before, and must never start again.
    StartedBefore,
}

impl DirPool {
    pub(crate) fn new(jobs: PathBuf, spare: PathBuf) -> Self {
        Self {
            jobs,
            spare,
            content: Mutex::default(),
        }
    }

    /// Creates a directory, unless one is ready or pending.
    pub(crate) fn prepare(&self) {
        if let Some(path) = self.reserve(1) {
            let result = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.spare)
                .and_then(|()| create(&path));
            self.made(path, result);
        }
    }

    /// Recycles a finished job's directory for a later job, or removes it if the pool is full. May
    /// take a moment: the job's supervisor must release its lock first.
    pub(crate) fn give_back(&self, old: &Path) {
        if let Some(path) = self.reserve(MAX_SPARE) {
            let result = recycle(old, &path);
            self.made(path, result);
        }
        // What a kill leaves here, the next agent removes.
        let _ = std::fs::remove_dir_all(old);
    }

    /// Writes a claimed job's files. Nothing is synced: a job that a power loss takes is sent
    /// again, because the agent no longer lists it as running, unless the start log has it.
    pub(crate) fn accept(&self, job: &ClaimedJob, spec: &Spec) -> Result<Acceptance, StateError> {
        let dir = JobDir::at(&self.jobs.join(&job.id));
        if dir.path().exists() && (dir.has(STARTED) || !dir.remove_unstarted()) {
            return Ok(Acceptance::StartedBefore);
        }
        let spare = self.content().ready.pop();
        let is_prepared = spare.is_some();
        let draft = spare.unwrap_or_else(|| self.jobs.join(format!("{}.new", job.id)));
        let write = || -> io::Result<()> {
            if !is_prepared {
                if draft.exists() {
                    std::fs::remove_dir_all(&draft)?;
                }
                create(&draft)?;
            }
            overwrite(&draft.join("script"), job.script.as_bytes())?;
            let text = serde_json::to_vec(spec).map_err(io::Error::other)?;
            overwrite(&draft.join("job.json"), &text)?;
            std::fs::rename(&draft, dir.path())
        };
        write().map_err(|e| {
            let _ = std::fs::remove_dir_all(&draft);
            StateError::io(&draft)(e)
        })?;
        Ok(Acceptance::New(dir))
    }

    /// Returns the path of one more directory, if the pool has fewer than `enough`.
    fn reserve(&self, enough: usize) -> Option<PathBuf> {
        let mut content = self.content();
        if content.ready.len() + content.pending >= enough {
            return None;
        }
        content.pending += 1;
        content.named += 1;
        Some(self.spare.join(content.named.to_string()))
    }

    /// Adds a reserved directory to the pool, if it could be made.
    fn made(&self, path: PathBuf, result: io::Result<()>) {
        if let Err(e) = &result {
            tracing::debug!("the next job's directory can't be prepared: {e}");
            let _ = std::fs::remove_dir_all(&path);
        }
        let mut content = self.content();
        content.pending -= 1;
        if result.is_ok() {
            content.ready.push(path);
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates a job's directory, with the files that are the same for every job.
fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    for pipe in PIPES {
        nix::unistd::mkfifo(&path.join(pipe), Mode::from_bits_truncate(0o600))?;
    }
    let dir = JobDir::at(path);
    dir.open_lock()?;
    dir.reserve_exit().map(drop)
}

/// Recycles a finished job's directory for the next job once its supervisor releases the lock.
/// Fails if a supervisor still has the lock.
fn recycle(old: &Path, next: &Path) -> io::Result<()> {
    // The supervisor closes the pipes before it releases the lock, so they are empty by then.
    let lock = wait_for_lock(&JobDir::at(old)).ok_or(io::ErrorKind::WouldBlock)?;
    for entry in std::fs::read_dir(old)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let path = entry.path();
        match name {
            "script" | "job.json" | STAMPS => empty(&path)?,
            EXIT_RESERVE => {}
            _ if PIPES.contains(&name) || name == STARTED_SPARE => {}
            "exit" => std::fs::rename(&path, old.join(EXIT_RESERVE))?,
            "lock" => lock.set_len(0)?,
            STARTED => std::fs::rename(&path, old.join(STARTED_SPARE))?,
            _ if is_first_segment(name) => empty(&path)?,
            _ => std::fs::remove_file(&path)?,
        }
    }
    std::fs::rename(old, next)
}

fn wait_for_lock(dir: &JobDir) -> Option<Flock<std::fs::File>> {
    for tried in 0..LOCK_TRIES {
        if let Some(lock) = dir.try_lock() {
            return Some(lock);
        }
        std::thread::sleep(FIRST_PAUSE * (1 << tried));
    }
    dir.try_lock()
}

/// Empties a file and closes it at once: ext4 flushes early what is written to a file that was just
/// truncated.
fn empty(path: &Path) -> io::Result<()> {
    let emptied = own_file().write(true).truncate(true).open(path);
    emptied.map(drop)
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::{PerStream, Stream};

    use super::*;
    use crate::spool::{Batch, SpoolReader, SpoolWriter, StampWriter, totals_on_disk};

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("reads");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("reads").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    /// Writes the files of a job that has ended and whose output was `text`.
    fn run_job(folder: &Path, text: &str) {
        let job = JobDir::at(folder);
        overwrite(&job.file("script"), text.as_bytes()).expect("writes");
        overwrite(&job.file("job.json"), b"{}").expect("writes");
        job.write_started(b"{}").expect("writes");
        StampWriter::new(folder).read(0, b"==> [1/1] One\n");
        SpoolWriter::new(folder, None).append(Stream::Stdout, text.as_bytes());
        std::fs::write(job.file("lock"), "4711").expect("writes");
        std::fs::write(job.file("cancel"), "\"cancel\"").expect("writes");
        std::fs::rename(job.file(EXIT_RESERVE), job.file("exit")).expect("renames");
    }

    #[test]
    fn a_recycled_directory_keeps_nothing_of_its_job() {
        let state = tempfile::tempdir().expect("a folder");
        let (old, next) = (state.path().join("old"), state.path().join("next"));
        create(&next).expect("creates");
        for text in [
            "a long text, and more of it\n",
            "short\n",
            "a third one, which is long again\n",
        ] {
            run_job(&next, text);
            let mut batch = Batch::default();
            let mut reader = SpoolReader::new(&next);
            reader.fill(&mut batch, 1 << 20).expect("reads");
            assert_eq!(String::from_utf8_lossy(&batch.bytes), text);
            let script = std::fs::read_to_string(next.join("script")).expect("reads");
            assert_eq!(script, text);
            std::fs::rename(&next, &old).expect("renames");
            recycle(&old, &next).expect("recycles");
            for name in ["script", "job.json", "steps", "stdout.0000000000000000"] {
                let kept = next.join(name).metadata().expect("it is kept");
                assert_eq!(kept.len(), 0, "{name}");
            }
            let job = JobDir::at(&next);
            for name in [STARTED, "exit", "cancel"] {
                assert!(!job.has(name), "{name}");
            }
            assert_eq!(job.read::<u32>("lock"), None);
            let totals = totals_on_disk(&next).expect("reads");
            assert_eq!(totals, PerStream::new(0, 0));
        }
        let expected = [
            "control",
            "exit.tmp",
            "index.0000000000000000",
            "job.json",
            "lock",
            "script",
            "started.spare",
            "stdout.0000000000000000",
            "steps",
            "wake",
        ];
        assert_eq!(names(&next), expected);
    }

    #[test]
    fn a_directory_with_a_supervisor_is_not_recycled() {
        let state = tempfile::tempdir().expect("a folder");
        let (old, next) = (state.path().join("old"), state.path().join("next"));
        create(&old).expect("creates");
        run_job(&old, "text");
        let lock = JobDir::at(&old).try_lock().expect("nobody has it");
        assert!(recycle(&old, &next).is_err());
        assert!(old.join(STARTED).exists());
        drop(lock);
        recycle(&old, &next).expect("recycles");
    }
}
