//! Queues a run: every script is rendered and frozen now, and the set of nodes as well. One file,
//! because whatever makes a run goes the same way: a request, a schedule, a check of drift.

use std::collections::HashSet;
use std::sync::Arc;

use hyprbox_protocol::Secrets;
use serde_json::{Map, Value, json};

use super::origin::{Covering, RunOrigin};
use super::request::{CheckedRequest, NODES_MAX};
use super::{RunError, RunRequest, Runs};
use crate::auth::User;
use crate::clock::Timestamp;
use crate::http::FieldErrors;
use crate::jobs::{
    ClaimTimes, Idempotency, JobError, Plan, RenderedPreset, RunAdvance, RunView, Statement,
    find_key, record_run,
};
use crate::nodes::Selector;
use crate::presets::{ONE_OFF, Script};
use crate::signing::{CurrentKey, Signed};
use crate::store::id::UserId;
use crate::store::job::{JobKind, PresetSource};
use crate::store::node::{self, Node};
use crate::store::run::{self, NewRun};
use crate::store::{Change, Tx, idempotency, job, server_state};

/// The fault of a selector that matches nothing.
pub const NO_MATCH: &str = "matches no node";

/// The run of a request.
#[derive(Debug)]
pub enum CreateOutcome {
    /// The request created it.
    New(RunView),
    /// An earlier request with the same Idempotency-Key created it.
    Existing(RunView),
}

/// A request whose preset is rendered.
pub(super) struct RenderedRun {
    pub(super) plan: Plan,
    times: ClaimTimes,
    pub(super) selector: Option<Selector>,
    pub(super) script: Script,
    pub(super) params: Map<String, Value>,
    secrets: Secrets,
    timeout_seconds: u64,
    preset_source: PresetSource,
}

/// Everything that the transaction inserts, prepared outside it.
pub struct PreparedRun {
    run: NewRun,
    script: Script,
    jobs: Vec<NewJob>,
    /// The jobs as JSON.
    json: String,
    /// The nodes as JSON.
    nodes: String,
    key: Option<(String, [u8; 32])>,
    /// When the jobs of a batch that is released at once expire.
    expires_at: Option<Timestamp>,
}

struct NewJob {
    id: String,
    node_id: String,
    sealed: Option<Vec<u8>>,
    signed: Signed,
    /// The standing envelope that covers the job.
    standing_id: Option<String>,
}

impl RenderedRun {
    pub(super) fn new(
        request: &RunRequest,
        (plan, times, selector): CheckedRequest,
        preset: RenderedPreset,
    ) -> Self {
        let given = request
            .timeout_seconds
            .and_then(|given| u64::try_from(given).ok());
        Self {
            plan,
            times,
            selector,
            script: preset.script,
            params: preset.values.shown(),
            secrets: preset.values.into_secrets(),
            timeout_seconds: given.unwrap_or(preset.timeout_seconds),
            preset_source: preset.preset_source,
        }
    }
}

impl Runs {
    /// Renders the preset, freezes the script and the nodes, and queues a job for each node.
    pub async fn create(
        &self,
        user: &User,
        request: RunRequest,
        idempotency: Option<Idempotency>,
        retry_of: Option<String>,
    ) -> Result<CreateOutcome, RunError> {
        // Checked first, because the preset may have changed or gone since the first request.
        let (key, before) = self.find_earlier(user, idempotency).await?;
        if let Some(before) = before {
            return Ok(CreateOutcome::Existing(before));
        }
        let rendered = self.render_run(&request, FieldErrors::default()).await?;
        self.create_rendered(user, request, rendered, key, retry_of)
            .await
    }

    /// Freezes a script and the nodes, and queues a job for each node.
    pub(super) async fn create_rendered(
        &self,
        user: &User,
        request: RunRequest,
        rendered: RenderedRun,
        key: Option<(String, [u8; 32])>,
        retry_of: Option<String>,
    ) -> Result<CreateOutcome, RunError> {
        let origin = RunOrigin {
            retry_of,
            ..RunOrigin::default()
        };
        let prepared = self
            .prepare_rendered(user, request, rendered, key, origin)
            .await?;
        let bytes = prepared.script.text.len()
            + prepared.json.len()
            + prepared.nodes.len()
            + prepared.run.params.len() * prepared.jobs.len();
        let advance = self.run_advance();
        let prepared = Arc::new(prepared);
        let queued = Arc::clone(&prepared);
        let outcome = self
            .store
            .write_large(bytes, move |tx| insert(tx, &prepared, &advance))
            .await?;
        if let CreateOutcome::New(_) = &outcome {
            self.report_queued(&queued);
        }
        Ok(outcome)
    }

    /// The digest of an idempotent request, and the run that an earlier one with this key created.
    pub(super) async fn find_earlier(
        &self,
        user: &User,
        idempotency: Option<Idempotency>,
    ) -> Result<(Option<(String, [u8; 32])>, Option<RunView>), RunError> {
        let Some(given) = idempotency else {
            return Ok((None, None));
        };
        let digest = self.digest_of(&given.body);
        let (user_id, key) = (user.id.clone(), given.key.clone());
        let found = move |tx: &mut dyn Tx| find_idempotent(tx, &user_id, &key, digest);
        let before = self.store.read(found).await?;
        Ok((Some((given.key, digest)), before))
    }

    /// Counts and logs the jobs of a run that was inserted, after the commit.
    pub fn report_queued(&self, prepared: &PreparedRun) {
        let run = &prepared.run;
        let jobs = prepared.jobs.iter();
        let jobs = jobs.map(|job| (job.id.as_str(), job.node_id.as_str()));
        self.milestones.run_queued(&run.id, &run.preset, jobs);
    }

    /// Does everything that takes time before the transaction: renders the preset, finds the nodes,
    /// seals the secrets.
    pub async fn prepare_run(
        &self,
        user: &User,
        request: RunRequest,
        origin: RunOrigin,
    ) -> Result<PreparedRun, RunError> {
        let rendered = self.render_run(&request, FieldErrors::default()).await?;
        self.prepare_rendered(user, request, rendered, None, origin)
            .await
    }

    async fn prepare_rendered(
        &self,
        user: &User,
        request: RunRequest,
        rendered: RenderedRun,
        key: Option<(String, [u8; 32])>,
        origin: RunOrigin,
    ) -> Result<PreparedRun, RunError> {
        let nodes = self.nodes_of_run(&request, &rendered.selector).await?;
        let runs = self.clone();
        let by = user.clone();
        let signer = self.nodes.signer.current().await?;
        // By the clock that counts for the database, before the jobs are signed.
        let now = self.store.read(server_state::now).await?;
        let (preset, sha256) = (&request.preset, &rendered.script.sha256);
        let covering = self.covering(&origin, preset, sha256, now).await?;
        let prepare = move || {
            let work = (request, rendered, nodes);
            runs.prepare((&by, &signer, now, covering), work, key, origin)
        };
        tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|_| crate::store::StoreError::Stopping)?
    }

    /// Checks a request that is kept for later, with the `faults` of what belongs to it. Its
    /// selector may match nothing.
    pub async fn check_run(
        &self,
        request: &RunRequest,
        faults: FieldErrors,
    ) -> Result<(), RunError> {
        self.render_run(request, faults).await?;
        if request.nodes.is_some() {
            self.nodes_of_run(request, &None).await?;
        }
        Ok(())
    }

    /// Checks a request and renders its preset. Returns every fault at once, with those in
    /// `faults`.
    pub(super) async fn render_run(
        &self,
        request: &RunRequest,
        mut faults: FieldErrors,
    ) -> Result<RenderedRun, RunError> {
        let checked = request.check_all(&mut faults);
        let params = request.params.clone().unwrap_or_default();
        let preset = self
            .render_for(request.kind, request.preset.clone(), params, faults)
            .await?;
        Ok(RenderedRun::new(request, checked, preset))
    }

    /// The nodes of a run, in their order.
    pub(super) async fn nodes_of_run(
        &self,
        request: &RunRequest,
        selector: &Option<Selector>,
    ) -> Result<Vec<Node>, RunError> {
        let Some(selector) = selector else {
            let wanted = request.nodes.clone().unwrap_or_default().kept;
            let ids = wanted.clone();
            let named = self
                .store
                .read(move |tx| Ok::<_, RunError>(node::some(tx, &ids)?))
                .await?;
            let mut known: std::collections::HashMap<String, Node> = named
                .into_iter()
                .map(|node| (node.id.clone(), node))
                .collect();
            let missing: Vec<String> = wanted
                .iter()
                .filter(|id| !known.contains_key(*id))
                .cloned()
                .collect();
            if !missing.is_empty() {
                return Err(RunError::NodesNotFound(missing));
            }
            return Ok(wanted.iter().filter_map(|id| known.remove(id)).collect());
        };
        let all = self
            .store
            .read(|tx| Ok::<_, RunError>(node::list(tx)?))
            .await?;
        let nodes: Vec<Node> = all
            .into_iter()
            .filter(|node| selector.matches(node))
            .collect();
        let mut faults = FieldErrors::default();
        faults.check(!nodes.is_empty(), "selector", NO_MATCH);
        faults.check(
            nodes.len() <= NODES_MAX,
            "selector",
            "matches more than 5000 nodes",
        );
        faults.into_faults().map_err(JobError::Fields)?;
        Ok(nodes)
    }

    fn prepare(
        &self,
        (user, signer, now, covering): (&User, &CurrentKey, Timestamp, Option<Covering>),
        (request, rendered, nodes): (RunRequest, RenderedRun, Vec<Node>),
        key: Option<(String, [u8; 32])>,
        origin: RunOrigin,
    ) -> Result<PreparedRun, RunError> {
        let batches = rendered.plan.batches(nodes.len());
        let times = rendered.times;
        let release_at = times.not_before.filter(|at| *at > now);
        let run = NewRun {
            id: uuid::Uuid::now_v7().to_string(),
            preset: request.preset,
            params: Value::Object(rendered.params).to_string(),
            kind: request.kind.unwrap_or(JobKind::Apply),
            selector: request.selector,
            plan: serde_json::to_string(&rendered.plan).unwrap_or_default(),
            if_offline: request.if_offline.map_or("wait", super::IfOffline::as_str),
            node_count: nodes.len() as u64,
            released_batch: if release_at.is_some() { -1 } else { 0 },
            release_at,
            not_before: times.not_before,
            batches: batches.last().map_or(0, |last| last + 1),
            expires_in_seconds: times.expires_in_seconds,
            timeout_seconds: rendered.timeout_seconds,
            created_by: user.id.clone(),
            created_by_email: user.email.clone(),
            created_at: now,
            retry_of: origin.retry_of,
            schedule_id: origin.schedule_id,
            after_run: None,
            preset_source: rendered.preset_source,
        };
        let mut jobs = Vec::with_capacity(nodes.len());
        let expires_in = times.expires_in_seconds.filter(|_| run.released_batch >= 0);
        let expires_at = expires_in.map(|seconds| now.plus_millis(seconds * 1_000));
        for (node, batch) in nodes.into_iter().zip(&batches) {
            // Ids are in the order of the nodes.
            let id = uuid::Uuid::now_v7().to_string();
            let secrets = self.seal(&id, &rendered.secrets)?;
            let statement = Statement {
                job_id: &id,
                node: &node.id,
                preset: &run.preset,
                kind: run.kind.as_str(),
                script_sha256: &rendered.script.sha256,
                timeout_seconds: run.timeout_seconds,
                secrets_digest: secrets.digest.as_deref(),
                created_at: run.created_at,
                // The expiry of a later batch counts from its release, which is not known yet.
                expires_at: expires_at.filter(|_| *batch == 0),
                by: &run.created_by_email,
            };
            let signed = statement.sign(signer).map_err(JobError::from)?;
            jobs.push(NewJob {
                sealed: secrets.sealed,
                signed,
                standing_id: covering
                    .as_ref()
                    .and_then(|covering| covering.id_for(&node.id)),
                id,
                node_id: node.id,
            });
        }
        let row = |(job, batch): (&NewJob, &u64)| {
            let Signed {
                envelope,
                signature,
            } = &job.signed;
            let standing = &job.standing_id;
            json!([job.id, job.node_id, batch, envelope, signature, standing])
        };
        let rows: Vec<Value> = jobs.iter().zip(&batches).map(row).collect();
        let ids: Vec<&str> = jobs.iter().map(|job| job.node_id.as_str()).collect();
        Ok(PreparedRun {
            json: Value::from(rows).to_string(),
            nodes: Value::from(ids).to_string(),
            run,
            script: rendered.script,
            jobs,
            key,
            expires_at,
        })
    }
}

impl PreparedRun {
    /// The run's id.
    pub fn id(&self) -> &str {
        &self.run.id
    }

    /// Lets the run begin when another one has ended.
    pub fn begin_after(&mut self, run_id: String) {
        self.run.after_run = Some(run_id);
        self.run.released_batch = -1;
    }

    /// Inserts the run and its jobs.
    pub fn insert(&self, tx: &mut dyn Tx, advance: &RunAdvance) -> Result<CreateOutcome, RunError> {
        insert(tx, self, advance)
    }
}

fn insert(
    tx: &mut dyn Tx,
    prepared: &PreparedRun,
    advance: &RunAdvance,
) -> Result<CreateOutcome, RunError> {
    let run = &prepared.run;
    if let Some((key, digest)) = &prepared.key {
        idempotency::lock(tx, &run.created_by, key)?;
        if let Some(before) = find_idempotent(tx, &run.created_by, key, *digest)? {
            return Ok(CreateOutcome::Existing(before));
        }
        let user_id = UserId(run.created_by.as_str());
        idempotency::insert_run(tx, user_id, key, *digest, &run.id, run.created_at)?;
    }
    // Nodes before jobs, as a deletion of a node does.
    let held: HashSet<String> = node::hold_all(tx, &prepared.nodes)?.into_iter().collect();
    let missing: Vec<String> = prepared
        .jobs
        .iter()
        .filter(|job| !held.contains(&job.node_id))
        .map(|job| job.node_id.clone())
        .collect();
    if !missing.is_empty() {
        return Err(RunError::NodesNotFound(missing));
    }
    let script = &prepared.script;
    job::insert_script(tx, &script.sha256, &script.text, run.created_at)?;
    run::insert(tx, run)?;
    if run.expires_in_seconds.is_some() {
        tx.publish(Change::Due);
    }
    run::insert_jobs(tx, run, &prepared.json, &script.sha256, prepared.expires_at)?;
    for job in &prepared.jobs {
        if let Some(sealed) = &job.sealed {
            job::insert_secrets(tx, &job.id, sealed.clone())?;
        }
        tx.publish(Change::Job {
            id: job.id.clone(),
            node_id: job.node_id.clone(),
        });
    }
    let (action, what) = if run.preset == ONE_OFF {
        ("run.exec", format!("script {}", script.sha256))
    } else {
        ("run.queue", run.preset.clone())
    };
    let detail = format!("{what} on {} nodes", run.node_count);
    record_run(tx, &run.created_by_email, action, &run.id, &detail)?;
    advance.begin(tx, &run.id)?;
    let made = run::find(tx, &run.id)?.ok_or(RunError::NotFound)?;
    Ok(CreateOutcome::New(RunView::read(tx, made)?))
}

fn find_idempotent(
    tx: &mut dyn Tx,
    user_id: &str,
    key: &str,
    digest: [u8; 32],
) -> Result<Option<RunView>, RunError> {
    let Some(known) = find_key(tx, user_id, key, digest)? else {
        return Ok(None);
    };
    let id = known.run_id.ok_or(JobError::KeyReused)?;
    let run = run::find(tx, &id)?;
    Ok(run.map(|run| RunView::read(tx, run)).transpose()?)
}
