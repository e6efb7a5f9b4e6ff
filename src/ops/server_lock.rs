//! The lock that allows only one server per SQLite database.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Dropping the lock lets the next server start. The kernel releases it when the process ends,
/// however it ends.
pub struct ServerLock {
    lock: Flock<File>,
    /// The lock file, if this lock created it.
    pub created: Option<PathBuf>,
}

impl ServerLock {
    /// Takes the lock file next to `database`, or fails with the server that holds it.
    ///
    /// # Errors
    /// One line for the operator.
    pub fn acquire(database: &Path) -> Result<Option<Self>, String> {
        let path = lock_of(database);
        let is_new = !path.exists();
        let opened = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path);
        // The database can't be opened either, and that error has more detail.
        let Ok(file) = opened else { return Ok(None) };
        let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => lock,
            Err((file, Errno::EWOULDBLOCK)) => {
                return Err(format!(
                    "{} is already in use by another hyprbox{}: stop that server, or set HYPRBOX_DATA_DIR to another folder",
                    database.display(),
                    holder(file)
                ));
            }
            Err((_, errno)) => return Err(format!("can't lock {}: {errno}", path.display())),
        };
        let created = is_new.then_some(path);
        Ok(Some(Self { lock, created }))
    }

    /// Records which process holds the lock, for people and for the next server's message. Called
    /// once the start is certain, because a failed start must change nothing.
    pub fn name_holder(&mut self) -> std::io::Result<()> {
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock
            .write_all(format!("{}\n", std::process::id()).as_bytes())
    }
}

fn lock_of(database: &Path) -> PathBuf {
    // One lock per file, whichever link leads to it.
    let real = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let mut name = real.into_os_string();
    name.push(".lock");
    PathBuf::from(name)
}

/// ` (process 4711)`, if the holder has recorded its id.
fn holder(file: File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!(" (process {pid})"),
        _ => String::new(),
    }
}
