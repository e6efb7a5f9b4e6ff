//! Rules: which events go to a channel.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

macro_rules! select_rules {
    ($rest:literal) => {
        Statement::new(concat!(
            "SELECT id, channel_id, events, presets, selector, schedules, after_seconds, created_at FROM rules ",
            $rest
        ))
    };
}

/// A rule, as stored: lists are JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRule {
    pub id: String,
    pub channel_id: String,
    pub events: String,
    pub presets: Option<String>,
    pub selector: Option<String>,
    pub schedules: Option<String>,
    pub after_seconds: Option<u64>,
    pub created_at: Timestamp,
}

fn rule_of_row(row: &mut Row) -> Result<StoredRule, StoreError> {
    Ok(StoredRule {
        id: row.take()?,
        channel_id: row.take()?,
        events: row.take()?,
        presets: row.take()?,
        selector: row.take()?,
        schedules: row.take()?,
        after_seconds: row.take()?,
        created_at: row.take()?,
    })
}

/// Adds a rule.
pub fn insert(tx: &mut dyn Tx, rule: &StoredRule) -> Result<(), StoreError> {
    static INSERT: Statement = Statement::new(
        "INSERT INTO rules (id, channel_id, events, presets, selector, schedules, after_seconds, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    );
    let params = values![
        &rule.id,
        &rule.channel_id,
        &rule.events,
        rule.presets.clone(),
        rule.selector.clone(),
        rule.schedules.clone(),
        rule.after_seconds,
        rule.created_at,
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Changes everything but the id and the time of creation.
pub fn update(tx: &mut dyn Tx, rule: &StoredRule) -> Result<(), StoreError> {
    static UPDATE: Statement = Statement::new(
        "UPDATE rules SET channel_id = $2, events = $3, presets = $4, selector = $5, schedules = $6, after_seconds = $7
         WHERE id = $1",
    );
    let params = values![
        &rule.id,
        &rule.channel_id,
        &rule.events,
        rule.presets.clone(),
        rule.selector.clone(),
        rule.schedules.clone(),
        rule.after_seconds,
    ];
    tx.execute(&UPDATE, params).map(|_| ())
}

/// Deletes a rule; false if it does not exist.
pub fn delete(tx: &mut dyn Tx, id: &str) -> Result<bool, StoreError> {
    static DELETE: Statement = Statement::new("DELETE FROM rules WHERE id = $1");
    Ok(tx.execute(&DELETE, values![id])? == 1)
}

/// Returns the rule with this id and locks it until the transaction ends.
pub fn find_locked(tx: &mut dyn Tx, id: &str) -> Result<Option<StoredRule>, StoreError> {
    static FIND: Statement = select_rules!("WHERE id = $1 /* for update */");
    tx.query_one(&FIND, values![id])?
        .map(|mut row| rule_of_row(&mut row))
        .transpose()
}

/// Returns all rules, oldest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<StoredRule>, StoreError> {
    static LIST: Statement = select_rules!("ORDER BY id");
    read_all(tx.query(&LIST, &[])?, rule_of_row)
}

/// Counts the rules.
pub fn count(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static COUNT: Statement = Statement::new("SELECT count(*) FROM rules");
    tx.query_one(&COUNT, &[])?
        .map_or(Ok(0), |mut row| row.take())
}
