//! The file that replaces a key file once the database names its key, so that a rotation that is
//! killed leaves one of both keys in use.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The next file of a key file.
pub struct NextFile<'p> {
    current: &'p Path,
}

impl<'p> NextFile<'p> {
    /// The next file of `current`.
    pub fn of(current: &'p Path) -> Self {
        Self { current }
    }

    /// Its path: that of the key file with `.new` after it.
    pub fn path(&self) -> PathBuf {
        let name = self.current.file_name();
        let mut name = name.map_or_else(OsString::new, OsString::from);
        name.push(".new");
        self.current.with_file_name(name)
    }

    /// Writes it durably, in place of what an interrupted rotation has left. It has its name only
    /// once it is whole: a part of a key would keep the server from starting.
    pub fn prepare(&self, text: &[u8]) -> io::Result<()> {
        let path = self.path();
        let part = path.with_extension("part");
        match std::fs::remove_file(&part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        sync_folder(&path)
    }

    /// Gives it the name of the key file, whose owner it gets.
    pub fn replace(&self) -> io::Result<()> {
        let path = self.path();
        if let Ok(before) = std::fs::metadata(self.current) {
            std::os::unix::fs::chown(&path, Some(before.uid()), Some(before.gid()))?;
        }
        std::fs::rename(&path, self.current)?;
        sync_folder(self.current)
    }
}

fn sync_folder(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => Ok(()),
    }
}
