//! Two ways to write a file in the state folder.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::trusted_dir::own_file;

/// Replaces a file durably: after a crash it has either its old content or all of the new one.
pub(crate) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let draft = path.with_extension("tmp");
    let mut file = own_file()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&draft)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

/// Writes a file that only its owner can read, over the content that an earlier job left. Nothing
/// is synced.
pub(crate) fn overwrite(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = own_file()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    file.write_all(content)?;
    // Cut after writing, not before: see `empty` in dir_pool.rs.
    file.set_len(content.len() as u64)
}
