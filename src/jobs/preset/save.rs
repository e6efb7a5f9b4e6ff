//! Saves presets in the app, with a version for each save, and deletes them.

use super::check::check_size;
use super::condition::Condition;
use super::error::PresetError;
use crate::audit;
use crate::auth::User;
use crate::clock;
use crate::jobs::Jobs;
use crate::presets::check::{Finding, Severity};
use crate::presets::{Origin, Snapshot, is_preset_name, script_sha256};
use crate::store::preset::{self, PresetVersion};

/// The most presets in the app. Every server keeps all of them in memory.
const PRESETS_MAX: u64 = 1_000;

/// A preset that was saved.
#[derive(Debug)]
pub struct SavedPreset {
    pub name: String,
    pub version: PresetVersion,
    /// Whether no preset of this name was in the app before.
    pub is_new: bool,
    /// Warnings and notes of the linter.
    pub findings: Vec<Finding>,
    /// The origin of a preset of the same name that hides this one.
    pub hidden_by: Option<Origin>,
}

impl Jobs {
    /// Whether presets can be saved in the app.
    pub fn saves_presets(&self) -> bool {
        self.limits.saves_presets
    }

    /// Saves a preset, if `condition` holds and the linter finds no error.
    pub async fn save_preset(
        &self,
        user: &User,
        name: String,
        source: String,
        condition: Option<Condition>,
    ) -> Result<SavedPreset, PresetError> {
        if !self.saves_presets() {
            return Err(PresetError::FilesOnly);
        }
        let Some(condition) = condition else {
            return Err(PresetError::NoCondition(name));
        };
        if !is_preset_name(&name) {
            return Err(PresetError::Unusable {
                field: "name",
                rule: "must have 1 to 100 characters of a-z, 0-9 and -, and not be a single -"
                    .to_owned(),
            });
        }
        check_size(&source)?;
        // First, so that somebody with a stale text learns that before they fix its faults.
        self.check_condition(&name, &condition).await?;
        let mut findings = self.check_preset(name.clone(), source.clone()).await?;
        if findings.iter().any(|it| it.severity == Severity::Error) {
            findings.retain(|it| it.severity == Severity::Error);
            return Err(PresetError::Faulty(findings));
        }
        let mut version = PresetVersion {
            version: 0,
            sha256: script_sha256(&source),
            source,
            created_by: user.id.clone(),
            created_by_email: user.email.clone(),
            created_at: clock::now(),
        };
        let (bytes, key) = (version.source.len(), name.clone());
        let (version, is_new) = self
            .store
            .write_large(bytes, move |tx| {
                preset::lock(tx)?;
                let before = preset::find(tx, &key)?;
                let in_use = before.as_ref().filter(|before| !before.is_deleted);
                if !condition.holds(in_use.map(|it| it.version.version)) {
                    return Err(changed(&key, in_use.map(|it| &it.version), &condition));
                }
                let is_new = in_use.is_none();
                if is_new && preset::count(tx)? >= PRESETS_MAX {
                    return Err(PresetError::TooMany(PRESETS_MAX));
                }
                version.version = before.map_or(0, |before| before.version.version) + 1;
                preset::save(tx, &key, &version)?;
                let detail = format!("{key}, version {}", version.version);
                let entry = audit::Entry::by(&version.created_by_email, "preset.save");
                audit::record(tx, entry.saying(&detail))?;
                Ok((version, is_new))
            })
            .await?;
        let presets = self.presets().await?;
        let shown = presets.get(&name).map(|entry| entry.origin);
        Ok(SavedPreset {
            hidden_by: shown.filter(|origin| *origin != Origin::App),
            name,
            version,
            is_new,
            findings,
        })
    }

    async fn check_condition(&self, name: &str, condition: &Condition) -> Result<(), PresetError> {
        let name = name.to_owned();
        let found = self
            .store
            .read({
                let name = name.clone();
                move |tx| preset::find(tx, &name)
            })
            .await?;
        let in_use = found.as_ref().filter(|found| !found.is_deleted);
        if condition.holds(in_use.map(|it| it.version.version)) {
            return Ok(());
        }
        Err(changed(&name, in_use.map(|it| &it.version), condition))
    }

    /// Deletes a preset from the app. Its versions stay.
    pub async fn delete_preset(
        &self,
        user: &User,
        name: String,
        condition: Option<Condition>,
    ) -> Result<(), PresetError> {
        if !self.saves_presets() {
            return Err(PresetError::FilesOnly);
        }
        let condition = match condition {
            None => return Err(PresetError::NoCondition(name)),
            Some(Condition::Absent) => {
                return Err(PresetError::BadCondition(
                    "Send If-Match with the ETag of GET to delete a preset",
                ));
            }
            Some(condition) => condition,
        };
        let actor = user.email.clone();
        self.store
            .write(move |tx| {
                preset::lock(tx)?;
                let found = preset::find(tx, &name)?.filter(|found| !found.is_deleted);
                let version = found.ok_or(PresetError::NotSaved)?.version;
                if !condition.holds(Some(version.version)) {
                    return Err(changed(&name, Some(&version), &condition));
                }
                preset::delete(tx, &name, clock::now())?;
                let detail = format!("{name}, version {}", version.version);
                let entry = audit::Entry::by(&actor, "preset.delete");
                Ok(audit::record(tx, entry.saying(&detail))?)
            })
            .await
    }

    /// Up to `limit` versions of a preset before the version `before`, newest first, also of a
    /// deleted one.
    pub async fn preset_versions(
        &self,
        name: String,
        before: Option<u64>,
        limit: u64,
    ) -> Result<Vec<PresetVersion>, PresetError> {
        self.store
            .read(move |tx| {
                let versions = preset::versions(tx, &name, before, limit)?;
                if versions.is_empty() && preset::find(tx, &name)?.is_none() {
                    return Err(PresetError::NotSaved);
                }
                Ok(versions)
            })
            .await
    }

    /// One version of a preset.
    pub async fn preset_version(
        &self,
        name: String,
        number: u64,
    ) -> Result<PresetVersion, PresetError> {
        self.store
            .read(move |tx| preset::find_version(tx, &name, number)?.ok_or(PresetError::NotSaved))
            .await
    }
}

/// The error if a condition does not hold for the version in use.
fn changed(name: &str, in_use: Option<&PresetVersion>, condition: &Condition) -> PresetError {
    PresetError::Changed(match (in_use, condition) {
        (Some(now), Condition::Absent) => format!(
            "{name} is already saved in the app, in version {}: send If-Match with the ETag of GET to change it",
            now.version
        ),
        (Some(now), _) => format!(
            "{} has saved version {} of {name} at {}: read it again, and apply your changes to it",
            now.created_by_email, now.version, now.created_at
        ),
        (None, _) => format!(
            "{name} is not saved in the app, or no longer: send If-None-Match: * to create it"
        ),
    })
}

/// The entity tag of a preset: the version in the app (0 if there is none) decides, the digest
/// distinguishes changes of other origins.
pub fn etag_of(presets: &Snapshot, name: &str) -> Option<String> {
    let entry = presets.get(name)?;
    let version = presets.saved_version(name).unwrap_or(0);
    Some(etag(version, &script_sha256(&entry.source)))
}

pub(super) fn etag(version: u64, sha256: &str) -> String {
    format!("\"{version}-{}\"", sha256.get(..16).unwrap_or(sha256))
}
