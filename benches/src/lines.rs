//! What a script writes whose lines tell when they were written: 1 MB a second, a line of 10 kB each 10 ms.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::clock;

/// Bytes of a line, with its end.
pub(crate) const LINE_BYTES: usize = 10_000;
/// Lines a second.
pub(crate) const LINES_PER_SECOND: u64 = 100;

/// Writes for so many seconds.
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

/// When the lines in `text` were written, in microseconds since 1970.
pub(crate) fn stamps(text: &[u8]) -> impl Iterator<Item = u64> {
    let is_mark = |window: &&[u8]| window[0] == b'@' && window[21] == b'@';
    // Stamps are at the head of lines: a look at each `@` alone keeps a thousand readers cheap.
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            at += text.get(at..)?.iter().position(|byte| *byte == b'@')?;
            let window = text.get(at..at + 22)?;
            if is_mark(&window)
                && let Ok(stamp) = std::str::from_utf8(&window[1..21]).unwrap_or("").parse()
            {
                at += 22;
                return Some(stamp);
            }
            at += 1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_wherever_a_line_begins() {
        let text = format!("@ no\n@{:020}@xx\n@{:020}@", 17, 18);
        assert_eq!(stamps(text.as_bytes()).collect::<Vec<_>>(), [17, 18]);
        assert_eq!(stamps(b"@0000").count(), 0);
    }
}
