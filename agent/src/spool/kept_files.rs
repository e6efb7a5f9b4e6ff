//! The supervisor's list of the files that are in a spool, with their sizes.

use std::collections::VecDeque;
use std::path::PathBuf;

/// The segments of one stream or of the index, from the oldest to the newest.
#[derive(Default)]
pub(super) struct KeptFiles {
    files: VecDeque<KeptFile>,
    bytes: u64,
}

struct KeptFile {
    /// The number in the file's name.
    number: u64,
    bytes: u64,
}

impl KeptFiles {
    /// The size of all of them.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    pub(super) fn oldest(&self) -> Option<u64> {
        self.files.front().map(|file| file.number)
    }

    /// The numbers in the files' names.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.files.iter().map(|file| file.number)
    }

    /// Adds a file, which is empty.
    pub(super) fn push(&mut self, number: u64) {
        self.files.push_back(KeptFile { number, bytes: 0 });
    }

    /// Counts bytes that were appended to the newest file.
    pub(super) fn count(&mut self, bytes: usize) {
        if let Some(newest) = self.files.back_mut() {
            newest.bytes += bytes as u64;
            self.bytes += bytes as u64;
        }
    }

    /// Drops the oldest file from the list, and returns its number.
    pub(super) fn pop_oldest(&mut self) -> Option<u64> {
        let oldest = self.files.pop_front()?;
        self.bytes -= oldest.bytes;
        Some(oldest.number)
    }

    /// Drops the files from the list that the agent has removed. These are the oldest, and never
    /// the newest.
    pub(super) fn forget_removed(&mut self, path: impl Fn(u64) -> PathBuf) {
        while self.len() > 1 && self.oldest().is_some_and(|oldest| !path(oldest).exists()) {
            self.pop_oldest();
        }
    }
}
