//! Standing envelopes: what a person signs in advance for the jobs of a schedule, so that they need
//! no signature each.

use axum::extract::State;
use hyprbox_signing::{JOB_NAMESPACE, StandingEnvelope, millis_of_rfc3339};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::record;
use super::due_times::DueTimes;
use super::request::ScheduleRequest;
use super::{ScheduleError, ScheduleView, Schedules};
use crate::auth::{Operator, User, Viewer};
use crate::clock;
use crate::http::{ApiError, FieldErrors, JsonBody, Path};
use crate::jobs::{JobError, SignedBy, check_comment, parse_signature};
use crate::runs::cover_waiting_jobs;
use crate::store::schedule::{self, Schedule};
use crate::store::standing_envelope::{self, StandingRecord};
use crate::store::{StoreError, Tx};

/// How far ahead the due times of a day are counted, in milliseconds.
const AHEAD_MS: i64 = 366 * DAY_MS;
const DAY_MS: i64 = 24 * 3_600 * 1_000;
/// The most due times that are counted.
const COUNTED_MAX: usize = 600_000;

/// What a schedule would run now, to read and to sign.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleScript {
    /// The server's id, which a standing envelope names.
    pub server: String,
    /// The script.
    pub script: String,
    /// SHA-256 of the script, hex.
    pub script_sha256: String,
    /// The ids of the nodes, in the order of the run.
    pub nodes: Vec<String>,
    /// The most due times on one day, in UTC, within the next year.
    pub due_per_day: u64,
}

/// The body of `POST /api/schedules/{id}/signatures`.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
struct StandingRequest {
    /// The standing envelope, JSON on one line: `{v: 1, server, schedule, preset, scriptSha256,
    /// nodes, from, until, maxPerDay}`.
    envelope: String,
    /// A signature over it: OpenSSH's SSHSIG, armored, with the namespace `hyprbox-job-v1`.
    signature: String,
    /// The key's comment, at most 255 characters.
    #[serde(default)]
    comment: Option<String>,
}

/// Renders what the schedule would run now.
#[utoipa::path(get, path = "/api/schedules/{id}/script", tag = "schedules", operation_id = "schedule_script", params(("id" = String, Path)),
    responses((status = 200, body = ScheduleScript),
        (status = 400, description = "The preset no longer renders with the schedule's params, or no node matches"),
        (status = 403, description = "A stored secret is not for this preset")),
    security(("bearer" = []), ("cookie" = [])))]
async fn script(
    State(schedules): State<Schedules>,
    Viewer(_): Viewer,
    Path(id): Path<String>,
) -> Result<axum::Json<ScheduleScript>, ApiError> {
    Ok(axum::Json(schedules.script(id).await?))
}

/// Keeps a standing envelope with a person's signature. From now on it covers the schedule's jobs
/// that run the same script on the same nodes: they don't wait for a signature. Whether a node
/// accepts the key is decided by its agent.
#[utoipa::path(post, path = "/api/schedules/{id}/signatures", tag = "schedules", operation_id = "sign_schedule",
    request_body = StandingRequest, params(("id" = String, Path)),
    responses((status = 200, body = ScheduleView)),
    security(("bearer" = []), ("cookie" = [])))]
async fn sign(
    State(schedules): State<Schedules>,
    Operator(user): Operator,
    Path(id): Path<String>,
    JsonBody(request): JsonBody<StandingRequest>,
) -> Result<axum::Json<ScheduleView>, ApiError> {
    Ok(axum::Json(schedules.sign(&user, id, request).await?))
}

impl Schedules {
    async fn script(&self, id: String) -> Result<ScheduleScript, ScheduleError> {
        let schedule = self.find(id).await?;
        let request = ScheduleRequest::stored(&schedule.request)
            .map_err(|error| ScheduleError::Malformed(error.to_string()))?;
        let (script, nodes) = self.script_and_nodes(&request.run()).await?;
        let due_per_day = tokio::task::spawn_blocking(move || due_per_day(&schedule))
            .await
            .map_err(|_| StoreError::Stopping)?;
        Ok(ScheduleScript {
            server: self.nodes.signer.known().server_id().to_owned(),
            script: script.text,
            script_sha256: script.sha256,
            nodes,
            due_per_day,
        })
    }

    async fn find(&self, id: String) -> Result<Schedule, ScheduleError> {
        let find = move |tx: &mut dyn Tx| Ok::<_, ScheduleError>(schedule::find(tx, &id)?);
        self.store.read(find).await?.ok_or(ScheduleError::NotFound)
    }

    async fn sign(
        &self,
        user: &User,
        id: String,
        request: StandingRequest,
    ) -> Result<ScheduleView, ScheduleError> {
        let schedule = self.find(id.clone()).await?;
        let mut faults = FieldErrors::default();
        let comment = check_comment(request.comment, &mut faults);
        let signature = parse_signature(&request.signature, &mut faults);
        let server_id = self.nodes.signer.known().server_id().to_owned();
        let fault = check_envelope(&request.envelope, &server_id, &schedule);
        if let Some(fault) = fault {
            faults.add("envelope", fault);
        }
        if let Some(Err(error)) = signature
            .as_ref()
            .map(|signature| signature.verify(JOB_NAMESPACE, request.envelope.as_bytes()))
        {
            faults.add("signature", error.to_string());
        }
        faults.into_faults().map_err(JobError::Fields)?;
        let signature = signature.ok_or(ScheduleError::NotFound)?;
        let signed_by = SignedBy {
            fingerprint: signature.key().fingerprint(),
            comment,
        };
        let new = StandingRecord {
            id: uuid::Uuid::now_v7().to_string(),
            schedule_id: id,
            envelope: request.envelope,
            signature: signature.to_armored(),
            signed_by: serde_json::to_string(&signed_by).unwrap_or_default(),
            created_at: clock::now(),
        };
        let actor = user.email.clone();
        let write = move |tx: &mut dyn Tx| {
            let schedule =
                schedule::find_locked(tx, &new.schedule_id)?.ok_or(ScheduleError::NotFound)?;
            standing_envelope::insert(tx, &new)?;
            let detail = format!("{} {}", signed_by.fingerprint, signed_by.comment);
            record(tx, &actor, "schedule.sign", &schedule.id, detail.trim())?;
            cover_waiting_jobs(tx, &new, &server_id, new.created_at)?;
            ScheduleView::read(tx, schedule)?.ok_or(ScheduleError::NotFound)
        };
        self.store.write(write).await
    }
}

/// What is wrong with a standing envelope, if anything is.
fn check_envelope(json: &str, server_id: &str, schedule: &Schedule) -> Option<String> {
    let standing = match StandingEnvelope::parse(json) {
        Ok(standing) => standing,
        Err(_) if json.len() > StandingEnvelope::BYTES_MAX => {
            return Some("must have at most 32 KiB: name fewer nodes".to_owned());
        }
        Err(error) => return Some(format!("must be a standing envelope: {error}")),
    };
    let from = millis_of_rfc3339(&standing.from);
    let until = millis_of_rfc3339(&standing.until);
    let fault = if standing.server != server_id {
        "must name this server"
    } else if standing.schedule != schedule.id {
        "must name this schedule"
    } else if standing.nodes.is_empty() {
        "must name at least one node"
    } else if standing.max_per_day == 0 {
        "must allow at least one job a day"
    } else if !matches!((from, until), (Some(from), Some(until)) if from < until) {
        "must have times in RFC 3339, UTC, with milliseconds, and end after it begins"
    } else {
        return None;
    };
    Some(fault.to_owned())
}

/// The most due times on one day, in UTC, within the next year.
fn due_per_day(schedule: &Schedule) -> u64 {
    let Some(times) = DueTimes::stored(&schedule.cron, &schedule.time_zone) else {
        return 0;
    };
    let now = clock::now();
    let (mut most, mut of_day, mut day) = (0, 0, None);
    let mut next = times.next(now);
    let mut counted = 0;
    while let Some(at) = next.filter(|at| at.millis_since(now) < AHEAD_MS) {
        let this_day = Some(at.as_millis().div_euclid(DAY_MS));
        of_day = if day == this_day { of_day + 1 } else { 1 };
        day = this_day;
        most = most.max(of_day);
        counted += 1;
        next = (counted < COUNTED_MAX).then(|| times.next(at)).flatten();
    }
    most
}

pub(super) fn routes() -> OpenApiRouter<Schedules> {
    OpenApiRouter::new()
        .routes(routes!(script))
        .routes(routes!(sign))
}
