//! The steps of two runs side by side, each with its duration.

use maud::{Markup, html};
use similar::{Algorithm, DiffTag, capture_diff_slices};

use super::words;
use crate::jobs::{Step, StepDuration, StepState};

/// Steps of an older agent are timed by the arrival of their output, which such an agent sends
/// every 1.5 s if nobody watches. Steps that arrive together took less than that.
const TOGETHER_MS: i64 = 100;
/// Smaller differences are within the error of measurement.
const SAME_MS: i64 = 100;
/// The same if one of the times is measured by the arrival of output.
const ABOUT_SAME_MS: i64 = 2_000;

/// The table with these two headings; empty if neither run reached a step.
pub(super) fn draw(old: &[Step], new: &[Step], names: (&str, &str)) -> Markup {
    if old.is_empty() && new.is_empty() {
        return html! {};
    }
    html! {
        section #steps {
            h2 { "Steps" }
            table {
                thead { tr { th scope="col" { "Step" } th scope="col" { (names.0) } th scope="col" { (names.1) } th scope="col" { "Difference" } } }
                tbody { @for (old, new) in beside(old, new) {
                    tr {
                        td.main { bdi { (old.or(new).map_or("".into(), |step| words::visible(&step.name))) } }
                        td data-label=(names.0) { (cell(old)) }
                        td data-label=(names.1) { (cell(new)) }
                        td data-label="Difference" { (difference(old, new)) }
                    }
                } }
            }
        }
    }
}

/// Pairs the steps of both runs by name, in order.
fn beside<'s>(old: &'s [Step], new: &'s [Step]) -> Vec<(Option<&'s Step>, Option<&'s Step>)> {
    let names = |steps: &'s [Step]| steps.iter().map(|step| &step.name).collect::<Vec<_>>();
    let mut rows = Vec::with_capacity(old.len().max(new.len()));
    for op in capture_diff_slices(Algorithm::Myers, &names(old), &names(new)) {
        let (before, now) = (&old[op.old_range()], &new[op.new_range()]);
        if op.tag() == DiffTag::Equal {
            rows.extend(before.iter().map(Some).zip(now.iter().map(Some)));
        } else {
            rows.extend(before.iter().map(|step| (Some(step), None)));
            rows.extend(now.iter().map(|step| (None, Some(step))));
        }
    }
    rows
}

fn cell(step: Option<&Step>) -> Markup {
    let Some(step) = step else {
        return html! { "–" };
    };
    let (state, word) = match step.state {
        StepState::Running => ("running", "Running"),
        StepState::Done => ("succeeded", "Done"),
        StepState::AlreadyDone => ("skipped", "Already done"),
        StepState::Failed => ("failed", "Failed"),
        StepState::VerifyFailed => ("failed", "Verify failed"),
        StepState::Cancelled => ("cancelled", "Cancelled"),
        StepState::WouldRun => ("waiting", "Would run"),
        StepState::CantTell => ("cancelled", "Can't tell"),
    };
    html! {
        span.state data-state=(state) { (word) }
        @if step.state == StepState::Running { " " (words::running_since(step.began_at)) }
        @else if let Some(duration) = step.duration() {
            " " span.dim { (took(duration)) }
        }
    }
}

/// How long a step took, in words.
pub(super) fn took(duration: StepDuration) -> String {
    match duration {
        StepDuration {
            millis,
            is_exact: true,
        } => words::span(millis),
        StepDuration { millis, .. } if millis < TOGETHER_MS => "under 2 s".to_owned(),
        StepDuration { millis, .. } => format!("about {}", words::span(millis)),
    }
}

fn difference(old: Option<&Step>, new: Option<&Step>) -> String {
    let (old, new) = (old.and_then(Step::duration), new.and_then(Step::duration));
    let (Some(old), Some(new)) = (old, new) else {
        return "–".to_owned();
    };
    let same = match old.is_exact && new.is_exact {
        true => SAME_MS,
        false => ABOUT_SAME_MS,
    };
    match new.millis - old.millis {
        more if more >= same => format!("{} longer", words::span(more)),
        less if less <= -same => format!("{} shorter", words::span(-less)),
        _ => "about the same".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn step(name: &str, state: StepState, millis: i64) -> Step {
        Step {
            number: 1,
            name: name.to_owned(),
            state,
            began_at: Timestamp::from_millis(1_000),
            ended_at: Some(Timestamp::from_millis(1_000 + millis)),
            exact_ms: None,
        }
    }

    #[test]
    fn steps_are_paired_by_name() {
        let named = |names: &[&str]| {
            let step = |name: &&str| step(name, StepState::Done, 0);
            names.iter().map(step).collect::<Vec<_>>()
        };
        let (old, new) = (named(&["a", "b", "c"]), named(&["a", "new", "c", "d"]));
        let name = |step: Option<&Step>| step.map_or(String::new(), |step| step.name.clone());
        let rows: Vec<_> = beside(&old, &new)
            .into_iter()
            .map(|(old, new)| format!("{}|{}", name(old), name(new)))
            .collect();
        assert_eq!(rows, ["a|a", "b|", "|new", "c|c", "|d"]);
    }

    #[test]
    fn differences_are_shown_if_they_exceed_the_error_of_measurement() {
        let difference = |old, new| difference(Some(&old), Some(&new));
        let done = |millis| step("a", StepState::Done, millis);
        assert_eq!(difference(done(500), done(2_400)), "about the same");
        assert_eq!(difference(done(500), done(12_700)), "12 s longer");
        assert_eq!(difference(done(200_000), done(20_000)), "3 min shorter");
        let exact = |millis: i64| Step {
            exact_ms: u64::try_from(millis).ok(),
            ..done(millis)
        };
        assert_eq!(difference(exact(500), exact(2_400)), "1.9 s longer");
        assert_eq!(difference(exact(500), exact(590)), "about the same");
        assert_eq!(difference(exact(500), done(2_400)), "about the same");
        let skipped = step("a", StepState::AlreadyDone, 9_000);
        assert_eq!(difference(done(9_000), skipped), "–");
    }

    #[test]
    fn a_name_is_shown_and_never_obeyed() {
        let steps = [step("<b>\u{202e}", StepState::Failed, 50)];
        let drawn = draw(&[], &steps, ("Previous", "This run")).into_string();
        assert!(drawn.contains("&lt;b&gt;⟨U+202E⟩"), "{drawn}");
        assert!(drawn.contains("under 2 s"), "{drawn}");
        assert_eq!(draw(&[], &[], ("", "")).into_string(), "");
    }
}
