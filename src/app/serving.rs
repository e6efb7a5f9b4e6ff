//! One server per SQLite database: the lock that a server holds for as long as it serves.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::StartError;
use super::made::Made;

/// The lock; dropping it lets the next server start. The system drops it with the process, however
/// that ends.
pub(super) struct Serving {
    lock: Flock<File>,
}

impl Serving {
    /// Takes the lock beside `database`, or names the server that holds it.
    pub(super) fn over(database: &Path, made: &mut Made) -> Result<Option<Self>, StartError> {
        let path = lock_of(database);
        let wrong = |error: &dyn std::fmt::Display| {
            StartError(format!("can't lock {}: {error}", path.display()))
        };
        let is_new = !path.exists();
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        // No database can be opened there either, and the error of that says more.
        let Ok(file) = opened else { return Ok(None) };
        if is_new {
            made.file(&path);
        }
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(StartError(format!(
                    "{} is served by another hyprbox already{}: stop that one, or set HYPRBOX_DATA_DIR to another folder",
                    database.display(),
                    holder(file)
                )));
            }
            Err((_, errno)) => return Err(wrong(&errno)),
        };
        Ok(Some(Self { lock }))
    }

    /// Writes down which process holds the lock, for people and for the next server's message. Not
    /// before the start is sure: a start that fails changes nothing.
    pub(super) fn name_holder(&mut self) -> std::io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock
            .write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

fn lock_of(database: &Path) -> PathBuf {
    // One lock for one file, whatever links lead to it.
    let real = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = real.into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

/// ` (process 4711)`, if the holder has written its id down.
fn holder(file: File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    }
}
