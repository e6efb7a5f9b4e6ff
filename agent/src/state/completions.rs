//! The ends that the server has heard: the last of them, a line each in the state folder's `ended`.
//!
//! A job's folder goes when the server has taken its end. The job may come once more all the same:
//! from a server that was put back to a backup, or by a row that was changed by hand. Its script
//! never starts twice, so the end that it had is told again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyprbox_protocol::CompleteRequest;
use serde::{Deserialize, Serialize};

use crate::trusted_dir::{self, own_file};

/// Ends that are remembered.
const KEPT: usize = 256;
/// Lines of the file before it is made anew with those that are kept.
const LINES_MAX: usize = 2 * KEPT;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Line {
    id: String,
    end: CompleteRequest,
}

/// What is remembered.
#[derive(Debug)]
pub(crate) struct Ended {
    path: PathBuf,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    last: VecDeque<Line>,
    lines: usize,
}

impl Ended {
    /// Reads what earlier agents left in the state folder. What can't be read there is nothing that
    /// is remembered.
    pub(crate) fn open(state: &Path) -> Self {
        let path = state.join("ended");
        let text = trusted_dir::read(&path).unwrap_or_default();
        let mut memory = Memory::default();
        for line in text.split(|byte| *byte == b'\n').filter(|l| !l.is_empty()) {
            memory.lines += 1;
            if let Ok(line) = serde_json::from_slice(line) {
                memory.remember(line);
            }
        }
        Self {
            path,
            memory: Mutex::new(memory),
        }
    }

    /// How that job ended here, if that is remembered.
    pub(crate) fn find(&self, id: &str) -> Option<CompleteRequest> {
        let memory = self.memory();
        let line = memory.last.iter().rev().find(|line| line.id == id)?;
        Some(line.end.clone())
    }

    /// Remembers an end that the server has heard. Nothing is synced: what the power takes along is
    /// remembered by the server.
    pub(crate) fn note(&self, id: &str, end: &CompleteRequest) {
        let line = Line {
            id: id.to_owned(),
            end: end.clone(),
        };
        let mut memory = self.memory();
        memory.remember(line.clone());
        let written = if memory.lines >= LINES_MAX {
            memory.lines = memory.last.len();
            self.write_anew(&memory.last)
        } else {
            memory.lines += 1;
            self.append(&line)
        };
        if let Err(error) = written {
            tracing::warn!("[jobrunner] job {id}: its end is not remembered: {error}");
        }
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line).map_err(io::Error::other)?;
        text.push(b'\n');
        private(own_file().append(true), &self.path)?.write_all(&text)
    }

    fn write_anew(&self, lines: &VecDeque<Line>) -> io::Result<()> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line).map_err(io::Error::other)?;
            text.push(b'\n');
        }
        let making = self.path.with_extension("tmp");
        private(own_file().write(true).truncate(true), &making)?.write_all(&text)?;
        std::fs::rename(making, &self.path)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn remember(&mut self, line: Line) {
        self.last.push_back(line);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }
}

fn private(options: &mut std::fs::OpenOptions, path: &Path) -> io::Result<File> {
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
    fn the_last_ends_are_remembered_over_restarts_and_the_file_stays_small() {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = Ended::open(folder.path());
        assert_eq!(ended.find("0"), None);
        let count = 3 * LINES_MAX;
        for n in 0..count {
            ended.note(&n.to_string(), &end(n as i64));
        }
        for ended in [ended, Ended::open(folder.path())] {
            let last = (count - 1).to_string();
            assert_eq!(ended.find(&last), Some(end((count - 1) as i64)));
            assert_eq!(
                ended.find(&(count - KEPT).to_string()),
                Some(end((count - KEPT) as i64))
            );
            assert_eq!(ended.find("0"), None);
        }
        let text = std::fs::read_to_string(folder.path().join("ended")).expect("reads");
        assert!(
            text.lines().count() <= LINES_MAX,
            "{}",
            text.lines().count()
        );
    }

    #[test]
    fn a_file_that_was_cut_or_spoilt_costs_only_the_lines_that_it_spoils() {
        let folder = tempfile::tempdir().expect("a folder");
        let ended = Ended::open(folder.path());
        ended.note("one", &end(1));
        let path = folder.path().join("ended");
        let mut text = std::fs::read(&path).expect("reads");
        text.extend_from_slice(b"\xff\x00\n{\"id\":\"two\",\"end\":{\"exi");
        std::fs::write(&path, text).expect("writes");
        let ended = Ended::open(folder.path());
        assert_eq!(ended.find("one"), Some(end(1)));
        assert_eq!(ended.find("two"), None);
    }
}
