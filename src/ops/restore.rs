//! `hyprbox restore FILE`: a backup becomes the database, and what was there before stays beside
//! it.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use super::backup::{folder_of, partial_in, sqlite_of, sync_folder};
use crate::clock;
use crate::config;
use crate::store::copy;

/// The command's words.
pub fn command() -> Command {
    config::with_data_place(
        Command::new("restore")
            .about("Put a backup in the database's place, while the server is stopped")
            .long_about(
                "Puts a backup in the database's place, while the server is stopped. The backup is checked first. Where there is a \
                 database already, --replace is needed, and the old one stays beside the new one.",
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
                    .help("Put it in the place of the database that is there"),
            ),
    )
}

/// Runs it; the error is one line for the operator.
pub fn run(arguments: &ArgMatches) -> Result<String, String> {
    let place = config::data_place(arguments)?;
    let database = sqlite_of(&place)?;
    let file = arguments.get_one::<PathBuf>("file").ok_or("no FILE")?;
    let version = copy::inspect(file)?;
    let there = database.symlink_metadata().is_ok();
    if there && !arguments.get_flag("replace") {
        return Err(format!(
            "there is a database {} already; --replace puts the backup in its place, and keeps it beside",
            database.display()
        ));
    }
    let kept = put_in_place(file, database)?;
    let mut said = format!(
        "{} is now the backup {} (schema {version})",
        database.display(),
        file.display()
    );
    if let Some(kept) = kept {
        said.push_str(&format!("; the old one is {}", kept.display()));
    }
    if !place.secret_key_file.exists() {
        said.push_str(&format!(
            "\nThere is no key {}: put the old one back before the server starts, or the secrets of jobs that wait are lost",
            place.secret_key_file.display()
        ));
    }
    Ok(said)
}

/// Where there was a database, gives the path that it has now.
fn put_in_place(file: &Path, database: &Path) -> Result<Option<PathBuf>, String> {
    let cant = |error: io::Error| format!("can't write {}: {error}", database.display());
    let folder = folder_of(database);
    if !folder.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(cant)?;
    }
    let partial = partial_in(folder).map_err(cant)?;
    copy::copy(file, partial.path(), &|| true)
        .map_err(|error| format!("can't copy {}: {error}", file.display()))?;
    give_to_owner(partial.as_file(), folder).map_err(cant)?;
    copy::merge_log(database);
    let held = hold(database)?;
    let kept = match &held {
        Some(_) => Some(set_aside(database).map_err(cant)?),
        None => None,
    };
    partial
        .persist(database)
        .map_err(|error| cant(error.error))?;
    sync_folder(folder).map_err(cant)?;
    drop(held);
    Ok(kept)
}

/// The folder's owner is the one who runs the server; root may restore for them.
fn give_to_owner(file: &File, folder: &Path) -> io::Result<()> {
    let owner = folder.metadata()?;
    let own = file.metadata()?;
    if (own.uid(), own.gid()) != (owner.uid(), owner.gid()) {
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid()))?;
    }
    file.set_permissions(Permissions::from_mode(0o600))
}

/// Takes the lock that SQLite takes of a database that nobody else may have open; `None` where
/// there is no database. A file that is no sound database can be locked, too, which is what a
/// restore is for.
fn hold(database: &Path) -> Result<Option<File>, String> {
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

/// The program that has the database open, as `hyprbox (process 123)`.
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

/// Keeps the old database beside, its log first: the new one must never meet it. Until the new one
/// is renamed over it, the old one is still in its place, so that a server never finds none and
/// makes a fresh one.
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
    // Where a filesystem knows no hard links, the old one is moved.
    std::fs::hard_link(database, &kept).or_else(|_| std::fs::rename(database, &kept))?;
    Ok(kept)
}
