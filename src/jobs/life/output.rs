//! Output: stores each chunk at its offset, skips bytes that are stored already, and keeps only the
//! tail.

use hyprbox_protocol::{
    CONFIRM_SECONDS_MAX, Chunk, ChunkDataError, ConfirmWait, FLUSH_MS, FLUSH_MS_WATCHED,
    MAX_BYTE_COUNT, MAX_STEPS, OutputAnswer, OutputRequest, StepStamp, StepTimes, Stream,
};

use crate::auth::NodeIdentity;
use crate::clock::{self, Timestamp};
use crate::http::FieldErrors;
use crate::jobs::life::claim::FollowUpClaim;
use crate::jobs::life::finish::{self, AgentIds, Claimant, is_lost, require_claim};
use crate::jobs::life::proof;
use crate::jobs::life::tail_limits::{counts_of, trim};
use crate::jobs::run::step::{self, NewOutput};
use crate::jobs::{JobError, Jobs};
use crate::store::job::{self, Job, JobStatus};
use crate::store::output::{self, StoredChunk, count_newlines};
use crate::store::{Change, StoreError, Tx, job_step, run};

/// Bytes per row: adjacent chunks of a call are joined up to this size, larger chunks are cut.
const ROW_BYTES: usize = 64 * 1024;

/// The most chunks of one call, twice what our agent sends. If a script writes single bytes to both
/// streams in turn, each chunk is a row, because the order of the streams is kept. This many rows
/// are written within a fraction of a second, so that no call delays the others for longer.
const CHUNKS_MAX: usize = 16_384;

/// Jobs that end sooner never show their process.
const SHOWN_AFTER_MS: i64 = 1_000;

/// A run of bytes on its way into a stream.
struct Piece {
    stream: Stream,
    /// `None` appends the bytes at the end.
    offset: Option<u64>,
    data: Vec<u8>,
}

impl Jobs {
    /// Stores output that an agent sent. If the request has an `end`, the same commit also ends the
    /// job and, with `next`, claims the next one.
    pub(in crate::jobs) async fn append(
        &self,
        node: NodeIdentity,
        agent: AgentIds,
        id: String,
        request: OutputRequest,
    ) -> Result<OutputAnswer, JobError> {
        let pid = request.pid;
        let confirm_wait = confirm_wait_of(request.confirm_wait.as_ref())?;
        let times = request.step_times.clone().unwrap_or_default();
        let next = FollowUpClaim::of(&node, agent.instance.as_deref(), agent.process.as_deref())
            .filter(|_| request.next);
        let end = request.end.clone();
        if let Some(end) = &end {
            finish::check(end).map_err(in_the_end)?;
        }
        let has_end = end.is_some();
        let pieces = pieces_of(request)?;
        let max_bytes = self.limits.stdout_max_bytes;
        let job_id = id.clone();
        let (presence, runs) = (
            std::sync::Arc::clone(&self.nodes.presence),
            self.run_advance(),
        );
        let bytes = pieces.iter().map(|piece| piece.data.len()).sum();
        let (job, arrived, next) = self
            .store
            .write_large(bytes, move |tx| {
                if end.is_some() {
                    run::lock_of_job(tx, &id)?;
                }
                let caller = agent.claimant(&node.node_id, &presence);
                let appended = append(
                    tx,
                    caller,
                    &id,
                    Batch {
                        pid,
                        times,
                        confirm_wait,
                        pieces,
                    },
                    max_bytes,
                );
                let Some(end) = end else {
                    return appended.map(|(job, arrived)| (job, arrived, None));
                };
                let arrived = match appended {
                    Ok((_, arrived)) => arrived,
                    // The job has ended. `complete` accepts this report if it is the one that ended
                    // the job, and refuses any other.
                    Err(JobError::WrongState(_)) => 0,
                    Err(error) => return Err(error),
                };
                let job = finish::complete(tx, &runs, caller, &id, end)?;
                let next = next
                    .map(|next| next.find_work(tx, &presence))
                    .transpose()?
                    .flatten();
                Ok((job, arrived, next))
            })
            .await?;
        self.metrics.output(arrived);
        let next = match next {
            Some(found) => self.open(found, &job.node_id).await?,
            None => None,
        };
        let watched = self.tails.is_watched(&job_id);
        Ok(OutputAnswer {
            stdout_bytes: job.stdout.bytes,
            stderr_bytes: job.stderr.bytes,
            flush_ms: if watched { FLUSH_MS_WATCHED } else { FLUSH_MS },
            cancel: job.cancel_requested_at.is_some()
                && (job.status == JobStatus::Running || job.still_running),
            confirm: job.confirm_requested_at.is_some()
                && (job.status == JobStatus::Running || job.still_running),
            ended: has_end,
            job: next,
            ledger_head: self.nodes.ledger.head().filter(|_| has_end),
        })
    }
}

/// Prefixes the fields of a refused report with their place in a call of output.
fn in_the_end(error: JobError) -> JobError {
    let JobError::Fields(faults) = error else {
        return error;
    };
    JobError::Fields(faults.within("end"))
}

/// The wait that an agent reports, by the node's clock.
fn confirm_wait_of(wait: Option<&ConfirmWait>) -> Result<Option<(Timestamp, u64)>, JobError> {
    let Some(wait) = wait else { return Ok(None) };
    let mut faults = FieldErrors::default();
    let by = Timestamp::parse_rfc3339(&wait.confirm_by);
    let (at, rule) = ("confirmWait.confirmBy", "must be a time in RFC 3339");
    faults.check(by.is_some(), at, rule);
    let fits = (1..=CONFIRM_SECONDS_MAX).contains(&wait.seconds);
    faults.check(fits, "confirmWait.seconds", "must be 1 to 3600");
    faults.into_faults().map_err(JobError::Fields)?;
    Ok(by.map(|by| (by, wait.seconds)))
}

fn pieces_of(request: OutputRequest) -> Result<Vec<Piece>, JobError> {
    let mut faults = FieldErrors::default();
    let mut pieces = Vec::new();
    let chunks = request.chunks.unwrap_or_default();
    if chunks.len() > CHUNKS_MAX {
        return Err(JobError::TooManyChunks { max: CHUNKS_MAX });
    }
    for (index, chunk) in chunks.into_iter().enumerate() {
        let Chunk { stream, offset, .. } = chunk;
        match chunk.into_bytes() {
            Ok(data) if offset.saturating_add(data.len() as u64) <= MAX_BYTE_COUNT => {
                join(
                    &mut pieces,
                    Piece {
                        stream,
                        offset: Some(offset),
                        data,
                    },
                );
            }
            Ok(_) => faults.add(
                format!("chunks[{index}].offset"),
                "the chunk must end at or before 2^53",
            ),
            Err(ChunkDataError::NotExactlyOne) => {
                faults.add(
                    format!("chunks[{index}].data"),
                    "exactly one of data and dataBase64 is required",
                );
            }
            Err(ChunkDataError::NotBase64) => {
                faults.add(
                    format!("chunks[{index}].dataBase64"),
                    "must be standard base64",
                );
            }
        }
    }
    let stamps = request.step_times.map_or(0, |times| times.stamps.len());
    faults.check(
        stamps <= MAX_STEPS,
        "stepTimes.stamps",
        "must be at most 999",
    );
    faults.into_faults().map_err(JobError::Fields)?;
    for (stream, text) in [
        (Stream::Stdout, request.stdout),
        (Stream::Stderr, request.stderr),
    ] {
        if let Some(text) = text {
            pieces.push(Piece {
                stream,
                offset: None,
                data: text.into_bytes(),
            });
        }
    }
    Ok(pieces)
}

/// Adds a piece, joined with the previous one if it continues it, because one row per read would be
/// expensive for a chatty script.
fn join(pieces: &mut Vec<Piece>, piece: Piece) {
    if let Some(last) = pieces.last_mut()
        && last.stream == piece.stream
        && last.offset.map(|offset| offset + last.data.len() as u64) == piece.offset
        && last.data.len() + piece.data.len() <= ROW_BYTES
    {
        last.data.extend_from_slice(&piece.data);
    } else {
        pieces.push(piece);
    }
}

/// What one call brings for a job.
struct Batch {
    pid: Option<u32>,
    times: StepTimes,
    /// Until when the job waits for a confirmation, and for how long.
    confirm_wait: Option<(Timestamp, u64)>,
    pieces: Vec<Piece>,
}

/// Stores the batch. Returns the job, and the number of bytes that were new.
fn append(
    tx: &mut dyn Tx,
    caller: Claimant<'_>,
    id: &str,
    batch: Batch,
    max_bytes: u64,
) -> Result<(Job, u64), JobError> {
    let node_id = caller.node_id;
    // The row's lock orders the appends: positions continue those of the previous append.
    let mut job = job::find_locked(tx, id)?
        .filter(|job| job.node_id == node_id)
        .ok_or(JobError::NotFound)?;
    if job.status != JobStatus::Queued {
        require_claim(&job, caller)?;
    }
    if job.status != JobStatus::Running && !is_lost(&job) {
        return Err(JobError::WrongState(job.status));
    }
    if is_lost(&job) && !job.still_running {
        job.still_running = true;
        job::set_still_running(tx, id, true)?;
        tx.publish(Change::Job {
            id: id.to_owned(),
            node_id: node_id.to_owned(),
        });
    }
    let before = (job.position, job.stdout, job.stderr);
    let step_before = job.step.clone();
    let now = clock::now();
    if let Some(pid) = batch.pid
        && job.pid != Some(pid.into())
    {
        set_pid(tx, &mut job, pid, now)?;
    }
    if let Some((by, seconds)) = batch.confirm_wait
        && job.confirm_by != Some(by)
    {
        job::set_confirm_wait(tx, id, by, seconds)?;
        (job.confirm_by, job.confirm_seconds) = (Some(by), seconds);
        tx.publish(Change::Job {
            id: id.to_owned(),
            node_id: node_id.to_owned(),
        });
    }
    if batch.times.elapsed_ms > 0 {
        set_script_beginning(&mut job, batch.times.elapsed_ms, now);
    }
    for piece in batch.pieces {
        store(tx, &mut job, piece, now, &batch.times)?;
    }
    if job.step != step_before {
        job::set_step(tx, id, job.step.as_deref())?;
        tx.publish(Change::Progress {
            job_id: id.to_owned(),
        });
    }
    if (job.position, job.stdout, job.stderr) == before {
        return Ok((job, 0));
    }
    for stream in Stream::ALL {
        trim(tx, &mut job, stream, max_bytes)?;
    }
    output::set_counts(tx, &job, now)?;
    tx.publish(Change::Output {
        job_id: id.to_owned(),
    });
    let arrived = job.position - before.0;
    Ok((job, arrived))
}

fn set_pid(tx: &mut dyn Tx, job: &mut Job, pid: u32, now: Timestamp) -> Result<(), StoreError> {
    job.pid = Some(pid.into());
    job::set_pid(tx, &job.id, pid)?;
    let began = job.started_at.unwrap_or(job.created_at);
    // Viewers of a job that has just started receive the pid with its start.
    if now.millis_since(began) > SHOWN_AFTER_MS {
        tx.publish(Change::Job {
            id: job.id.clone(),
            node_id: job.node_id.clone(),
        });
    }
    Ok(())
}

/// Computes when bash began from the node's time since then. Each call is late by the time that it
/// was on its way, so the earliest result is the best. Bash does not begin before the claim.
fn set_script_beginning(job: &mut Job, elapsed_ms: u64, now: Timestamp) {
    let elapsed = i64::try_from(elapsed_ms).unwrap_or(i64::MAX);
    let began = Timestamp::from_millis(now.as_millis().saturating_sub(elapsed));
    let earliest = job.script_began_at.map_or(began, |known| known.min(began));
    job.script_began_at = Some(earliest.max(job.started_at.unwrap_or(earliest)));
}

/// How a chunk relates to the stored bytes: the bytes that are stored already, and those missing
/// before the chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Overlap {
    skip: u64,
    gap: u64,
}

fn overlap(offset: u64, end: u64) -> Overlap {
    Overlap {
        skip: end.saturating_sub(offset),
        gap: offset.saturating_sub(end),
    }
}

fn store(
    tx: &mut dyn Tx,
    job: &mut Job,
    piece: Piece,
    now: Timestamp,
    times: &StepTimes,
) -> Result<(), StoreError> {
    let (mut position, mut lines) = (job.position, job.lines);
    let id = job.id.clone();
    let end = counts_of(job, piece.stream).bytes;
    let Overlap { skip, gap } = overlap(piece.offset.unwrap_or(end), end);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let Some(new) = piece.data.get(skip..).filter(|new| !new.is_empty()) else {
        return Ok(());
    };
    if piece.stream == Stream::Stdout {
        let new = NewOutput {
            gap,
            is_open: job.stdout.is_open,
            offset: end + gap,
            bytes: new,
            arrived_at: now,
        };
        follow_steps(tx, job, &new, times)?;
    }
    proof::follow(job, piece.stream, gap, new);
    let counts = counts_of(job, piece.stream);
    counts.bytes += gap;
    counts.dropped += gap;
    if counts.bytes == counts.dropped {
        // Nothing is kept yet, so the kept tail begins here.
        counts.start = counts.bytes;
    }
    for row in new.chunks(ROW_BYTES) {
        let (line, after) = lines_of(row, counts.is_open, lines);
        let chunk = StoredChunk {
            stream: piece.stream,
            start_offset: counts.bytes,
            position,
            arrived_at: now,
            line,
            step_ms: None,
            data: row.to_vec(),
        };
        output::insert(tx, &id, &chunk)?;
        counts.rows += 1;
        counts.bytes += row.len() as u64;
        counts.is_open = !row.ends_with(b"\n");
        position += row.len() as u64;
        lines = after;
    }
    (job.position, job.lines) = (position, lines);
    Ok(())
}

/// Records the steps that new output announces, with the node's times of them.
fn follow_steps(
    tx: &mut dyn Tx,
    job: &mut Job,
    new: &NewOutput<'_>,
    times: &StepTimes,
) -> Result<(), StoreError> {
    let progress = step::follow(job.step.as_deref(), new);
    job.step = progress.step;
    for mut step in progress.announced {
        let is_of_step = |stamp: &&StepStamp| stamp.line_end == step.line_end;
        let stamp = times.stamps.iter().find(is_of_step);
        // A line can't be written after the call that brings it.
        step.began_ms = stamp
            .map(|stamp| stamp.ms)
            .filter(|ms| *ms <= times.elapsed_ms);
        job_step::insert(tx, &job.id, &step)?;
    }
    Ok(())
}

/// The number of lines that have begun after the first byte of `row`, and after its last byte. A
/// line begins with its first byte. If the stream's last line `is_open`, the row continues it.
fn lines_of(row: &[u8], is_open: bool, lines: Option<u64>) -> (Option<u64>, Option<u64>) {
    let first = lines.map(|lines| lines + u64::from(!is_open));
    let ends = count_newlines(&row[..row.len().saturating_sub(1)]);
    (first, first.map(|first| first + ends))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bytes_are_skipped_and_missing_bytes_are_a_gap() {
        assert_eq!(overlap(0, 10), Overlap { skip: 10, gap: 0 });
        assert_eq!(overlap(10, 10), Overlap { skip: 0, gap: 0 });
        assert_eq!(overlap(12, 10), Overlap { skip: 0, gap: 2 });
    }

    #[test]
    fn a_line_begins_with_its_first_byte() {
        let after = |row: &[u8], is_open| lines_of(row, is_open, Some(7));
        assert_eq!(after(b"a\n", false), (Some(8), Some(8)));
        assert_eq!(after(b"a\nb", false), (Some(8), Some(9)));
        assert_eq!(after(b"a\nb\n\n", true), (Some(7), Some(9)));
        assert_eq!(after(b"\n", true), (Some(7), Some(7)));
        assert_eq!(lines_of(b"a\nb", false, None), (None, None));
    }

    #[test]
    fn adjacent_chunks_are_joined() {
        let mut pieces = Vec::new();
        let mut add = |stream, offset, data: &[u8]| {
            join(
                &mut pieces,
                Piece {
                    stream,
                    offset: Some(offset),
                    data: data.to_vec(),
                },
            );
        };
        add(Stream::Stdout, 0, b"ab");
        add(Stream::Stdout, 2, b"cd");
        add(Stream::Stderr, 0, b"x");
        add(Stream::Stdout, 4, b"e");
        add(Stream::Stdout, 9, b"z");
        let shapes: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.stream, piece.offset, piece.data.len()))
            .collect();
        let (out, err) = (Stream::Stdout, Stream::Stderr);
        assert_eq!(
            shapes,
            [
                (out, Some(0), 4),
                (err, Some(0), 1),
                (out, Some(4), 1),
                (out, Some(9), 1)
            ]
        );
    }
}
