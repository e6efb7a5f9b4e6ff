//! The statements of the dashboard's lists and pictures.

use super::query_plans::list_filters;
use crate::clock::Timestamp;
use crate::store::job::{self, JobSearch, JobWord, PastFilter};
use crate::store::{StoreError, Tx};

/// Runs every statement that the pages of the dashboard run for their lists and pictures.
pub(super) fn run_statements_of_pages(tx: &mut dyn Tx, at: Timestamp) -> Result<(), StoreError> {
    let word = |text: &str, presets: &[&str]| JobWord {
        text: text.to_owned(),
        presets: presets.iter().copied().map(str::to_owned).collect(),
    };
    for filter in list_filters() {
        let search = JobSearch {
            filter,
            words: vec![word("release", &["note", "shell"]), word("100%_", &[])],
            from: Some(at.plus_millis(-86_400_000)),
            to: Some(at),
        };
        job::search(tx, &search, 50)?;
    }
    let hours: Vec<_> = (0..24)
        .map(|hour| {
            (
                at.plus_millis(-3_600_000 * (hour + 1)),
                at.plus_millis(-3_600_000 * hour),
            )
        })
        .collect();
    for owner in [None, Some("u1")] {
        let of = |preset: Option<&str>, node: Option<&str>| PastFilter {
            preset: preset.map(str::to_owned),
            node_id: node.map(str::to_owned),
            created_by: owner.map(str::to_owned),
            upto: Some("0191".to_owned()),
        };
        job::past(tx, &of(Some("note"), None), 500, 30)?;
        job::past(tx, &of(None, Some("n1")), 500, 30)?;
        job::past(tx, &of(Some("note"), Some("n1")), 500, 30)?;
        job::count_ended(tx, &hours, owner)?;
        job::failed_since(tx, at, owner, 5)?;
    }
    job::count_unfinished_of(tx, "u1")?;
    job::last_steps(tx, &["0191", "0192"])?;
    Ok(())
}
