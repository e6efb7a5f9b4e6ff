//! History in pictures: a bar for each of the last jobs, its height the time and its colour the
//! state. With links on a page of its own subject, without them (a spark) in lists.

use maud::{Markup, PreEscaped, html};

use super::{Site, parts, words};
use crate::auth::User;
use crate::clock;
use crate::http::ApiError;
use crate::jobs::{History, JobView, Scope};
use crate::store::job::{JobStatus, PastFilter, PastJob};

/// The height of a bar in units of the picture.
const TALL: i64 = 24;
/// Below each bar is room for a mark, so that the state is not told by its colour alone.
const MARKED: i64 = TALL + 8;
/// A bar that is this many times as long as usual has the full height.
const TALL_AT: i64 = 3;
/// The width of a bar of a spark, and of the bar with its gap.
const SPARK: (i64, i64) = (3, 4);

/// Whose jobs a history shows: those of this user, or everybody's if `None`.
pub(super) fn owner(user: &User, scope: Scope) -> Option<String> {
    (scope == Scope::Mine).then(|| user.id.clone())
}

/// The history around a job: the jobs of its preset on its node.
pub(super) async fn of_job(
    site: &Site,
    user: &User,
    scope: Scope,
    job: &JobView,
) -> Result<Markup, ApiError> {
    let filter = PastFilter {
        preset: Some(job.preset.clone()),
        node_id: Some(job.node_id.clone()),
        created_by: owner(user, scope),
        upto: None,
    };
    let history = site.jobs.history(filter, Some(job.id.clone())).await?;
    let heading = format!("{} on {}", job.preset, job.node_id);
    Ok(match history.jobs.len() {
        0 | 1 => html! {},
        _ => section(user, scope, &heading, &history, Some(job)),
    })
}

/// The history of a preset on all nodes.
pub(super) async fn of_preset(
    site: &Site,
    user: &User,
    scope: Scope,
    preset: &str,
) -> Result<Markup, ApiError> {
    let filter = PastFilter {
        preset: Some(preset.to_owned()),
        created_by: owner(user, scope),
        ..PastFilter::default()
    };
    let history = site.jobs.history(filter, None).await?;
    Ok(section(user, scope, preset, &history, None))
}

/// The history of a node, of all presets.
pub(super) async fn of_node(
    site: &Site,
    user: &User,
    scope: Scope,
    node: &str,
) -> Result<Markup, ApiError> {
    let filter = PastFilter {
        node_id: Some(node.to_owned()),
        created_by: owner(user, scope),
        ..PastFilter::default()
    };
    let history = site.jobs.history(filter, None).await?;
    Ok(section(user, scope, node, &history, None))
}

fn section(
    user: &User,
    scope: Scope,
    of: &str,
    history: &History,
    this: Option<&JobView>,
) -> Markup {
    if history.jobs.is_empty() {
        return html! {};
    }
    let scale = Scale::of(history);
    html! {
        section.history aria-labelledby="history-h" {
            div.head {
                h2 #history-h { "History" span.unseen { " of " (words::visible(of)) } }
                p.dim { (summary(history, this)) }
            }
            ol.bars { @for job in &history.jobs {
                (bar(user, scope, job, &scale, this.is_some_and(|this| this.id == job.id)))
            } }
        }
    }
}

/// How many succeeded, how long they usually take, and how this one compares.
fn summary(history: &History, this: Option<&JobView>) -> String {
    let succeeded = history.count(JobStatus::Succeeded);
    let ended = succeeded + history.count(JobStatus::Failed);
    let mut parts = vec![match ended {
        0 => "None has ended yet".to_owned(),
        _ => format!(
            "{succeeded} of {ended} succeeded ({} %)",
            succeeded * 100 / ended
        ),
    }];
    if let Some(median) = history.median_ms() {
        parts.push(format!("median {}", words::span(median)));
        let took = this.and_then(|job| Some(job.finished_at?.millis_since(job.started_at?)));
        parts.extend(
            took.and_then(|took| against(took, median))
                .map(|words| format!("this one {words}")),
        );
    }
    parts.join(" · ")
}

/// How a time compares with what is usual; `None` if that is about the same.
pub(super) fn against(took_ms: i64, median_ms: i64) -> Option<String> {
    // In tenths of a second and below, differences are chance.
    if median_ms <= 0 || (took_ms - median_ms).abs() < 200 {
        return None;
    }
    match took_ms.saturating_mul(100) / median_ms - 100 {
        percent if percent >= 1_000 => Some(format!("{} times as long", took_ms / median_ms)),
        percent if percent >= 5 => Some(format!("{percent} % longer")),
        percent if percent <= -5 => Some(format!("{} % shorter", -percent)),
        _ => None,
    }
}

/// The time that has the full height.
struct Scale {
    full_ms: i64,
    now: clock::Timestamp,
}

impl Scale {
    fn of(history: &History) -> Self {
        let now = clock::now();
        let longest = history.jobs.iter().map(|job| took_ms(job, now)).max();
        let longest = longest.unwrap_or(1).max(1);
        let cap = history
            .median_ms()
            .map_or(longest, |median| TALL_AT * median);
        Self {
            full_ms: longest.min(cap).max(1),
            now,
        }
    }

    fn height(&self, job: &PastJob) -> i64 {
        (took_ms(job, self.now).saturating_mul(TALL) / self.full_ms).clamp(2, TALL)
    }
}

/// How long the job ran, or has been running.
fn took_ms(job: &PastJob, now: clock::Timestamp) -> i64 {
    let running = || job.started_at.map_or(0, |at| now.millis_since(at));
    job.took_ms().unwrap_or_else(running).max(0)
}

fn bar(user: &User, scope: Scope, job: &PastJob, scale: &Scale, is_this: bool) -> Markup {
    let (state, word) = parts::state_words(job.status, false);
    let took = words::span(took_ms(job, scale.now));
    let verb = match job.status {
        JobStatus::Running => "for",
        JobStatus::Queued | JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => {
            "after"
        }
    };
    let begun = job.started_at.map(words::plain_time).unwrap_or_default();
    let (here, preset, node) = (
        if is_this { "This job: " } else { "" },
        &job.preset,
        &job.node_id,
    );
    let name = format!("{here}{word} {verb} {took}, {preset} on {node}, {begun}");
    let address = parts::job_address(&job.id, parts::scope_of_job(user, scope, &job.created_by));
    let height = scale.height(job);
    html! {
        li data-state=(state) {
            a href=(address) aria-label=(name) title=(name) aria-current=[is_this.then_some("true")] {
                svg viewBox=(format!("0 0 24 {MARKED}")) aria-hidden="true" {
                    rect.bar x="5" width="14" y=(TALL - height) height=(height) rx="1.5" {}
                    (mark(job.status))
                }
            }
        }
    }
}

/// A mark below the bar of a job that did not succeed.
fn mark(status: JobStatus) -> Markup {
    let path = match status {
        JobStatus::Failed => "M9.5 26.5l5 5m0-5l-5 5",
        JobStatus::Cancelled => "M9 29h6",
        JobStatus::Queued | JobStatus::Running | JobStatus::Succeeded => return html! {},
    };
    html! { path.mark d=(path) {} }
}

/// A small picture of the same, without links. Nothing if no job has started.
pub(super) fn spark(history: &History) -> Markup {
    if history.jobs.is_empty() {
        return html! {};
    }
    let scale = Scale::of(history);
    let (thick, pitch) = SPARK;
    let width = i64::try_from(history.jobs.len()).unwrap_or(0) * pitch;
    // A path for all bars of a state is much shorter than a shape for each.
    let path = |status: JobStatus| {
        let mut path = String::new();
        for (index, job) in (0..).zip(&history.jobs) {
            if job.status == status {
                let height = scale.height(job);
                path.push_str(&format!(
                    "M{} {}h{thick}v{height}h-{thick}z",
                    index * pitch,
                    TALL - height
                ));
            }
        }
        path
    };
    let all = [
        JobStatus::Succeeded,
        JobStatus::Failed,
        JobStatus::Cancelled,
        JobStatus::Running,
    ];
    html! {
        svg.spark viewBox=(format!("0 0 {width} {TALL}")) width=(width) height=(TALL) role="img" aria-label=(label(history)) {
            @for status in all {
                @let path = path(status);
                @if !path.is_empty() { path data-state=(parts::state_words(status, false).0) d=(PreEscaped(path)) {} }
            }
        }
    }
}

fn label(history: &History) -> String {
    let count = |status, word: &str| match history.count(status) {
        0 => None,
        count => Some(format!("{count} {word}")),
    };
    let counts = [
        count(JobStatus::Succeeded, "succeeded"),
        count(JobStatus::Failed, "failed"),
        count(JobStatus::Cancelled, "cancelled"),
        count(JobStatus::Running, "running"),
    ];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let median = history.median_ms();
    let median = median.map(|median| format!("; median {}", words::span(median)));
    format!(
        "Last {}: {}{}",
        words::count(history.jobs.len() as u64, "job", "jobs"),
        counts.join(", "),
        median.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_compared_with_what_is_usual() {
        for (took, median, words) in [
            (1_380, 1_000, Some("38 % longer")),
            (1_000, 1_000, None),
            (1_040, 1_000, None),
            (150, 100, None),
            (500, 1_000, Some("50 % shorter")),
            (60_000, 1_000, Some("60 times as long")),
            (60_000, 0, None),
        ] {
            assert_eq!(
                against(took, median).as_deref(),
                words,
                "{took} of {median}"
            );
        }
    }
}
