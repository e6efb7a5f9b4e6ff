//! The start log: which scripts have started, durably, before bash runs its first instruction.
//!
//! The file `starts` in the state folder has a fixed size: slots of one sector, each with a line of
//! JSON or nothing. Overwriting a slot takes only a sync of the file's data. Syncing a new file
//! would also wait for the file system's journal, and for everything else that was written lately.
//!
//! While the machine runs, a job's directory says whether the job has started: every process sees
//! what was written, synced or not. The log matters after a power loss, when a directory may be
//! some seconds old, or missing. [`StartLog::restore`] then writes the recorded starts into the
//! directories again, before the agent asks for jobs.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::state::completions::Completions;
use crate::state::error::StateError;
use crate::state::file::replace_file;
use crate::state::job_dir::{JobDir, STARTED, Spec, StartMarker, is_job_id};
use crate::state::run_memory::RunMemory;
use crate::trusted_dir::{self, own_file};

/// A sector: a disk writes it completely or not at all.
const SLOT_BYTES: usize = 512;
/// More than the jobs that can have started without an acknowledged completion: a node runs one.
/// The others hold the latest jobs until their ids are durably in the run memory.
const SLOTS: usize = 8;
const FILE_BYTES: usize = SLOTS * SLOT_BYTES;

/// A script's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Start {
    pub(crate) id: String,
    pub(crate) boot_id: String,
    /// The number of the start, so that the oldest slot is reused first.
    #[serde(default)]
    no: u64,
}

impl Start {
    /// The start of the job that `spec` describes, in this boot of the machine.
    pub(crate) fn of(spec: &Spec) -> Self {
        Self {
            id: spec.id.clone(),
            boot_id: spec.boot_id.clone(),
            no: 0,
        }
    }
}

/// The start log of a state folder.
pub(crate) struct StartLog {
    state: PathBuf,
}

impl StartLog {
    /// Opens the log of the state folder `state`. Creates the file if it is missing or truncated.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let log = Self {
            state: state.to_owned(),
        };
        let mut content = match trusted_dir::read(&log.path()) {
            Ok(content) => content,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        if content.len() != FILE_BYTES {
            content.resize(FILE_BYTES, 0);
            replace_file(&log.path(), &content)?;
        }
        Ok(log)
    }

    /// The log in which a job's start belongs; `None` if the job's directory is not in a state
    /// folder.
    pub(crate) fn for_job(job: &JobDir) -> Option<Self> {
        let jobs = job.path().parent()?;
        let state = jobs.parent().filter(|_| jobs.ends_with("jobs"))?;
        let state = state.to_owned();
        Some(Self { state })
    }

    fn path(&self) -> PathBuf {
        self.state.join("starts")
    }

    /// Records a start, and returns the log's file. The record is durable once the caller has
    /// synced the file's data.
    pub(crate) fn record(&self, new: &Start) -> io::Result<File> {
        let file = self.lock()?;
        let slots = read_slots(&file)?;
        let numbers = slots.iter().flatten().map(|start| start.no);
        let new = Start {
            no: numbers.max().unwrap_or(0) + 1,
            ..new.clone()
        };
        // The oldest of the slots whose job has been completed, which has no directory. An empty
        // slot is older, and so is the slot of the same job.
        let age = |slot: &Option<Start>| match slot {
            Some(start) if start.id == new.id => Some(0),
            None => Some(1),
            Some(start) => (!self.job_path(&start.id).exists()).then(|| start.no.saturating_add(2)),
        };
        let free = slots.iter().map(age).enumerate();
        let oldest = free.filter_map(|(slot, age)| Some((age?, slot))).min();
        let (_, slot) = oldest.ok_or_else(|| io::Error::other("the start log is full"))?;
        let line = serde_json::to_vec(&new).map_err(io::Error::other)?;
        write_slot(&file, slot, &line)?;
        file.unlock().map_err(|(_, e)| e.into())
    }

    /// Removes the start of a job that did not start. Nothing is synced: after a power loss the job
    /// is reported once more.
    pub(crate) fn forget(&self, id: &str) {
        let forget = || -> io::Result<()> {
            let file = self.lock()?;
            for (slot, start) in read_slots(&file)?.iter().enumerate() {
                if start.as_ref().is_some_and(|start| start.id == id) {
                    write_slot(&file, slot, &[])?;
                }
            }
            Ok(())
        };
        if let Err(error) = forget() {
            tracing::debug!(
                "[jobrunner] job {id}: its start can't be removed from the log: {error}"
            );
        }
    }

    /// After a reboot: marks the directory of each job in the log as started, whatever the power
    /// loss left of it, unless the job's completion was acknowledged. Such a job is remembered
    /// again. Then clears the log.
    pub(crate) fn restore(
        &self,
        completions: &Completions,
        memory: &RunMemory,
        boot_id: &str,
    ) -> Result<(), StateError> {
        let path = self.path();
        let restore = || -> io::Result<()> {
            let file = self.lock()?;
            let slots = read_slots(&file)?.into_iter().enumerate();
            let mut any = false;
            for (slot, start) in slots.filter_map(|(slot, start)| Some((slot, start?))) {
                if start.boot_id == boot_id && !boot_id.is_empty() {
                    continue;
                }
                if is_job_id(&start.id) && !memory.contains(&start.id)? {
                    if completions.find(&start.id).is_some() {
                        memory.add(&start.id)?;
                    } else {
                        self.mark_started(start)?;
                    }
                }
                write_slot(&file, slot, &[])?;
                any = true;
            }
            if any {
                memory.sync()?;
                file.sync_data()?;
            }
            Ok(())
        };
        restore().map_err(StateError::io(&path))
    }

    fn mark_started(&self, start: Start) -> io::Result<()> {
        let job = self.job_path(&start.id);
        DirBuilder::new().recursive(true).mode(0o700).create(&job)?;
        let started = StartMarker {
            boot_id: start.boot_id,
        };
        let text = serde_json::to_vec(&started).map_err(io::Error::other)?;
        // The file may be there but empty, if its bytes did not reach the disk.
        replace_file(&job.join(STARTED), &text)?;
        File::open(self.state.join("jobs"))?.sync_all()
    }

    fn job_path(&self, id: &str) -> PathBuf {
        self.state.join("jobs").join(id)
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        let file = own_file().read(true).write(true).open(self.path())?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
    }
}

/// Reads every slot. A damaged slot counts as empty: its sync did not finish, so its script did not
/// start.
fn read_slots(file: &File) -> io::Result<Vec<Option<Start>>> {
    let mut bytes = [0; FILE_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let parse = |slot: &[u8]| {
        let line = slot.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    };
    Ok(bytes.chunks(SLOT_BYTES).map(parse).collect())
}

fn write_slot(file: &File, slot: usize, line: &[u8]) -> io::Result<()> {
    let mut bytes = [0; SLOT_BYTES];
    let mut room = bytes.as_mut_slice();
    room.write_all(line)?;
    room.write_all(b"\n")?;
    file.write_all_at(&bytes, (slot * SLOT_BYTES) as u64)
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::CompleteRequest;

    use super::*;

    const ID: &str = "0197-aaaa";

    /// A state folder and its start log.
    fn state() -> (tempfile::TempDir, StartLog) {
        let folder = tempfile::tempdir().expect("a folder");
        let log = StartLog::open(folder.path()).expect("opens");
        std::fs::create_dir(folder.path().join("jobs")).expect("a folder");
        (folder, log)
    }

    fn start(id: &str) -> Start {
        Start {
            id: id.to_owned(),
            boot_id: "one".to_owned(),
            no: 0,
        }
    }

    fn record(log: &StartLog, id: &str) {
        let file = log.record(&start(id)).expect("writes");
        file.sync_data().expect("syncs");
    }

    fn recorded(log: &StartLog) -> Vec<String> {
        let slots = read_slots(&log.lock().expect("opens")).expect("reads");
        slots.into_iter().flatten().map(|start| start.id).collect()
    }

    #[test]
    fn a_start_survives_the_loss_of_its_directory() {
        let (folder, log) = state();
        record(&log, ID);
        let log = StartLog::open(folder.path()).expect("opens again");
        let completions = Completions::open(folder.path());
        let memory = RunMemory::open(folder.path()).expect("opens");
        log.restore(&completions, &memory, "one").expect("restores");
        assert!(!log.job_path(ID).exists(), "the machine has run on");
        log.restore(&completions, &memory, "two").expect("restores");
        let job = JobDir::at(&log.job_path(ID));
        let started: StartMarker = job.read(STARTED).expect("it has started");
        assert_eq!(started.boot_id, "one");
        assert!(recorded(&log).is_empty(), "the directory says it now");
    }

    #[test]
    fn a_truncated_started_file_is_written_again() {
        let (folder, log) = state();
        record(&log, ID);
        std::fs::create_dir(log.job_path(ID)).expect("a folder");
        std::fs::write(log.job_path(ID).join(STARTED), "").expect("writes");
        let completions = Completions::open(folder.path());
        let memory = RunMemory::open(folder.path()).expect("opens");
        log.restore(&completions, &memory, "two").expect("restores");
        let started: Option<StartMarker> = JobDir::at(&log.job_path(ID)).read(STARTED);
        assert_eq!(
            started.map(|started| started.boot_id).as_deref(),
            Some("one")
        );
    }

    #[test]
    fn an_acknowledged_job_is_not_restored() {
        let (folder, log) = state();
        for id in [ID, "0197-bbbb"] {
            record(&log, id);
            std::fs::create_dir(log.job_path(id)).expect("a folder");
        }
        log.forget(ID);
        assert_eq!(recorded(&log), ["0197-bbbb"]);
        let completions = Completions::open(folder.path());
        let memory = RunMemory::open(folder.path()).expect("opens");
        completions.record("0197-bbbb", &CompleteRequest::default());
        log.restore(&completions, &memory, "two").expect("restores");
        for id in [ID, "0197-bbbb"] {
            assert!(!log.job_path(id).join(STARTED).exists());
        }
        assert!(recorded(&log).is_empty());
    }

    #[test]
    fn a_slot_is_reused_only_after_its_job_is_done() {
        let (_folder, log) = state();
        let ids: Vec<String> = (0..SLOTS).map(|n| format!("job-{n}")).collect();
        for id in &ids {
            record(&log, id);
            std::fs::create_dir(log.job_path(id)).expect("a folder");
        }
        assert!(log.record(&start(ID)).is_err(), "the caller syncs the file");
        std::fs::remove_dir(log.job_path("job-5")).expect("removes");
        record(&log, ID);
        assert_eq!(recorded(&log)[5], ID);
    }

    #[test]
    fn the_latest_starts_stay_until_their_slots_are_needed() {
        let (_folder, log) = state();
        for n in 0..3 * SLOTS {
            record(&log, &format!("job-{n}"));
        }
        let latest = (2 * SLOTS..3 * SLOTS).map(|n| format!("job-{n}"));
        let mut recorded = recorded(&log);
        recorded.sort_unstable();
        assert_eq!(recorded, latest.collect::<Vec<_>>());
    }

    #[test]
    fn a_job_that_was_completed_before_a_reboot_is_remembered() {
        let (folder, log) = state();
        record(&log, ID);
        let completions = Completions::open(folder.path());
        completions.record(ID, &CompleteRequest::default());
        let memory = RunMemory::open(folder.path()).expect("opens");
        log.restore(&completions, &memory, "two").expect("restores");
        assert!(memory.contains(ID).expect("reads"));
        assert!(!log.job_path(ID).exists());
    }

    #[test]
    fn a_damaged_log_keeps_its_intact_slots() {
        let (folder, log) = state();
        record(&log, ID);
        std::fs::create_dir(log.job_path(ID)).expect("a folder");
        record(&log, "0197-bbbb");
        let path = folder.path().join("starts");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[SLOT_BYTES + 7] = 0xff;
        bytes.truncate(SLOT_BYTES + 100);
        std::fs::write(&path, bytes).expect("writes");
        let log = StartLog::open(folder.path()).expect("opens");
        assert_eq!(recorded(&log), [ID]);
        record(&log, "0197-cccc");
        assert_eq!(recorded(&log), [ID, "0197-cccc"]);
    }
}
