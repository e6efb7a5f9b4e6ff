//! Drift: how a node differs from what a preset has made of it. Kept up to date by the transaction
//! that ends a job.
//!
//! What a node should be like are the params of the last apply that succeeded. A check of the same
//! params counts, whoever queued it. Secrets are left out of the comparison: a check has none, and
//! a job shows each as `***`.

use hyprbox_protocol::CheckState;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::clock;
use crate::jobs::view::JobView;
use crate::outbox::{EventKind, Message, Outbox, Subject, SubjectNodes};
use crate::presets::{MASK, ONE_OFF};
use crate::store::drift::{self, StoredDrift};
use crate::store::id::{JobId, NodeId};
use crate::store::job::{self, Job, JobKind, JobStatus};
use crate::store::run::{self, Run};
use crate::store::{StoreError, Tx, job_step};

/// The most steps or nodes that a message names.
const NAMED_MAX: usize = 10;

/// Whether a node is still as a preset has left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum DriftState {
    /// No step would run.
    Ok,
    /// A step would run.
    Drifted,
    /// Not checked since the last apply, or no step can tell.
    Unknown,
}

/// What a check has found about a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum DriftStepState {
    /// The step is done.
    Ok,
    /// The step would run.
    WouldRun,
    /// The step has no `unless`, needs a secret to know, or took longer than a minute.
    CantTell,
}

impl From<CheckState> for DriftStepState {
    fn from(state: CheckState) -> Self {
        match state {
            CheckState::Ok => Self::Ok,
            CheckState::WouldRun => Self::WouldRun,
            CheckState::CantTell => Self::CantTell,
        }
    }
}

/// A step of the last check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DriftStep {
    /// Counted from 1.
    pub index: u32,
    /// The step's name.
    pub name: String,
    /// What the check has found.
    pub state: DriftStepState,
}

impl DriftState {
    /// The state that these steps show.
    pub fn of(steps: &[DriftStep]) -> Self {
        let has = |state| steps.iter().any(|step| step.state == state);
        if has(DriftStepState::WouldRun) {
            Self::Drifted
        } else if has(DriftStepState::Ok) {
            Self::Ok
        } else {
            Self::Unknown
        }
    }
}

/// The steps of a row.
pub fn stored_steps(row: &StoredDrift) -> Vec<DriftStep> {
    serde_json::from_str(&row.steps).unwrap_or_default()
}

/// A JSON object of params.
pub fn stored_params(params: &str) -> Map<String, Value> {
    serde_json::from_str(params).unwrap_or_default()
}

/// Whether a check with these params asks for what an apply with `applied` has made.
fn is_same_state(applied: &Map<String, Value>, checked: &Map<String, Value>) -> bool {
    let is_secret = |(name, value): (&String, &Value)| value == MASK && !checked.contains_key(name);
    let others = applied.iter().filter(|entry| !is_secret(*entry));
    others.clone().count() == checked.len()
        && others
            .into_iter()
            .all(|(name, value)| checked.get(name) == Some(value))
}

/// Whether a check with these params counts for the row.
fn counts_for(row: &StoredDrift, checked: &Map<String, Value>) -> bool {
    let params = row.check_params.as_ref().unwrap_or(&row.params);
    is_same_state(&stored_params(params), checked)
}

fn steps_of(tx: &mut dyn Tx, job_id: &str) -> Result<Vec<DriftStep>, StoreError> {
    let announced = job_step::list(tx, job_id)?;
    let steps = announced.iter().filter_map(|step| {
        let (name, state) = CheckState::split(&step.name)?;
        Some(DriftStep {
            index: step.number,
            name: name.to_owned(),
            state: state.into(),
        })
    });
    Ok(steps.collect())
}

/// Records what a job's success shows about its node, and reports new drift. A run that has not
/// ended reports it at its end.
pub(in crate::jobs) fn record_success(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    job: &Job,
) -> Result<(), StoreError> {
    if job.status != JobStatus::Succeeded || job.preset == ONE_OFF {
        return Ok(());
    }
    let (node_id, job_id) = (NodeId(job.node_id.as_str()), JobId(job.id.as_str()));
    let preset = &job.preset;
    let at = job.finished_at.unwrap_or_else(clock::now);
    if job.kind == JobKind::Apply {
        return drift::set_applied(tx, node_id, preset, &job.params, job_id, at);
    }
    let steps = steps_of(tx, &job.id)?;
    let is_new = match drift::find_locked(tx, &job.node_id, preset)? {
        Some(row) if counts_for(&row, &stored_params(&job.params)) => {
            let json = json!(steps).to_string();
            drift::set_checked(tx, node_id, preset, job_id, at, &json)?;
            DriftState::of(&stored_steps(&row)) != DriftState::Drifted
        }
        _ => had_no_drift(tx, job)?,
    };
    if !is_new || DriftState::of(&steps) != DriftState::Drifted {
        return Ok(());
    }
    match &job.run_id {
        Some(run_id) if run::find(tx, run_id)?.is_some_and(|run| !run.status.is_final()) => {
            drift::mark_new(tx, &job.id)
        }
        _ => report_job(tx, outbox, job, &steps),
    }
}

/// Whether the check before this one had the same params and found no step that would run.
fn had_no_drift(tx: &mut dyn Tx, job: &Job) -> Result<bool, StoreError> {
    let params = stored_params(&job.params);
    let (node_id, job_id) = (NodeId(job.node_id.as_str()), JobId(job.id.as_str()));
    let before = drift::checks_before(tx, node_id, &job.preset, job_id)?;
    let same = |(_, checked): &&(String, String)| stored_params(checked) == params;
    match before.iter().find(same) {
        Some((id, _)) => Ok(DriftState::of(&steps_of(tx, id)?) != DriftState::Drifted),
        None => Ok(false),
    }
}

fn report_job(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    job: &Job,
    steps: &[DriftStep],
) -> Result<(), StoreError> {
    let subject = Subject {
        preset: Some(&job.preset),
        nodes: SubjectNodes::One(&job.node_id),
        schedule: Some(None),
    };
    outbox.report(tx, EventKind::DriftFound, &subject, |_| {
        Ok(message(
            job,
            steps_in_words(steps),
            format!("/jobs/{}", job.id),
        ))
    })
}

/// Reports the nodes on which a run that has just ended found new drift, in one message. The
/// message has the job of the first of them.
pub(in crate::jobs) fn report_drift_of_run(
    tx: &mut dyn Tx,
    outbox: &Outbox,
    run: &Run,
) -> Result<(), StoreError> {
    if run.kind != JobKind::Check {
        return Ok(());
    }
    let marked = drift::marked_of_run(tx, &run.id)?;
    let Some((first, _)) = marked.first() else {
        return Ok(());
    };
    let nodes: Vec<String> = marked.iter().map(|(_, node)| node.clone()).collect();
    let subject = Subject {
        preset: Some(&run.preset),
        nodes: SubjectNodes::Several(&nodes),
        schedule: Some(run.schedule_id.as_deref()),
    };
    let Some(job) = job::find(tx, first)? else {
        return Ok(());
    };
    outbox.report(tx, EventKind::DriftFound, &subject, |tx| {
        let (reason, path) = if let [_] = nodes.as_slice() {
            let steps = steps_of(tx, &job.id)?;
            (steps_in_words(&steps), format!("/jobs/{}", job.id))
        } else {
            let count = run.node_count;
            let reason = format!(
                "{} of {count} nodes have drifted: {}",
                nodes.len(),
                named(&nodes)
            );
            (reason, format!("/runs/{}", run.id))
        };
        Ok(message(&job, reason, path))
    })
}

fn message(job: &Job, reason: String, path: String) -> Message {
    Message {
        event: Some(EventKind::DriftFound),
        object: Some(("job", json!(JobView::from(job.clone())))),
        reason,
        stderr_tail: None,
        path,
    }
}

/// Such as `2 steps would run: Set the SSH port, Open the firewall`.
fn steps_in_words(steps: &[DriftStep]) -> String {
    let would_run = steps
        .iter()
        .filter(|step| step.state == DriftStepState::WouldRun);
    let names: Vec<String> = would_run.map(|step| step.name.clone()).collect();
    match names.as_slice() {
        [name] => format!("1 step would run: {name}"),
        names => format!("{} steps would run: {}", names.len(), named(names)),
    }
}

fn named(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let text = names[..names.len() - more].join(", ");
    match more {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(json: Value) -> Map<String, Value> {
        json.as_object().cloned().expect("an object")
    }

    #[test]
    fn a_check_counts_if_all_params_but_the_secrets_are_the_same() {
        let applied = params(json!({"port": 22, "key": "***"}));
        for (checked, counts) in [
            (json!({"port": 22}), true),
            (json!({"port": 22, "key": "***"}), true),
            (json!({"port": 2222}), false),
            (json!({"port": "22"}), false),
            (json!({"port": 22, "more": 1}), false),
            (json!({}), false),
        ] {
            assert_eq!(
                is_same_state(&applied, &params(checked.clone())),
                counts,
                "{checked}"
            );
        }
        // Text that only looks like a hidden secret is compared.
        assert!(!is_same_state(
            &params(json!({"a": "***"})),
            &params(json!({"a": "x"}))
        ));
    }

    #[test]
    fn one_step_that_would_run_is_drift_and_one_that_is_done_is_not_unknown() {
        use DriftStepState::{CantTell, Ok, WouldRun};
        let state = |states: &[DriftStepState]| {
            let step = |state: &DriftStepState| DriftStep {
                index: 1,
                name: String::new(),
                state: *state,
            };
            DriftState::of(&states.iter().map(step).collect::<Vec<_>>())
        };
        assert_eq!(state(&[Ok, WouldRun, CantTell]), DriftState::Drifted);
        assert_eq!(state(&[CantTell, Ok]), DriftState::Ok);
        assert_eq!(state(&[CantTell]), DriftState::Unknown);
        assert_eq!(state(&[]), DriftState::Unknown);
    }
}
