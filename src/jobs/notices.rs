//! Messages about jobs and runs. A run has one message about its end and its jobs have none. Checks
//! report no failures.

use hyprbox_protocol::Stream;
use serde_json::json;

use crate::jobs::run::view::RunView;
use crate::jobs::view::JobView;
use crate::outbox::{EventKind, Message, Outbox, Subject, SubjectNodes};
use crate::store::job::{self, HoldKind, Job, JobKind, JobStatus};
use crate::store::output;
use crate::store::run::{self, Run, RunStatus};
use crate::store::{StoreError, Tx};

/// The most lines of stderr in a message, and the bytes that are searched for them.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 8 * 1024;
/// How the message of a job that no agent came for begins.
const EXPIRED: &str = "expired:";

fn subject_of_job(job: &Job) -> Subject<'_> {
    Subject {
        preset: Some(&job.preset),
        nodes: SubjectNodes::One(&job.node_id),
        schedule: Some(None),
    }
}

fn subject_of_run(run: &Run) -> Subject<'_> {
    Subject {
        preset: Some(&run.preset),
        nodes: SubjectNodes::OfRun(&run.id),
        schedule: Some(run.schedule_id.as_deref()),
    }
}

/// Whether a job with this end counts as failed.
fn is_failure(status: JobStatus, error_msg: Option<&str>) -> bool {
    match status {
        JobStatus::Failed => true,
        JobStatus::Cancelled => error_msg.is_some_and(|why| why.starts_with(EXPIRED)),
        JobStatus::Queued | JobStatus::Running | JobStatus::Succeeded => false,
    }
}

/// Reports the end of a single job. `actor` is who ended it, as in the audit log.
pub(in crate::jobs) fn report_job_end(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    job: &Job,
    actor: Option<&str>,
) -> Result<(), StoreError> {
    if job.run_id.is_some() || job.kind == JobKind::Check {
        return Ok(());
    }
    let is_late = job.recovered_at.is_some();
    let event = if job.status == JobStatus::Succeeded {
        EventKind::JobRecovered
    } else if !is_failure(job.status, job.error_msg.as_deref()) || is_late {
        // A late failure was reported as lost.
        return Ok(());
    } else if job.lost_at.is_some() {
        EventKind::JobLost
    } else {
        EventKind::JobFailed
    };
    let subject = subject_of_job(job);
    if outbox.rules_for(tx, event, &subject)?.is_empty() {
        return Ok(());
    }
    if event == EventKind::JobRecovered && !is_late && !failed_before(tx, job)? {
        return Ok(());
    }
    let actor = actor.filter(|actor| actor.contains('@'));
    let reason = match (event, actor) {
        (EventKind::JobRecovered, _) if is_late => {
            "the agent came back: the job had succeeded".to_owned()
        }
        (EventKind::JobRecovered, _) => "succeeded again after a failure".to_owned(),
        (_, Some(actor)) => format!("failed by {actor}: {}", reason_of(job)),
        (_, None) => reason_of(job),
    };
    outbox.report(tx, event, &subject, |tx| {
        let stderr_tail = if event == EventKind::JobRecovered {
            None
        } else {
            stderr_tail(tx, job)?
        };
        Ok(Message {
            event: Some(event),
            object: Some(("job", json!(JobView::from(job.clone())))),
            reason,
            stderr_tail,
            path: format!("/jobs/{}", job.id),
        })
    })
}

/// Whether the last job of the same preset and node that counts had failed.
fn failed_before(tx: &mut dyn Tx, job: &Job) -> Result<bool, StoreError> {
    let past = job::past_outcomes(tx, job)?;
    let counts = |(status, why): &(JobStatus, Option<String>)| {
        *status == JobStatus::Succeeded || is_failure(*status, why.as_deref())
    };
    let last = past.into_iter().find(counts);
    Ok(last.is_some_and(|(status, _)| status != JobStatus::Succeeded))
}

/// Why a job failed, in words.
fn reason_of(job: &Job) -> String {
    match (&job.error_msg, job.exit_code) {
        (Some(why), _) => why.clone(),
        (None, Some(code)) => format!("the script ended with exit code {code}"),
        (None, None) => "the script did not end by itself".to_owned(),
    }
}

/// Reports the end of a run.
pub(in crate::jobs) fn report_run_end(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    run_id: &str,
) -> Result<(), StoreError> {
    let Some(run) = run::find(tx, run_id)? else {
        return Ok(());
    };
    let event = match run.status {
        RunStatus::Succeeded | RunStatus::Cancelled => EventKind::RunFinished,
        RunStatus::Failed if run.kind == JobKind::Check => return Ok(()),
        RunStatus::Failed => EventKind::RunFailed,
        RunStatus::Running | RunStatus::Paused => return Ok(()),
    };
    let subject = subject_of_run(&run);
    outbox.report(tx, event, &subject, |tx| {
        let view = RunView::read(tx, run.clone())?;
        let (reason, stderr_tail) = if event == EventKind::RunFailed {
            failure_of_run(tx, &view)?
        } else if run.status == RunStatus::Cancelled {
            ("cancelled".to_owned(), None)
        } else if view.counts.failed > 0 {
            (
                format!("succeeded with {}", failures(view.counts.failed)),
                None,
            )
        } else {
            ("succeeded".to_owned(), None)
        };
        Ok(Message {
            event: Some(event),
            object: Some(("run", json!(view))),
            reason,
            stderr_tail,
            path: format!("/runs/{}", run.id),
        })
    })
}

fn failures(count: u64) -> String {
    match count {
        1 => "1 failure".to_owned(),
        count => format!("{count} failures"),
    }
}

/// Why a run failed, with the stderr of the job that failed first.
fn failure_of_run(tx: &mut dyn Tx, run: &RunView) -> Result<(String, Option<String>), StoreError> {
    let because = match &run.stopped_because {
        Some(because) => format!("stopped: {because}"),
        None if run.counts.failed == 0 => "no job succeeded".to_owned(),
        None => format!("{} of {} jobs failed", run.counts.failed, run.node_count),
    };
    let jobs = run::jobs(tx, &run.id)?.into_iter();
    let failed = jobs.filter(|job| is_failure(job.status, job.error_msg.as_deref()));
    let Some(first) = failed.min_by_key(|job| job.finished_at) else {
        return Ok((because, None));
    };
    let Some(job) = job::find(tx, &first.id)? else {
        return Ok((because, None));
    };
    let reason = format!("{because}; on {}: {}", job.node_id, reason_of(&job));
    Ok((reason, stderr_tail(tx, &job)?))
}

/// Reports a single job that waits for a person's signature.
pub(in crate::jobs) fn report_wait_of_job(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    job: &Job,
) -> Result<(), StoreError> {
    if !job.holds.contains(HoldKind::Signature) {
        return Ok(());
    }
    let (event, subject) = (EventKind::WaitsForSignature, subject_of_job(job));
    outbox.report(tx, event, &subject, |_| {
        Ok(Message {
            event: Some(event),
            object: Some(("job", json!(JobView::from(job.clone())))),
            reason: format!(
                "{} runs only jobs that a person has signed: hyprbox jobs sign {}",
                job.node_id, job.id
            ),
            stderr_tail: None,
            path: format!("/jobs/{}", job.id),
        })
    })
}

/// Reports a new run if any of its jobs waits for a person's signature.
pub(in crate::jobs) fn report_wait_of_run(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    run: &Run,
) -> Result<(), StoreError> {
    let (event, subject) = (EventKind::WaitsForSignature, subject_of_run(run));
    if outbox.rules_for(tx, event, &subject)?.is_empty() {
        return Ok(());
    }
    let jobs = run::jobs(tx, &run.id)?.into_iter();
    let waiting = jobs
        .filter(|job| job.status == JobStatus::Queued && job.holds.contains(HoldKind::Signature));
    let count = waiting.count();
    if count == 0 {
        return Ok(());
    }
    outbox.report(tx, event, &subject, |tx| {
        Ok(Message {
            event: Some(event),
            object: Some(("run", json!(RunView::read(tx, run.clone())?))),
            reason: format!(
                "{count} of {} jobs wait for a person's signature",
                run.node_count
            ),
            stderr_tail: None,
            path: format!("/runs/{}", run.id),
        })
    })
}

/// The last lines of a job's stderr.
fn stderr_tail(tx: &mut dyn Tx, job: &Job) -> Result<Option<String>, StoreError> {
    let from = job.stderr.bytes.saturating_sub(TAIL_BYTES);
    let mut next = output::position_after(tx, &job.id, Stream::Stderr, from)?;
    let mut bytes = Vec::new();
    while let Some(position) = next {
        let chunks = output::window(tx, job, Some(Stream::Stderr), position, job.position + 1)?;
        next = chunks.last().map(output::StoredChunk::end_position);
        next = next.filter(|end| *end > position);
        for mut chunk in chunks {
            chunk.skip(from.saturating_sub(chunk.start_offset));
            bytes.extend_from_slice(&chunk.data);
        }
    }
    Ok(last_lines(&bytes, from > 0))
}

/// The last lines of these bytes. If the first line `is_cut`, it counts only if it is the only one.
fn last_lines(bytes: &[u8], is_cut: bool) -> Option<String> {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let whole = match lines.as_slice() {
        [_, rest @ ..] if is_cut && !rest.is_empty() => rest,
        all => all,
    };
    let last = &whole[whole.len().saturating_sub(TAIL_LINES)..];
    let tail = last.join("\n");
    (!tail.trim().is_empty()).then_some(tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_at_most_twenty_whole_lines() {
        let text: String = (1..=30).map(|line| format!("line {line}\n")).collect();
        let tail = last_lines(text.as_bytes(), true).expect("lines");
        assert_eq!(tail.lines().count(), 20);
        assert!(tail.starts_with("line 11\n") && tail.ends_with("line 30"));
        assert_eq!(last_lines(b"alf\nwhole\n", true).as_deref(), Some("whole"));
        assert_eq!(last_lines(b"half", true).as_deref(), Some("half"));
        assert_eq!(last_lines(b"one\ntwo", false).as_deref(), Some("one\ntwo"));
        assert_eq!(last_lines(b" \n\n", false), None);
    }

    #[test]
    fn an_expired_job_counts_as_failed_and_a_cancelled_one_does_not() {
        let expired = Some("expired: no agent came for it within 36 h");
        assert!(is_failure(JobStatus::Cancelled, expired));
        assert!(!is_failure(JobStatus::Cancelled, Some("node deleted")));
        assert!(!is_failure(JobStatus::Cancelled, None));
        assert!(is_failure(JobStatus::Failed, None));
    }
}
