//! The rules of the house that a machine can check: the direction of imports, circles between files,
//! words that CONTRIBUTING.md replaces, widths of comments and documents, signatures, and
//! time in tests.
mod imports;
mod release;
mod signatures;
mod text;
mod time;

use std::path::{Path, PathBuf};

/// The checkout.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file below `folder` (relative to the checkout) whose name ends in one of `endings`, sorted.
fn files(folder: &str, endings: &[&str]) -> Vec<PathBuf> {
    fn collect(folder: &Path, endings: &[&str], found: &mut Vec<PathBuf>) {
        let entries = std::fs::read_dir(folder).expect("a folder of the checkout");
        for entry in entries {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let name = path.file_name().unwrap_or_default();
                if name != "target" && name != "output" && name != "stage" {
                    collect(&path, endings, found);
                }
            } else if endings
                .iter()
                .any(|end| path.to_string_lossy().ends_with(end))
            {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(folder), endings, &mut found);
    found.sort();
    found
}

/// `path` as people name it.
fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
