//! `hyprbox restore FILE`: replaces the database by a backup and keeps the old database next to it.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::backup::{new_partial, parent_dir, sqlite_file, sync_folder};
use crate::clock;
use crate::config;
use crate::store::copy;

/// Defines the command.
pub fn command() -> Command {
    config::with_data_place(
        Command::new("restore")
            .about("Replace the database by a backup while the server is stopped")
            .long_about(
                "Replaces the database by a backup while the server is stopped. The backup is checked first. If there is a \
                 database already, --replace is required, and the old database is kept next to the new one.",
            )
            .arg(
                Arg::new("file")
                    .value_name("FILE")
                    .required(true)
                    .value_parser(clap::value_parser!(PathBuf))
                    .help("A file that `hyprbox backup` made"),
            )
            .arg(
                Arg::new("replace")
                    .long("replace")
                    .action(ArgAction::SetTrue)
                    .help("Replace the existing database"),
            ),
    )
}

/// Runs the command; the error is one line for the operator.
pub fn run(arguments: &ArgMatches) -> Result<String, String> {
    let place = config::data_place(arguments)?;
    let database = sqlite_file(&place)?;
    let file = arguments.get_one::<PathBuf>("file").ok_or("no FILE")?;
    let version = copy::inspect(file)?;
    let exists = database.symlink_metadata().is_ok();
    if exists && !arguments.get_flag("replace") {
        return Err(format!(
            "there is already a database {}; --replace replaces it and keeps the old one next to it",
            database.display()
        ));
    }
    let kept = replace_database(file, database)?;
    let mut report = format!(
        "{} is now the backup {} (schema {version})",
        database.display(),
        file.display()
    );
    if let Some(kept) = kept {
        report.push_str(&format!("; the old database is {}", kept.display()));
    }
    if !place.secret_key_file.exists() {
        report.push_str(&format!(
            "\nThe key {} is missing: put the old key back before the server starts, or the secrets of queued jobs are lost",
            place.secret_key_file.display()
        ));
    }
    if !place.sign_key_file.exists() {
        report.push_str(&format!(
            "\nThe key {} is missing: put the old key back, because agents run only jobs that it has signed",
            place.sign_key_file.display()
        ));
    }
    Ok(report)
}

/// Returns the new path of the old database, if there was one.
fn replace_database(file: &Path, database: &Path) -> Result<Option<PathBuf>, String> {
    let cant = |error: io::Error| format!("can't write {}: {error}", database.display());
    let folder = parent_dir(database);
    if !folder.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(cant)?;
    }
    let partial = new_partial(folder).map_err(cant)?;
    copy::copy(file, partial.path(), &|| true)
        .map_err(|error| format!("can't copy {}: {error}", file.display()))?;
    set_owner(partial.as_file(), folder).map_err(cant)?;
    copy::merge_log(database);
    let lock = lock_exclusively(database)?;
    let kept = match &lock {
        Some(_) => Some(set_aside(database).map_err(cant)?),
        None => None,
    };
    partial
        .persist(database)
        .map_err(|error| cant(error.error))?;
    sync_folder(folder).map_err(cant)?;
    drop(lock);
    Ok(kept)
}

/// Gives the file to the directory's owner, who runs the server: root may run the restore.
fn set_owner(file: &File, folder: &Path) -> io::Result<()> {
    let owner = folder.metadata()?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Takes SQLite's exclusive lock; `None` if the database does not exist. Works for a damaged
/// database too: replacing one is what a restore is for.
fn lock_exclusively(database: &Path) -> Result<Option<File>, String> {
    let file = match File::options().read(true).write(true).open(database) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("can't open {}: {error}", database.display())),
    };
    if fcntl(&file, FcntlArg::F_SETLK(&whole_file())).is_ok() {
        return Ok(Some(file));
    }
    let holder = holder_of(&file).unwrap_or_else(|| "another program".to_owned());
    Err(format!(
        "{holder} has the database {} open: stop the server first",
        database.display()
    ))
}

/// The program that has the database open, such as `hyprbox (process 123)`.
pub(super) fn holder(database: &Path) -> Option<String> {
    holder_of(&File::open(database).ok()?)
}

fn holder_of(file: &File) -> Option<String> {
    let mut lock = whole_file();
    fcntl(file, FcntlArg::F_GETLK(&mut lock)).ok()?;
    if lock.l_type == libc::F_UNLCK as libc::c_short {
        return None;
    }
    let name = std::fs::read_to_string(format!("/proc/{}/comm", lock.l_pid)).ok()?;
    Some(format!("{} (process {})", name.trim(), lock.l_pid))
}

fn whole_file() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}

/// Keeps the old database under another name, its log first: the new database must never be opened
/// with the old log. The old file stays in place until the new one is renamed over it, so that a
/// server never finds none and creates an empty one.
fn set_aside(database: &Path) -> io::Result<PathBuf> {
    let at = clock::now().to_string().replace([':', '-'], "");
    let with = |suffix: &str| {
        let mut name = database.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let kept = format!(".before-restore-{at}");
    for log in ["-wal", "-shm"] {
        match std::fs::rename(with(log), with(&format!("{kept}{log}"))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let kept = with(&kept);
    // On a filesystem without hard links, the old file is moved.
    std::fs::hard_link(database, &kept).or_else(|_| std::fs::rename(database, &kept))?;
    Ok(kept)
}
