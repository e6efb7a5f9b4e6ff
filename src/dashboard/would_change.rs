//! What applying a preset would change in the script, on the page of a check: next to the steps
//! that would run, before anything has run.

use maud::{Markup, html};
use serde_json::{Map, Value};

use super::{Site, compare, parts, words};
use crate::auth::User;
use crate::http::{ApiError, FieldErrors};
use crate::jobs::{JobView, Scope, unified_diff};
use crate::presets::ParamKind;
use crate::store::job::{JobFilter, JobKind};

/// Nodes whose last job is read.
const NODES_MAX: usize = 50;
/// Scripts that are compared.
const SCRIPTS_MAX: usize = 5;
/// Takes the place of a secret. A script has the names of its secrets, never their values.
const PLACEHOLDER: &str = "placeholder";

/// Nodes whose last apply had the same script.
struct Group {
    last: Option<JobView>,
    nodes: Vec<String>,
}

/// The part of the page, for the check of a preset with these params on these nodes.
pub(super) async fn draw(
    site: &Site,
    user: &User,
    scope: Scope,
    (preset, params): (&str, &Value),
    nodes: Vec<String>,
) -> Result<Markup, ApiError> {
    let left_out = nodes.len().saturating_sub(NODES_MAX);
    let mut groups: Vec<Group> = Vec::new();
    for node in nodes.into_iter().take(NODES_MAX) {
        let last = last_apply(site, user, scope, (&node, preset)).await?;
        let sha256 = |job: &Option<JobView>| job.as_ref().map(|job| job.script_sha256.clone());
        match groups
            .iter_mut()
            .find(|group| sha256(&group.last) == sha256(&last))
        {
            Some(group) => group.nodes.push(node),
            None => groups.push(Group {
                last,
                nodes: vec![node],
            }),
        }
    }
    let mut parts = Vec::new();
    for group in groups.iter().take(SCRIPTS_MAX) {
        parts.push(draw_group(site, scope, (preset, params), group).await?);
    }
    let rest = groups.iter().skip(SCRIPTS_MAX);
    let left_out = left_out + rest.map(|group| group.nodes.len()).sum::<usize>();
    Ok(html! {
        section #would-change aria-labelledby="would-change-h" {
            h2 #would-change-h { "The script that would be applied" }
            @for part in &parts { (part) }
            @if left_out > 0 { p.dim { (words::count(left_out as u64, "more node is", "more nodes are")) " not compared." } }
        }
    })
}

/// The last job that has applied the preset to the node.
async fn last_apply(
    site: &Site,
    user: &User,
    scope: Scope,
    (node, preset): (&str, &str),
) -> Result<Option<JobView>, ApiError> {
    let filter = JobFilter {
        created_by: (scope == Scope::Mine).then(|| user.id.clone()),
        node_id: Some(node.to_owned()),
        preset: Some(preset.to_owned()),
        kind: Some(JobKind::Apply),
        ..JobFilter::default()
    };
    Ok(site.jobs.page(filter, 1).await?.jobs.pop())
}

async fn draw_group(
    site: &Site,
    scope: Scope,
    (preset, params): (&str, &Value),
    group: &Group,
) -> Result<Markup, ApiError> {
    let before = group.last.as_ref().and_then(|job| job.params.as_object());
    let script = match render(site, preset, params, before).await? {
        Ok(script) => script,
        Err(why) => {
            return Ok(
                html! { p.none { "Today's preset can't be rendered with these params: " (words::visible(&why)) "." } },
            );
        }
    };
    let nodes = group.nodes.join(", ");
    let Some(last) = &group.last else {
        return Ok(html! {
            p { "On " (nodes) ": not applied before." }
            details { summary { "The script" } pre.code.tall tabindex="0" { (words::visible(&script)) } }
        });
    };
    let old = site.jobs.script(last.id.clone()).await?;
    let diff = site
        .jobs
        .compare(move || unified_diff(("last", &old), ("now", &script)))
        .await?;
    let address = parts::job_address(&last.id, scope);
    Ok(html! {
        p { "On " (nodes) ": changes since the " a href=(address) { "last apply" } " (" (parts::job_state(last)) ")." }
        (compare::script(&diff))
    })
}

/// The script that applies the preset, or why it can't be rendered. Optional secrets are those of
/// the last apply.
async fn render(
    site: &Site,
    preset: &str,
    params: &Value,
    before: Option<&Map<String, Value>>,
) -> Result<Result<String, String>, ApiError> {
    let presets = site.jobs.presets().await?;
    let Some(entry) = presets.get(preset) else {
        return Ok(Err("it no longer exists".to_owned()));
    };
    let mut params = params.as_object().cloned().unwrap_or_default();
    for param in &entry.preset.params {
        let was_given = before.is_some_and(|before| before.contains_key(&param.name));
        if param.kind == ParamKind::Secret && (param.required || was_given) {
            params.insert(param.name.clone(), PLACEHOLDER.into());
        }
    }
    let rendered = site
        .jobs
        .render(preset.to_owned(), params.into(), FieldErrors::default());
    Ok(match rendered.await {
        Ok(rendered) => Ok(rendered.script.text),
        Err(error) => Err(ApiError::from(error).in_words()),
    })
}
