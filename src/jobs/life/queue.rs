//! Queue: renders the preset, freezes the script and inserts the job.

use std::collections::BTreeMap;

use hyprbox_protocol::Secrets;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::audit;
use crate::auth::User;
use crate::clock::{self, Timestamp};
use crate::http::{FieldErrors, NamedValues};
use crate::jobs::life::claim_times::ClaimTimes;
use crate::jobs::life::sign::{SealedSecrets, Statement};
use crate::jobs::notices::report_wait_of_job;
use crate::jobs::{JobError, Jobs};
use crate::presets::Script;
use crate::signing::{CurrentKey, Signed};
use crate::store::id::{JobId, UserId};
use crate::store::idempotency::{self, StoredKey};
use crate::store::job::{self, HoldKind, Holds, Job, JobKind, NewJob, PresetSource};
use crate::store::{Change, Tx, node};

/// How long an Idempotency-Key is remembered, in milliseconds.
pub(in crate::jobs) const KEY_AGE_MS: i64 = 24 * 3_600 * 1_000;
/// The longest timeout of a job, a week.
const TIMEOUT_MAX_SECONDS: i64 = 604_800;

/// The body of `POST /api/jobs`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct QueueRequest {
    /// The preset's name.
    pub preset: String,
    /// The node's id.
    pub node_id: String,
    /// Params by name, each as JSON of its type.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<NamedValues>,
    /// `apply`, the default, or `check`: only asks whether each step is already done, and takes no
    /// secrets.
    #[serde(default)]
    pub kind: Option<JobKind>,
    /// 1 to 604,800; the preset's timeout if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 604_800)]
    pub timeout_seconds: Option<i64>,
    /// The job is not claimed before this time, up to 366 days ahead. A time in the past holds
    /// nothing.
    #[serde(default)]
    #[schema(value_type = Option<Timestamp>)]
    pub not_before: Option<String>,
    /// The job is CANCELLED if no agent has claimed it this many seconds after it was queued: 60 to
    /// 31,622,400. Without it the job waits for ever.
    #[serde(default)]
    #[schema(minimum = 60, maximum = 31_622_400)]
    pub expires_in_seconds: Option<i64>,
}

/// The job of a queue request.
#[derive(Debug)]
pub enum QueueOutcome {
    /// The request created it.
    New(Job),
    /// An earlier request with the same Idempotency-Key created it.
    Existing(Job),
}

/// A request's Idempotency-Key and its body.
#[derive(Debug)]
pub struct Idempotency {
    /// The key that the client chose.
    pub key: String,
    /// The whole body.
    pub body: Value,
}

/// The result of rendering a request's preset.
struct Rendered {
    script: Script,
    params: Map<String, Value>,
    secrets: Secrets,
    timeout_seconds: u64,
    preset_source: PresetSource,
}

impl Jobs {
    /// Renders the preset, freezes the script and queues the job.
    pub async fn queue(
        &self,
        user: &User,
        request: QueueRequest,
        idempotency: Option<Idempotency>,
    ) -> Result<QueueOutcome, JobError> {
        let key = idempotency.map(|given| (given.key, self.digest_of(&given.body)));
        // Checked first, because the preset may have changed or gone since the first request.
        if let Some((key, digest)) = key.clone()
            && let Some(before) = self.find_idempotent(user.id.clone(), key, digest).await?
        {
            return Ok(QueueOutcome::Existing(before));
        }
        let (rendered, times) = self.render_request(&request).await?;
        let preset_source = rendered.preset_source;
        let job = NewJob {
            id: uuid::Uuid::now_v7().to_string(),
            preset: request.preset,
            node_id: request.node_id,
            created_by: user.id.clone(),
            created_by_email: user.email.clone(),
            created_at: clock::now(),
            timeout_seconds: rendered.timeout_seconds,
            script_sha256: rendered.script.sha256,
            params: Value::Object(rendered.params).to_string(),
            script: rendered.script.text,
            run_id: None,
            batch: None,
            kind: request.kind.unwrap_or(JobKind::Apply),
            not_before: None,
            expires_at: None,
            holds: Holds::NONE,
            envelope: String::new(),
            signature: String::new(),
            preset_source,
        };
        let sealed = self.seal(&job.id, &rendered.secrets)?;
        let signer = self.nodes.signer.current().await?;
        let bytes = job.script.len() + job.params.len();
        let outbox = self.outbox.clone();
        let queued = self
            .store
            .write_large(bytes, move |tx| {
                let queued = insert(tx, job, times, sealed, &signer, key)?;
                if let QueueOutcome::New(job) = &queued {
                    report_wait_of_job(tx, &outbox, job)?;
                }
                Ok::<_, JobError>(queued)
            })
            .await?;
        if let QueueOutcome::New(job) = &queued {
            self.milestones.queued(job);
        }
        Ok(queued)
    }

    /// The keyed digest of an idempotent request's body.
    pub fn digest_of(&self, body: &Value) -> [u8; 32] {
        self.0.key.digest(canonical(body).as_bytes())
    }

    async fn find_idempotent(
        &self,
        user_id: String,
        key: String,
        digest: [u8; 32],
    ) -> Result<Option<Job>, JobError> {
        self.store
            .read(move |tx| find_idempotent(tx, &user_id, &key, digest))
            .await
    }

    async fn render_request(
        &self,
        request: &QueueRequest,
    ) -> Result<(Rendered, ClaimTimes), JobError> {
        let mut faults = FieldErrors::default();
        check_timeout(request.timeout_seconds, &mut faults);
        let times = ClaimTimes::check(
            request.not_before.as_deref(),
            request.expires_in_seconds,
            &mut faults,
        );
        let params = request.params.clone().unwrap_or_default();
        let preset = self
            .render_for(request.kind, request.preset.clone(), params, faults)
            .await?;
        let timeout_seconds = request
            .timeout_seconds
            .and_then(|given| u64::try_from(given).ok());
        let rendered = Rendered {
            script: preset.script,
            params: preset.values.shown(),
            secrets: preset.values.into_secrets(),
            timeout_seconds: timeout_seconds.unwrap_or(preset.timeout_seconds),
            preset_source: preset.preset_source,
        };
        Ok((rendered, times))
    }
}

/// Checks the timeout of a request.
pub fn check_timeout(timeout_seconds: Option<i64>, faults: &mut FieldErrors) {
    let fits = timeout_seconds.is_none_or(|given| (1..=TIMEOUT_MAX_SECONDS).contains(&given));
    faults.check(fits, "timeoutSeconds", "must be 1 to 604800");
}

fn insert(
    tx: &mut dyn Tx,
    mut job: NewJob,
    times: ClaimTimes,
    secrets: SealedSecrets,
    signer: &CurrentKey,
    key: Option<(String, [u8; 32])>,
) -> Result<QueueOutcome, JobError> {
    if let Some((key, digest)) = key {
        idempotency::lock(tx, &job.created_by, &key)?;
        if let Some(before) = find_idempotent(tx, &job.created_by, &key, digest)? {
            return Ok(QueueOutcome::Existing(before));
        }
        let (user_id, job_id) = (UserId(&*job.created_by), JobId(&*job.id));
        idempotency::insert(tx, user_id, &key, digest, job_id, job.created_at)?;
    }
    let node = node::find_held(tx, &job.node_id)?.ok_or(JobError::NodeNotFound)?;
    times.set(tx, &mut job)?;
    if node.facts.requires_signatures {
        job.holds = job.holds.with(HoldKind::Signature);
    }
    let statement = Statement {
        job_id: &job.id,
        node: &job.node_id,
        preset: &job.preset,
        kind: job.kind.as_str(),
        script_sha256: &job.script_sha256,
        timeout_seconds: job.timeout_seconds,
        secrets_digest: secrets.digest.as_deref(),
        created_at: job.created_at,
        expires_at: job.expires_at,
        by: &job.created_by_email,
    };
    Signed {
        envelope: job.envelope,
        signature: job.signature,
    } = statement.sign(signer)?;
    let queued = job::insert(tx, &job)?;
    if let Some(sealed) = secrets.sealed {
        job::insert_secrets(tx, &job.id, sealed)?;
    }
    let entry = audit::Entry {
        actor: &job.created_by_email,
        action: "job.queue",
        job_id: Some(&job.id),
        node_id: Some(&job.node_id),
        detail: Some(&job.preset),
    };
    audit::record(tx, entry)?;
    tx.publish(Change::Job {
        id: job.id.clone(),
        node_id: job.node_id.clone(),
    });
    Ok(QueueOutcome::New(queued))
}

fn find_idempotent(
    tx: &mut dyn Tx,
    user_id: &str,
    key: &str,
    digest: [u8; 32],
) -> Result<Option<Job>, JobError> {
    match find_key(tx, user_id, key, digest)? {
        Some(known) if known.run_id.is_some() => Err(JobError::KeyReused),
        Some(known) => Ok(job::find(tx, &known.job_id)?),
        None => Ok(None),
    }
}

/// What an earlier request with this Idempotency-Key created; an error if its body differed.
pub fn find_key(
    tx: &mut dyn Tx,
    user_id: &str,
    key: &str,
    digest: [u8; 32],
) -> Result<Option<StoredKey>, JobError> {
    let since = clock::now().plus_millis(-KEY_AGE_MS);
    match idempotency::find(tx, user_id, key, since)? {
        Some(known) if known.digest != digest => Err(JobError::KeyReused),
        known => Ok(known),
    }
}

/// The JSON value in canonical form: sorted keys, whole numbers without a fraction.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let pairs: Vec<String> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => format!(
            "[{}]",
            items.iter().map(canonical).collect::<Vec<_>>().join(",")
        ),
        Value::Number(number) => match number.as_f64() {
            Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() < 9e15 => {
                (float as i64).to_string()
            }
            _ => number.to_string(),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn equal_values_have_one_canonical_form() {
        let form = |json: &str| canonical(&serde_json::from_str(json).expect("JSON"));
        assert_eq!(
            form(r#"{"b":1.0,"a":[true,null,"x"]}"#),
            form(r#" { "a" : [true, null, "\u0078"], "b" : 1 } "#)
        );
        assert_ne!(form(r#"{"a":1}"#), form(r#"{"a":"1"}"#));
        assert_ne!(form(r#"{"a":1}"#), form(r#"{"a":1,"b":null}"#));
    }
}
