//! Lists of jobs, newest first: by conditions that indexes answer, and searches that read jobs
//! until enough are found.

use super::record::{Job, JobKind, JobStatus, job_columns, job_of_row};
use crate::clock::Timestamp;
use crate::store::{Statement, StoreError, Tx, Value, read_all, values};

// A range instead of `=`: if most jobs have the same preset, PostgreSQL's generic plan for `=`
// scans the whole table.
static OF_PRESET: Statement = Statement::new(
    "SELECT id FROM jobs WHERE preset >= $1 AND preset <= $1 ORDER BY preset LIMIT 1",
);
static OWNERS: Statement = Statement::new(include_str!("../sql/job_owners.sql"));

/// The most jobs that one search reads.
const EXAMINED_MAX: u64 = 20_000;
/// Jobs that a search reads at a time.
const SLICE: u64 = 2_000;

/// Conditions for a list of jobs.
#[derive(Debug, Clone, Default)]
pub struct JobFilter {
    pub created_by: Option<String>,
    pub node_id: Option<String>,
    /// Any status if empty.
    pub statuses: Vec<JobStatus>,
    pub preset: Option<String>,
    pub run_id: Option<String>,
    pub kind: Option<JobKind>,
    /// Only jobs that a user with this email queued. The user may have been removed since.
    pub by: Option<String>,
    /// Only jobs that were queued at this time or later.
    pub since: Option<Timestamp>,
    /// Only jobs older than the job with this id.
    pub before: Option<String>,
}

/// Returns up to `limit` jobs that match `filter`, newest first.
pub fn list(tx: &mut dyn Tx, filter: &JobFilter, limit: u64) -> Result<Vec<Job>, StoreError> {
    let Some(mut query) = Query::of(tx, filter)? else {
        return Ok(Vec::new());
    };
    let sql = query.select(job_columns!(), limit);
    read_all(
        tx.query(&Statement::composed(sql), &query.params)?,
        job_of_row,
    )
}

/// A filter in SQL.
struct Query {
    params: Vec<Value>,
    /// A column, and its comparison with a parameter.
    conditions: Vec<(&'static str, String)>,
    statuses: Vec<JobStatus>,
}

impl Query {
    /// `None` if no job can match.
    fn of(tx: &mut dyn Tx, filter: &JobFilter) -> Result<Option<Self>, StoreError> {
        // If no job has this preset, the query would walk through another index to its end.
        if let Some(preset) = &filter.preset
            && tx.query(&OF_PRESET, values![preset])?.is_empty()
        {
            return Ok(None);
        }
        let mut query = Self {
            params: Vec::new(),
            conditions: Vec::new(),
            statuses: filter.statuses.clone(),
        };
        let texts = [
            ("created_by", "=", &filter.created_by),
            ("node_id", "=", &filter.node_id),
            ("preset", "=", &filter.preset),
            ("run_id", "=", &filter.run_id),
            ("id", "<", &filter.before),
        ];
        for (column, comparison, value) in texts {
            if let Some(value) = value {
                query.condition(column, comparison, value.into());
            }
        }
        if let Some(since) = filter.since {
            query.condition("id", ">=", id_of_time(since).into());
            query.condition("created_at", ">=", since.into());
        }
        if let Some(by) = &filter.by {
            let owners = owners_with_email(tx, by)?;
            if owners.is_empty() {
                return Ok(None);
            }
            let numbers: Vec<String> = owners.iter().map(|id| query.param(id.into())).collect();
            let numbers = format!("IN ({})", numbers.join(", "));
            query.conditions.push(("created_by", numbers));
        }
        // Not a parameter, so that the partial index of the rare kind is used.
        if let Some(kind) = filter.kind {
            let kind = format!("= '{}'", kind.as_str());
            query.conditions.push(("kind", kind));
        }
        Ok(Some(query))
    }

    /// Adds a parameter and returns its place in SQL.
    fn param(&mut self, value: Value) -> String {
        self.params.push(value);
        format!("${}", self.params.len())
    }

    // Composed from fixed parts: with `x IS NULL OR …` the database would not use its indexes.
    fn condition(&mut self, column: &'static str, comparison: &str, value: Value) {
        let place = self.param(value);
        self.conditions
            .push((column, format!("{comparison} {place}")));
    }

    /// The conditions. The `|| ''` of neutral columns keeps the planner from using their indexes.
    fn all(&self, neutral: &[&str]) -> String {
        let one = |(column, rest): &(&str, String)| match neutral.contains(column) {
            true => format!(" AND {column} || '' {rest}"),
            false => format!(" AND {column} {rest}"),
        };
        self.conditions.iter().map(one).collect()
    }

    /// A statement that selects `what` of the newest jobs that match.
    fn select(&mut self, what: &str, limit: u64) -> String {
        let count = self.param(limit.into());
        // One subquery per status, newest first: each stops after `limit` rows of its index.
        let of_status = |status: &JobStatus| {
            match status {
            // Few rows, in partial indexes.
            JobStatus::Queued | JobStatus::Running => format!(
                "SELECT id FROM (SELECT id FROM jobs WHERE {}{} ORDER BY id || '' DESC LIMIT {count}) AS unfinished",
                // The index of QUEUED begins with `held`.
                if *status == JobStatus::Queued {
                    "held IN (0, 1) AND status = 'QUEUED'"
                } else {
                    "status = 'RUNNING'"
                },
                self.all(&["created_by", "preset", "id", "kind"])
            ),
            JobStatus::Succeeded | JobStatus::Failed | JobStatus::Cancelled => format!(
                "SELECT id FROM (SELECT id FROM jobs WHERE status = '{status}' AND status IN ('SUCCEEDED', 'FAILED', 'CANCELLED'){}
                 ORDER BY id DESC LIMIT {count}) AS ended",
                self.all(&[])
            ),
        }
        };
        let wanted = if self.statuses.is_empty() {
            format!("1 = 1{}", self.all(&[]))
        } else {
            let statuses: std::collections::BTreeSet<_> =
                self.statuses.iter().map(of_status).collect();
            let parts: Vec<String> = statuses.into_iter().collect();
            format!("id IN ({})", parts.join(" UNION ALL "))
        };
        format!("SELECT {what} FROM jobs WHERE {wanted} ORDER BY id DESC LIMIT {count}")
    }
}

/// The smallest id of a job or run that was queued at `at`. Ids are UUIDv7, made shortly before the
/// row; the day is for clocks that differ.
pub fn id_of_time(at: Timestamp) -> String {
    let millis = format!("{:012x}", at.plus_millis(-86_400_000).as_millis());
    let (high, low) = millis.split_at(8);
    format!("{high}-{low}")
}

/// Returns everybody who has queued a job: the user's id, and the email of their last job.
pub fn owners(tx: &mut dyn Tx) -> Result<Vec<(String, String)>, StoreError> {
    read_all(tx.query(&OWNERS, &[])?, |row| {
        Ok((row.take()?, row.take()?))
    })
}

/// The ids of the users with this email, of whom all but one were removed.
fn owners_with_email(tx: &mut dyn Tx, email: &str) -> Result<Vec<String>, StoreError> {
    let email = email.to_lowercase();
    let of_email = owners(tx)?.into_iter();
    let of_email = of_email.filter(|(_, known)| known.to_lowercase() == email);
    Ok(of_email.map(|(id, _)| id).collect())
}

/// A filter with conditions that no index answers.
#[derive(Debug, Clone, Default)]
pub struct JobSearch {
    pub filter: JobFilter,
    /// Each must match.
    pub words: Vec<JobWord>,
    /// Only jobs that had not ended at this time.
    pub from: Option<Timestamp>,
    /// Only jobs that ended before this time.
    pub to: Option<Timestamp>,
}

/// A word that a job's params or the reason of its end must contain, or whose preset is one of
/// these.
#[derive(Debug, Clone)]
pub struct JobWord {
    pub text: String,
    /// The presets whose title contains the word.
    pub presets: Vec<String>,
}

/// The jobs that a search found.
#[derive(Debug, Clone, Default)]
pub struct FoundJobs {
    pub jobs: Vec<Job>,
    /// The id before which the search goes on; `None` if it has read every job.
    pub next: Option<String>,
    /// The number of jobs that were read without finding enough of them, if the search ended there.
    pub gave_up_after: Option<u64>,
}

/// Returns up to `limit` jobs that match, newest first.
pub fn search(tx: &mut dyn Tx, search: &JobSearch, limit: u64) -> Result<FoundJobs, StoreError> {
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    // One more than requested shows whether there are more.
    if search.words.is_empty() && search.from.is_none() && search.to.is_none() {
        return Ok(cut(list(tx, &search.filter, limit + 1)?, wanted));
    }
    let mut filter = search.filter.clone();
    let (mut ids, mut examined) = (Vec::new(), 0);
    while let Some(mut query) = Query::of(tx, &filter)? {
        let matches = search.matches(&mut query);
        let what = format!("id, CASE WHEN {matches} THEN CAST(1 AS BIGINT) ELSE 0 END");
        let sql = query.select(&what, SLICE);
        let rows = tx.query(&Statement::composed(sql), &query.params)?;
        let is_last = (rows.len() as u64) < SLICE;
        examined += rows.len() as u64;
        for mut row in rows {
            let (id, is_match): (String, bool) = (row.take()?, row.take()?);
            if is_match {
                ids.push(id.clone());
            }
            filter.before = Some(id);
        }
        if ids.len() > wanted || is_last {
            break;
        }
        if examined >= EXAMINED_MAX {
            return Ok(FoundJobs {
                jobs: with_ids(tx, &ids)?,
                next: filter.before,
                gave_up_after: Some(examined),
            });
        }
    }
    ids.truncate(wanted + 1);
    Ok(cut(with_ids(tx, &ids)?, wanted))
}

fn cut(mut jobs: Vec<Job>, wanted: usize) -> FoundJobs {
    let has_more = jobs.len() > wanted;
    jobs.truncate(wanted);
    let next = jobs.last().filter(|_| has_more).map(|job| job.id.clone());
    FoundJobs {
        jobs,
        next,
        gave_up_after: None,
    }
}

impl JobSearch {
    fn matches(&self, query: &mut Query) -> String {
        let mut all = vec!["1 = 1".to_owned()];
        if let Some(from) = self.from {
            let from = query.param(from.into());
            all.push(format!("(finished_at IS NULL OR finished_at >= {from})"));
        }
        if let Some(to) = self.to {
            let to = query.param(to.into());
            all.push(format!("finished_at IS NOT NULL AND finished_at < {to}"));
        }
        for word in &self.words {
            // As in the text that is searched, only ASCII letters are made lower case.
            let text = word.text.to_ascii_lowercase().replace('\\', r"\\");
            let text = text.replace('%', r"\%").replace('_', r"\_");
            let text = query.param(format!("%{text}%").into());
            let in_text = format!(include_str!("../sql/job_search_word.sql"), word = text);
            let presets = word.presets.iter();
            let presets: Vec<String> = presets.map(|name| query.param(name.into())).collect();
            all.push(match presets.is_empty() {
                true => in_text,
                false => format!("(preset IN ({}) OR {in_text})", presets.join(", ")),
            });
        }
        all.join(" AND ")
    }
}

fn with_ids(tx: &mut dyn Tx, ids: &[String]) -> Result<Vec<Job>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let params: Vec<Value> = ids.iter().map(Value::from).collect();
    let numbers: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
    let (columns, numbers) = (job_columns!(), numbers.join(", "));
    let sql = format!("SELECT {columns} FROM jobs WHERE id IN ({numbers}) ORDER BY id DESC");
    read_all(tx.query(&Statement::composed(sql), &params)?, job_of_row)
}
