//! `hyprbox backup FILE`: the whole database in one file, taken while the server runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use tempfile::NamedTempFile;

use crate::config::{self, DataPlace, DatabaseUrl};
use crate::store::copy::{self, CopyError};

/// Copies in the making have names of their own, so that one left by a killed program is known as
/// such.
const PARTIAL_PREFIX: &str = ".hyprbox-backup-";

/// A copy that was made.
pub(super) struct Made {
    pub(super) bytes: u64,
}

/// The command's words.
pub fn command() -> Command {
    config::with_data_place(
        Command::new("backup")
            .about("Copy the whole database into a file, while the server runs")
            .long_about(
                "Copies the whole database into a file, while the server runs: all that was answered before the start is in \
                 it. The file appears whole or not at all, and none is overwritten. The key that seals secrets \
                 (HYPRBOX_SECRET_KEY_FILE) is not in it: copy that once, to another place.",
            )
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("The file to make"),
            ),
    )
}

/// Runs it; the error is one line for the operator.
pub fn run(arguments: &ArgMatches) -> Result<String, String> {
    let place = config::data_place(arguments)?;
    let database = sqlite_of(&place)?;
    let file = arguments.get_one::<PathBuf>("file").ok_or("no FILE")?;
    let made = make(database, file, &|| true)?;
    Ok(format!("{}: {} bytes", file.display(), made.bytes))
}

/// The database's file; words where there is none, as on Postgres.
pub(super) fn sqlite_of(place: &DataPlace) -> Result<&Path, String> {
    match &place.database {
        DatabaseUrl::Sqlite(path) => Ok(path),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(_) => Err(
            "this server's data is in PostgreSQL: back it up with `pg_dump --format=custom`, and bring it back with pg_restore"
                .to_owned(),
        ),
    }
}

/// Copies `database` into the new file `to`.
pub(super) fn make(database: &Path, to: &Path, go_on: &dyn Fn() -> bool) -> Result<Made, String> {
    let cant = |error: &dyn std::fmt::Display| format!("can't make {}: {error}", to.display());
    if !database.exists() {
        return Err(format!(
            "there is no database {}: set HYPRBOX_DATA_DIR or --data-dir to the server's",
            database.display()
        ));
    }
    refuse_existing(to)?;
    let folder = folder_of(to);
    let partial = partial_in(folder).map_err(|error| cant(&error))?;
    copy::copy(database, partial.path(), go_on).map_err(|error| match error {
        CopyError::Cancelled => cant(&error),
        CopyError::Failed(reason) => cant(&reason),
    })?;
    let bytes = partial.as_file().metadata().map_err(|error| cant(&error))?;
    partial.persist_noclobber(to).map_err(|error| {
        if error.error.kind() == io::ErrorKind::AlreadyExists {
            exists(to)
        } else {
            cant(&error.error)
        }
    })?;
    sync_folder(folder).map_err(|error| cant(&error))?;
    Ok(Made { bytes: bytes.len() })
}

/// A new file for a copy, 0600, which is removed unless it is given its final name. Its lock lasts
/// as long as the program that makes the copy.
pub(super) fn partial_in(folder: &Path) -> io::Result<NamedTempFile> {
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .tempfile_in(folder)?;
    partial.as_file().lock()?;
    Ok(partial)
}

/// Removes the copies that killed programs left in a folder. One that still has its lock is being
/// made.
pub fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_partial = name
            .to_str()
            .is_some_and(|name| name.starts_with(PARTIAL_PREFIX));
        // A link is never a copy, and is never followed.
        if !is_partial || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path();
        if !File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            continue;
        }
        match std::fs::remove_file(&path) {
            Ok(()) => tracing::info!(file = %path.display(), "removed an unfinished copy"),
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "can't remove an unfinished copy");
            }
        }
    }
}

fn refuse_existing(to: &Path) -> Result<(), String> {
    // A link that leads nowhere is something, too.
    match to.symlink_metadata() {
        Ok(_) => Err(exists(to)),
        Err(_) => Ok(()),
    }
}

fn exists(to: &Path) -> String {
    format!("{} exists already, and is not overwritten", to.display())
}

/// The folder that a file is in.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes what was renamed in a folder outlive a power loss.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
