//! When each step of a job began, by this machine's clock: the file `steps` in the job's folder.
//!
//! It begins with the time at which bash began, followed by a pair for each line that announces a
//! step: the offset in stdout after the line, and the line's time (u64, little endian). Times are
//! milliseconds since the machine booted, including those in which it slept. A stamp is written
//! before its line is in the spool, so that whoever reads the line finds the stamp.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use hyprbox_protocol::{StepScanner, StepStamp, StepTimes};
use nix::time::{ClockId, clock_gettime};

use crate::trusted_dir::own_file;

/// The file's name. An empty one means the same as none.
pub(crate) const STAMPS: &str = "steps";

const NUMBER_BYTES: usize = 8;
const STAMP_BYTES: usize = 2 * NUMBER_BYTES;

/// Milliseconds since the machine booted.
pub(crate) fn uptime_ms() -> u64 {
    // The clock exists on every supported kernel.
    clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| {
        let seconds = u64::try_from(time.tv_sec()).unwrap_or(0);
        let millis = u64::try_from(time.tv_nsec() / 1_000_000).unwrap_or(0);
        seconds * 1_000 + millis
    })
}

/// Finds the lines that announce steps in the bytes of stdout, and stamps them.
pub(crate) struct StampWriter {
    path: PathBuf,
    /// Opened for the first stamp.
    file: Option<File>,
    /// When bash began.
    began: u64,
    scanner: StepScanner,
}

impl StampWriter {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(STAMPS),
            file: None,
            began: 0,
            scanner: StepScanner::default(),
        }
    }

    /// Bash begins now.
    pub(crate) fn begin(&mut self) {
        self.began = uptime_ms();
    }

    /// Milliseconds since bash began.
    pub(crate) fn elapsed(&self) -> u64 {
        uptime_ms().saturating_sub(self.began)
    }

    /// Stamps the steps that these bytes of stdout announce. They begin at `offset`, were read just
    /// now, and are not in the spool yet.
    pub(crate) fn read(&mut self, offset: u64, bytes: &[u8]) {
        let mut ends = Vec::new();
        self.scanner
            .read(bytes, |_, end| ends.push(offset + end as u64));
        if !ends.is_empty() {
            // Without the stamps, the server shows when the lines arrived.
            let _ = self.write(&ends);
        }
    }

    /// Writes stamps of the lines with these ends.
    fn write(&mut self, ends: &[u64]) -> io::Result<()> {
        let now = uptime_ms();
        let mut records = Vec::with_capacity(NUMBER_BYTES + ends.len() * STAMP_BYTES);
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                records.extend_from_slice(&self.began.to_le_bytes());
                let opened = own_file().create(true).append(true).open(&self.path)?;
                self.file.insert(opened)
            }
        };
        for end in ends {
            records.extend_from_slice(&end.to_le_bytes());
            records.extend_from_slice(&now.to_le_bytes());
        }
        file.write_all(&records)
    }
}

/// Reads the stamps while the supervisor writes them.
pub(crate) struct StampReader {
    path: PathBuf,
    file: Option<File>,
    began: u64,
    /// Their times are milliseconds since bash began.
    stamps: Vec<StepStamp>,
}

impl StampReader {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            path: dir.join(STAMPS),
            file: None,
            began: 0,
            stamps: Vec::new(),
        }
    }

    /// The stamps of lines that end in this range of stdout, and the time now. `None` if the job
    /// has announced no step, or its supervisor is an older agent's.
    pub(crate) fn times_within(&mut self, after: u64, until: u64) -> Option<StepTimes> {
        // A file that can't be read counts as a missing one.
        self.read_new().ok()?;
        let first = self.stamps.first()?;
        let now = uptime_ms();
        if now < self.began + first.ms {
            // The machine has restarted since.
            return None;
        }
        let within = |stamp: &&StepStamp| after < stamp.line_end && stamp.line_end <= until;
        Some(StepTimes {
            elapsed_ms: now - self.began,
            stamps: self.stamps.iter().filter(within).copied().collect(),
        })
    }

    fn read_new(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(File::open(&self.path)?),
        };
        let number = |at: usize| {
            let mut bytes = [0; NUMBER_BYTES];
            file.read_exact_at(&mut bytes, at as u64)
                .map(|()| u64::from_le_bytes(bytes))
        };
        loop {
            let at = NUMBER_BYTES + self.stamps.len() * STAMP_BYTES;
            let (Ok(line_end), Ok(time)) = (number(at), number(at + NUMBER_BYTES)) else {
                // The next stamp is not complete yet.
                return Ok(());
            };
            self.began = number(0)?;
            self.stamps.push(StepStamp {
                line_end,
                ms: time.saturating_sub(self.began),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_reader_finds_the_same_stamps_and_only_those_of_its_range() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut writer = StampWriter::new(dir.path());
        let mut reader = StampReader::new(dir.path());
        assert_eq!(reader.times_within(0, 100), None);
        writer.begin();
        writer.read(0, b"==> [1/2] One\n");
        let first = reader.times_within(0, 14).expect("a stamp").stamps;
        writer.read(14, b"==> [2/2] Two\n");
        let ends = |times: Option<StepTimes>| {
            let stamps = times.expect("stamps").stamps;
            stamps
                .iter()
                .map(|stamp| stamp.line_end)
                .collect::<Vec<_>>()
        };
        assert_eq!(ends(reader.times_within(14, 28)), [28]);
        assert_eq!(ends(reader.times_within(14, 27)), [] as [u64; 0]);
        let again = StampReader::new(dir.path()).times_within(0, 28);
        let again = again.expect("stamps");
        assert_eq!(again.stamps[0], first[0]);
        assert!(again.stamps[1].ms >= first[0].ms && again.elapsed_ms >= again.stamps[1].ms);
        // A record of which only a part is written.
        let path = dir.path().join(STAMPS);
        let bytes = std::fs::read(&path).expect("reads");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("writes");
        assert_eq!(ends(StampReader::new(dir.path()).times_within(0, 28)), [14]);
        // A recycled folder has an empty file.
        std::fs::write(&path, b"").expect("writes");
        assert_eq!(StampReader::new(dir.path()).times_within(0, 28), None);
    }
}
