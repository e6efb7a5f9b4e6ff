//! Files and folders that a start creates before it is certain to succeed.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::StartError;
use crate::jobs::SecretKey;

/// Removes the files and folders that this start created, in reverse order, unless the start
/// succeeds.
#[derive(Default)]
pub(super) struct StartupRollback(Vec<PathBuf>);

impl Drop for StartupRollback {
    fn drop(&mut self) {
        for path in self.0.drain(..).rev() {
            let removed = if path.is_dir() {
                std::fs::remove_dir(&path)
            } else {
                std::fs::remove_file(&path)
            };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "can't remove a file or folder that the failed start created");
            }
        }
    }
}

impl StartupRollback {
    /// Creates the folder that the setting `variable` names, unless it exists.
    pub(super) fn create_folder(&mut self, path: &Path, variable: &str) -> Result<(), StartError> {
        if path.is_dir() {
            return Ok(());
        }
        let missing: Vec<PathBuf> = path
            .ancestors()
            .take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists())
            .map(Path::to_path_buf)
            .collect();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|error| {
                StartError(format!(
                    "can't create the folder {variable}={}: {error}",
                    path.display()
                ))
            })?;
        self.0.extend(missing.into_iter().rev());
        Ok(())
    }

    /// Reads the key file, or creates it.
    pub(super) fn load_key(&mut self, path: &Path) -> Result<SecretKey, StartError> {
        let is_new = !path.exists();
        let key = SecretKey::load_or_create(path).map_err(StartError::of)?;
        if is_new {
            self.0.push(path.to_owned());
        }
        Ok(key)
    }

    /// Registers a file that this start created.
    pub(super) fn add_file(&mut self, path: &Path) {
        self.0.push(path.to_owned());
    }

    /// Keeps everything: the start has succeeded.
    pub(super) fn disarm(mut self) {
        self.0.clear();
    }
}
