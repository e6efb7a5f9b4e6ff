//! What a start makes on the disk before it knows that it can go on.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::StartError;
use crate::jobs::SecretKey;

/// What this start made on the disk, in order. A start that fails takes it away again.
#[derive(Default)]
pub(super) struct Made(Vec<PathBuf>);

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.drain(..).rev() {
            let removed = if path.is_dir() {
                std::fs::remove_dir(&path)
            } else {
                std::fs::remove_file(&path)
            };
            if let Err(error) = removed {
                tracing::warn!(%error, path = %path.display(), "what this start made could not be taken away");
            }
        }
    }
}

impl Made {
    /// Makes sure that there is a folder, which that variable names.
    pub(super) fn folder(&mut self, path: &Path, variable: &str) -> Result<(), StartError> {
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
                    "can't make the folder {variable}={}: {error}",
                    path.display()
                ))
            })?;
        self.0.extend(missing.into_iter().rev());
        Ok(())
    }

    /// Reads the key, or makes it.
    pub(super) fn key(&mut self, path: &Path) -> Result<SecretKey, StartError> {
        let is_new = !path.exists();
        let key = SecretKey::load_or_create(path).map_err(StartError::of)?;
        if is_new {
            self.0.push(path.to_owned());
        }
        Ok(key)
    }

    /// A file that this start made.
    pub(super) fn file(&mut self, path: &Path) {
        self.0.push(path.to_owned());
    }

    /// Nothing is taken away any more.
    pub(super) fn keep(mut self) {
        self.0.clear();
    }
}
