//! Presets saved in the app, and their versions.

use super::{Row, Statement, StoreError, Tx, read_all, values};
use crate::clock::Timestamp;

/// A saved preset as of its last change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPreset {
    pub name: String,
    /// Number of the last save or deletion, counted over all presets.
    pub change_no: i64,
    /// Whether it was deleted. Its versions remain.
    pub is_deleted: bool,
    /// The last version.
    pub version: PresetVersion,
}

/// What was saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresetVersion {
    /// From 1; continues after a deletion.
    pub version: u64,
    /// Of the source, in hex.
    pub sha256: String,
    /// YAML.
    pub source: String,
    /// Id of the user who saved it.
    pub created_by: String,
    pub created_by_email: String,
    pub created_at: Timestamp,
}

fn version(row: &mut Row) -> Result<PresetVersion, StoreError> {
    Ok(PresetVersion {
        version: row.take()?,
        sha256: row.take()?,
        source: row.take()?,
        created_by: row.take()?,
        created_by_email: row.take()?,
        created_at: row.take()?,
    })
}

fn saved(row: &mut Row) -> Result<SavedPreset, StoreError> {
    Ok(SavedPreset {
        name: row.take()?,
        change_no: row.take()?,
        is_deleted: row.take()?,
        version: version(row)?,
    })
}

/// Returns what has changed after the change with this number, oldest first. Takes no locks.
pub fn changed_since(tx: &mut dyn Tx, change_no: i64) -> Result<Vec<SavedPreset>, StoreError> {
    static CHANGED: Statement = Statement::new(concat!(
        include_str!("sql/preset_saved.sql"),
        "WHERE presets.change_no > $1 ORDER BY presets.change_no"
    ));
    read_all(tx.peek(&CHANGED, values![change_no])?, saved)
}

/// Returns the preset with its last version, also if it was deleted.
pub fn find(tx: &mut dyn Tx, name: &str) -> Result<Option<SavedPreset>, StoreError> {
    static FIND: Statement = Statement::new(concat!(
        include_str!("sql/preset_saved.sql"),
        "WHERE presets.name = $1"
    ));
    let row = tx.query_one(&FIND, values![name])?;
    row.map(|mut row| saved(&mut row)).transpose()
}

/// Excludes other transactions that save or delete presets, so that numbers of changes are
/// committed in their order.
pub fn lock(tx: &mut dyn Tx) -> Result<(), StoreError> {
    tx.lock("presets")
}

/// Counts the presets in use.
pub fn count(tx: &mut dyn Tx) -> Result<u64, StoreError> {
    static COUNT: Statement =
        Statement::new("SELECT count(*) FROM presets WHERE deleted_at IS NULL");
    match tx.query_one(&COUNT, values![])? {
        Some(mut row) => row.take(),
        None => Ok(0),
    }
}

/// Adds a version and makes it the last one. The caller holds [`lock`].
pub fn save(tx: &mut dyn Tx, name: &str, version: &PresetVersion) -> Result<(), StoreError> {
    static SET: Statement = Statement::new(include_str!("sql/preset_set.sql"));
    static INSERT: Statement = Statement::new(include_str!("sql/preset_version_insert.sql"));
    tx.execute(&SET, values![name, version.version])?;
    let params = values![
        name,
        version.version,
        &version.sha256,
        &version.source,
        &version.created_by,
        &version.created_by_email,
        version.created_at,
    ];
    tx.execute(&INSERT, params).map(|_| ())
}

/// Marks a preset as deleted. The caller holds [`lock`].
pub fn delete(tx: &mut dyn Tx, name: &str, now: Timestamp) -> Result<(), StoreError> {
    static DELETE: Statement = Statement::new(include_str!("sql/preset_delete.sql"));
    tx.execute(&DELETE, values![name, now]).map(|_| ())
}

/// Returns up to `limit` versions before the version `before`, newest first.
pub fn versions(
    tx: &mut dyn Tx,
    name: &str,
    before: Option<u64>,
    limit: u64,
) -> Result<Vec<PresetVersion>, StoreError> {
    static LIST: Statement = Statement::new(include_str!("sql/preset_versions.sql"));
    let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
    read_all(tx.query(&LIST, values![name, before, limit])?, version)
}

/// Returns one version.
pub fn find_version(
    tx: &mut dyn Tx,
    name: &str,
    number: u64,
) -> Result<Option<PresetVersion>, StoreError> {
    let found = versions(tx, name, number.checked_add(1), 1)?.pop();
    Ok(found.filter(|found| found.version == number))
}
