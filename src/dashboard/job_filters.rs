//! The query of the page `/jobs`, which its links keep, and the search that it means.

use crate::auth::User;
use crate::clock::{self, Timestamp};
use crate::http::{ApiError, Query};
use crate::jobs::Scope;
use crate::presets::Snapshot;
use crate::store::job::{JobFilter, JobSearch, JobStatus, JobWord};

/// The filter's states: name, label and statuses.
pub(super) const STATES: [(&str, &str, &[JobStatus]); 6] = [
    (
        "open",
        "Unfinished",
        &[JobStatus::Queued, JobStatus::Running],
    ),
    ("queued", "Queued", &[JobStatus::Queued]),
    ("running", "Running", &[JobStatus::Running]),
    ("succeeded", "Succeeded", &[JobStatus::Succeeded]),
    ("failed", "Failed", &[JobStatus::Failed]),
    ("cancelled", "Cancelled", &[JobStatus::Cancelled]),
];

const HOUR_MS: i64 = 3_600_000;
/// The filter's times, during which a job was queued, ran or ended: name, label and length.
pub(super) const TIMES: [(&str, &str, i64); 4] = [
    ("1h", "Last hour", HOUR_MS),
    ("24h", "Last 24 hours", 24 * HOUR_MS),
    ("7d", "Last 7 days", 7 * 24 * HOUR_MS),
    ("30d", "Last 30 days", 30 * 24 * HOUR_MS),
];
/// Further words of a search are ignored.
const WORDS_MAX: usize = 8;

/// The page's query.
pub(super) struct PageQuery<'q> {
    pub(super) sought: &'q str,
    pub(super) node: &'q str,
    pub(super) preset: &'q str,
    pub(super) state: &'q str,
    pub(super) by: &'q str,
    pub(super) time: &'q str,
    pub(super) run: &'q str,
    pub(super) from: Option<Timestamp>,
    pub(super) to: Option<Timestamp>,
    pub(super) cursor: &'q str,
    from_text: &'q str,
    to_text: &'q str,
}

impl<'q> PageQuery<'q> {
    pub(super) fn of(query: &'q Query) -> Result<Self, ApiError> {
        let text = |name| query.get(name).unwrap_or_default().trim();
        // The API's name and values for the same filter.
        let state = match query.get("status") {
            Some(status) => {
                let state = STATES
                    .iter()
                    .find(|(name, _, _)| name.eq_ignore_ascii_case(status));
                state.map(|(name, _, _)| *name).ok_or_else(|| {
                    query.wrong("status", "QUEUED, RUNNING, SUCCEEDED, FAILED or CANCELLED")
                })?
            }
            None => text("state"),
        };
        if !state.is_empty() && !STATES.iter().any(|(name, _, _)| *name == state) {
            return Err(query.wrong(
                "state",
                "open, queued, running, succeeded, failed or cancelled",
            ));
        }
        let time = text("time");
        if !time.is_empty() && !TIMES.iter().any(|(name, _, _)| *name == time) {
            return Err(query.wrong("time", "1h, 24h, 7d or 30d"));
        }
        let at = |name| match text(name) {
            "" => Ok(None),
            text => Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| {
                query.wrong(name, "a time with its zone, such as 2026-12-01T08:00:00Z")
            }),
        };
        Ok(Self {
            sought: text("q"),
            node: text("node"),
            preset: text("preset"),
            state,
            by: text("by"),
            time,
            run: text("run"),
            from: at("from")?,
            to: at("to")?,
            cursor: text("cursor"),
            from_text: text("from"),
            to_text: text("to"),
        })
    }

    /// The search. Titles are those of the presets as they are now.
    pub(super) fn search(
        &self,
        user: &User,
        scope: Scope,
        presets: &Snapshot,
    ) -> Result<JobSearch, ApiError> {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let state = STATES.iter().find(|(name, _, _)| *name == self.state);
        let before = match self.cursor {
            "" => None,
            cursor => Some(uuid::Uuid::parse_str(cursor).map_err(|_| {
                ApiError::bad_request("bad_input", "This link to older jobs is incomplete")
            })?),
        };
        let filter = JobFilter {
            created_by: (scope == Scope::Mine).then(|| user.id.clone()),
            node_id: given(self.node),
            statuses: state
                .map(|(_, _, statuses)| statuses.to_vec())
                .unwrap_or_default(),
            preset: given(self.preset),
            run_id: given(self.run),
            by: given(self.by),
            before: before.map(|id| id.to_string()),
            ..JobFilter::default()
        };
        let words = self.sought.split_whitespace().take(WORDS_MAX);
        let length = TIMES.iter().find(|(name, _, _)| *name == self.time);
        let start = length.map(|(_, _, length)| clock::now().plus_millis(-length));
        Ok(JobSearch {
            filter,
            words: words.map(|word| word_of(word, presets)).collect(),
            from: self.from.max(start),
            to: self.to,
        })
    }

    /// What narrows the list.
    pub(super) fn pairs(&self) -> Vec<(&'static str, &'q str)> {
        let pairs = [
            ("q", self.sought),
            ("node", self.node),
            ("preset", self.preset),
            ("state", self.state),
            ("by", self.by),
            ("time", self.time),
            ("run", self.run),
            ("from", self.from_text),
            ("to", self.to_text),
        ];
        let given = pairs.into_iter().filter(|(_, value)| !value.is_empty());
        given.collect()
    }

    /// The same, without these.
    pub(super) fn pairs_without(&self, names: &[&str]) -> Vec<(&'static str, &'q str)> {
        let mut pairs = self.pairs();
        pairs.retain(|(name, _)| !names.contains(name));
        pairs
    }

    /// Only these.
    pub(super) fn pairs_of(&self, names: &[&str]) -> Vec<(&'static str, &'q str)> {
        let mut pairs = self.pairs();
        pairs.retain(|(name, _)| names.contains(name));
        pairs
    }
}

fn word_of(word: &str, presets: &Snapshot) -> JobWord {
    let sought = word.to_lowercase();
    let titled = presets
        .entries()
        .filter(|entry| entry.preset.title.to_lowercase().contains(&sought));
    JobWord {
        text: word.to_owned(),
        presets: titled.map(|entry| entry.preset.name.clone()).collect(),
    }
}
