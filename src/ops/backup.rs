//! `hyprbox backup FILE`: copies the whole database into one file while the server runs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Command};

use tempfile::NamedTempFile;

use crate::config::{self, DataPlace, DatabaseUrl};
use crate::store::copy::{self, CopyError};

/// Prefix of unfinished copies, so that the leftovers of a killed program can be recognised.
const PARTIAL_PREFIX: &str = ".hyprbox-backup-";

/// A finished copy.
pub(super) struct Backup {
    pub(super) bytes: u64,
}

/// Defines the command.
pub fn command() -> Command {
    config::with_data_place(
        Command::new("backup")
            .about("Copy the whole database into a file, while the server runs")
            .long_about(
                "Copies the whole database into a file while the server runs. Every change that was confirmed before the command \
                 started is included. The file appears only once it is complete, and no file is overwritten. The key that seals \
                 secrets (HYPRBOX_SECRET_KEY_FILE) is not included: keep a copy of it in another place.",
            )
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("The file to create"),
            ),
    )
}

/// Runs the command; the error is one line for the operator.
pub fn run(arguments: &ArgMatches) -> Result<String, String> {
    let place = config::data_place(arguments)?;
    let database = sqlite_file(&place)?;
    let file = arguments.get_one::<PathBuf>("file").ok_or("no FILE")?;
    let backup = create(database, file, &|| true)?;
    Ok(format!("{}: {} bytes", file.display(), backup.bytes))
}

/// The database's file; an error for PostgreSQL.
pub(super) fn sqlite_file(place: &DataPlace) -> Result<&Path, String> {
    match &place.database {
        DatabaseUrl::Sqlite(path) => Ok(path),
        #[cfg(feature = "postgres")]
        DatabaseUrl::Postgres(_) => Err(
            "this server's data is in PostgreSQL: back it up with `pg_dump --format=custom` and restore it with pg_restore"
                .to_owned(),
        ),
    }
}

/// Copies `database` into the new file `to`.
pub(super) fn create(
    database: &Path,
    to: &Path,
    should_continue: &dyn Fn() -> bool,
) -> Result<Backup, String> {
    let cant = |error: &dyn std::fmt::Display| format!("can't create {}: {error}", to.display());
    if !database.exists() {
        return Err(format!(
            "the database {} does not exist: set HYPRBOX_DATA_DIR or --data-dir to the server's data directory",
            database.display()
        ));
    }
    refuse_existing(to)?;
    let folder = parent_dir(to);
    let partial = new_partial(folder).map_err(|error| cant(&error))?;
    copy::copy(database, partial.path(), should_continue).map_err(|error| match error {
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
    Ok(Backup { bytes: bytes.len() })
}

/// Creates a file for a copy, with mode 0600. It is removed unless it gets its final name, and
/// locked as long as this program runs.
pub(super) fn new_partial(folder: &Path) -> io::Result<NamedTempFile> {
    let partial = tempfile::Builder::new()
        .prefix(PARTIAL_PREFIX)
        .tempfile_in(folder)?;
    partial.as_file().lock()?;
    Ok(partial)
}

/// Removes unfinished copies that killed programs left in a directory. A locked one is still being
/// written.
pub fn remove_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_partial = name
            .to_str()
            .is_some_and(|name| name.starts_with(PARTIAL_PREFIX));
        // Links are never copies and are not followed.
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
    // A dangling link counts as existing.
    match to.symlink_metadata() {
        Ok(_) => Err(exists(to)),
        Err(_) => Ok(()),
    }
}

fn exists(to: &Path) -> String {
    format!("{} already exists and is not overwritten", to.display())
}

/// The directory of a file.
pub(super) fn parent_dir(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Makes renames in a directory durable.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
