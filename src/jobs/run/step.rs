//! The step that a run's job has reached, followed while its output arrives. `jobs.step` holds it
//! as `2/5 Set the SSH port`; a second line is the unfinished line of stdout, if that may announce
//! the next step.

use serde::{Deserialize, Serialize};

use crate::presets::{StepLine, parse_step_line};

/// What every announcement begins with.
const PREFIX: &[u8] = b"==> [";
/// The most bytes of an unfinished line that are kept. A longer line announces nothing.
const LINE_MAX: usize = 1_024;

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

    /// The step that a line of stdout announces. Scripts may print similar lines themselves, so it
    /// must come after `before` and have the same total.
    fn announced(line: &[u8], before: Option<&Self>) -> Option<Self> {
        let line = std::str::from_utf8(line).ok()?;
        let StepLine {
            number, of, name, ..
        } = parse_step_line(line.strip_suffix('\n').unwrap_or(line))?;
        let is_next = match before {
            None => number >= 1,
            Some(before) => number > before.index && of == before.count,
        };
        (is_next && number <= of).then(|| Self {
            index: number,
            count: of,
            name: name.to_owned(),
        })
    }
}

/// The value of `jobs.step` after `data` has arrived on stdout; `None` if it stays the same.
/// `is_open` says whether the data continues a line.
pub(in crate::jobs) fn follow(stored: Option<&str>, is_open: bool, data: &[u8]) -> Option<String> {
    let (known, partial) = match stored.unwrap_or_default().split_once('\n') {
        Some((known, partial)) => (known, partial),
        None => (stored.unwrap_or_default(), ""),
    };
    let mut step = RunStep::parse(known);
    let mut line = partial.as_bytes().to_vec();
    // Without its beginning, the first line of the data announces nothing.
    let mut is_whole = !is_open || !line.is_empty();
    for piece in data.split_inclusive(|byte| *byte == b'\n') {
        if is_whole && line.len() + piece.len() <= LINE_MAX {
            line.extend_from_slice(piece);
        } else {
            line.clear();
            is_whole = false;
        }
        if piece.ends_with(b"\n") {
            if let Some(next) = RunStep::announced(&line, step.as_ref()) {
                step = Some(next);
            }
            line.clear();
            is_whole = true;
        }
    }
    let may_announce = line.starts_with(PREFIX) || PREFIX.starts_with(&line);
    let mut value = step.map_or(String::new(), |step| {
        format!("{}/{} {}", step.index, step.count, step.name)
    });
    if let (true, false, Ok(partial)) = (may_announce, line.is_empty(), String::from_utf8(line)) {
        value.push('\n');
        value.push_str(&partial);
    }
    (value != stored.unwrap_or_default()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(pieces: &[&str]) -> Option<RunStep> {
        let (mut stored, mut is_open) = (None::<String>, false);
        for piece in pieces {
            if let Some(value) = follow(stored.as_deref(), is_open, piece.as_bytes()) {
                stored = Some(value);
            }
            is_open = !piece.ends_with('\n');
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
        for at in 0..text.len() {
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
        assert_eq!(index(&["==> [2/3] Two\n==> [1/3] One\n"]), Some(2));
        assert_eq!(index(&["==> [1/3] One\n==> [2/9] Two\n"]), Some(1));
        let long = "x".repeat(2_000);
        assert_eq!(index(&["==> [1/3] ", &long, "\n"]), None);
    }
}
