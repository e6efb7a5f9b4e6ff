//! The head of a job's page that stays in sight: state, step, time, what is left, and Cancel.

use hyprbox_protocol::ScriptMarks;
use maud::{Markup, html};

use super::job_content::Content;
use super::{form, parts, words};
use crate::auth::Role;
use crate::clock::{self, Timestamp};
use crate::jobs::Progress;
use crate::store::job::JobStatus;

/// The head, which the page swaps when the job changes.
pub(super) fn draw(shown: &Content) -> Markup {
    let Content { job, step, .. } = shown;
    let is_running = job.status == JobStatus::Running;
    html! {
        div #job-state .now data-region {
            (parts::job_state(job))
            @if let (Some(step), true) = (step, job.started_at.is_some()) {
                span #job-step { "step " (step.index) " of " (step.count) }
            }
            @if job.started_at.is_some() { span.elapsed { (parts::took(job)) } }
            @if let (true, Some(progress)) = (is_running, progress(shown)) { (bar(progress)) }
            (cancel(shown))
        }
    }
}

/// How far the job is, compared with earlier runs.
fn progress(shown: &Content) -> Option<Progress> {
    let began = shown.script_began_at.or(shown.job.started_at)?;
    let now = clock::now();
    let step = shown.step.as_ref().zip(shown.steps.last());
    let in_step = step.map(|(step, last)| (step, now.millis_since(last.began_at)));
    let expected = shown.expected.as_ref()?;
    Some(expected.progress(now.millis_since(began), in_step))
}

/// What is left, in words and as a thin bar. `time.js` keeps both up to date.
fn bar(progress: Progress) -> Markup {
    let Progress { position, total } = progress;
    let now = clock::now();
    let end = now.plus_millis(total - position);
    html! {
        span.left data-until=(end.as_millis()) { (left(end, now)) }
        progress max=(total.max(1)) value=(position) data-at=(now.as_millis()) data-position=(position)
            aria-label="Progress, by earlier runs" {}
    }
}

/// How much time is left: `about 20 s left`. `assets/time.js` has the same words.
fn left(end: Timestamp, now: Timestamp) -> String {
    const MINUTE: i64 = 60_000;
    match end.millis_since(now) {
        ms if ms <= 0 => "longer than usual".to_owned(),
        ms if ms <= 10_000 => "a few seconds left".to_owned(),
        ms if ms <= MINUTE => format!("about {} s left", (ms + 9_999) / 10_000 * 10),
        ms => format!(
            "about {} left",
            words::span((ms + MINUTE - 1) / MINUTE * MINUTE)
        ),
    }
}

fn cancel(shown: &Content) -> Markup {
    let Content {
        job,
        scope,
        user,
        still_running,
        ..
    } = shown;
    let marks = ScriptMarks::read(shown.script.as_bytes());
    // Only an ADMIN may cancel other people's jobs.
    let is_own = job.created_by == user.id;
    let action = match user.role {
        Role::Admin => format!("/jobs/{}/cancel{}", job.id, parts::scope_query(*scope)),
        Role::Pending | Role::Viewer | Role::Operator => format!("/jobs/{}/cancel", job.id),
    };
    let may_cancel = user.role >= (if is_own { Role::Operator } else { Role::Admin })
        && (!job.status.is_terminal() || *still_running)
        && job.cancel_requested_at.is_none();
    let runs = job.status == JobStatus::Running || *still_running;
    let ask = if job.confirm_by.is_some() {
        "Undo the changes now?"
    } else if marks.confirm_seconds.is_some() {
        "Stop the script on the node? Steps that have begun are undone."
    } else {
        "Stop the script on the node? Changes that it has already made are not undone."
    };
    let ask = runs.then_some(ask);
    html! { @if may_cancel { (form::button(&action, "danger", "Cancel", ask)) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `tests/browser/cases.rs` runs `assets/time.js` on the same cases.
    #[test]
    fn what_is_left_reads_as_in_the_table_of_cases() {
        #[derive(serde::Deserialize)]
        struct Cases {
            left: Vec<(i64, String)>,
        }
        let cases: Cases =
            serde_json::from_str(include_str!("../../tests/cases/times.json")).expect("cases");
        let now = Timestamp::from_millis(1_000_000_000_000);
        for (millis, words) in cases.left {
            assert_eq!(left(now.plus_millis(millis), now), words, "{millis} ms");
        }
    }
}
