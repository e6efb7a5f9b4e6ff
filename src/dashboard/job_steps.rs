//! The steps of a job beside its log: all of them from the start, each with its state, its time and
//! its share of the whole. `steps.js` keeps them up to date while the page is open.

use maud::{Markup, html};

use super::job_content::Content;
use super::{step_times, words};
use crate::jobs::{Step, StepState};

/// A place in the list: a step that has begun, or one that is still to come.
struct Place<'s> {
    number: usize,
    name: &'s str,
    step: Option<&'s Step>,
}

/// The list; empty if the job has no steps.
pub(super) fn draw(shown: &Content) -> Markup {
    let places = places(&shown.step_names, &shown.steps, shown.step_count());
    let durations = shown.steps.iter().filter_map(Step::duration);
    let longest = durations.map(|duration| duration.millis).max().unwrap_or(0);
    html! {
        nav #job-steps .rail aria-labelledby="steps-h" hidden[places.is_empty()] {
            h2 #steps-h { "Steps" }
            ol { @for place in &places { (item(place, longest, shown.job.status.is_terminal())) } }
        }
    }
}

/// The steps of the script with those that were announced. A script may announce others.
fn places<'s>(names: &'s [String], steps: &'s [Step], count: usize) -> Vec<Place<'s>> {
    let find = |number: usize| {
        steps
            .iter()
            .find(|step| usize::try_from(step.number) == Ok(number))
    };
    // With another total, the script's own names don't apply.
    let names = if names.len() == count || count == 0 {
        names
    } else {
        &[]
    };
    (1..=names.len().max(count))
        .map(|number| {
            let step = find(number);
            let planned = names.get(number - 1).map_or("", String::as_str);
            Place {
                number,
                name: step.map_or(planned, |step| step.name.as_str()),
                step,
            }
        })
        .collect()
}

fn item(place: &Place<'_>, longest: i64, is_over: bool) -> Markup {
    let (state, word) = match place.step.map(|step| step.state) {
        Some(StepState::Running) => ("running", "Running"),
        Some(StepState::Done) => ("succeeded", "Done"),
        Some(StepState::AlreadyDone) => ("skipped", "Already done"),
        Some(StepState::Failed) => ("failed", "Failed"),
        Some(StepState::VerifyFailed) => ("failed", "Verify failed"),
        Some(StepState::Cancelled) => ("cancelled", "Cancelled"),
        Some(StepState::WouldRun) => ("waiting", "Would run"),
        Some(StepState::CantTell) => ("cancelled", "Can't tell"),
        None if is_over => ("waiting", "Not reached"),
        None => ("waiting", "To come"),
    };
    let duration = place.step.and_then(Step::duration);
    let text = match place.name {
        "" => format!("Step {}", place.number),
        name => words::visible(name).into_owned(),
    };
    let running_since = place
        .step
        .filter(|step| step.state == StepState::Running)
        .map(|step| step.began_at);
    html! {
        li data-step=(state) data-number=(place.number) data-ms=[duration.map(|duration| duration.millis)] {
            a href=(format!("#step-{}", place.number)) {
                span.state data-state=(state) { span.unseen { (word) ": " } }
                bdi { (text) }
            }
            span.took { @match (running_since, duration) {
                (Some(at), _) => { (words::running_since(at)) }
                (None, Some(duration)) => { (step_times::took(duration)) }
                (None, None) => {}
            } }
            (share(duration.map_or(0, |duration| duration.millis), longest))
        }
    }
}

/// A bar that is as long as the step's part of the longest one.
fn share(millis: i64, longest: i64) -> Markup {
    let percent = (millis * 100).checked_div(longest).unwrap_or(0);
    html! {
        svg.share viewBox="0 0 100 1" preserveAspectRatio="none" aria-hidden="true" {
            rect width=(percent) height="1" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn steps_to_come_are_listed_with_those_that_have_begun() {
        let names = ["One".to_owned(), "Two".to_owned()];
        let step = |number: u32, name: &str| Step {
            number,
            name: name.to_owned(),
            state: StepState::Done,
            began_at: Timestamp::from_millis(0),
            ended_at: None,
            exact_ms: None,
        };
        let listed = |steps: &[Step], count| {
            let places = places(&names, steps, count);
            let text = |place: &Place<'_>| format!("{}{}", place.name, place.step.is_some());
            places.iter().map(text).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[], 0), ["Onefalse", "Twofalse"]);
        assert_eq!(listed(&[step(1, "One")], 2), ["Onetrue", "Twofalse"]);
        // The script announces steps of its own.
        let own = [step(1, "a"), step(3, "c")];
        assert_eq!(listed(&own, 4), ["atrue", "false", "ctrue", "false"]);
    }
}
