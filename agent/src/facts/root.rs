//! The folder from which the facts are read: `/`, or another one in tests.

use std::path::{Path, PathBuf};

/// The folder that stands for `/`.
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// The text of a file.
    pub(super) fn read(&self, path: &str) -> Option<String> {
        read_text(&self.path(path))
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }
}

/// The text of a file, without bytes that are not UTF-8.
fn read_text(path: &Path) -> Option<String> {
    let bytes = std::fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A folder that stands for `/` in tests.
#[cfg(test)]
pub(super) fn root_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let dir = tempfile::tempdir().expect("a folder");
    let root = Root(dir.path().to_owned());
    for (path, text) in files {
        let path = root.path(path);
        std::fs::create_dir_all(path.parent().expect("absolute")).expect("creates");
        std::fs::write(path, text).expect("writes");
    }
    (dir, root)
}
