//! The steps that a job has announced, followed while its output arrives. `jobs.step` holds the
//! last one as `2/5 Set the SSH port`. Its second line is the unfinished line of stdout, if that
//! may announce the next step; its third is `gap` if output is missing since the step.

use hyprbox_protocol::{StepOrder, StepScanner};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::store::job_step::AnnouncedStep;

const GAP: &str = "gap";

/// The last step of a job that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunStep {
    /// Counted from 1.
    pub index: u32,
    /// The number of steps.
    pub count: u32,
    /// The step's name.
    pub name: String,
}

impl RunStep {
    /// Reads the value of `jobs.step`.
    pub fn parse(stored: &str) -> Option<Self> {
        let line = stored.split('\n').next()?;
        let (numbers, name) = line.split_once(' ')?;
        let (index, count) = numbers.split_once('/')?;
        Some(Self {
            index: index.parse().ok()?,
            count: count.parse().ok()?,
            name: name.to_owned(),
        })
    }

    /// `step 2 of 5: Set the SSH port`
    pub fn describe(&self) -> String {
        format!("step {} of {}: {}", self.index, self.count, self.name)
    }
}

/// The value of `jobs.step` after `bytes` of stdout arrived, and the steps that they announce.
pub(in crate::jobs) struct Progress {
    pub(in crate::jobs) step: Option<String>,
    pub(in crate::jobs) announced: Vec<AnnouncedStep>,
}

/// New bytes of a job's stdout.
pub(in crate::jobs) struct NewOutput<'o> {
    /// How many bytes are missing before them.
    pub(in crate::jobs) gap: u64,
    /// Whether the stream's last line had no end before.
    pub(in crate::jobs) is_open: bool,
    /// Their offset in the stream.
    pub(in crate::jobs) offset: u64,
    pub(in crate::jobs) bytes: &'o [u8],
    pub(in crate::jobs) arrived_at: Timestamp,
}

/// Follows the steps of a job whose `jobs.step` is `stored` through new output.
pub(in crate::jobs) fn follow(stored: Option<&str>, new: &NewOutput<'_>) -> Progress {
    let mut lines = stored.unwrap_or_default().split('\n');
    let mut known = lines.next().unwrap_or_default().to_owned();
    let unfinished = lines.next().unwrap_or_default();
    let step = RunStep::parse(&known);
    let order = StepOrder {
        number: step.as_ref().map_or(0, |step| step.index),
        of: step.as_ref().map_or(0, |step| step.count),
        has_gap: lines.next() == Some(GAP),
    };
    let mut scanner = StepScanner::resume(order, unfinished, new.is_open);
    if new.gap > 0 {
        scanner.skip_gap();
    }
    let mut announced = Vec::new();
    scanner.read(new.bytes, |line, end| {
        // PostgreSQL does not store NUL in text.
        let name = line.name.replace('\0', "\u{fffd}");
        known = format!("{}/{} {name}", line.number, line.of);
        announced.push(AnnouncedStep {
            number: line.number,
            name,
            is_done: line.is_done,
            line_end: new.offset + end as u64,
            arrived_at: new.arrived_at,
            began_ms: None,
        });
    });
    let unfinished = scanner.unfinished_line().replace('\0', "\u{fffd}");
    let mut value = known;
    match (unfinished.as_str(), scanner.order().has_gap) {
        ("", false) => {}
        (_, false) => value.extend(["\n", &unfinished]),
        (_, true) => value.extend(["\n", &unfinished, "\n", GAP]),
    }
    Progress {
        step: (!value.is_empty()).then_some(value),
        announced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces that begin like this come after missing bytes.
    const LOST: &str = "lost";

    fn after(pieces: &[&str]) -> Option<RunStep> {
        let (mut stored, mut is_open, mut offset) = (None::<String>, false, 0);
        for piece in pieces {
            let new = NewOutput {
                gap: u64::from(piece.starts_with(LOST)),
                is_open,
                offset,
                bytes: piece.as_bytes(),
                arrived_at: Timestamp::from_millis(0),
            };
            stored = follow(stored.as_deref(), &new).step;
            is_open = !piece.ends_with('\n');
            offset += piece.len() as u64;
        }
        RunStep::parse(&stored?)
    }

    fn index(pieces: &[&str]) -> Option<u32> {
        after(pieces).map(|step| step.index)
    }

    #[test]
    fn the_last_announced_step_counts_also_across_pieces() {
        let text = "==> [1/3] One\nx\n==> [2/3] Two (already done)\ny";
        assert_eq!(
            after(&[text]),
            Some(RunStep {
                index: 2,
                count: 3,
                name: "Two".into()
            })
        );
        for at in 1..text.len() {
            let (one, two) = text.split_at(at);
            assert_eq!(index(&[one, two]), Some(2), "cut at {at}");
        }
        let letters: Vec<String> = text.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        assert_eq!(index(&letters), Some(2));
    }

    #[test]
    fn what_only_looks_like_a_step_is_none() {
        for text in [
            "",
            "==> [1/3] One",
            "x ==> [1/3] One\n",
            "==> [4/3] Four\n",
            "==> [0/3] None\n",
            "==> [one/3] One\n",
        ] {
            assert_eq!(index(&[text]), None, "{text}");
        }
        assert_eq!(index(&["no line end ", "==> [1/3] One\n"]), None);
        assert_eq!(index(&["==> [2/3] Two\n==> [1/3] One\n"]), Some(1));
        assert_eq!(index(&["==> [1/3] One\n==> [2/9] Two\n"]), Some(1));
        assert_eq!(index(&["==> [1/3] One\n==> [3/3] Three\n"]), Some(1));
        let long = "x".repeat(2_000);
        assert_eq!(index(&["==> [1/3] ", &long, "\n"]), None);
    }

    #[test]
    fn after_missing_bytes_steps_may_be_missing() {
        let first = "==> [1/9] One\n==> [2/";
        assert_eq!(index(&[first, "lost\n==> [5/9] Five\n"]), Some(5));
        assert_eq!(index(&[first, "lost\nx\n", "==> [5/9] Five\n"]), Some(5));
        assert_eq!(index(&[first, "lost==> [5/9] Five\n"]), Some(1));
        let after_gap = [first, "lost\n==> [5/9] Five\n", "==> [7/9] Seven\n"];
        assert_eq!(index(&after_gap), Some(5));
    }

    #[test]
    fn what_a_database_can_not_hold_is_replaced() {
        let name = |pieces: &[&str]| after(pieces).map(|step| step.name);
        let replaced = Some("a\u{fffd}b".to_owned());
        assert_eq!(name(&["==> [1/3] a\0b\n"]), replaced);
        assert_eq!(name(&["==> [1/3] a\0", "b\n"]), replaced);
    }
}
