//! People's signatures: the bytes to sign, the signatures of a job, and a person's own.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use hyprbox_signing::{JOB_NAMESPACE, SshSignature};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::audit;
use crate::auth::{Operator, User};
use crate::http::{ApiError, FieldErrors, JsonBody, Path, Query};
use crate::jobs::access::{Scope, ScopedViewer, find_visible};
use crate::jobs::view::SignedBy;
use crate::jobs::{JobError, JobView, Jobs};
use crate::signing::verify_command;
use crate::store::job::{self, Job, JobStatus, StoredSignatures};
use crate::store::{Change, Tx, run, standing_envelope};

/// The longest comment of a key, in characters.
const COMMENT_MAX: usize = 255;

/// The body of `POST /api/jobs/{id}/signatures`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
pub(super) struct SignatureRequest {
    /// A signature over the job's envelope: OpenSSH's SSHSIG, armored, with the namespace
    /// `hyprbox-job-v1`, by an ed25519, sk-ed25519 or ecdsa-p256 key.
    signature: String,
    /// The key's comment, at most 255 characters.
    #[serde(default)]
    comment: Option<String>,
}

/// The signatures of a job.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobSignatures {
    /// The bytes that are signed: JSON on one line. Null: the job was queued before jobs were
    /// signed.
    #[schema(required = true)]
    pub(crate) envelope: Option<String>,
    /// The server's signature.
    #[schema(required = true)]
    pub(crate) signature: Option<String>,
    /// A person's signature.
    #[schema(required = true)]
    pub(crate) person_signature: Option<String>,
    /// What a person has signed in advance for the jobs of the schedule: JSON on one line.
    #[schema(required = true)]
    pub(crate) standing_envelope: Option<String>,
    /// The person's signature over it.
    #[schema(required = true)]
    pub(crate) standing_signature: Option<String>,
}

impl JobSignatures {
    /// Whose signatures there are, and the command that verifies each.
    pub(crate) fn verify_commands(&self) -> Vec<(&'static str, String)> {
        let all = [
            ("server", &self.envelope, &self.signature),
            ("person", &self.envelope, &self.person_signature),
            (
                "schedule",
                &self.standing_envelope,
                &self.standing_signature,
            ),
        ];
        let command = |(identity, envelope, signature): (_, &Option<String>, &Option<String>)| {
            let (envelope, signature) = (envelope.as_ref()?, signature.as_ref()?);
            Some((identity, verify_command(identity, envelope, signature)?))
        };
        all.into_iter().filter_map(command).collect()
    }
}

/// Returns the bytes to sign.
#[utoipa::path(get, path = "/api/jobs/{id}/envelope", tag = "jobs", operation_id = "job_envelope",
    params(("id" = String, Path), ("scope" = Option<String>, Query)),
    responses((status = 200, content_type = "application/json", description = "JSON on one line, without a line end"),
        (status = 404)),
    security(("bearer" = []), ("cookie" = [])))]
async fn envelope(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
) -> Result<Response, ApiError> {
    let job = find_visible(&jobs, &user, scope, id, "job.look").await?;
    let envelope = jobs.signatures(job.id).await?.envelope;
    let envelope = envelope.ok_or(JobError::NoEnvelope)?;
    let mut response = envelope.into_response();
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// Returns a job's envelope and signatures.
#[utoipa::path(get, path = "/api/jobs/{id}/signatures", tag = "jobs", operation_id = "job_signatures",
    params(("id" = String, Path), ("scope" = Option<String>, Query)),
    responses((status = 200, body = JobSignatures)),
    security(("bearer" = []), ("cookie" = [])))]
async fn list(
    State(jobs): State<Jobs>,
    ScopedViewer { user, scope }: ScopedViewer,
    Path(id): Path<String>,
) -> Result<axum::Json<JobSignatures>, ApiError> {
    let job = find_visible(&jobs, &user, scope, id, "job.look").await?;
    Ok(axum::Json(jobs.all_signatures(job.id).await?))
}

/// Adds a person's signature to a QUEUED job, and releases the hold `signature`. Whether the node
/// accepts the key is decided by its agent.
#[utoipa::path(post, path = "/api/jobs/{id}/signatures", tag = "jobs", operation_id = "sign_job",
    request_body = SignatureRequest,
    params(("id" = String, Path), ("scope" = Option<String>, Query, description = "all: also other people's jobs")),
    responses((status = 200, body = JobView),
        (status = 409)),
    security(("bearer" = []), ("cookie" = [])))]
async fn add(
    State(jobs): State<Jobs>,
    Operator(user): Operator,
    Path(id): Path<String>,
    query: Query,
    JsonBody(request): JsonBody<SignatureRequest>,
) -> Result<axum::Json<JobView>, ApiError> {
    // Who reads a job may sign it, so that a second person can.
    let scope = Scope::of(&jobs, &user, &query)?;
    let job = jobs.sign(&user, scope, id, request).await?;
    Ok(axum::Json(JobView::from(job)))
}

impl Jobs {
    /// A job's envelope, and every signature that covers it.
    pub(crate) async fn all_signatures(&self, id: String) -> Result<JobSignatures, JobError> {
        let read = move |tx: &mut dyn Tx| {
            let stored = job::signatures(tx, &id)?.ok_or(JobError::NotFound)?;
            let standing = match &stored.standing_id {
                Some(id) => standing_envelope::find(tx, id)?,
                None => None,
            };
            let (standing_envelope, standing_signature) = standing
                .map(|standing| (standing.envelope, standing.signature))
                .unzip();
            Ok::<_, JobError>(JobSignatures {
                envelope: stored.envelope,
                signature: stored.signature,
                person_signature: stored.person_signature,
                standing_envelope,
                standing_signature,
            })
        };
        self.store.read(read).await
    }

    /// A job's envelope and signatures.
    pub async fn signatures(&self, id: String) -> Result<StoredSignatures, JobError> {
        self.store
            .read(move |tx| job::signatures(tx, &id)?.ok_or(JobError::NotFound))
            .await
    }

    async fn sign(
        &self,
        user: &User,
        scope: Scope,
        id: String,
        request: SignatureRequest,
    ) -> Result<Job, JobError> {
        let mut faults = FieldErrors::default();
        let comment = check_comment(request.comment, &mut faults);
        let signature = parse_signature(&request.signature, &mut faults);
        faults.into_faults().map_err(JobError::Fields)?;
        let signature = signature.ok_or(JobError::NotFound)?;
        let user = user.clone();
        self.store
            .write(move |tx| sign(tx, (&user, scope), &id, &signature, comment))
            .await
    }
}

/// Checks a key's comment.
pub fn check_comment(comment: Option<String>, faults: &mut FieldErrors) -> String {
    let comment = comment.unwrap_or_default();
    let fits = comment.chars().count() <= COMMENT_MAX && !comment.chars().any(char::is_control);
    faults.check(
        fits,
        "comment",
        "must have at most 255 characters, without control characters",
    );
    comment
}

/// Reads a signature as it was pasted from any system.
pub fn parse_signature(text: &str, faults: &mut FieldErrors) -> Option<SshSignature> {
    SshSignature::parse(text.replace("\r\n", "\n").trim())
        .map_err(|error| faults.add("signature", error.to_string()))
        .ok()
}

fn sign(
    tx: &mut dyn Tx,
    (user, scope): (&User, Scope),
    id: &str,
    signature: &SshSignature,
    comment: String,
) -> Result<Job, JobError> {
    run::lock_of_job(tx, id)?;
    let job = job::find_locked(tx, id)?
        .filter(|job| scope.sees(user, job))
        .ok_or(JobError::NotFound)?;
    if job.status != JobStatus::Queued {
        return Err(JobError::WrongState(job.status));
    }
    let stored = job::signatures(tx, id)?.ok_or(JobError::NotFound)?;
    let envelope = stored.envelope.ok_or(JobError::NoEnvelope)?;
    if let Err(error) = signature.verify(JOB_NAMESPACE, envelope.as_bytes()) {
        let mut faults = FieldErrors::default();
        faults.add("signature", error.to_string());
        return Err(JobError::Fields(faults));
    }
    let signed_by = SignedBy {
        fingerprint: signature.key().fingerprint(),
        comment,
    };
    let json = serde_json::to_string(&signed_by).unwrap_or_default();
    let signed = job::sign(tx, id, &signature.to_armored(), &json)?
        .ok_or(JobError::WrongState(job.status))?;
    let detail = format!("{} {}", signed_by.fingerprint, signed_by.comment);
    let entry = audit::Entry {
        actor: &user.email,
        action: "job.sign",
        job_id: Some(id),
        node_id: Some(&signed.node_id),
        detail: Some(detail.trim()),
    };
    audit::record(tx, entry)?;
    tx.publish(Change::Job {
        id: signed.id.clone(),
        node_id: signed.node_id.clone(),
    });
    Ok(signed)
}

pub(super) fn routes() -> OpenApiRouter<Jobs> {
    OpenApiRouter::new()
        .routes(routes!(envelope))
        .routes(routes!(list, add))
}
