//! Finish: RUNNING → SUCCEEDED, FAILED or CANCELLED, exactly once. A job that its lease has failed
//! can be completed once more by its agent.

use hyprbox_protocol::{
    CompleteRequest, FailureReason, MAX_BYTE_COUNT, MAX_ERROR_MSG_CHARS, PerStream, Refusal,
};

use crate::auth::NodeIdentity;
use crate::clock;
use crate::http::FieldErrors;
use crate::jobs::life::end::{EndEntry, record_end};
use crate::jobs::life::proof;
use crate::jobs::run::advance::RunAdvance;
use crate::jobs::{JobError, Jobs};
use crate::nodes::{Presence, Standing};
use crate::store::id::{JobId, NodeId};
use crate::store::job::{self, Ending, Job, JobStatus, StreamCounts};
use crate::store::{Change, Tx, node, run};

impl Jobs {
    /// Ends a job as its agent reports. Repeating a report returns the same job; a different report
    /// is refused.
    pub(in crate::jobs) async fn complete(
        &self,
        node: NodeIdentity,
        agent: AgentIds,
        id: String,
        request: CompleteRequest,
    ) -> Result<Job, JobError> {
        check(&request)?;
        let presence = std::sync::Arc::clone(&self.nodes.presence);
        let runs = self.run_advance();
        self.store
            .write(move |tx| {
                run::lock_of_job(tx, &id)?;
                let caller = agent.claimant(&node.node_id, &presence);
                complete(tx, &runs, caller, &id, request)
            })
            .await
    }
}

/// The ids that an agent sent with its output or with a job's end.
pub(in crate::jobs) struct AgentIds {
    pub(in crate::jobs) instance: Option<String>,
    pub(in crate::jobs) process: Option<String>,
}

impl AgentIds {
    pub(in crate::jobs) fn claimant<'c>(
        &'c self,
        node_id: &'c str,
        presence: &'c Presence,
    ) -> Claimant<'c> {
        Claimant {
            node_id,
            instance: self.instance.as_deref(),
            process: self.process.as_deref(),
            presence,
        }
    }
}

/// The agent that reports on a job.
#[derive(Debug, Clone, Copy)]
pub(in crate::jobs) struct Claimant<'c> {
    pub(in crate::jobs) node_id: &'c str,
    pub(in crate::jobs) instance: Option<&'c str>,
    pub(in crate::jobs) process: Option<&'c str>,
    pub(in crate::jobs) presence: &'c Presence,
}

/// Refuses a caller that does not hold the job's claim. Any caller of the node holds a claim that
/// has no instance. Another process of the instance holds it only once the claiming one is gone.
pub(in crate::jobs) fn require_claim(job: &Job, caller: Claimant<'_>) -> Result<(), JobError> {
    let instance = match (job.claimed_by.as_deref(), caller.instance) {
        (None, _) => return Ok(()),
        (Some(holder), Some(instance)) if holder == instance => instance,
        (Some(_), _) => return Err(JobError::NotYourClaim),
    };
    let (Some(claimer), Some(process)) = (&job.claimed_process, caller.process) else {
        return Ok(());
    };
    let standing = caller
        .presence
        .standing_for(caller.node_id, instance, process, claimer);
    match standing {
        Standing::Settled => Ok(()),
        Standing::Second => Err(JobError::NotYourProcess),
        Standing::Challenged | Standing::Unproven => Err(JobError::ProcessUnproven),
    }
}

/// Whether the lease has failed the job and its agent has not reported the real end yet.
pub(in crate::jobs) fn is_lost(job: &Job) -> bool {
    job.status == JobStatus::Failed && job.lost_at.is_some() && job.recovered_at.is_none()
}

/// Ends the job, unless an earlier, identical report has. The caller has locked the job's run.
pub(in crate::jobs) fn complete(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    caller: Claimant<'_>,
    id: &str,
    request: CompleteRequest,
) -> Result<Job, JobError> {
    let node_id = caller.node_id;
    let job = job::find_locked(tx, id)?
        .filter(|job| job.node_id == node_id)
        .ok_or(JobError::NotFound)?;
    let digest = digest_of(&request);
    if job.status != JobStatus::Queued {
        require_claim(&job, caller)?;
    }
    if job.status.is_terminal() && is_repetition(&job, &request, digest) {
        return Ok(job);
    }
    if job.status != JobStatus::Running && !is_lost(&job) {
        return Err(JobError::WrongState(job.status));
    }
    record_refusal(tx, runs, &job, &request)?;
    let end = ending(&job, request, digest);
    let finished =
        job::finish(tx, id, &end, clock::now())?.ok_or(JobError::WrongState(job.status))?;
    let actor = format!("node:{node_id}");
    let detail = format!("the agent came back after its lease: {}", end.status);
    let recovery = is_lost(&job).then_some(EndEntry {
        actor: &actor,
        action: "job.recover",
        detail: &detail,
    });
    record_end(tx, runs, &finished, recovery)?;
    Ok(finished)
}

/// Records on the node that a job was refused because of its signature.
fn record_refusal(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    job: &Job,
    request: &CompleteRequest,
) -> Result<(), JobError> {
    // An unknown reason, as of a later agent, counts as none.
    let Some(refusal) = request.refused.as_deref().and_then(Refusal::parse) else {
        return Ok(());
    };
    runs.count_refusal(tx, refusal);
    let because = storable(request.error_msg.as_deref().unwrap_or_default());
    let because = because
        .strip_prefix(FailureReason::REFUSED)
        .unwrap_or(&because);
    let (node_id, job_id) = (NodeId(&*job.node_id), JobId(&*job.id));
    node::set_refused(tx, node_id, job_id, because, clock::now())?;
    tx.publish(Change::Node {
        id: job.node_id.clone(),
    });
    Ok(())
}

/// Fails a claimed job that must not be delivered to its agent.
pub(in crate::jobs) fn fail_claimed(
    tx: &mut dyn Tx,
    runs: &RunAdvance,
    id: &str,
    reason: &str,
    refusal: Option<Refusal>,
) -> Result<(), JobError> {
    run::lock_of_job(tx, id)?;
    let job = job::find_locked(tx, id)?.ok_or(JobError::NotFound)?;
    let request = CompleteRequest {
        error_msg: Some(reason.to_owned()),
        refused: refusal.map(|refusal| refusal.as_str().to_owned()),
        ..CompleteRequest::default()
    };
    let digest = digest_of(&request);
    record_refusal(tx, runs, &job, &request)?;
    let end = ending(&job, request, digest);
    if let Some(finished) = job::finish(tx, id, &end, clock::now())? {
        let entry = EndEntry {
            actor: "server",
            action: "job.refuse",
            detail: reason,
        };
        record_end(tx, runs, &finished, Some(entry))?;
    }
    Ok(())
}

/// Refuses a report that does not show how the script ended, or that the database can't hold.
pub(in crate::jobs) fn check(request: &CompleteRequest) -> Result<(), JobError> {
    let mut faults = FieldErrors::default();
    let code_fits = request
        .exit_code
        .is_none_or(|code| i32::try_from(code).is_ok());
    faults.check(code_fits, "exitCode", "must be a 32-bit integer or null");
    let has_reason = request
        .error_msg
        .as_deref()
        .is_some_and(|message| !message.is_empty())
        || request.signal.is_some()
        || request.cancelled == Some(true)
        || request.timed_out == Some(true);
    faults.check(
        request.exit_code.is_some() || has_reason,
        "exitCode",
        "is required unless signal, errorMsg, cancelled or timedOut is given",
    );
    let signal_fits = |name: &str| {
        (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
    };
    faults.check(
        request.signal.as_deref().is_none_or(signal_fits),
        "signal",
        "must be the name of a signal, such as SIGKILL",
    );
    for (field, bytes) in [
        ("stdoutBytes", request.stdout_bytes),
        ("stderrBytes", request.stderr_bytes),
        ("ranMs", request.ran_ms),
    ] {
        faults.check(
            bytes.is_none_or(|bytes| bytes <= MAX_BYTE_COUNT),
            field,
            "must be at most 2^53",
        );
    }
    for (field, hash) in [
        ("stdoutSha256", &request.stdout_sha256),
        ("stderrSha256", &request.stderr_sha256),
    ] {
        faults.check(
            hash.as_deref().is_none_or(proof::is_sha256),
            field,
            "must be 64 lower-case hex digits",
        );
    }
    faults.into_faults().map_err(JobError::Fields)
}

/// The job's end according to the agent's report.
fn ending(job: &Job, request: CompleteRequest, digest: [u8; 32]) -> Ending {
    let reported = request
        .error_msg
        .filter(|message| !message.is_empty())
        .map(|message| storable(&message));
    let cancelled = request.cancelled == Some(true) && job.cancel_requested_at.is_some();
    let timed_out = request.timed_out == Some(true);
    let error_msg = reported.or_else(|| match (&request.signal, cancelled, timed_out) {
        (_, true, _) => None,
        (_, false, true) => Some(FailureReason::timed_out_after(job.timeout_seconds)),
        (Some(signal), false, false) => Some(FailureReason::killed_by(signal)),
        (None, false, false) => None,
    });
    let status = match (&error_msg, cancelled, request.exit_code) {
        (Some(_), _, _) => JobStatus::Failed,
        (None, true, _) => JobStatus::Cancelled,
        (None, false, Some(0)) => JobStatus::Succeeded,
        (None, false, _) => JobStatus::Failed,
    };
    // A failure needs a reason, even if the report has no code, reason or valid cancel.
    let error_msg = match (&error_msg, status, request.exit_code) {
        (None, JobStatus::Failed, None) => Some("ended without an exit code".to_owned()),
        _ => error_msg,
    };
    let stdout = with_total(job.stdout, request.stdout_bytes);
    let stderr = with_total(job.stderr, request.stderr_bytes);
    let sha256 = PerStream::new(request.stdout_sha256, request.stderr_sha256);
    let verified = proof::verdict(job, PerStream::new(stdout, stderr), &sha256);
    Ending {
        status,
        exit_code: request.exit_code,
        signal: request.signal,
        error_msg,
        digest,
        stdout,
        stderr,
        ran_ms: request.ran_ms,
        sha256,
        verified,
    }
}

/// Counts bytes that never arrived as produced and as dropped.
fn with_total(counts: StreamCounts, reported: Option<u64>) -> StreamCounts {
    let missing = reported.unwrap_or(0).saturating_sub(counts.bytes);
    StreamCounts {
        bytes: counts.bytes + missing,
        dropped: counts.dropped + missing,
        start: counts.start,
        is_open: counts.is_open,
        rows: counts.rows,
    }
}

/// Cuts the message to 4,096 characters and replaces NUL, which PostgreSQL does not store in text.
pub(super) fn storable(message: &str) -> String {
    message
        .chars()
        .take(MAX_ERROR_MSG_CHARS)
        .map(|c| {
            if c == '\0' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Whether the job has ended with this report. A server of an earlier version, which accepted the
/// first report, did not know the hashes.
fn is_repetition(job: &Job, request: &CompleteRequest, digest: [u8; 32]) -> bool {
    let accepted = job.complete_digest.as_deref();
    let has_hashes = job.proof.reported.iter().any(|(_, hash)| hash.is_some());
    let without_hashes = || {
        digest_of(&CompleteRequest {
            stdout_sha256: None,
            stderr_sha256: None,
            ..request.clone()
        })
    };
    accepted == Some(&digest[..]) || (!has_hashes && accepted == Some(&without_hashes()[..]))
}

fn digest_of(request: &CompleteRequest) -> [u8; 32] {
    // serde keeps the order of the struct's fields, so equal reports have equal digests.
    // Not the time that bash ran, which servers of earlier versions did not know.
    let request = CompleteRequest {
        ran_ms: None,
        ..request.clone()
    };
    let text = serde_json::to_vec(&request).expect("a struct of plain values is JSON");
    crate::crypto::sha256(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::job::{Holds, JobKind, OutputProof, PresetSource};

    fn job(cancel_requested: bool) -> Job {
        let at = clock::now();
        Job {
            id: "j".into(),
            status: JobStatus::Running,
            preset: "p".into(),
            node_id: "n".into(),
            created_by: "u".into(),
            created_by_email: "u@example.org".into(),
            created_at: at,
            started_at: Some(at),
            finished_at: None,
            exit_code: None,
            signal: None,
            error_msg: None,
            timeout_seconds: 600,
            cancel_requested_at: cancel_requested.then_some(at),
            confirm_by: None,
            confirm_seconds: 0,
            confirm_requested_at: None,
            recovered_at: None,
            lost_at: None,
            claimed_by: None,
            claimed_process: None,
            still_running: false,
            run_id: None,
            batch: None,
            kind: JobKind::Apply,
            not_before: None,
            expires_at: None,
            holds: Holds::NONE,
            run_paused_at: None,
            step: None,
            complete_digest: None,
            script_sha256: String::new(),
            preset_source: PresetSource::default(),
            pid: None,
            lines: Some(1),
            position: 0,
            stdout: StreamCounts {
                bytes: 10,
                dropped: 2,
                start: 2,
                is_open: true,
                rows: 1,
            },
            stderr: StreamCounts::default(),
            last_output_at: None,
            script_began_at: None,
            ran_ms: None,
            signed_by: None,
            proof: OutputProof::default(),
            check_result: None,
            params: "{}".into(),
        }
    }

    fn report(json: &str) -> CompleteRequest {
        serde_json::from_str(json).expect("a report")
    }

    #[test]
    fn every_report_leads_to_the_end_that_the_contract_names() {
        use JobStatus::{Cancelled, Failed, Succeeded};
        for (json, asked, status, words) in [
            (r#"{"exitCode":0}"#, false, Succeeded, None),
            (r#"{"exitCode":0}"#, true, Succeeded, None),
            (r#"{"exitCode":3}"#, false, Failed, None),
            (
                r#"{"exitCode":0,"errorMsg":"no bash"}"#,
                false,
                Failed,
                Some("no bash"),
            ),
            (r#"{"exitCode":0,"errorMsg":""}"#, false, Succeeded, None),
            (
                r#"{"signal":"SIGKILL"}"#,
                false,
                Failed,
                Some("killed by SIGKILL"),
            ),
            (
                r#"{"signal":"SIGTERM","cancelled":true}"#,
                true,
                Cancelled,
                None,
            ),
            (
                r#"{"signal":"SIGTERM","cancelled":true}"#,
                false,
                Failed,
                Some("killed by SIGTERM"),
            ),
            (r#"{"exitCode":143,"cancelled":true}"#, false, Failed, None),
            (
                r#"{"cancelled":true}"#,
                false,
                Failed,
                Some("ended without an exit code"),
            ),
            (
                r#"{"cancelled":true,"errorMsg":"x survived"}"#,
                true,
                Failed,
                Some("x survived"),
            ),
            (
                r#"{"signal":"SIGTERM","timedOut":true}"#,
                false,
                Failed,
                Some("timed out after 600 s"),
            ),
            (
                r#"{"exitCode":0,"timedOut":true}"#,
                false,
                Failed,
                Some("timed out after 600 s"),
            ),
        ] {
            let end = ending(&job(asked), report(json), [0; 32]);
            assert_eq!(
                (end.status, end.error_msg.as_deref()),
                (status, words),
                "{json} after a cancel: {asked}"
            );
        }
    }

    #[test]
    fn bytes_that_never_arrived_count_as_dropped() {
        let end = ending(
            &job(false),
            report(r#"{"exitCode":0,"stdoutBytes":25,"stderrBytes":0}"#),
            [0; 32],
        );
        assert_eq!(
            end.stdout,
            StreamCounts {
                bytes: 25,
                dropped: 17,
                start: 2,
                is_open: true,
                rows: 1,
            }
        );
        assert_eq!(end.stderr, StreamCounts::default());
    }

    #[test]
    fn a_report_must_show_how_the_script_ended() {
        for bad in [
            r"{}",
            r#"{"errorMsg":""}"#,
            r#"{"exitCode":99999999999}"#,
            r#"{"exitCode":0,"stdoutBytes":9007199254740993}"#,
        ] {
            assert!(check(&report(bad)).is_err(), "{bad}");
        }
        assert!(check(&report(r#"{"exitCode":0,"stdoutBytes":9007199254740992}"#)).is_ok());
    }
}
