//! The journal of starts: which scripts were started, on the disk for good before bash has its
//! first instruction.
//!
//! The file `starts` in the state folder has its room on the disk from the beginning: places of a
//! sector each, and in each a line of JSON or nothing. To write over one of them takes a sync of
//! the data alone; that of a file that is new would wait for the file system's journal, and with it
//! for all that was written lately.
//!
//! While the machine runs, a job's folder says whether it has started, as everybody sees what was
//! written, synced or not. The journal is for the time after the power went: a folder is then as it
//! was some seconds before, or not there at all, and [`Starts::restore`] says again in it what the
//! journal knows, before any job is asked for.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::state::completions::Ended;
use crate::state::job_dir::{JobDir, STARTED, Started, is_job_id};
use crate::state::{StateError, replace_file};
use crate::trusted_dir::{self, own_file};

/// What a disk writes whole or not at all.
const PLACE_BYTES: usize = 512;
/// More than jobs can have started whose end is not told: a node has one.
const PLACES: usize = 8;
const FILE_BYTES: usize = PLACES * PLACE_BYTES;

/// A script's start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Start {
    id: String,
    boot_id: String,
}

/// The journal of a state folder.
pub(crate) struct Starts {
    state: PathBuf,
}

impl Starts {
    /// That of the state folder `state`; makes the file where it is missing or cut.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        let starts = Self {
            state: state.to_owned(),
        };
        let mut known = match trusted_dir::read(&starts.path()) {
            Ok(known) => known,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(e),
        };
        if known.len() != FILE_BYTES {
            known.resize(FILE_BYTES, 0);
            replace_file(&starts.path(), &known)?;
        }
        Ok(starts)
    }

    /// The journal in which a job's start belongs, as its supervisor sees it; none where the folder
    /// is nobody's state folder.
    pub(crate) fn of(job: &JobDir) -> Option<Self> {
        let jobs = job.path().parent()?;
        let state = jobs.parent().filter(|_| jobs.ends_with("jobs"))?;
        let state = state.to_owned();
        Some(Self { state })
    }

    fn path(&self) -> PathBuf {
        self.state.join("starts")
    }

    /// Writes a start down. It is on the disk for good once the data of the file that this gives is
    /// synced.
    pub(crate) fn note(&self, id: &str, boot_id: &str) -> io::Result<File> {
        let file = self.lock()?;
        let places = read(&file)?;
        // It may be noted already. One whose folder is gone was told and taken.
        let is_free = |start: &Start| start.id == id || !self.folder(&start.id).exists();
        let place = places
            .iter()
            .position(|place| place.as_ref().is_none_or(is_free));
        let place = place.ok_or_else(|| io::Error::other("no place is free"))?;
        let start = Start {
            id: id.to_owned(),
            boot_id: boot_id.to_owned(),
        };
        let line = serde_json::to_vec(&start).map_err(io::Error::other)?;
        write(&file, place, &line)?;
        file.unlock().map_err(|(_, e)| e.into())
    }

    /// The job's end is told and taken. Nothing is synced: should the power go just now, its end is
    /// told once more.
    pub(crate) fn forget(&self, id: &str) -> io::Result<()> {
        let file = self.lock()?;
        for (place, start) in read(&file)?.iter().enumerate() {
            if start.as_ref().is_some_and(|start| start.id == id) {
                write(&file, place, &[])?;
            }
        }
        Ok(())
    }

    /// After the machine went down: says in the folder of each job that has started, and whose end
    /// is not known to be told, that it has, whatever the power left of it. Then it is the folder's
    /// to say, and no more the journal's.
    pub(crate) fn restore(&self, ends: &Ended, boot_id: &str) -> Result<(), StateError> {
        let path = self.path();
        let restore = || -> io::Result<()> {
            let file = self.lock()?;
            let places = read(&file)?.into_iter().enumerate();
            let mut any = false;
            for (place, start) in places.filter_map(|(place, start)| Some((place, start?))) {
                if start.boot_id == boot_id && !boot_id.is_empty() {
                    continue;
                }
                if is_job_id(&start.id) && ends.find(&start.id).is_none() {
                    self.say_in_the_folder(start)?;
                }
                write(&file, place, &[])?;
                any = true;
            }
            if any { file.sync_data() } else { Ok(()) }
        };
        restore().map_err(StateError::io(&path))
    }

    fn say_in_the_folder(&self, start: Start) -> io::Result<()> {
        let folder = self.folder(&start.id);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)?;
        let started = Started {
            boot_id: start.boot_id,
        };
        let text = serde_json::to_vec(&started).map_err(io::Error::other)?;
        // Over what may be there: a file whose bytes did not get to the disk is empty.
        replace_file(&folder.join(STARTED), &text)?;
        File::open(self.state.join("jobs"))?.sync_all()
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.state.join("jobs").join(id)
    }

    fn lock(&self) -> io::Result<Flock<File>> {
        let file = own_file().read(true).write(true).open(self.path())?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
    }
}

/// What each place says. One that isn't whole says nothing: the sync that would have let its script
/// start never came to an end.
fn read(file: &File) -> io::Result<Vec<Option<Start>>> {
    let mut bytes = [0; FILE_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let line = |place: &[u8]| {
        let line = place.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    };
    Ok(bytes.chunks(PLACE_BYTES).map(line).collect())
}

fn write(file: &File, place: usize, line: &[u8]) -> io::Result<()> {
    let mut bytes = [0; PLACE_BYTES];
    let mut room = bytes.as_mut_slice();
    room.write_all(line)?;
    room.write_all(b"\n")?;
    file.write_all_at(&bytes, (place * PLACE_BYTES) as u64)
}

#[cfg(test)]
mod tests {
    use hyprbox_protocol::CompleteRequest;

    use super::*;

    const ID: &str = "0197-aaaa";

    /// A state folder, and its journal.
    fn state() -> (tempfile::TempDir, Starts) {
        let folder = tempfile::tempdir().expect("a folder");
        let starts = Starts::open(folder.path()).expect("opens");
        std::fs::create_dir(folder.path().join("jobs")).expect("a folder");
        (folder, starts)
    }

    fn note(starts: &Starts, id: &str) {
        let file = starts.note(id, "one").expect("writes");
        file.sync_data().expect("syncs");
    }

    fn said(starts: &Starts) -> Vec<String> {
        let places = read(&starts.lock().expect("opens")).expect("reads");
        places.into_iter().flatten().map(|start| start.id).collect()
    }

    #[test]
    fn a_start_outlives_the_folder_that_the_power_took_along() {
        let (folder, starts) = state();
        note(&starts, ID);
        let starts = Starts::open(folder.path()).expect("opens again");
        let ends = Ended::open(folder.path());
        starts.restore(&ends, "one").expect("restores");
        assert!(!starts.folder(ID).exists(), "the machine has run on");
        starts.restore(&ends, "two").expect("restores");
        let job = JobDir::at(&starts.folder(ID));
        let started: Started = job.read(STARTED).expect("it has started");
        assert_eq!(started.boot_id, "one");
        assert!(said(&starts).is_empty(), "now it is the folder's to say");
    }

    #[test]
    fn a_folder_whose_word_was_cut_by_the_power_says_it_again() {
        let (folder, starts) = state();
        note(&starts, ID);
        std::fs::create_dir(starts.folder(ID)).expect("a folder");
        std::fs::write(starts.folder(ID).join(STARTED), "").expect("writes");
        let ends = Ended::open(folder.path());
        starts.restore(&ends, "two").expect("restores");
        let started: Option<Started> = JobDir::at(&starts.folder(ID)).read(STARTED);
        assert_eq!(
            started.map(|started| started.boot_id).as_deref(),
            Some("one")
        );
    }

    #[test]
    fn an_end_that_was_told_is_not_told_again() {
        let (folder, starts) = state();
        for id in [ID, "0197-bbbb"] {
            note(&starts, id);
            std::fs::create_dir(starts.folder(id)).expect("a folder");
        }
        starts.forget(ID).expect("forgets");
        assert_eq!(said(&starts), ["0197-bbbb"]);
        let ends = Ended::open(folder.path());
        ends.note("0197-bbbb", &CompleteRequest::default());
        starts.restore(&ends, "two").expect("restores");
        for id in [ID, "0197-bbbb"] {
            assert!(!starts.folder(id).join(STARTED).exists());
        }
        assert!(said(&starts).is_empty());
    }

    #[test]
    fn a_place_is_taken_again_only_where_its_job_is_done_with() {
        let (_folder, starts) = state();
        let ids: Vec<String> = (0..PLACES).map(|n| format!("job-{n}")).collect();
        for id in &ids {
            note(&starts, id);
            std::fs::create_dir(starts.folder(id)).expect("a folder");
        }
        assert!(starts.note(ID, "one").is_err(), "the caller syncs the file");
        std::fs::remove_dir(starts.folder("job-5")).expect("removes");
        note(&starts, ID);
        assert_eq!(said(&starts)[5], ID);
    }

    #[test]
    fn a_journal_that_is_cut_or_spoilt_keeps_what_is_whole() {
        let (folder, starts) = state();
        note(&starts, ID);
        std::fs::create_dir(starts.folder(ID)).expect("a folder");
        note(&starts, "0197-bbbb");
        let path = folder.path().join("starts");
        let mut bytes = std::fs::read(&path).expect("reads");
        bytes[PLACE_BYTES + 7] = 0xff;
        bytes.truncate(PLACE_BYTES + 100);
        std::fs::write(&path, bytes).expect("writes");
        let starts = Starts::open(folder.path()).expect("opens");
        assert_eq!(said(&starts), [ID]);
        note(&starts, "0197-cccc");
        assert_eq!(said(&starts), [ID, "0197-cccc"]);
    }
}
