//! Retry: a new run over the nodes whose job did not succeed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::access::find;
use super::{CreateOutcome, IfOffline, NodeIds, RunError, RunRequest, Runs};
use crate::auth::User;
use crate::http::{FieldErrors, NamedValues};
use crate::jobs::{JobError, Plan, PlanRequest, RunView, Scope, record_run};
use crate::presets::{ONE_OFF, ParamKind};
use crate::store::job::JobStatus;
use crate::store::node;
use crate::store::run::{self, Run};

/// The body of `POST /api/runs/:id/retry`.
#[derive(Debug, Clone, Default, Deserialize, utoipa::ToSchema)]
pub struct RetryRequest {
    /// Params that differ from those of the run. Secrets must be given again.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub params: Option<NamedValues>,
}

/// A new run that repeats another one.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetriedRun {
    /// The run.
    #[serde(flatten)]
    pub run: RunView,
    /// Nodes that were deleted meanwhile.
    pub left_out: Vec<String>,
}

/// The nodes of a retry.
struct RetryNodes {
    nodes: Vec<String>,
    left_out: Vec<String>,
}

impl Runs {
    /// Queues a run of the same preset, params and plan over the nodes whose job did not succeed.
    pub async fn retry(
        &self,
        user: &User,
        scope: Scope,
        id: String,
        request: RetryRequest,
    ) -> Result<RetriedRun, RunError> {
        let (by, run_id) = (user.clone(), id.clone());
        let (run, RetryNodes { nodes, left_out }) = self
            .store
            .read(move |tx| {
                let run = find(tx, &by, scope, &run_id)?;
                if !run.status.is_final() {
                    return Err(RunError::WrongState(run.status));
                }
                let mut retry = RetryNodes {
                    nodes: Vec::new(),
                    left_out: Vec::new(),
                };
                for job in run::jobs(tx, &run.id)? {
                    if job.status == JobStatus::Succeeded {
                        continue;
                    }
                    match node::find(tx, &job.node_id)? {
                        Some(_) => retry.nodes.push(job.node_id),
                        None => retry.left_out.push(job.node_id),
                    }
                }
                Ok((run, retry))
            })
            .await?;
        if nodes.is_empty() {
            return Err(RunError::NothingToRetry);
        }
        let given = request.params.unwrap_or_default();
        let made = if run.preset == ONE_OFF {
            refuse_params(&given)?;
            let request = request_of(&run, given, nodes);
            self.exec_again(user, &run, request).await?
        } else {
            let params = self.params_of_retry(&run, given).await?;
            let request = request_of(&run, params, nodes);
            self.create(user, request, None, Some(id.clone())).await?
        };
        let (CreateOutcome::New(made) | CreateOutcome::Existing(made)) = made;
        let (actor, as_run) = (user.email.clone(), format!("as run {}", made.id));
        self.store
            .write(move |tx| record_run(tx, &actor, "run.retry", &id, &as_run))
            .await?;
        Ok(RetriedRun {
            run: made,
            left_out,
        })
    }

    /// The params of a retry: those given, and the run's other ones that today's preset has. Its
    /// secrets are not known.
    async fn params_of_retry(
        &self,
        run: &Run,
        given: NamedValues,
    ) -> Result<NamedValues, RunError> {
        let presets = self.presets().await?;
        let preset = presets.get(&run.preset).map(|entry| &entry.preset);
        let before: Map<String, Value> = serde_json::from_str(&run.params).unwrap_or_default();
        let mut params = given;
        for (name, value) in before {
            let is_kept = preset.is_some_and(|preset| {
                let known = preset.params.iter().find(|param| param.name == name);
                known.is_some_and(|param| param.kind != ParamKind::Secret)
            });
            if is_kept && !params.kept.contains_key(&name) {
                params.kept.insert(name, value);
            }
        }
        Ok(params)
    }
}

/// A script without a preset takes no params.
fn refuse_params(given: &NamedValues) -> Result<(), JobError> {
    let mut faults = FieldErrors::default();
    for name in given.kept.keys() {
        let message = "is unknown: a script without a preset takes no params";
        faults.add(format!("params.{name}"), message);
    }
    faults.add_unnamed(given.more);
    faults.into_faults().map_err(JobError::Fields)
}

fn request_of(run: &Run, params: NamedValues, nodes: Vec<String>) -> RunRequest {
    RunRequest {
        preset: run.preset.clone(),
        params: Some(params),
        nodes: Some(nodes.into_iter().collect::<NodeIds>()),
        selector: None,
        kind: Some(run.kind),
        plan: Some(PlanRequest::from(&Plan::stored(&run.plan))),
        if_offline: (run.if_offline == "skip").then_some(IfOffline::Skip),
        not_before: None,
        expires_in_seconds: run.expires_in_seconds,
        timeout_seconds: i64::try_from(run.timeout_seconds).ok(),
    }
}
