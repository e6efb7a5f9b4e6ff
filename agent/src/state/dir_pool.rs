//! A job's folder, apart from any job: made ahead of one, and used again after it.
//!
//! File systems find the place for a new file ever more slowly where many were removed lately (ext4
//! passes over each of those of the last minutes). So an agent of many short jobs makes no files:
//! what a job had stays, emptied, and its word that it has started waits under another name.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::Flock;
use nix::sys::stat::Mode;

use crate::spool::is_first_segment;
use crate::state::job_dir::{EXIT_ROOM, JobDir, PIPES, STARTED};
use crate::trusted_dir::own_file;

/// Folders that wait at the most. While one is made ready after its job, the next job has another
/// already.
const KEPT: usize = 2;

/// The folders of jobs to come.
pub(crate) struct Folders {
    /// The folder in which they wait.
    place: PathBuf,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    ready: Vec<PathBuf>,
    /// How many are on their way into `ready`.
    coming: usize,
    /// How many have had a name, which is their number.
    named: u64,
}

impl Folders {
    /// None yet; they are to wait in `place`, where nobody else keeps anything.
    pub(crate) fn new(place: PathBuf) -> Self {
        Self {
            place,
            waiting: Mutex::default(),
        }
    }

    /// One that is ready, if any is.
    pub(crate) fn take(&self) -> Option<PathBuf> {
        self.waiting().ready.pop()
    }

    /// Sees that one is ready, or on its way.
    pub(crate) fn make_ahead(&self) {
        if let Some(path) = self.name_one(1) {
            let made = DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.place)
                .and_then(|()| make(&path));
            self.came(path, made);
        }
    }

    /// Makes the folder of a job that is done with another one's, where more are wanted, and
    /// removes it otherwise. May take a moment, as its supervisor must have let go of it.
    pub(crate) fn take_back(&self, old: &Path) {
        if let Some(path) = self.name_one(KEPT) {
            let renewed = renew(old, &path);
            self.came(path, renewed);
        }
        // What is left by a kill the next agent removes.
        let _ = std::fs::remove_dir_all(old);
    }

    /// The path of one more, where there are fewer than `enough`.
    fn name_one(&self, enough: usize) -> Option<PathBuf> {
        let mut waiting = self.waiting();
        if waiting.ready.len() + waiting.coming >= enough {
            return None;
        }
        waiting.coming += 1;
        waiting.named += 1;
        Some(self.place.join(waiting.named.to_string()))
    }

    fn came(&self, path: PathBuf, made: io::Result<()>) {
        if let Err(e) = &made {
            tracing::debug!("no folder for the next job: {e}");
            let _ = std::fs::remove_dir_all(&path);
        }
        let mut waiting = self.waiting();
        waiting.coming -= 1;
        if made.is_ok() {
            waiting.ready.push(path);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a folder that is to be a job's, with all in it that is the same for each.
pub(crate) fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    for pipe in PIPES {
        nix::unistd::mkfifo(&path.join(pipe), Mode::from_bits_truncate(0o600))?;
    }
    let folder = JobDir::at(path);
    folder.open_lock()?;
    folder.reserve_exit().map(drop)
}

/// Looks at a folder that its supervisor is about to let go of. No event tells of that; the time
/// between two of them doubles, and all of them together take most of a second.
const LET_GO_TRIES: u32 = 12;
/// Between the first two of them.
const LET_GO_AFTER: Duration = Duration::from_micros(200);

/// Makes the folder of a job that is done with the next one's, as soon as its supervisor has let go
/// of it, which is about to: nothing in it says any more that anything was accepted, started or
/// written. An error where somebody still looks after the job, or may.
fn renew(old: &Path, next: &Path) -> io::Result<()> {
    // The supervisor has let go of the pipes before it lets go of the lock, and what was in them is
    // gone.
    let lock = let_go(&JobDir::at(old)).ok_or(io::ErrorKind::WouldBlock)?;
    for entry in std::fs::read_dir(old)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_str().unwrap_or_default();
        let path = entry.path();
        match name {
            "script" | "job.json" => empty(&path)?,
            EXIT_ROOM => {}
            _ if PIPES.contains(&name) || name == STARTED_SPARE => {}
            "exit" => std::fs::rename(&path, old.join(EXIT_ROOM))?,
            "lock" => lock.set_len(0)?,
            STARTED => std::fs::rename(&path, old.join(STARTED_SPARE))?,
            _ if is_first_segment(name) => empty(&path)?,
            _ => std::fs::remove_file(&path)?,
        }
    }
    std::fs::rename(old, next)
}

fn let_go(job: &JobDir) -> Option<Flock<File>> {
    for again in 0..LET_GO_TRIES {
        if let Some(lock) = job.try_lock() {
            return Some(lock);
        }
        std::thread::sleep(LET_GO_AFTER * (1 << again));
    }
    job.try_lock()
}

/// Closed at once: ext4 hurries to write out what is written into a file that was just emptied.
fn empty(path: &Path) -> io::Result<()> {
    let emptied = own_file().write(true).truncate(true).open(path);
    emptied.map(drop)
}

/// Where the file [`STARTED`] waits.
const STARTED_SPARE: &str = "started.spare";

/// Writes a file that only its owner can read, over what an earlier job left of it.
pub(crate) fn write_over(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = own_file()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.write_all(content)?;
    // Not emptied before: see `empty`.
    file.set_len(content.len() as u64)
}

/// Makes the file [`STARTED`], which `folder` must not have yet: of the one that waits for that,
/// and then it is whole before it has its name, or anew.
pub(crate) fn write_started(folder: &Path, content: &[u8]) -> io::Result<()> {
    let (waits, path) = (folder.join(STARTED_SPARE), folder.join(STARTED));
    if waits.exists() {
        write_over(&waits, content)?;
        return std::fs::rename(waits, path);
    }
    File::create_new(path)?.write_all(content)
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::Stream;

    use super::*;
    use crate::spool::{Batch, SpoolReader, SpoolWriter, totals_on_disk};

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).expect("reads");
        let name = |entry: io::Result<std::fs::DirEntry>| entry.expect("reads").file_name();
        let mut names: Vec<String> = entries
            .map(|entry| name(entry).into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    /// What a job leaves that wrote `text`.
    fn ran(folder: &Path, text: &str) {
        let job = JobDir::at(folder);
        write_over(&job.file("script"), text.as_bytes()).expect("writes");
        write_over(&job.file("job.json"), b"{}").expect("writes");
        write_started(folder, b"{}").expect("writes");
        SpoolWriter::new(folder).append(Stream::Stdout, text.as_bytes());
        std::fs::write(job.file("lock"), "4711").expect("writes");
        std::fs::write(job.file("cancel"), "\"cancel\"").expect("writes");
        std::fs::rename(job.file(EXIT_ROOM), job.file("exit")).expect("renames");
    }

    #[test]
    fn a_folder_that_is_used_again_says_nothing_of_the_job_before() {
        let state = tempfile::tempdir().expect("a folder");
        let (old, next) = (state.path().join("old"), state.path().join("next"));
        make(&next).expect("makes");
        for text in [
            "a long text, and more of it\n",
            "short\n",
            "a third one, which is long again\n",
        ] {
            ran(&next, text);
            let mut batch = Batch::default();
            let mut reader = SpoolReader::new(&next);
            reader.fill(&mut batch, 1 << 20).expect("reads");
            assert_eq!(String::from_utf8_lossy(&batch.bytes), text);
            let script = std::fs::read_to_string(next.join("script")).expect("reads");
            assert_eq!(script, text);
            std::fs::rename(&next, &old).expect("renames");
            renew(&old, &next).expect("renews");
            for name in ["script", "job.json", "stdout.0000000000000000"] {
                let kept = next.join(name).metadata().expect("it is kept");
                assert_eq!(kept.len(), 0, "{name}");
            }
            let job = JobDir::at(&next);
            for name in [STARTED, "exit", "cancel"] {
                assert!(!job.has(name), "{name}");
            }
            assert_eq!(job.read::<u32>("lock"), None);
            assert_eq!(totals_on_disk(&next).expect("reads"), [0, 0]);
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
            "wake",
        ];
        assert_eq!(names(&next), expected);
    }

    #[test]
    fn a_folder_that_somebody_looks_after_is_not_used_again() {
        let state = tempfile::tempdir().expect("a folder");
        let (old, next) = (state.path().join("old"), state.path().join("next"));
        make(&old).expect("makes");
        ran(&old, "text");
        let lock = JobDir::at(&old).try_lock().expect("nobody has it");
        assert!(renew(&old, &next).is_err());
        assert!(old.join(STARTED).exists());
        drop(lock);
        renew(&old, &next).expect("renews");
    }
}
