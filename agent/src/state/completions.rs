//! The latest completions that the server has acknowledged: the file `ended`, one line each.
//!
//! A job's directory is recycled once the server has acknowledged its completion. The same job may
//! arrive again nevertheless: from a server that was restored from a backup, or after somebody
//! changed its row by hand. A script never starts twice, so its completion is reported again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyprbox_protocol::CompleteRequest;
use serde::{Deserialize, Serialize};

use crate::trusted_dir::{self, own_file};

/// How many completions are kept.
const KEPT: usize = 256;
/// The file is rewritten with the kept completions when it has this many lines.
const LINES_MAX: usize = 2 * KEPT;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    id: String,
    end: CompleteRequest,
}

/// The completions by job id.
#[derive(Debug)]
pub(crate) struct Completions {
    path: PathBuf,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    latest: VecDeque<Entry>,
    lines: usize,
}

impl Completions {
    /// Reads the file that earlier agents left in the state folder; lines that can't be read are
    /// skipped.
    pub(crate) fn open(state: &Path) -> Self {
        let path = state.join("ended");
        let text = trusted_dir::read(&path).unwrap_or_default();
        let mut memory = Memory::default();
        for line in text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
            memory.lines += 1;
            if let Ok(entry) = serde_json::from_slice(line) {
                memory.push(entry);
            }
        }
        Self {
            path,
            memory: Mutex::new(memory),
        }
    }

    /// The completion of a job that ended here.
    pub(crate) fn find(&self, id: &str) -> Option<CompleteRequest> {
        let memory = self.memory();
        let entry = memory.latest.iter().rev().find(|entry| entry.id == id)?;
        Some(entry.end.clone())
    }

    /// Records a completion that the server has acknowledged. Nothing is synced: after a power loss
    /// the server still knows it.
    pub(crate) fn record(&self, id: &str, end: &CompleteRequest) {
        let entry = Entry {
            id: id.to_owned(),
            end: end.clone(),
        };
        let mut memory = self.memory();
        memory.push(entry.clone());
        let written = if memory.lines >= LINES_MAX {
            memory.lines = memory.latest.len();
            self.rewrite(&memory.latest)
        } else {
            memory.lines += 1;
            self.append(&entry)
        };
        if let Err(error) = written {
            tracing::warn!("[jobrunner] job {id}: its completion can't be recorded: {error}");
        }
    }

    fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut text = serde_json::to_vec(entry).map_err(io::Error::other)?;
        text.push(b'\n');
        open_private(own_file().append(true), &self.path)?.write_all(&text)
    }

    fn rewrite(&self, entries: &VecDeque<Entry>) -> io::Result<()> {
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry).map_err(io::Error::other)?;
            text.push(b'\n');
        }
        let draft = self.path.with_extension("tmp");
        open_private(own_file().write(true).truncate(true), &draft)?.write_all(&text)?;
        std::fs::rename(draft, &self.path)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn push(&mut self, entry: Entry) {
        self.latest.push_back(entry);
        if self.latest.len() > KEPT {
            self.latest.pop_front();
        }
    }
}

fn open_private(options: &mut std::fs::OpenOptions, path: &Path) -> io::Result<File> {
    options.create(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(exit_code: i64) -> CompleteRequest {
        CompleteRequest {
            exit_code: Some(exit_code),
            ..CompleteRequest::default()
        }
    }

    #[test]
    fn the_latest_completions_survive_restarts_and_the_file_stays_small() {
        let folder = tempfile::tempdir().expect("a folder");
        let completions = Completions::open(folder.path());
        assert_eq!(completions.find("0"), None);
        let count = 3 * LINES_MAX;
        for n in 0..count {
            completions.record(&n.to_string(), &end(n as i64));
        }
        for completions in [completions, Completions::open(folder.path())] {
            let last = (count - 1).to_string();
            assert_eq!(completions.find(&last), Some(end((count - 1) as i64)));
            assert_eq!(
                completions.find(&(count - KEPT).to_string()),
                Some(end((count - KEPT) as i64))
            );
            assert_eq!(completions.find("0"), None);
        }
        let text = std::fs::read_to_string(folder.path().join("ended")).expect("reads");
        assert!(
            text.lines().count() <= LINES_MAX,
            "{}",
            text.lines().count()
        );
    }

    #[test]
    fn a_damaged_file_loses_only_the_damaged_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let completions = Completions::open(folder.path());
        completions.record("one", &end(1));
        let path = folder.path().join("ended");
        let mut text = std::fs::read(&path).expect("reads");
        text.extend_from_slice(b"\xff\x00\n{\"id\":\"two\",\"end\":{\"exi");
        std::fs::write(&path, text).expect("writes");
        let completions = Completions::open(folder.path());
        assert_eq!(completions.find("one"), Some(end(1)));
        assert_eq!(completions.find("two"), None);
    }
}
