//! The last line that a job wrote to stderr.

use hyprbox_protocol::{STEP_LINE_PREFIX, Stream};

use crate::jobs::log::window::WindowReader;
use crate::jobs::{JobError, Jobs};
use crate::store::job;

/// Bytes at the end of stderr that are searched.
const SEARCHED_BYTES: u64 = 16 * 1024;
/// What the agent adds to stderr at a job's end.
const BY_AGENT: &[u8] = b"hyprbox: ";

/// A line of stderr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorLine {
    /// Its number, counted over both streams; `None` if the job's lines are not counted.
    pub number: Option<u64>,
    pub bytes: Vec<u8>,
}

impl Jobs {
    /// The last line of a job's stderr that the script's commands wrote.
    pub async fn last_error_line(&self, id: String) -> Result<Option<ErrorLine>, JobError> {
        self.store
            .read(move |tx| {
                let job = job::find(tx, &id)?.ok_or(JobError::NotFound)?;
                let mut reader = WindowReader::new(&job, Some(Stream::Stderr)).last(SEARCHED_BYTES);
                let mut lines: Vec<ErrorLine> = Vec::new();
                let mut is_open = false;
                while !reader.is_done() {
                    for chunk in reader.read(tx)? {
                        let mut number = chunk.line;
                        for piece in chunk.data.split_inclusive(|byte| *byte == b'\n') {
                            match lines.last_mut() {
                                Some(last) if is_open => last.bytes.extend_from_slice(piece),
                                _ => lines.push(ErrorLine {
                                    number,
                                    bytes: piece.to_vec(),
                                }),
                            }
                            is_open = !piece.ends_with(b"\n");
                            number = number.map(|number| number + 1);
                        }
                    }
                }
                Ok(lines
                    .into_iter()
                    .rev()
                    .find(|line| is_by_script(&line.bytes)))
            })
            .await
    }
}

fn is_by_script(line: &[u8]) -> bool {
    let is_blank = line.trim_ascii().is_empty();
    !is_blank && !line.starts_with(BY_AGENT) && !line.starts_with(STEP_LINE_PREFIX.as_bytes())
}
