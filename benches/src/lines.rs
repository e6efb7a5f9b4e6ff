//! Output whose lines contain the time of writing: 1 MB per second, a line of 10 kB every 10 ms.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::clock;

/// Bytes of a line, including its end.
pub(crate) const LINE_BYTES: usize = 10_000;
/// Lines per second.
pub(crate) const LINES_PER_SECOND: u64 = 100;

/// Writes lines for so many seconds.
pub(crate) fn write(seconds: u64) -> std::io::Result<()> {
    let start = Instant::now();
    let mut output = std::io::stdout().lock();
    for number in 0..seconds * LINES_PER_SECOND {
        let due = start + Duration::from_millis(number * 1_000 / LINES_PER_SECOND);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut line = format!("@{:020}@", clock::micros()).into_bytes();
        line.resize(LINE_BYTES - 1, b'x');
        line.push(b'\n');
        output.write_all(&line)?;
        output.flush()?;
    }
    Ok(())
}

/// Bytes of the time stamp at the start of a line.
pub(crate) const STAMP_BYTES: usize = 22;

/// Parses a time stamp: microseconds since 1970.
pub(crate) fn stamp(head: &[u8]) -> Option<u64> {
    let digits = head.strip_prefix(b"@")?.strip_suffix(b"@")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_parsed_back() {
        let head = format!("@{:020}@", 17);
        assert_eq!(head.len(), STAMP_BYTES);
        assert_eq!(stamp(head.as_bytes()), Some(17));
        assert_eq!(stamp(b"@ no user has such a @"), None);
    }
}
