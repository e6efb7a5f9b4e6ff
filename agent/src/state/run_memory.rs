//! The jobs that this node has run: their ids, so that a job that the server queues again, because
//! of a restored backup or a row changed by hand, never runs again.
//!
//! An id enters this memory when its job is put away. Until then the job's directory says that the
//! job has started, and after a power loss the start log does, whose slots are reused only after
//! the ids of their jobs are on the disk here.
//!
//! The files `ran.N` hold ids of 16 bytes. The newest file grows in the order in which jobs end.
//! The others are full and sorted, so that a search reads a few records. Together they hold more
//! than a million ids and take 17 MiB at most.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ring::digest::{SHA256, digest};

use crate::state::file::replace_file;
use crate::trusted_dir::{self, own_file};

/// The ids in a full file.
const FILE_IDS: usize = 65_536;
/// The full files that are kept: with the newest one, always more than 1,000,000 ids.
const FULL_FILES: usize = 16;
/// Ids that may wait for a sync. Fewer than the slots of the start log, which holds these jobs
/// until then.
const UNSYNCED_MAX: usize = 4;
const ID_BYTES: usize = 16;
/// The file with the time of the newest job that was forgotten.
const FORGOTTEN: &str = "forgotten";

/// An id as it is stored: the UUID, or a part of the SHA-256 of an id that is not one.
fn key_of(id: &str) -> u128 {
    if let Ok(uuid) = uuid::Uuid::try_parse(id) {
        return uuid.as_u128();
    }
    let hash = digest(&SHA256, id.as_bytes());
    let mut key = [0; ID_BYTES];
    key.copy_from_slice(&hash.as_ref()[..ID_BYTES]);
    u128::from_be_bytes(key)
}

/// The ids of the jobs that have run.
pub(crate) struct RunMemory {
    dir: PathBuf,
    /// The ids in a full file.
    file_ids: usize,
    files: Mutex<Files>,
}

struct Files {
    /// Full, sorted files, oldest first.
    full: VecDeque<FullFile>,
    newest: NewestFile,
    /// When the newest job was queued that was forgotten, in milliseconds since 1970.
    forgotten_ms: Option<i64>,
}

struct FullFile {
    number: u64,
    path: PathBuf,
    count: usize,
    /// The smallest and the largest id.
    range: RangeInclusive<u128>,
}

struct NewestFile {
    number: u64,
    file: File,
    count: usize,
    unsynced: usize,
    /// The smallest and the largest id.
    range: Option<RangeInclusive<u128>>,
}

impl RunMemory {
    /// Opens the memory of the state folder `state`.
    pub(crate) fn open(state: &Path) -> io::Result<Self> {
        Self::with_files_of(state, FILE_IDS)
    }

    fn with_files_of(state: &Path, file_ids: usize) -> io::Result<Self> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(state)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("ran."));
            numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        numbers.sort_unstable();
        let newest = numbers.pop().unwrap_or(1);
        let files = Files {
            full: numbers
                .into_iter()
                .filter_map(|number| FullFile::open(state, number).transpose())
                .collect::<io::Result<_>>()?,
            newest: NewestFile::open(state, newest)?,
            forgotten_ms: read_forgotten(state)?,
        };
        Ok(Self {
            dir: state.to_owned(),
            file_ids,
            files: Mutex::new(files),
        })
    }

    /// Whether the job has run here. An error names the file that can't be read.
    pub(crate) fn contains(&self, id: &str) -> io::Result<bool> {
        let key = key_of(id);
        let files = self.files();
        let newest = &files.newest;
        if newest.contains(key).map_err(in_file(newest.number))? {
            return Ok(true);
        }
        for full in &files.full {
            if full.contains(key).map_err(in_file(full.number))? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// When the newest job was queued that this memory has forgotten.
    pub(crate) fn forgotten_ms(&self) -> Option<i64> {
        self.files().forgotten_ms
    }

    /// Remembers a job. The id survives a crash of the agent at once, and a power loss after the
    /// next [`RunMemory::sync`], which the start log covers until then.
    pub(crate) fn add(&self, id: &str) -> io::Result<()> {
        let mut files = self.files();
        if files.newest.count >= self.file_ids {
            files.begin_next(&self.dir)?;
        }
        if files.newest.unsynced > UNSYNCED_MAX {
            files.newest.sync()?;
        }
        files.newest.append(key_of(id))
    }

    /// Writes remembered ids to the disk if several wait for it.
    pub(crate) fn sync_if_due(&self) -> io::Result<()> {
        if self.files().newest.unsynced < UNSYNCED_MAX {
            return Ok(());
        }
        self.sync()
    }

    /// Writes all remembered ids to the disk.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.files().newest.sync()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    /// Sorts the newest file, which is full, and begins another one.
    fn begin_next(&mut self, dir: &Path) -> io::Result<()> {
        let path = path_of(dir, self.newest.number);
        let mut keys = read_keys(&self.newest.file)?;
        keys.sort_unstable();
        let sorted: Vec<u8> = keys.iter().flat_map(|key| key.to_be_bytes()).collect();
        replace_file(&path, &sorted)?;
        let next = NewestFile::open(dir, self.newest.number + 1)?;
        self.full.extend(FullFile::open(dir, self.newest.number)?);
        self.newest = next;
        while self.full.len() > FULL_FILES {
            if let Some(oldest) = self.full.pop_front() {
                // Before the ids are gone, so that a crash in between forgets nothing unnoticed.
                self.forgotten_ms = self.forgotten_ms.max(newest_of(&oldest.path)?);
                if let Some(ms) = self.forgotten_ms {
                    replace_file(&dir.join(FORGOTTEN), ms.to_string().as_bytes())?;
                }
                std::fs::remove_file(oldest.path)?;
            }
        }
        Ok(())
    }
}

impl FullFile {
    /// `None` if the file holds nothing.
    fn open(dir: &Path, number: u64) -> io::Result<Option<Self>> {
        let path = path_of(dir, number);
        let file = open_to_read(&path)?;
        let count = usize::try_from(file.metadata()?.len()).unwrap_or(0) / ID_BYTES;
        if count == 0 {
            return Ok(None);
        }
        let range = read_key(&file, 0)?..=read_key(&file, count - 1)?;
        Ok(Some(Self {
            number,
            path,
            count,
            range,
        }))
    }

    fn contains(&self, key: u128) -> io::Result<bool> {
        if !self.range.contains(&key) {
            return Ok(false);
        }
        let file = open_to_read(&self.path)?;
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            match read_key(&file, middle)?.cmp(&key) {
                std::cmp::Ordering::Equal => return Ok(true),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(false)
    }
}

impl NewestFile {
    /// Opens or creates the file. A record that a crash has cut off is dropped.
    fn open(dir: &Path, number: u64) -> io::Result<Self> {
        let path = path_of(dir, number);
        let file = own_file()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        let keys = read_keys(&file)?;
        file.set_len((keys.len() * ID_BYTES) as u64)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        let range = keys.iter().min().zip(keys.iter().max());
        Ok(Self {
            number,
            file,
            count: keys.len(),
            unsynced: 0,
            range: range.map(|(min, max)| *min..=*max),
        })
    }

    fn contains(&self, key: u128) -> io::Result<bool> {
        // Most ids are newer than all that have run.
        match &self.range {
            Some(range) if range.contains(&key) => Ok(read_keys(&self.file)?.contains(&key)),
            _ => Ok(false),
        }
    }

    fn append(&mut self, key: u128) -> io::Result<()> {
        let offset = (self.count * ID_BYTES) as u64;
        self.file.write_all_at(&key.to_be_bytes(), offset)?;
        self.count += 1;
        self.unsynced += 1;
        let (min, max) = match &self.range {
            Some(range) => (key.min(*range.start()), key.max(*range.end())),
            None => (key, key),
        };
        self.range = Some(min..=max);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        self.unsynced = 0;
        Ok(())
    }
}

/// When the newest job of a file was queued: its id, a UUIDv7, begins with that time.
fn newest_of(path: &Path) -> io::Result<Option<i64>> {
    let keys = read_keys(&open_to_read(path)?)?;
    let queued_at = |key: u128| {
        let uuid = uuid::Uuid::from_u128(key);
        (uuid.get_version_num() == 7).then(|| i64::try_from(key >> 80).unwrap_or(i64::MAX))
    };
    Ok(keys.into_iter().filter_map(queued_at).max())
}

fn read_forgotten(dir: &Path) -> io::Result<Option<i64>> {
    match trusted_dir::read(&dir.join(FORGOTTEN)) {
        Ok(text) => Ok(String::from_utf8_lossy(&text).trim().parse().ok()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

fn path_of(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("ran.{number}"))
}

/// Adds the file's name to an error.
fn in_file(number: u64) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("ran.{number}: {error}"))
}

fn open_to_read(path: &Path) -> io::Result<File> {
    own_file().read(true).open(path)
}

/// Every whole record of a file.
fn read_keys(file: &File) -> io::Result<Vec<u128>> {
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut bytes = vec![0; length / ID_BYTES * ID_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let key = |record: &[u8]| {
        let mut key = [0; ID_BYTES];
        key.copy_from_slice(record);
        u128::from_be_bytes(key)
    };
    Ok(bytes.chunks_exact(ID_BYTES).map(key).collect())
}

fn read_key(file: &File, index: usize) -> io::Result<u128> {
    let mut key = [0; ID_BYTES];
    file.read_exact_at(&mut key, (index * ID_BYTES) as u64)?;
    Ok(u128::from_be_bytes(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small files, because every few ids are synced.
    const SMALL: usize = 64;

    fn memory() -> (tempfile::TempDir, RunMemory) {
        let folder = tempfile::tempdir().expect("a folder");
        let memory = open(folder.path());
        (folder, memory)
    }

    fn open(folder: &Path) -> RunMemory {
        RunMemory::with_files_of(folder, SMALL).expect("opens")
    }

    /// The id of the nth job; ids do not ascend in the order of `n`.
    fn id(n: u64) -> String {
        let time = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
        uuid::Uuid::from_u64_pair(time, n).to_string()
    }

    fn known(memory: &RunMemory, n: u64) -> bool {
        memory.contains(&id(n)).expect("reads")
    }

    #[test]
    fn an_id_is_known_at_once_and_after_a_restart() {
        let (folder, memory) = memory();
        assert!(!known(&memory, 1));
        for n in 1..=300 {
            memory.add(&id(n)).expect("writes");
            memory.sync_if_due().expect("syncs");
        }
        // An id that is not a UUID.
        memory.add("0197-aaaa").expect("writes");
        let again = open(folder.path());
        for memory in [&memory, &again] {
            assert!((1..=300).all(|n| known(memory, n)));
            assert!(!known(memory, 301));
            assert!(memory.contains("0197-aaaa").expect("reads"));
            assert!(!memory.contains("0197-bbbb").expect("reads"));
        }
    }

    #[test]
    fn the_latest_ids_of_all_files_are_known_and_the_files_stay_small() {
        let kept = SMALL * FULL_FILES;
        let (folder, memory) = memory();
        let all = (kept + 2 * SMALL) as u64;
        for n in 0..all {
            memory.add(&id(n)).expect("writes");
        }
        let again = open(folder.path());
        for memory in [&memory, &again] {
            let latest = all - kept as u64..all;
            assert!(latest.into_iter().all(|n| known(memory, n)));
            assert!(!known(memory, all) && !known(memory, 0));
        }
        let files = std::fs::read_dir(folder.path()).expect("reads");
        let bytes: u64 = files
            .map(|file| file.and_then(|file| file.metadata()).expect("a file").len())
            .sum();
        // And the time of the newest forgotten job, in digits.
        let most = (SMALL * (FULL_FILES + 1) * ID_BYTES + 20) as u64;
        assert!(bytes <= most, "{bytes} bytes");
        // The same with the files' real size.
        const { assert!(FILE_IDS * FULL_FILES >= 1_000_000) };
        const { assert!(FILE_IDS * (FULL_FILES + 1) * ID_BYTES <= 17 << 20) };
    }

    #[test]
    fn a_crash_while_a_file_is_replaced_loses_nothing() {
        let (folder, memory) = memory();
        for n in 0..SMALL as u64 {
            memory.add(&id(n)).expect("writes");
        }
        // The file is full and not sorted yet; then sorted, and the next one does not exist yet.
        for _ in 0..2 {
            let memory = open(folder.path());
            assert!(known(&memory, 0) && known(&memory, SMALL as u64 - 1));
            memory.add(&id(SMALL as u64)).expect("writes");
            assert!(known(&memory, 0) && known(&memory, SMALL as u64));
            std::fs::remove_file(folder.path().join("ran.2")).expect("removes");
        }
    }

    #[test]
    fn damaged_files_do_no_harm() {
        let (folder, memory) = memory();
        for n in 0..SMALL as u64 + 10 {
            memory.add(&id(n)).expect("writes");
        }
        let [full, newest] = ["ran.1", "ran.2"].map(|name| folder.path().join(name));
        let cut = |path: &Path, bytes: u64| {
            let file = File::options().write(true).open(path).expect("opens");
            file.set_len(bytes).expect("cuts");
        };
        cut(&newest, 9 * 16 + 7);
        cut(&full, 60 * 16 + 3);
        std::fs::write(folder.path().join("ran.x"), "not ours").expect("writes");
        let memory = open(folder.path());
        assert!(known(&memory, SMALL as u64 + 8));
        assert!(!known(&memory, SMALL as u64 + 9), "it was cut off");
        memory.add(&id(1 << 40)).expect("writes");
        assert!(known(&memory, 1 << 40));
        cut(&newest, 0);
        cut(&full, 0);
        let memory = open(folder.path());
        assert!(!known(&memory, SMALL as u64 + 8));
        std::fs::write(&newest, vec![0xff; 1_600]).expect("writes");
        let memory = open(folder.path());
        memory.add(&id(5)).expect("writes");
        assert!(known(&memory, 5) && !known(&memory, 6));
    }
}
