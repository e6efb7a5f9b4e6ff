//! The presets as of now.

use std::sync::Arc;

use crate::jobs::{JobError, Jobs};
use crate::presets::{SavedInfo, SavedText, Snapshot};
use crate::store::preset::SavedPreset;
use crate::store::{StoreError, preset};

impl Jobs {
    /// The presets, reread from files and saved presets that have changed.
    pub async fn presets(&self) -> Result<Arc<Snapshot>, JobError> {
        let mut changed = Vec::new();
        if self.limits.saves_presets {
            let since = self.catalog.saved_change_no();
            let rows = self
                .store
                .read(move |tx| preset::changed_since(tx, since))
                .await?;
            changed.extend(rows.into_iter().map(saved_text));
        }
        let catalog = Arc::clone(&self.catalog);
        let work = move || {
            catalog.apply_saved(changed);
            catalog.refresh();
            catalog.current()
        };
        Ok(tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Stopping)?)
    }
}

fn saved_text(saved: SavedPreset) -> SavedText {
    let version = saved.version;
    SavedText {
        name: saved.name,
        change_no: saved.change_no,
        source: (!saved.is_deleted).then_some(version.source),
        info: SavedInfo {
            version: version.version,
            by_email: version.created_by_email,
            at: version.created_at,
        },
    }
}
