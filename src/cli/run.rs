//! `hyprbox run`: queues a job on one node, or a run on many.

use serde_json::Map;

use super::args::Run;
use super::client::Client;
use super::error::CliError;
use super::params::{self, Secrets};
use super::queue::{self, JobRequest, confirm_risk, fetch_preset};
use super::runs::{self, RunRequest, Target};
use super::screen::Screen;
use super::short_id::node_to_change;
use crate::store::job::JobKind;

/// One node without a plan is a job of its own.
pub(super) async fn run(client: Client, screen: Screen, mut run: Run) -> Result<u8, CliError> {
    for node in &mut run.node {
        *node = node_to_change(&client, &screen, node).await?;
    }
    let preset = fetch_preset(&client, &run.preset).await?;
    let params = params::resolve(&preset, &run.params, Map::new(), Secrets::Ask)?;
    let target = match (run.on, run.node) {
        (Some(selector), _) => Target::Selector(selector),
        (None, mut nodes) if nodes.len() == 1 && !run.plan.is_given() && !run.dry_run => {
            let node = nodes.remove(0);
            confirm_risk(&preset, &node, &screen, &run.sure)?;
            let wanted = JobRequest {
                preset: run.preset,
                node,
                params,
                timeout_seconds: run.timeout,
                expires_in_seconds: run.expires,
                not_before: run.at,
            };
            let sign = run.sign.then_some((&run.sign_with, &run.sure));
            let (code, _job) = queue::queue(client, screen, wanted, &run.watch, sign).await?;
            return Ok(code);
        }
        (None, nodes) => Target::Nodes(nodes),
    };
    let request = RunRequest {
        preset: run.preset,
        kind: JobKind::Apply,
        target,
        params,
        plan: run.plan,
        timeout_seconds: run.timeout,
        expires_in_seconds: run.expires,
        not_before: run.at,
    };
    if run.dry_run {
        return runs::show_plan(&client, screen, &request).await;
    }
    confirm_risk(&preset, &request.target.to_string(), &screen, &run.sure)?;
    let sign = run.sign.then_some((&run.sign_with, &run.sure));
    runs::queue(client, screen, &request, &run.watch, sign).await
}
